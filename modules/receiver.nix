# The DICOM receiver: what modalities store over the network goes into their clinics' inboxes.
{
  config,
  lib,
  pkgs,
  ...
}: let
  inherit (lib) genAttrs getExe' mkIf optional optionalAttrs;
  cfg = config.services.dicom-stack;
  door = cfg.doors.dicom;
  names = lib.importJSON ./names.json;
  user = "dicom-receiver";
  group = "dicom-importer";
  files = "${cfg.dataDir}/files";
  acme = cfg.acmeEmail != null;
  certificate = config.security.acme.certs.${cfg.domain};
  interfaces =
    if door.interfaces == null
    then cfg.interfaces
    else door.interfaces;
  # Ports below are root's.
  privileged = optional (door.port < 1024) "CAP_NET_BIND_SERVICE";
in {
  config = mkIf (cfg.enable && door.enable) {
    users.users.${user} = {
      uid = 7122;
      # What it puts into an inbox the importer must be able to move.
      inherit group;
      isSystemUser = true;
    };
    systemd.tmpfiles.settings.dicom-stack = {
      "${cfg.dataDir}/receiver".d = {
        inherit user group;
        mode = "0700";
      };
      # What comes lies there until it is whole, that it is shown by a rename.
      "${files}/inbox/.dicom-receiver".d = {
        inherit user group;
        mode = "2770";
      };
      "/var/lib/dicom-receiver"."L+".argument = "${cfg.dataDir}/receiver";
    };
    environment.etc."prometheus/scrape/receiver.yml".source = ../podman/prometheus/scrape/receiver.yml;
    networking.firewall =
      if interfaces == []
      then {allowedTCPPorts = [door.port];}
      else {interfaces = genAttrs interfaces (_: {allowedTCPPorts = [door.port];});};

    services.dicom-stack.hardenedUnits = [user];
    systemd.services = {
      ${user} = {
        description = "DICOM receiver";
        # The certificate of ACME is there only then.
        after = optional (door.tls && acme) "acme-${cfg.domain}.service";
        wants = optional (door.tls && acme) "acme-${cfg.domain}.service";
        wantedBy = ["multi-user.target"];
        restartTriggers = [../podman/importer/importer.conf];
        unitConfig.RequiresMountsFor = files;
        environment =
          {
            DICOM_AET = door.aeTitle;
            DICOM_HOST = door.address;
            DICOM_LISTEN_PORT = toString door.port;
            LISTEN_HOST = names.receiver;
            PYTHONUNBUFFERED = "1";
          }
          // optionalAttrs door.tls {
            TLS_FILE =
              if acme
              then "${certificate.directory}/fullchain.pem"
              else cfg.certificateFile;
            TLS_KEY_FILE =
              if acme
              then "${certificate.directory}/key.pem"
              else cfg.certificateKeyFile;
          }
          // optionalAttrs (door.clientAuthorityFile != null) {TLS_CLIENT_CA_FILE = door.clientAuthorityFile;};
        serviceConfig = {
          ExecStart = "${getExe' pkgs.dicom-importer "dicom-receiver"} run";
          User = user;
          Group = group;
          # The key is nginx's.
          SupplementaryGroups = optional door.tls config.services.nginx.group;
          AmbientCapabilities = privileged;
          # An empty list would say nothing.
          CapabilityBoundingSet = mkIf (privileged != []) privileged;
          # Within a user namespace that capability would not count for the host's ports.
          PrivateUsers = privileged == [];
          # Modalities are its clients.
          IPAddressAllow = "any";
          IPAddressDeny = "";
          # What else the importer's group may touch is none of its business.
          InaccessiblePaths = map (name: "-${name}") ["${files}/processed" "${files}/failed" "${cfg.dataDir}/dicom" "${cfg.dataDir}/importer"];
          MemoryMax = "192M";
          ReadWritePaths = ["${files}/inbox"];
          Restart = "always";
          # Folders keep the group of their parent (setgid).
          RestrictSUIDSGID = false;
          UMask = "0007";
        };
      };
      prometheus.restartTriggers = [../podman/prometheus/scrape/receiver.yml];
    };
  };
}
