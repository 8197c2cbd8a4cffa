# The backup: dicom-backup, called by timers, saves everything that must survive into a repository of restic.
{
  config,
  lib,
  pkgs,
  ...
}: let
  inherit (lib) genAttrs getExe' hasPrefix mkForce mkIf optional optionalAttrs;
  cfg = config.services.dicom-stack;
  names = lib.importJSON ./names.json;
  wanted = cfg.enable && cfg.backup.target != null;
  onThisHost = wanted && hasPrefix "/" cfg.backup.target;
  user = "dicom-backup";
  program = getExe' pkgs.dicom-importer "dicom-backup";
  folder = "${cfg.dataDir}/backup";
  works = ["dicom-backup" "dicom-backup-check"];
  environment = {
    BACKUP_DATA_DIR = cfg.dataDir;
    BACKUP_DUMP_INTERVAL_MIN = toString cfg.backup.dumpIntervalMinutes;
    BACKUP_HOST_KEY =
      if cfg.backup.hostKey == null
      then ""
      else cfg.backup.hostKey;
    BACKUP_INTERVAL_MIN = toString cfg.backup.intervalMinutes;
    BACKUP_KEEP_DAILY = toString cfg.backup.keep.daily;
    BACKUP_KEEP_MONTHLY = toString cfg.backup.keep.monthly;
    BACKUP_KEEP_WEEKLY = toString cfg.backup.keep.weekly;
    BACKUP_PRUNE =
      if cfg.backup.prune
      then "yes"
      else "no";
    BACKUP_TARGET = cfg.backup.target;
    LISTEN_HOST = names.backup;
    PYTHONUNBUFFERED = "1";
    SETTINGS_FILE = "/etc/dicom-stack/settings.json";
  };
  unit = description: {
    inherit description environment;
    after = ["network-online.target" "postgresql.service"];
    wants = ["network-online.target"];
    path = [config.services.postgresql.finalPackage pkgs.openssh pkgs.restic];
    unitConfig.RequiresMountsFor = [cfg.dataDir] ++ optional onThisHost cfg.backup.target;
    serviceConfig =
      {
        Type = "oneshot";
        User = user;
        Group = user;
        # Orthanc's folder is Orthanc's; a folder for the repository is taken while it is empty.
        ExecStartPre =
          [
            "+${pkgs.coreutils}/bin/install -d -o ${user} -g ${user} -m 0700 ${cfg.dataDir}/dicom/.by-day"
            # What a restore made before the first backup is Orthanc's.
            "+${pkgs.findutils}/bin/find ${cfg.dataDir}/dicom/.by-day -maxdepth 1 ! -user ${user} -exec ${pkgs.coreutils}/bin/chown ${user}:${user} {} +"
          ]
          ++ optional onThisHost "+${pkgs.findutils}/bin/find ${cfg.backup.target} -maxdepth 0 -empty -exec ${pkgs.coreutils}/bin/chown ${user}:${user} {} +";
        # It reads what belongs to others, and links Orthanc's files, which the kernel lets only their owner do.
        AmbientCapabilities = ["CAP_DAC_READ_SEARCH" "CAP_FOWNER"];
        CapabilityBoundingSet = ["CAP_DAC_READ_SEARCH" "CAP_FOWNER"];
        # Within a user namespace these would not count for the host's files.
        PrivateUsers = false;
        # Links are made within one mount.
        ReadWritePaths = [folder "${cfg.dataDir}/dicom"] ++ optional onThisHost cfg.backup.target;
        MemoryMax = "2048M";
      }
      # What is elsewhere is reached by its name.
      // optionalAttrs (!onThisHost) {IPAddressDeny = mkForce "";};
  };
in {
  config = mkIf wanted {
    users.users.${user} = {
      uid = 7113;
      group = user;
      isSystemUser = true;
    };
    users.groups.${user}.gid = 7113;
    systemd.tmpfiles.settings.dicom-stack = genAttrs [folder "${folder}/cache"] (_: {
      d = {
        inherit user;
        mode = "0700";
        group = user;
      };
    });
    environment.etc = {
      "dicom-stack/settings.json".text = builtins.toJSON (removeAttrs cfg ["hardenedUnits" "secretReaders" "uploads"]);
      "prometheus/scrape/backup.yml".source = ../podman/prometheus/scrape/backup.yml;
    };

    services.dicom-stack = {
      hardenedUnits = works ++ ["dicom-backup-metrics"];
      secretReaders.backup = {
        inherit user;
        units = works;
        files = ["backup_ca" "backup_credentials" "backup_key" "backup_ssh_key" "keycloak_pgpass" "orthanc_pgpass"];
      };
    };
    systemd = {
      services = {
        dicom-backup = lib.recursiveUpdate (unit "Backup of the DICOM Web Viewer Stack") {
          serviceConfig = {
            ExecStart = "${program} run";
            RestartSec = "2min";
          };
        };
        dicom-backup-check = lib.recursiveUpdate (unit "Check of the backup") {
          serviceConfig = {
            ExecStart = "${program} check";
            # What is damaged now is so in five seconds.
            Restart = "no";
          };
        };
        dicom-backup-metrics = {
          description = "What Prometheus is told of the backup";
          wantedBy = ["multi-user.target"];
          inherit environment;
          unitConfig.RequiresMountsFor = folder;
          serviceConfig = {
            ExecStart = "${program} metrics";
            User = user;
            Group = user;
            Restart = "always";
          };
        };
        prometheus.restartTriggers = [../podman/prometheus/scrape/backup.yml];
      };
      timers = {
        dicom-backup = {
          description = "Backup every ${environment.BACKUP_INTERVAL_MIN} minutes";
          wantedBy = ["timers.target"];
          timerConfig = {
            OnBootSec = "2min";
            OnUnitActiveSec = "${environment.BACKUP_INTERVAL_MIN}min";
            AccuracySec = "10s";
          };
        };
        dicom-backup-check = {
          description = "Daily check of the backup";
          wantedBy = ["timers.target"];
          timerConfig = {
            OnCalendar = "daily";
            Persistent = true;
            RandomizedDelaySec = "1h";
          };
        };
      };
    };
  };
}
