# `dicom-stack restore`: everything comes back from the backup, by the steps that `make restore` takes in the Podman form.
{
  config,
  lib,
  pkgs,
}: let
  inherit (lib) concatMapStringsSep escapeShellArg getExe getExe' optional toString;
  cfg = config.services.dicom-stack;
  backedUp = cfg.backup.target != null;
  # Who would see half of it, in the order in which they are stopped.
  units = ["nginx" "dicom-importer" "dicom-auditor" "orthanc" "dicom-realm" "keycloak" "postgresql-roles"];
  timers = ["dicom-backup.timer" "dicom-backup-check.timer"];
  databases = ["orthanc" "keycloak"];
in
  pkgs.writeShellApplication {
    name = "dicom-stack-restore";
    runtimeInputs = [config.services.postgresql.finalPackage pkgs.coreutils pkgs.jq pkgs.systemd pkgs.util-linux];
    text = ''
      from=''${1:?where the backup is: a folder, sftp:…, s3:… or rest:…}
      key=$(realpath -e -- "''${2:?the file that holds its key}")
      at=''${3:-}
      data=${escapeShellArg cfg.dataDir}
      state=$data/backup/restore.json
      given=(--property=BindReadOnlyPaths="$key:/run/secrets/backup_key")
      [[ $from != /* ]] || given+=(--property=BindReadOnlyPaths="$from")
      # What opens the target, by the secret's name.
      declare -A opens=([backup_ca]=''${CA_FILE:-} [backup_credentials]=''${CREDENTIALS_FILE:-} [backup_ssh_key]=''${SSH_KEY_FILE:-})
      for name in "''${!opens[@]}"; do
        [[ -z ''${opens[$name]} ]] || given+=(--property=BindReadOnlyPaths="$(realpath -e -- "''${opens[$name]}"):/run/secrets/$name")
      done
      # Every owner and mode comes back as it was; nothing else that root may.
      part() {
        systemd-run --quiet --wait --pipe --collect --property=NoNewPrivileges=true --property=PrivateTmp=true \
          --property="CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID" --property=ProtectSystem=strict \
          --property=ReadWritePaths="$data" --property=TemporaryFileSystem=/run/secrets:ro,mode=0700 "''${given[@]}" \
          --setenv=BACKUP_TARGET="$from" --setenv=BACKUP_HOST_KEY="''${HOST_KEY:-${toString cfg.backup.hostKey}}" --setenv=BACKUP_DATA_DIR="$data" --setenv=PYTHONUNBUFFERED=1 \
          --setenv=PATH=${lib.makeBinPath [config.services.postgresql.finalPackage pkgs.openssh pkgs.restic]} \
          ${getExe' pkgs.dicom-importer "dicom-backup"} restore "$@"
      }
      has() { jq --exit-status --arg step "$1" '.steps | index($step) != null' "$state" >/dev/null; }

      echo "1 of 6: secrets, certificates, settings, audit, journal, dumps"
      if [[ ! -e $state ]] || ! has databases; then
        # First of all whether it may: nothing is stopped for a restore that is refused.
        part check --fresh-stack
        systemctl stop ${concatMapStringsSep " " (name: "${name}.service") units} ${toString (optional backedUp (toString timers))}
        install -d -m 0700 ${
        if backedUp
        then "-o dicom-backup -g dicom-backup "
        else ""
      }"$data/backup"
        part files --fresh-stack ''${at:+--at "$at"}
        systemd-tmpfiles --create
        install -m 0400 "$key" "$data/secrets/backup.backup_key"
        # Kept where the backups to come go there too.
        if [[ $from == ${escapeShellArg (toString cfg.backup.target)} ]]; then
          for name in "''${!opens[@]}"; do
            [[ -z ''${opens[$name]} || -s $data/secrets/$name ]] || install -m 0600 "''${opens[$name]}" "$data/secrets/$name"
          done
        fi
        systemctl restart dicom-stack-secrets.service
        echo "2 of 6: databases"
        systemctl start postgresql.service
        for name in ${toString databases}; do
          runuser -u postgres -- dropdb --if-exists --force "$name"
        done
        systemctl restart postgresql-roles.service
        part databases
      fi
      echo "3 of 6: the stack comes up"
      systemctl start ${concatMapStringsSep " " (name: "${name}.service") units} ${toString (optional backedUp (toString timers))}
      for clinic in $(${getExe pkgs.jq} --raw-output '.[].id' < <(dicom-stack realm clinics)); do
        install -d -o dicom-importer -g dicom-importer -m 2775 "$data/files/"{inbox,processed,failed}"/$clinic"
      done
      echo "people can log in; studies open as their images come back"
      echo "4 of 6: images, the newest first"
      missing=0
      part images || missing=$?
      # 1: all but what it named. A full disk is no reason to go on.
      [[ $missing -le 1 ]] || exit "$missing"
      echo "5 of 6: originals"
      part originals
      echo "6 of 6: what came in after the databases were dumped"
      dicom-stack replay --since "$(jq --raw-output '.dumped[:10]' "$state")"
      part "done"
      if [[ $missing == 1 ]]; then
        echo "everything is back but the images named above: give the same command again when the repository is whole; to take it as it is, delete $state, by which backups go on" >&2
        exit 1
      fi
      echo "restored: everything is back; dicom-stack verify compares it all"
    '';
  }
