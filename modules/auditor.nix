# The auditor: what nginx and Keycloak tell of accesses and logins becomes records under audit/access.
{
  config,
  lib,
  pkgs,
  ...
}: let
  inherit (lib) getExe' mkIf;
  cfg = config.services.dicom-stack;
  names = lib.importJSON ./names.json;
  owned = {
    mode = "0700";
    user = "dicom-auditor";
    group = "dicom-auditor";
  };
in {
  config = mkIf cfg.enable {
    users.users.dicom-auditor = {
      uid = 7112;
      group = "dicom-auditor";
      isSystemUser = true;
    };
    users.groups.dicom-auditor.gid = 7112;
    systemd.tmpfiles.settings.dicom-stack = {
      "${cfg.dataDir}/audit/access".d = owned;
      "${cfg.dataDir}/auditor".d = owned;
      "/var/lib/dicom-auditor"."L+".argument = "${cfg.dataDir}/auditor";
      "/var/log/dicom-access"."L+".argument = "${cfg.dataDir}/audit/access";
    };

    services.dicom-stack = {
      hardenedUnits = ["dicom-auditor"];
      secretReaders.auditor = {
        user = "dicom-auditor";
        units = ["dicom-auditor"];
        files = ["auditor_secret"];
      };
    };
    systemd.services.dicom-auditor = {
      description = "Audit of the DICOM Web Viewer Stack";
      wantedBy = ["multi-user.target"];
      unitConfig.RequiresMountsFor = "${cfg.dataDir}/audit";
      environment = {
        AUDIT_RETENTION_YEARS = toString cfg.retention.auditYears;
        LISTEN_HOST = names.auditor;
        PYTHONUNBUFFERED = "1";
      };
      serviceConfig = {
        ExecStart = "${getExe' pkgs.dicom-importer "dicom-audit"} run";
        User = "dicom-auditor";
        Group = "dicom-auditor";
        ReadWritePaths = ["${cfg.dataDir}/audit/access" "${cfg.dataDir}/audit/spool" "${cfg.dataDir}/auditor"];
        Restart = "always";
      };
    };
  };
}
