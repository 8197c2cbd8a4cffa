# The door for uploads over a network share, over podman/smb/smb.conf: a smbd of its own, which knows no user of the host.
# Not nixpkgs' services.samba: its users and its [global] are the host's, and another share there would have our rules.
{
  config,
  lib,
  pkgs,
  ...
}: let
  inherit (lib) concatStringsSep genAttrs getExe' mkIf;
  cfg = config.services.dicom-stack;
  door = cfg.doors.smb;
  # The loopback too: smbd asks itself for the list of shares, and what binds to interfaces binds to nothing else.
  interfaces = concatStringsSep " " (["lo"] ++ door.interfaces);
in {
  config = mkIf (cfg.enable && door.enable) {
    networking.firewall.interfaces = genAttrs door.interfaces (_: {allowedTCPPorts = [door.port];});

    services.dicom-stack = {
      hardenedUnits = ["dicom-smb"];
      # Else who is logged in would stay so.
      uploads.command = ''
        [[ "$1" == list ]] || systemctl try-restart dicom-smb.service
      '';
    };
    systemd.services.dicom-smb = {
      description = "Uploads over a network share";
      after = ["dicom-accounts.service" "network-online.target"];
      requires = ["dicom-accounts.service"];
      wants = ["network-online.target"];
      wantedBy = ["multi-user.target"];
      # Each account that is given starts it anew: many in a row are no sign of a fault.
      startLimitIntervalSec = 0;
      unitConfig.RequiresMountsFor = [cfg.uploads.folder "${cfg.dataDir}/files"];
      serviceConfig = {
        ExecStart = concatStringsSep " " [
          (getExe' pkgs.samba "smbd")
          "--foreground --no-process-group --debug-stdout --configfile=/etc/smb/smb.conf --port=${toString door.port}"
          ''"--option=interfaces=${interfaces}" "--option=bind interfaces only=yes"''
        ];
        # It becomes the user of the account that logs in; and the port may be below 1024.
        CapabilityBoundingSet = ["CAP_NET_BIND_SERVICE" "CAP_SETGID" "CAP_SETUID"];
        # These are wanted of the host's files and users, which a user namespace would not show as such.
        PrivateUsers = false;
        # Who uploads is elsewhere.
        IPAddressDeny = "";
        # It asks the kernel which addresses its interfaces have.
        RestrictAddressFamilies = ["AF_INET" "AF_INET6" "AF_NETLINK" "AF_UNIX"];
        # To become another user, and to open more files at once.
        SystemCallFilter = ["@system-service" "~@privileged" "@setuid" "@resources"];
        # Folders that are made keep the group of the inbox (setgid).
        RestrictSUIDSGID = false;
        BindPaths = ["${cfg.dataDir}/files/inbox:/srv/smb" "/run/dicom-smb:/run/samba"];
        BindReadOnlyPaths = ["${cfg.uploads.etc}:/etc" "${cfg.uploads.folder}:/etc/accounts"];
        # Who asks for a user shall find those of the accounts, and not be answered by the host.
        InaccessiblePaths = ["-/run/nscd"];
        MemoryMax = "256M";
        ReadWritePaths = ["/run/samba" "/srv/smb"];
        Restart = "always";
        RuntimeDirectory = ["dicom-smb"] ++ map (name: "dicom-smb/${name}") ["cache" "lock" "ncalrpc" "private" "state"];
      };
    };
  };
}
