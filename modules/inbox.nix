# The page of a clinic's inbox, over podman/nginx/: a door in nginx, to what the importer answers.
{
  config,
  lib,
  ...
}: let
  inherit (lib) mkIf;
  cfg = config.services.dicom-stack;
in {
  config = mkIf (cfg.enable && cfg.doors.page.enable) {
    environment.etc = {
      "nginx/doors/inbox.conf".source = ../podman/nginx/doors/inbox.conf;
      "nginx/inbox".source = ../podman/nginx/inbox;
      "nginx/languages".source = ../importer/src/dicom_importer/languages;
    };
    systemd.services.nginx-config-reload.restartTriggers = [../importer/src/dicom_importer/languages ../podman/nginx/doors/inbox.conf ../podman/nginx/inbox];
  };
}
