# The accounts of clinics for uploads, which the doors that are switched on have in common.
{
  config,
  lib,
  pkgs,
  ...
}: let
  inherit (lib) concatMapStringsSep escapeShellArgs fileset getExe getExe' mkBefore mkIf mkOption optionals;
  inherit (lib.types) lines package str submodule;
  cfg = config.services.dicom-stack;
  wanted = cfg.enable && (cfg.doors.sftp.enable || cfg.doors.smb.enable);
  where =
    optionals cfg.doors.sftp.enable ["--host=${cfg.domain}" "--sftp-port=${toString cfg.doors.sftp.port}" "--host-key=${cfg.dataDir}/secrets/sftp.sftp_host_key"]
    ++ optionals cfg.doors.smb.enable ["--smb-host=${cfg.domain}" "--smb-port=${toString cfg.doors.smb.port}"];
  # Who has an account, from the same code that says so in the Podman form.
  sources = fileset.toSource {
    root = ../podman;
    fileset = fileset.unions [../podman/stack/__init__.py ../podman/stack/accounts.py ../podman/stack/credentials.py ../podman/stack/nt_hash.py];
  };
in {
  options.services.dicom-stack.uploads = mkOption {
    internal = true;
    default = {};
    description = "What the doors and the operator's command have of the accounts.";
    type = submodule {
      options = {
        command = mkOption {
          type = lines;
          default = "";
          description = "The operator's command for accounts, told its words.";
        };
        etc = mkOption {
          type = package;
          description = "What a door finds as /etc: the accounts under the names of the host's users, and its configuration.";
        };
        folder = mkOption {
          type = str;
          default = "${cfg.dataDir}/secrets/accounts";
          description = "Where the accounts lie; a door has it as /etc/accounts.";
        };
        program = mkOption {
          type = package;
          description = "What makes accounts, lists and removes them.";
        };
      };
    };
  };

  config = mkIf wanted {
    systemd.tmpfiles.settings.dicom-stack.${cfg.uploads.folder}.d.mode = "0755";
    services.dicom-stack.hardenedUnits = ["dicom-accounts"];
    # Once for all doors: two at a time would be in each other's way.
    systemd.services.dicom-accounts = {
      description = "Accounts for uploads";
      after = ["systemd-tmpfiles-setup.service"];
      unitConfig.RequiresMountsFor = cfg.uploads.folder;
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = "${getExe cfg.uploads.program} ensure";
        ReadWritePaths = [cfg.uploads.folder];
        PrivateNetwork = true;
        RestrictAddressFamilies = ["AF_UNIX"];
        # It says whose each file is, root's.
        SystemCallFilter = ["@system-service" "~@privileged @resources" "@chown"];
      };
    };
    services.dicom-stack.uploads = {
      command = mkBefore ''
        ${getExe cfg.uploads.program} "$@"
      '';
      etc = pkgs.runCommand "dicom-doors-etc" {} ''
        mkdir -p $out/accounts $out/sftp $out/smb
        ${concatMapStringsSep "\n" (name: "ln -s accounts/${name} $out/${name}") ["group" "passwd" "shadow"]}
        cp ${../podman/sftp/sshd_config} $out/sftp/sshd_config
        cp ${../podman/smb/smb.conf} $out/smb/smb.conf
      '';
      program = pkgs.writeShellApplication {
        name = "dicom-accounts";
        runtimeInputs = [pkgs.openssl pkgs.python3];
        text = ''
          export PYTHONPATH=${sources}
          exec python3 -B -m stack.accounts --shell ${getExe' pkgs.shadow "nologin"} ${escapeShellArgs where} ${cfg.uploads.folder} "$@"
        '';
      };
    };
  };
}
