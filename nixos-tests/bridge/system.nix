# The appliance's whole system over Debian's files: what `nixos-rebuild` would build, the same with a setting changed,
# and what the tests read of it; built in the bridge's container.
{
  nixpkgs,
  images,
}: let
  pkgs = import ./packages.nix {
    inherit images nixpkgs;
    overlays = [(import ../../modules/packages) (import ./programs.nix {inherit images;})];
  };
  system = import (nixpkgs + "/nixos/lib/eval-config.nix") {
    system = null;
    modules = [
      ../../modules
      ./machine.nix
      {
        nixpkgs = {inherit pkgs;};
        services.dicom-stack = {
          enable = true;
          domain = "localhost";
          certificateFile = "/etc/tls/server.crt";
          certificateKeyFile = "/etc/tls/server.key";
          cooldownSeconds = 2;
          doors = {
            dicom = {
              enable = true;
              aeTitle = "STACK";
            };
            page.enable = true;
            sftp.enable = true;
            smb = {
              enable = true;
              # It has no other.
              interfaces = ["lo"];
            };
          };
          backup.target = "/mnt/backup";
        };
      }
    ];
  };
  changed = system.extendModules {modules = [{services.dicom-stack.retention.processedDays = 90;}];};

  inherit (system) config;
  inherit (pkgs.lib) filter filterAttrs mapAttrs partition;
  stack = config.services.dicom-stack;
  service = name: config.systemd.services.${name};
  present = partition (name: (service name).enable) stack.hardenedUnits;
  # Those that a timer starts come to an end.
  lasts = name: let
    settings = (service name).serviceConfig;
  in
    (settings.Type or "simple") != "oneshot" || (settings.RemainAfterExit or false);
in
  pkgs.linkFarm "appliance" {
    toplevel = config.system.build.toplevel;
    changed = changed.config.system.build.toplevel;
    "report.json" = pkgs.writeText "report.json" (builtins.toJSON {
      absent = present.wrong;
      units = map (name: "${name}.service") (filter lasts present.right ++ ["postgresql-setup"]);
      timers = map (name: "${name}.timer") (filter (name: config.systemd.timers ? ${name}) present.right);
      readers = mapAttrs (_: reader: {inherit (reader) files units;}) (filterAttrs (_: reader: reader.units != []) stack.secretReaders);
    });
  }
