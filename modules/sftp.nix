# The door for uploads by SFTP, over podman/sftp/sshd_config: a sshd of its own, which knows no user of the host.
{
  config,
  lib,
  pkgs,
  ...
}: let
  inherit (lib) genAttrs getExe getExe' mkIf;
  cfg = config.services.dicom-stack;
  door = cfg.doors.sftp;
  wanted = cfg.enable && door.enable;
  inherit (cfg.uploads) folder;
  # Where each account's inbox is shown, beneath a folder that is root's.
  roots = "/run/dicom-sftp";
  # Shows those who have an account their inboxes, and nobody else; a running sshd sees it at once.
  show = pkgs.writeShellApplication {
    name = "dicom-sftp-show";
    runtimeInputs = [pkgs.coreutils pkgs.util-linux];
    text = ''
      hide() {
        # Who still uploads keeps it until the end of that.
        umount --lazy "$1/inbox"
        # Never what is in it: only folders that are empty go.
        rmdir "$1/inbox" "$1"
      }
      mkdir -p ${roots}
      for root in ${roots}/*; do
        [[ -d $root/inbox ]] || continue
        # A clinic that was closed has an account and no inbox.
        [[ ''${1:-} == none || ! -e ${folder}/keys/''${root##*/} || ! -d ${cfg.dataDir}/files/inbox/''${root##*/} ]] || continue
        hide "$root"
      done
      [[ ''${1:-} != none ]] || exit 0
      for keys in ${folder}/keys/*; do
        clinic=''${keys##*/}
        inbox=${cfg.dataDir}/files/inbox/$clinic
        [[ -d $inbox ]] || continue
        mkdir -p "${roots}/$clinic/inbox"
        mountpoint -q "${roots}/$clinic/inbox" || mount --bind "$inbox" "${roots}/$clinic/inbox"
      done
    '';
  };
in {
  config = mkIf wanted {
    networking.firewall =
      if cfg.interfaces == []
      then {allowedTCPPorts = [door.port];}
      else {interfaces = genAttrs cfg.interfaces (_: {allowedTCPPorts = [door.port];});};

    services.dicom-stack = {
      hardenedUnits = ["dicom-sftp"];
      secretReaders.sftp = {
        user = "root";
        units = ["dicom-sftp"];
        files = ["sftp_host_key"];
      };
      uploads.command = ''
        ${getExe show}
        [[ "$1" != remove ]] || systemctl restart dicom-sftp.service
      '';
    };
    # What is mounted by a unit that is kept from any file is mounted for that one alone: so this one is kept from none,
    # and is none of the hardened ones.
    systemd.services.dicom-sftp-inboxes = {
      description = "Inboxes as uploads by SFTP are shown them";
      after = ["dicom-accounts.service"];
      requires = ["dicom-accounts.service"];
      unitConfig = {
        RequiresMountsFor = [folder "${cfg.dataDir}/files"];
        StopWhenUnneeded = true;
      };
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = getExe show;
        ExecStop = "${getExe show} none";
        CapabilityBoundingSet = ["CAP_SYS_ADMIN"];
        IPAddressDeny = "any";
        LockPersonality = true;
        MemoryDenyWriteExecute = true;
        NoNewPrivileges = true;
        RestrictAddressFamilies = ["AF_UNIX"];
        RestrictNamespaces = true;
        RestrictRealtime = true;
        SystemCallArchitectures = "native";
      };
    };
    systemd.services.dicom-sftp = {
      description = "Uploads by SFTP";
      after = ["dicom-sftp-inboxes.service" "network.target"];
      requires = ["dicom-sftp-inboxes.service"];
      wantedBy = ["multi-user.target"];
      # Each account that is taken away starts it anew: many in a row are no sign of a fault.
      startLimitIntervalSec = 0;
      serviceConfig = {
        ExecStart = "${getExe' pkgs.openssh "sshd"} -D -e -f /etc/sftp/sshd_config -p ${toString door.port}";
        # It becomes the user of the account that logs in, in that one's folder; and the port may be below 1024.
        CapabilityBoundingSet = ["CAP_NET_BIND_SERVICE" "CAP_SETGID" "CAP_SETUID" "CAP_SYS_CHROOT"];
        # These are wanted of the host's files and users, which a user namespace would not show as such.
        PrivateUsers = false;
        # Who uploads is elsewhere.
        IPAddressDeny = "";
        # To become another user, to change into a folder, and to take what it does not need from a child.
        SystemCallFilter = ["@system-service" "~@privileged" "@setuid" "@resources" "chroot"];
        BindPaths = ["${roots}:/srv/sftp"];
        BindReadOnlyPaths = ["${cfg.uploads.etc}:/etc" "${folder}:/etc/accounts"];
        # Who asks for a user shall find those of the accounts, and not be answered by the host.
        InaccessiblePaths = ["-/run/nscd"];
        MemoryMax = "128M";
        ReadWritePaths = ["/srv/sftp"];
        Restart = "always";
      };
    };
  };
}
