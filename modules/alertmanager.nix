# Alertmanager over podman/alertmanager/alertmanager.json, with the site's mail server and recipients put in.
{
  config,
  lib,
  ...
}: let
  inherit (lib) concatStringsSep mkForce mkIf optionalAttrs;
  cfg = config.services.dicom-stack;
  names = lib.importJSON ./names.json;
  shipped = lib.importJSON ../podman/alertmanager/alertmanager.json;
  sends = cfg.alertEmail != [];
in {
  config = mkIf cfg.enable {
    services.prometheus.alertmanager = {
      enable = true;
      # podman/stack/alerts.py does the same for the Podman form.
      configuration =
        shipped
        // {
          global =
            shipped.global
            // optionalAttrs sends {
              smtp_auth_username =
                if cfg.mail.user == null
                then ""
                else cfg.mail.user;
              smtp_from = cfg.mail.from;
              # There TLS begins with the first byte, and Alertmanager would ask for it once more inside.
              smtp_require_tls = cfg.mail.port != 465;
              smtp_smarthost = "${cfg.mail.host}:${toString cfg.mail.port}";
            };
          receivers = map (receiver:
            if sends
            then receiver // {email_configs = map (mail: mail // {to = concatStringsSep "," cfg.alertEmail;}) receiver.email_configs;}
            else removeAttrs receiver ["email_configs"])
          shipped.receivers;
        };
      # There is one; it would look for others.
      extraFlags = ["--cluster.listen-address="];
      listenAddress = names.alertmanager;
      webExternalUrl = "http://alertmanager:9093/";
    };
    users.users.alertmanager = {
      uid = 7109;
      group = "alertmanager";
      isSystemUser = true;
    };
    users.groups.alertmanager.gid = 7109;

    services.dicom-stack = {
      hardenedUnits = ["alertmanager"];
      secretReaders.alertmanager = {
        user = "alertmanager";
        units = ["alertmanager"];
        files = ["smtp_password"];
      };
    };
    systemd.services.alertmanager.serviceConfig = {
      # Its secret belongs to a user that is there before it runs.
      DynamicUser = mkForce false;
      User = "alertmanager";
      Group = "alertmanager";
      # It sends mail to the server that the operator chose.
      IPAddressDeny = mkIf sends (mkForce "");
    };
  };
}
