# Alertmanager over podman/alertmanager/alertmanager.json, with the ways of this site by which alerts go out.
{
  config,
  lib,
  ...
}: let
  inherit (lib) concatMap concatStringsSep filterAttrs mapAttrs mkForce mkIf optionalAttrs;
  cfg = config.services.dicom-stack;
  inherit (import ./library.nix) wordsTmpl;
  names = lib.importJSON ./names.json;
  shipped = lib.importJSON ../podman/alertmanager/alertmanager.json;
  mails = cfg.alertEmail != [];
  # What each way of each receiver is told, where it has what it needs.
  ways = {
    operator =
      optionalAttrs mails {email_configs.to = concatStringsSep "," cfg.alertEmail;}
      // optionalAttrs (cfg.alertTelegramChat != null) {telegram_configs.chat_id = cfg.alertTelegramChat;}
      // optionalAttrs (cfg.secretFiles ? alert_webhook_url) {webhook_configs = {};};
    heartbeat = optionalAttrs (cfg.secretFiles ? alert_heartbeat_url) {webhook_configs = {};};
  };
  sends = ways.operator != {} || ways.heartbeat != {};
  # And a second one for `dicom-stack alert-test`.
  receiver = told: let
    way = ways.${told.name};
    kinds = mapAttrs (kind: map (one: one // way.${kind})) (filterAttrs (kind: _: way ? ${kind}) told);
  in [
    (kinds // {inherit (told) name;})
    (mapAttrs (_: map (one: one // {send_resolved = false;})) kinds // {name = "test-${told.name}";})
  ];
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
            // optionalAttrs mails {
              smtp_auth_username =
                if cfg.mail.user == null
                then ""
                else cfg.mail.user;
              smtp_from = cfg.mail.from;
              # There TLS begins with the first byte, and Alertmanager would ask for it once more inside.
              smtp_require_tls = cfg.mail.port != 465;
              smtp_smarthost = "${cfg.mail.host}:${toString cfg.mail.port}";
            };
          receivers = concatMap receiver shipped.receivers;
        };
      # There is one; it would look for others.
      # And the test of the alerts counts by receiver.
      extraFlags = ["--cluster.listen-address=" "--enable-feature=receiver-name-in-metrics" "--web.route-prefix=/"];
      listenAddress = names.alertmanager;
      webExternalUrl = "https://${cfg.domain}/alertmanager/";
    };
    environment.etc."alertmanager/words.tmpl".text = wordsTmpl cfg.language;
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
        files = ["alert_heartbeat_url" "alert_webhook_url" "smtp_password" "telegram_token"];
      };
    };
    systemd.services.alertmanager.restartTriggers = [config.environment.etc."alertmanager/words.tmpl".text];
    systemd.services.alertmanager.serviceConfig = {
      # Its secret belongs to a user that is there before it runs.
      DynamicUser = mkForce false;
      User = "alertmanager";
      Group = "alertmanager";
      # It sends to where the operator chose.
      IPAddressDeny = mkIf sends (mkForce "");
    };
  };
}
