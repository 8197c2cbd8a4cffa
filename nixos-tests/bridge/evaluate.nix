# The appliance that the bridge runs, as its parts: what NixOS would put into /etc, its units, folders and users.
{nixpkgs}: let
  system = import (nixpkgs + "/nixos/lib/eval-config.nix") {
    system = null;
    modules = [
      ../../modules
      ../machine.nix
      {
        nixpkgs.hostPlatform = "x86_64-linux";
        nixpkgs.overlays = [(import ../../modules/packages)];
        services.dicom-stack = {
          enable = true;
          domain = "localhost";
          certificateFile = "/etc/tls/server.crt";
          certificateKeyFile = "/etc/tls/server.key";
          cooldownSeconds = 2;
        };
      }
    ];
  };
  inherit (builtins) any attrNames elem filter listToAttrs mapAttrs;
  inherit (system) config;
  inherit (system.pkgs.lib) filterAttrs hasPrefix;

  # Debian has neither of these programs: their units do not run, and Prometheus is not told of them.
  absent = ["grafana" "loki"];
  present = filter (name: !elem name absent) config.services.dicom-stack.hardenedUnits;
  units = map (name: "${name}.service") (present ++ ["postgresql-setup"]);
  ours = name:
    name
    != "prometheus/scrape/grafana.yml"
    && any (prefix: hasPrefix prefix name) ["dicom-importer/" "grafana/" "keycloak/" "loki/" "nginx/" "ohif" "orthanc" "prometheus/"];
  users = ["alertmanager" "blackbox-exporter" "dicom-auditor" "dicom-importer" "dicom-realm" "grafana" "loki" "nginx" "node-exporter" "orthanc" "postgres" "postgres-exporter" "prometheus"];
in {
  inherit absent units;
  # Whose requisites hold the text of every generated file.
  toplevel = config.system.build.toplevel.drvPath;
  unitTexts = listToAttrs (map (name: {
    inherit name;
    value = config.systemd.units.${name}.text;
  }) (units ++ ["postgresql.target"]));
  etc = mapAttrs (_: entry: toString entry.source) (filterAttrs (name: _: ours name) config.environment.etc);
  tmpfiles = config.systemd.tmpfiles.settings.dicom-stack;
  hosts = filterAttrs (address: _: hasPrefix "127.0.10." address) config.networking.hosts;
  uids = listToAttrs (map (name: {
    inherit name;
    value = config.users.users.${name}.uid;
  }) (filter (name: config.users.users.${name}.uid != null) users));
  command = toString (filter (package: (package.name or "") == "dicom-stack") config.environment.systemPackages);
  orthanc = config.services.orthanc.settings;
  secretFiles = mapAttrs (_: reader: {inherit (reader) files units;}) config.services.dicom-stack.secretReaders;
  names = attrNames config.services.dicom-stack.secretReaders;
}
