# `dicom-stack`, the operator's command: clinics, people, imports and health of this appliance.
{
  config,
  lib,
  pkgs,
  ...
}: let
  inherit (lib) concatMapStringsSep concatStringsSep escapeShellArg filter getExe getExe' mkIf optional;
  cfg = config.services.dicom-stack;
  realm = config.systemd.services.dicom-realm;
  backedUp = cfg.backup.target != null;
  byAccount = cfg.doors.sftp.enable || cfg.doors.smb.enable;
  units =
    ["postgresql" "keycloak" "dicom-realm" "orthanc" "dicom-importer" "ohif" "nginx" "dicom-auditor" "prometheus" "alertmanager" "loki" "grafana" "oauth2-proxy"]
    ++ map (name: "prometheus-${name}-exporter") ["node" "postgres" "nginx" "blackbox"]
    ++ optional cfg.doors.dicom.enable "dicom-receiver"
    ++ optional cfg.doors.sftp.enable "dicom-sftp"
    ++ optional cfg.doors.smb.enable "dicom-smb"
    ++ optional backedUp "dicom-backup-metrics";
  # As podman/stack/deleted.py says it.
  heldBy =
    if !backedUp
    then "Nothing is backed up here: no backup holds it."
    else if cfg.backup.prune
    then "Backups at ${cfg.backup.target} hold it, with the dumps of the databases, for up to ${toString cfg.backup.keep.monthly} months: they keep all of two days, then ${toString cfg.backup.keep.daily} daily, ${toString cfg.backup.keep.weekly} weekly and ${toString cfg.backup.keep.monthly} monthly ones (backup.keep)."
    else "Backups at ${cfg.backup.target} hold it, with the dumps of the databases, until they are removed there: backup.prune is false.";
  restore = import ./restore.nix {inherit config lib pkgs;};
  databases = import ./databases.nix {inherit config lib pkgs;};
  # A command runs with the same settings, user and secrets as the unit that it belongs to.
  options = unit: let
    settings = lib.filterAttrs (name: value: value != null && name != "PATH" && name != "LOCALE_ARCHIVE" && name != "TZDIR") unit.environment;
  in
    concatStringsSep " \\\n    " (
      lib.mapAttrsToList (name: value: "--setenv=${name}=${escapeShellArg value}") settings
      ++ map (path: "--property=BindReadOnlyPaths=${escapeShellArg path}") unit.serviceConfig.BindReadOnlyPaths
    );
  # What a timer starts reads its secrets anew each time.
  lasts = unit: let
    settings = config.systemd.services.${unit}.serviceConfig;
  in
    settings.Type or "simple" != "oneshot" || settings.RemainAfterExit or false;
  # Of whoever reads a secret: what must start anew to learn of a new value.
  readers = concatStringsSep " " (lib.mapAttrsToList (service: units: escapeShellArg "${service}:${concatStringsSep " " units}")
    (lib.filterAttrs (_: units: units != []) (lib.mapAttrs (service: reader:
      filter lasts (
        if reader.units == []
        then [service]
        else reader.units
      ))
    cfg.secretReaders)));
  # An inbox that went, or came back, is another one to who was shown it.
  uploads = lib.optionalString cfg.doors.sftp.enable "accounts list >/dev/null";
  mail = lib.optionalString (cfg.mail.host != null) (
    " --smtp-host ${cfg.mail.host} --smtp-port ${toString cfg.mail.port}"
    + lib.optionalString (cfg.mail.user != null) " --smtp-user ${cfg.mail.user} --smtp-password-file ${cfg.secretFiles.smtp_password or ""}"
  );
in {
  config = mkIf cfg.enable {
    environment.systemPackages = [
      (pkgs.writeShellApplication {
        name = "dicom-stack";
        runtimeInputs = [pkgs.coreutils pkgs.findutils pkgs.systemd];
        text = ''
          files=${escapeShellArg "${cfg.dataDir}/files"}
          realm() {
            systemd-run --quiet --wait --pipe --collect --property=User=dicom-realm --property=Group=dicom-realm \
              --property=TemporaryFileSystem=/run/secrets:ro,mode=0755 \
              ${options realm} \
              ${getExe pkgs.dicom-importer} realm "$@"
          }
          importer() {
            systemd-run --quiet --wait --pipe --collect --property=User=dicom-importer --property=Group=dicom-importer \
              --property=AmbientCapabilities=CAP_DAC_OVERRIDE --property=UMask=0027 \
              --property=TemporaryFileSystem=/run/secrets:ro,mode=0755 \
              ${options config.systemd.services.dicom-importer} \
              ${getExe pkgs.dicom-importer} "$@"
          }
          audit() {
            systemd-run --quiet --wait --pipe --collect --property=User=dicom-auditor --property=Group=dicom-auditor \
              --property=TemporaryFileSystem=/run/secrets:ro,mode=0755 \
              ${options config.systemd.services.dicom-auditor} \
              ${getExe' pkgs.dicom-importer "dicom-audit"} "$@"
          }
          receiver() {
            ${
            if cfg.doors.dicom.enable
            then ''
              systemd-run --quiet --wait --pipe --collect --property=User=dicom-receiver --property=Group=dicom-importer \
                --property=UMask=0077 \
                ${concatStringsSep " " (lib.mapAttrsToList (name: value: "--setenv=${name}=${escapeShellArg value}") (lib.getAttrs ["DICOM_AET" "LISTEN_HOST"] config.systemd.services.dicom-receiver.environment))} \
                ${getExe' pkgs.dicom-importer "dicom-receiver"} "$@"
            ''
            else ''
              echo "the door is closed: set services.dicom-stack.doors.dicom.enable" >&2
              return 1
            ''
          }
          }
          backup() {
            ${
            if backedUp
            then ''
              ${concatMapStringsSep "\n" (lib.removePrefix "+") config.systemd.services.dicom-backup.serviceConfig.ExecStartPre}
              systemd-run --quiet --wait --pipe --collect --property=User=dicom-backup --property=Group=dicom-backup \
                --property="AmbientCapabilities=CAP_DAC_READ_SEARCH CAP_FOWNER" --property=UMask=0077 \
                --property=TemporaryFileSystem=/run/secrets:ro,mode=0755 \
                --setenv=PATH=${escapeShellArg config.systemd.services.dicom-backup.environment.PATH} \
                ${options config.systemd.services.dicom-backup} \
                ${getExe' pkgs.dicom-importer "dicom-backup"} "$@"
            ''
            else ''
              printf '\033[31m! %s\033[0m\n' "backup: there is NONE: set services.dicom-stack.backup.target" >&2
              return 1
            ''
          }
          }
          folders() {
            for folder in inbox processed failed; do
              install -d -o dicom-importer -g dicom-importer -m 2775 "$files/$folder/$1"
            done
            echo "clinic $1: workstations export into /inbox/$1"
          }
          fitting() {
            # Where Keycloak does not run, that was said.
            systemctl is-active --quiet keycloak || return 0
            inboxes=()
            for folder in "$files"/inbox/*/; do
              [[ ! -d $folder ]] || inboxes+=("--inbox=$(basename "$folder")")
            done
            realm check "''${inboxes[@]}"
          }
          accounts() {
            ${
            if byAccount
            then cfg.uploads.command
            else ''
              echo "nobody uploads by an account: set services.dicom-stack.doors.sftp.enable, or doors.smb.enable" >&2
              return 1
            ''
          }
          }
          usage() {
            echo "usage: dicom-stack alert-test | doctor | clinic ID NAME | account --clinic ID [--key-file FILE] | accounts | account-remove --clinic ID | clinic-close ID | clinic-archive ID | clinic-open ID | user NAME ROLE [CLINIC] | user-change NAME ROLE [CLINIC] | user-password NAME | user-second-factor NAME | user-leave NAME | users | sender --clinic ID --aet AE_TITLE --address ADDRESS | senders | remove-sender --aet AE_TITLE [--address ADDRESS] | first-admin | rotate SECRET | realm … | status | explain FILE | retry FILE… | retry --clinic ID [--reason REASON] | import-archive FROM CLINIC | replace FILE… | delete --study UID [--series UID] --reason TEXT [--yes] | readmit --study UID --reason TEXT | retention [--csv] [--yes --reason TEXT] | move --study UID --to CLINIC --reason TEXT | export --study UID --to FILE --reason TEXT | correct --study UID --reason TEXT <VALUES | merge --clinic ID --reason TEXT <IDS | replay --since DATE [--clinic ID] | verify [--clinic ID] [--repair] [--again] [--mb-per-s N] [--json] | access-report --study UID | access-report --user NAME [--from DATE] [--to DATE] [--csv] | audit-check | backup | backup-check [--everything] | backup-repair | backup-drilled | backup-key | restore FROM KEY_FILE [TIME] | keep-databases | bring-databases [VERSION]" >&2
            exit 2
          }
          # The importer runs elsewhere: it is told of files by their whole paths.
          words=()
          previous=
          for word in "''${@:2}"; do
            if [[ $word != -* && $previous != --* ]]; then
              word=$(realpath -ms -- "$word")
            fi
            words+=("$word")
            previous=$word
          done
          case "''${1:-}" in
          alert-test)
            exec ${getExe' pkgs.python3 "python3"} -BI ${../podman/stack/alert_test.py} http://alertmanager:9093
            ;;
          clinic)
            [[ $# -eq 3 ]] || usage
            said=$(realm clinic --id "$2" --name "$3")
            echo "$said"
            [[ $said != *", open" ]] || folders "$2"
            ${lib.optionalString byAccount ''[[ -e ${cfg.dataDir}/secrets/accounts/keys/$2 ]] || accounts give --inbox "$files/inbox" --clinic "$2"''}
            ;;
          account)
            accounts give --inbox "$files/inbox" "''${@:2}"
            ;;
          account-remove)
            accounts remove "''${@:2}"
            ;;
          accounts)
            accounts list
            ;;
          clinic-open)
            [[ $# -eq 2 ]] || usage
            realm clinic-state --id "$2" --set open
            folders "$2"
            ${uploads}
            ;;
          clinic-close | clinic-archive)
            [[ $# -eq 2 ]] || usage
            # Of one that is not known no folder is touched.
            realm clinic-state --id "$2" >/dev/null
            if [[ -e $files/inbox/$2 ]]; then
              [[ -n $(find "$files/inbox/$2" ! -type d) ]] || find "$files/inbox/$2" -depth -type d -empty -delete
            fi
            if [[ -e $files/inbox/$2 ]]; then
              echo "clinic $2 stays open: files are in $files/inbox/$2. Let them be imported, or move them away, and close it again" >&2
              exit 1
            fi
            realm clinic-state --id "$2" --set "''${1#clinic-}"
            ${uploads}
            ;;
          user | user-change)
            [[ $# -eq 3 || $# -eq 4 ]] || usage
            realm "$1" --name "$2" --role "$3" ''${4:+--clinic "$4"}
            ;;
          user-password | user-second-factor | user-leave)
            [[ $# -eq 2 ]] || usage
            realm "$1" --name "$2"
            ;;
          users)
            realm users
            realm clinics
            ;;
          sender | senders | remove-sender)
            receiver "$@"
            ;;
          first-admin)
            realm first-admin
            ;;
          rotate)
            [[ $# -eq 2 ]] || usage
            told=$(${config.systemd.services.dicom-stack-secrets.serviceConfig.ExecStart} --rotate="$2")
            for service in $told; do
              for reader in ${readers}; do
                if [[ ''${reader%%:*} == "$service" ]]; then
                  # shellcheck disable=SC2086 # names of units
                  systemctl restart ''${reader#*:}
                  echo "$2: ''${reader#*:} started anew"
                fi
              done
            done
            ;;
          realm)
            realm "''${@:2}"
            ;;
          status)
            well=0
            for unit in ${toString units}; do
              state=$(systemctl show --property=ActiveState --value "$unit.service")
              echo "$unit $state"
              [[ $state == active ]] || well=1
            done
            importer status || well=1
            fitting || well=1
            ${lib.optionalString cfg.doors.dicom.enable "receiver status || true"}
            ${
            if backedUp
            then "backup status || well=1"
            else "backup status || true"
          }
            exit "$well"
            ;;
          doctor)
            well=0
            ${getExe' pkgs.python3 "python3"} -BI ${../podman/stack/doctor.py} --host ${cfg.domain} --data-dir ${cfg.dataDir} \
              --importer-uid "$(id -u dicom-importer)"${mail} || well=1
            for unit in ${toString units}; do
              if ! state=$(systemctl is-active "$unit"); then
                echo "! $unit is $state: journalctl -u $unit says why"
                well=1
              fi
            done
            fitting || well=1
            exit "$well"
            ;;
          explain | retry)
            importer "$1" "''${words[@]}"
            ;;
          import-archive)
            [[ $# -eq 3 ]] || usage
            exec ${getExe' pkgs.python3 "python3"} -BI ${../podman/stack/old_studies.py} --source "$2" --clinic "$3" --files "$files" \
              --kept ${escapeShellArg "${cfg.dataDir}/imports"} --owner "$(id -u dicom-importer)"
            ;;
          delete | readmit | retention | move | correct | merge)
            # correct and merge are told of patients on their input: others see what is in argv.
            importer "$1" --by "''${SUDO_USER:-$(id -un)}" "''${@:2}"
            # A table for a spreadsheet has no words beneath it.
            if [[ $1 == delete || ($1 == retention && " $* " == *" --yes "* && " $* " != *" --csv "*) ]]; then
              echo ${escapeShellArg heldBy}
            fi
            ;;
          export)
            target=
            options=()
            previous=
            for word in "''${@:2}"; do
              if [[ $previous == --to ]]; then
                target=$word
              elif [[ $word != --to ]]; then
                options+=("$word")
              fi
              previous=$word
            done
            if [[ -z $target || -e $target ]]; then
              echo "Nothing was exported: ''${target:+$target is there already, }say a new file with --to" >&2
              exit 1
            fi
            part=$(mktemp -- "$target.XXXXXX.part")
            trap 'rm -f -- "$part"' EXIT
            importer export --by "''${SUDO_USER:-$(id -un)}" "''${options[@]}" >"$part"
            sync -- "$part"
            mv -nT -- "$part" "$target"
            echo "$target: $(stat --format=%s -- "$target") bytes"
            ;;
          replace | replay | verify)
            # Who did it stands in the audit.
            importer "$1" --by "''${SUDO_USER:-$(id -un)}" "''${words[@]}"
            ;;
          access-report)
            audit report --by "''${SUDO_USER:-$(id -un)}" "''${@:2}"
            ;;
          audit-check)
            audit check
            ;;
          backup)
            backup run --dump
            ;;
          restore)
            [[ $# -eq 3 || $# -eq 4 ]] || usage
            exec ${getExe restore} "''${@:2}"
            ;;
          keep-databases | bring-databases)
            [[ $# -eq 1 || $# -eq 2 ]] || usage
            exec ${getExe databases} "''${1%-databases}" "''${@:2}"
            ;;
          backup-check | backup-repair | backup-drilled)
            backup "''${1#backup-}" "''${@:2}"
            ;;
          backup-key)
            cat ${escapeShellArg "${cfg.dataDir}/secrets/backup.backup_key"}
            echo
            ;;
          *)
            usage
            ;;
          esac
        '';
      })
    ];
  };
}
