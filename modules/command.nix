# `dicom-stack`, the operator's command: clinics, people, imports and health of this appliance.
{
  config,
  lib,
  pkgs,
  ...
}: let
  inherit (lib) concatMapStringsSep escapeShellArg getExe mkIf;
  cfg = config.services.dicom-stack;
  realm = config.systemd.services.dicom-realm;
  units = ["postgresql" "keycloak" "dicom-realm" "orthanc" "dicom-importer" "ohif" "nginx" "prometheus" "alertmanager"];
  # A question to Keycloak runs with the same settings, user, secrets and restrictions as the unit that makes the realm.
  settings = lib.filterAttrs (name: value: value != null && name != "PATH" && name != "LOCALE_ARCHIVE" && name != "TZDIR") realm.environment;
  options = lib.concatStringsSep " " (lib.mapAttrsToList (name: value: "--setenv=${name}=${escapeShellArg value}") settings);
in {
  config = mkIf cfg.enable {
    environment.systemPackages = [
      (pkgs.writeShellApplication {
        name = "dicom-stack";
        runtimeInputs = [pkgs.coreutils pkgs.systemd];
        text = ''
          files=${escapeShellArg "${cfg.dataDir}/files"}
          realm() {
            systemd-run --quiet --wait --pipe --collect --property=User=dicom-realm --property=Group=dicom-realm \
              ${options} \
              --property=TemporaryFileSystem=/run/secrets:ro,mode=0755 \
              ${concatMapStringsSep " \\\n    " (path: "--property=BindReadOnlyPaths=${escapeShellArg path}") realm.serviceConfig.BindReadOnlyPaths} \
              ${getExe pkgs.dicom-importer} realm "$@"
          }
          importer() {
            systemd-run --quiet --wait --pipe --collect --property=User=dicom-importer --property=Group=dicom-importer \
              ${getExe pkgs.dicom-importer} "$@"
          }
          usage() {
            echo "usage: dicom-stack clinic ID NAME | user NAME ROLE [CLINIC] | first-admin | realm … | status | explain FILE" >&2
            exit 2
          }
          case "''${1:-}" in
          clinic)
            [[ $# -eq 3 ]] || usage
            realm clinic --id "$2" --name "$3"
            for folder in inbox processed failed; do
              install -d -o dicom-importer -g dicom-importer -m 2775 "$files/$folder/$2"
            done
            echo "clinic $2: workstations export into /inbox/$2"
            ;;
          user)
            [[ $# -eq 3 || $# -eq 4 ]] || usage
            realm user --name "$2" --role "$3" ''${4:+--clinic "$4"}
            ;;
          first-admin)
            realm first-admin
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
            exit "$well"
            ;;
          explain)
            [[ $# -eq 2 ]] || usage
            importer explain "$(realpath -- "$2")"
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
