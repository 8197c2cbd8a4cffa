# The secrets: made on first start or taken from the operator's files, each shown under /run/secrets to its reader alone.
{
  config,
  lib,
  pkgs,
  ...
}: let
  inherit (lib) concatLists escapeShellArgs mapAttrsToList mkIf mkMerge mkOption;
  inherit (lib.types) attrsOf listOf str submodule;
  cfg = config.services.dicom-stack;
  folder = "${cfg.dataDir}/secrets";
in {
  options.services.dicom-stack.secretReaders = mkOption {
    internal = true;
    default = {};
    description = "Who reads which secrets: by service, its user, its units and the files' names.";
    type = attrsOf (submodule {
      options = {
        user = mkOption {
          type = str;
          description = "Owner of the files, which have mode 0400.";
        };
        units = mkOption {
          type = listOf str;
          description = "Units that see them under /run/secrets.";
        };
        files = mkOption {
          type = listOf str;
          description = "Names under /run/secrets.";
        };
      };
    });
  };

  config = mkIf cfg.enable {
    services.dicom-stack.hardenedUnits = ["dicom-stack-secrets"];
    systemd.tmpfiles.settings.dicom-stack = {
      ${cfg.dataDir}.d.mode = "0755";
      ${folder}.d.mode = "0711";
    };
    systemd.services = mkMerge ([
        {
          dicom-stack-secrets = {
            description = "Secrets of the DICOM Web Viewer Stack";
            after = ["systemd-tmpfiles-setup.service"];
            # sops-nix puts the operator's files in place before units start.
            wantedBy = ["multi-user.target"];
            restartTriggers = [(builtins.toJSON cfg.secretFiles)];
            unitConfig.RequiresMountsFor = folder;
            serviceConfig = {
              Type = "oneshot";
              RemainAfterExit = true;
              ExecStart = escapeShellArgs ([
                  "${pkgs.python3}/bin/python3"
                  "-BI"
                  # The same code that makes them in the Podman form, for the same files under the same names.
                  "${../podman/stack/credentials.py}"
                  folder
                ]
                ++ mapAttrsToList (service: reader: "--owner=${service}:${reader.user}") cfg.secretReaders
                ++ mapAttrsToList (name: path: "--value=${name}:${path}") cfg.secretFiles);
              ReadWritePaths = [folder];
              # It gives each file to its reader, and reads the operator's files whoever owns them.
              CapabilityBoundingSet = ["CAP_CHOWN" "CAP_DAC_OVERRIDE" "CAP_FOWNER"];
              SystemCallFilter = ["@system-service" "~@privileged @resources" "@chown"];
              # Owners of files must be the host's.
              PrivateUsers = false;
              PrivateNetwork = true;
              RestrictAddressFamilies = ["AF_UNIX"];
            };
          };
        }
      ]
      ++ concatLists (mapAttrsToList (service: reader:
        map (unit: {
          ${unit} = {
            after = ["dicom-stack-secrets.service"];
            requires = ["dicom-stack-secrets.service"];
            serviceConfig = {
              # Nobody sees what others put there, sops-nix for one.
              TemporaryFileSystem = "/run/secrets:ro,mode=0755";
              BindReadOnlyPaths = map (file: "${folder}/${service}.${file}:/run/secrets/${file}") reader.files;
            };
          };
        })
        reader.units)
      cfg.secretReaders));
  };
}
