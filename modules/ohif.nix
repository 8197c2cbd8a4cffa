# OHIF, the viewer: static files behind a small nginx of their own, over podman/ohif/.
{
  config,
  lib,
  pkgs,
  ...
}: let
  inherit (lib) mkIf;
  cfg = config.services.dicom-stack;
in {
  config = mkIf cfg.enable {
    environment.etc."ohif".source = ../podman/ohif;
    services.dicom-stack.hardenedUnits = ["ohif"];
    systemd.services.ohif = {
      description = "OHIF viewer";
      after = ["network.target"];
      wantedBy = ["multi-user.target"];
      restartTriggers = [../podman/ohif];
      serviceConfig = {
        ExecStart = "${lib.getExe config.services.nginx.package} -e stderr -p ${pkgs.ohif-viewer}/share -c /etc/ohif/nginx.conf";
        # The port is shared with the front door, which only processes of the same user may do.
        User = config.services.nginx.user;
        Group = config.services.nginx.group;
        AmbientCapabilities = ["CAP_NET_BIND_SERVICE"];
        CapabilityBoundingSet = ["CAP_NET_BIND_SERVICE"];
        # Within a user namespace that capability would not count for the host's ports.
        PrivateUsers = false;
        Restart = "always";
      };
    };
  };
}
