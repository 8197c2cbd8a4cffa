# The importer, over podman/importer/importer.conf: what clinics drop into their inboxes goes into the archive.
{
  config,
  lib,
  pkgs,
  ...
}: let
  inherit (lib) concatStringsSep genAttrs mapAttrsToList mkIf;
  cfg = config.services.dicom-stack;
  names = lib.importJSON ./names.json;
  inherit (cfg.retention) studies;
  yearsOf = years: never:
    if years == null
    then never
    else toString years;
  folders = ["inbox" "processed" "failed"];
  owned = mode: {
    inherit mode;
    user = "dicom-importer";
    group = "dicom-importer";
  };
in {
  config = mkIf cfg.enable {
    environment.etc."dicom-importer/importer.conf".source = ../podman/importer/importer.conf;
    environment.systemPackages = [pkgs.dicom-importer];
    users.users.dicom-importer = {
      uid = 7106;
      group = "dicom-importer";
      isSystemUser = true;
    };
    users.groups.dicom-importer.gid = 7106;
    systemd.tmpfiles.settings.dicom-stack =
      {
        "${cfg.dataDir}/importer".d = owned "0700";
        "${cfg.dataDir}/audit".d.mode = "0755";
        # What is made there has the auditor's group (setgid), which reads it.
        "${cfg.dataDir}/audit/importer".d = owned "2750" // {group = "dicom-auditor";};
        "${cfg.dataDir}/files".d = owned "0755";
        "/var/lib/dicom-importer"."L+".argument = "${cfg.dataDir}/importer";
        "/var/log/dicom-audit"."L+".argument = "${cfg.dataDir}/audit/importer";
      }
      # One mount holds the three, so that a rename stays a rename: links, not mounts, show them where workstations look.
      // genAttrs (map (name: "${cfg.dataDir}/files/${name}") folders) (_: {d = owned "0755";})
      // lib.listToAttrs (map (name: lib.nameValuePair "/${name}" {"L+".argument = "${cfg.dataDir}/files/${name}";}) folders);

    services.dicom-stack = {
      hardenedUnits = ["dicom-importer"];
      secretReaders.importer = {
        user = "dicom-importer";
        units = ["dicom-importer"];
        files = ["orthanc_api_secret"];
      };
    };
    systemd.services.dicom-importer = {
      description = "DICOM importer";
      after = ["orthanc.service"];
      wantedBy = ["multi-user.target"];
      restartTriggers = [../podman/importer/importer.conf];
      unitConfig.RequiresMountsFor = "${cfg.dataDir}/files";
      environment = {
        BACKUP_TARGET =
          if cfg.backup.target == null
          then ""
          else cfg.backup.target;
        COOLDOWN_S = toString cfg.cooldownSeconds;
        LANGUAGE_TAG = cfg.language;
        LISTEN_HOST = names.importer;
        PROCESSED_RETENTION_DAYS = toString cfg.retention.processedDays;
        PUBLIC_URL = "https://${cfg.domain}";
        PYTHONUNBUFFERED = "1";
        STUDY_RETENTION_CLINICS = concatStringsSep "," (mapAttrsToList (clinic: years: "${clinic}=${yearsOf years "never"}") studies.clinics);
        STUDY_RETENTION_MINIMUM_YEARS = toString studies.minimumYears;
        STUDY_RETENTION_MINORS_AGE = toString studies.minorsAge;
        STUDY_RETENTION_YEARS = yearsOf studies.years "";
        TIME_ZONE =
          if config.time.timeZone == null
          then "UTC"
          else config.time.timeZone;
      };
      serviceConfig = {
        ExecStart = "${lib.getExe pkgs.dicom-importer} run";
        User = "dicom-importer";
        Group = "dicom-importer";
        # Whoever drops a folder owns it; the importer must be able to empty it.
        AmbientCapabilities = ["CAP_DAC_OVERRIDE"];
        CapabilityBoundingSet = ["CAP_DAC_OVERRIDE"];
        # Within a user namespace that capability would not count for the host's files.
        PrivateUsers = false;
        ReadWritePaths = ["${cfg.dataDir}/files" "${cfg.dataDir}/importer" "${cfg.dataDir}/audit/importer"];
        Restart = "always";
        # Clinics' folders keep the group of their parent (setgid).
        RestrictSUIDSGID = false;
        UMask = "0027";
      };
    };
  };
}
