# The appliance's whole system over Debian's files: what `nixos-rebuild` would build, built in the bridge's container.
{nixpkgs}:
(import (nixpkgs + "/nixos/lib/eval-config.nix") {
  system = null;
  modules = [
    ../../modules
    ./machine.nix
    {
      nixpkgs.pkgs = import ./packages.nix {
        inherit nixpkgs;
        overlays = [(import ../../modules/packages) (import ./programs.nix)];
      };
      services.dicom-stack = {
        enable = true;
        domain = "localhost";
        certificateFile = "/etc/tls/server.crt";
        certificateKeyFile = "/etc/tls/server.key";
        cooldownSeconds = 2;
      };
    }
  ];
})
.config
.system
.build
.toplevel
