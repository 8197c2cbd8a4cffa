# The databases are dumped before another version of their users starts: what `nixos-rebuild switch --rollback` does not bring back.
{
  config,
  lib,
  pkgs,
  ...
}: let
  inherit (lib) escapeShellArgs getExe' mkBefore mkIf mkOption;
  cfg = config.services.dicom-stack;
  postgresql = config.services.postgresql;
  names = lib.importJSON ./names.json;
  inherit (import ./library.nix) readSettings;
  versions = readSettings ../podman/versions.env;
  folder = "${cfg.dataDir}/before";
  place = "/run/dicom-stack-before";
  # Without the dump they would change the only copy.
  waits = {
    after = ["dicom-stack-before.service"];
    requires = ["dicom-stack-before.service"];
  };
in {
  options.services.dicom-stack.databasesVersion = mkOption {
    internal = true;
    readOnly = true;
    type = lib.types.str;
    default = "orthanc-${pkgs.orthanc.version}-index-${pkgs.orthanc-plugin-postgresql.version}-keycloak-${pkgs.keycloak.version}-postgresql-${versions.POSTGRESQL_MAJOR}";
    description = "What decides how the databases look; their dumps lie in a folder of this name.";
  };

  config = mkIf cfg.enable {
    services.dicom-stack.hardenedUnits = ["dicom-stack-before"];
    systemd.tmpfiles.settings.dicom-stack.${folder}.d = {
      mode = "0700";
      user = "postgres";
      group = "postgres";
    };
    systemd.services = {
      keycloak = waits;
      orthanc = waits;
      # A new major version would begin with an empty cluster, and nobody would be told.
      postgresql.preStart = mkBefore ''
        for other in ${cfg.dataDir}/postgresql/*/main; do
          if [[ -e $other/PG_VERSION && $other != ${postgresql.dataDir} ]]; then
            echo "$other is of another major version: see docs/nixos.md, Update and roll back" >&2
            exit 1
          fi
        done
      '';
      dicom-stack-before = {
        description = "Databases as they are before another version uses them";
        after = ["dicom-stack-secrets.service" "postgresql-roles.service"];
        requires = ["dicom-stack-secrets.service"];
        # Not required: whoever rotates one role's password would start both users of the databases anew.
        wants = ["postgresql-roles.service"];
        path = [postgresql.finalPackage];
        environment = {
          BACKUP_DATA_DIR = place;
          DATABASE_HOST = names.postgresql;
          PYTHONUNBUFFERED = "1";
        };
        unitConfig.RequiresMountsFor = folder;
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          ExecStart = escapeShellArgs [(getExe' pkgs.dicom-importer "dicom-backup") "before" "keep-if-changed" "--version" cfg.databasesVersion];
          # The passwords of the databases' roles are readable by PostgreSQL's own user.
          User = "postgres";
          Group = "postgres";
          RuntimeDirectory = "dicom-stack-before";
          BindPaths = "${folder}:${place}/backup";
          BindReadOnlyPaths = "${cfg.dataDir}/secrets:${place}/secrets";
          # Of another user, a file's owner would be nobody's.
          PrivateUsers = false;
          TimeoutStartSec = "6h";
        };
      };
    };
  };
}
