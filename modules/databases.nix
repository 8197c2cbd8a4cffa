# `dicom-stack keep-databases` and `bring-databases`: the databases as a version left them, kept apart and brought back.
{
  config,
  lib,
  pkgs,
}: let
  inherit (lib) concatMapStringsSep escapeShellArg getExe';
  cfg = config.services.dicom-stack;
  version = cfg.databasesVersion;
  # Who uses the databases, in the order in which they are stopped.
  units = ["nginx" "dicom-importer" "dicom-auditor" "orthanc" "dicom-realm" "keycloak"];
  stopped = concatMapStringsSep " " (name: "${name}.service") units;
  place = "/run/dicom-stack-databases";
in
  pkgs.writeShellApplication {
    name = "dicom-stack-databases";
    runtimeInputs = [config.services.postgresql.finalPackage pkgs.coreutils pkgs.jq pkgs.systemd pkgs.util-linux];
    text = ''
      version=''${2:-${escapeShellArg version}}
      data=${escapeShellArg cfg.dataDir}
      kept=$data/before/$version/backup
      program() {
        systemd-run --quiet --wait --pipe --collect --property=User=postgres --property=Group=postgres \
          --property=NoNewPrivileges=true --property=PrivateTmp=true --property=ProtectSystem=strict --property=UMask=0077 \
          --property=RuntimeDirectory=dicom-stack-databases --property=BindPaths="$kept:${place}/backup" \
          --property=BindReadOnlyPaths="$data/secrets:${place}/secrets" --setenv=BACKUP_DATA_DIR=${place} \
          --setenv=DATABASE_HOST=postgresql --setenv=PYTHONUNBUFFERED=1 \
          --setenv=PATH=${lib.makeBinPath [config.services.postgresql.finalPackage]} \
          ${getExe' pkgs.dicom-importer "dicom-backup"} before "$1"
      }
      if [[ ''${1:-} == keep ]]; then
        # From here on nobody changes anything.
        systemctl stop ${stopped}
        install -d -o postgres -g postgres -m 0700 "$data/before/$version" "$kept"
        program keep
        echo "kept as $version; the stack is stopped: switch, or systemctl start ${stopped}"
        exit
      fi
      if [[ ! -e $kept/dumps/dump.json ]]; then
        echo "no databases of $version were kept in $data/before" >&2
        exit 1
      fi
      systemctl stop ${stopped}
      for name in orthanc keycloak; do
        runuser -u postgres -- dropdb --if-exists --force "$name"
      done
      systemctl restart postgresql-roles.service
      program bring
      # They are this version's again, however another one left them.
      echo ${escapeShellArg version} >"$data/before/version"
      systemctl start ${stopped}
      began=$(jq --raw-output .began "$kept/dumps/dump.json")
      dicom-stack replay --since "''${began%%T*}"
      echo "the databases are as of $began; what arrived since was imported again"
    '';
  }
