# Brings Keycloak's realm to what podman/keycloak/realm.json and the settings say, at every start.
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
    environment.etc."keycloak/realm.json".source = ../podman/keycloak/realm.json;
    users.users.dicom-realm = {
      uid = 7107;
      group = "dicom-realm";
      isSystemUser = true;
    };
    users.groups.dicom-realm.gid = 7107;

    services.dicom-stack = {
      hardenedUnits = ["dicom-realm"];
      secretReaders.realm = {
        user = "dicom-realm";
        units = ["dicom-realm"];
        files = ["realm_reconciler_secret" "orthanc_api_secret" "auditor_secret" "monitoring_secret" "grafana_secret" "operator_pages_secret" "smtp_password"];
      };
    };
    systemd.services.dicom-realm = {
      description = "Realm of the DICOM Web Viewer Stack at Keycloak";
      after = ["keycloak.service"];
      wants = ["keycloak.service"];
      wantedBy = ["multi-user.target"];
      restartTriggers = [../podman/keycloak/realm.json];
      environment = {
        LANGUAGE_TAG = cfg.language;
        PUBLIC_URL = "https://${cfg.domain}";
        SITE_NAME = cfg.siteName;
        SMTP_FROM = cfg.mail.from;
        SMTP_HOST = cfg.mail.host;
        SMTP_PORT = toString cfg.mail.port;
        SMTP_USER = cfg.mail.user;
      };
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = "${lib.getExe pkgs.dicom-importer} realm reconcile";
        User = "dicom-realm";
        Group = "dicom-realm";
      };
    };
  };
}
