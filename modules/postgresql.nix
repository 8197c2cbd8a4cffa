# PostgreSQL with the databases of Orthanc and Keycloak, over the files of podman/postgresql/.
{
  config,
  lib,
  pkgs,
  ...
}: let
  inherit (lib) concatMapStringsSep escapeShellArg mapAttrs mkForce mkIf;
  cfg = config.services.dicom-stack;
  names = lib.importJSON ./names.json;
  postgresql = config.services.postgresql;
  inherit (import ./library.nix) readSettings;
  versions = readSettings ../podman/versions.env;
  databases = ["orthanc" "keycloak" "monitoring"];
in {
  config = mkIf cfg.enable {
    services.postgresql = {
      enable = true;
      package = pkgs."postgresql_${versions.POSTGRESQL_MAJOR}";
      dataDir = "${cfg.dataDir}/postgresql/${versions.POSTGRESQL_MAJOR}/main";
      enableTCPIP = true;
      initdbArgs = ["--data-checksums" "--encoding=UTF8" "--locale-provider=builtin" "--locale=C.UTF-8"];
      authentication = mkForce (builtins.readFile ../podman/postgresql/pg_hba.conf);
      settings =
        mapAttrs (_: mkForce) (removeAttrs (readSettings ../podman/postgresql/postgresql.conf) ["hba_file" "listen_addresses"])
        // {listen_addresses = mkForce names.postgresql;};
    };
    systemd.tmpfiles.settings.dicom-stack =
      lib.genAttrs ["${cfg.dataDir}/postgresql" "${cfg.dataDir}/postgresql/${versions.POSTGRESQL_MAJOR}" postgresql.dataDir]
      (_: {
        d = {
          mode = "0700";
          user = "postgres";
          group = "postgres";
        };
      });

    services.dicom-stack = {
      hardenedUnits = ["postgresql" "postgresql-roles"];
      secretReaders.postgresql = {
        user = "postgres";
        units = ["postgresql-roles"];
        files = map (name: "${name}_db_password") databases;
      };
    };
    systemd.services = {
      postgresql.serviceConfig = {
        # It waits for its own clients' addresses, which it looks up by netlink.
        RestrictAddressFamilies = ["AF_INET" "AF_INET6" "AF_NETLINK" "AF_UNIX"];
        # Backends share memory by System V handles that must outlive a reload of the manager.
        RemoveIPC = mkForce false;
        Restart = mkForce "always";
      };
      # As the Podman form does before each start: roles and passwords follow the secrets.
      postgresql-roles = {
        description = "Roles and databases of Orthanc, Keycloak and what measures them";
        after = ["postgresql.service" "postgresql-setup.service"];
        requires = ["postgresql.service"];
        wantedBy = ["multi-user.target"];
        path = [postgresql.finalPackage];
        environment.PGOPTIONS = "-c log_min_error_statement=panic";
        restartTriggers = [../podman/postgresql/roles.sql];
        script =
          concatMapStringsSep "\n" (name: ''
            psql --quiet --no-psqlrc --dbname=postgres --file=${../podman/postgresql/roles.sql} \
              --set=name=${escapeShellArg name} --set=secret=/run/secrets/${name}_db_password
          '')
          databases;
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          User = "postgres";
          Group = "postgres";
          # Peer authentication compares the host's user ids.
          PrivateUsers = false;
          PrivateNetwork = true;
          RestrictAddressFamilies = ["AF_UNIX"];
        };
      };
    };
  };
}
