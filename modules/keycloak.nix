# Keycloak, the identity provider, over podman/keycloak/keycloak.conf.
{
  config,
  lib,
  ...
}: let
  inherit (lib) mapAttrs mkForce mkIf toInt;
  cfg = config.services.dicom-stack;
  names = lib.importJSON ./names.json;
  shipped = (import ./library.nix).readSettings ../podman/keycloak/keycloak.conf;
  secret = name: "${cfg.dataDir}/secrets/keycloak.${name}";
in {
  config = mkIf cfg.enable {
    services.keycloak = {
      enable = true;
      database = {
        createLocally = false;
        host = "postgresql";
        passwordFile = secret "keycloak_db_password";
        # They talk on this machine's loopback.
        useSSL = false;
      };
      settings =
        mapAttrs (_: mkForce) shipped
        // {
          http-port = mkForce (toInt shipped.http-port);
          bootstrap-admin-client-id = "realm-reconciler";
          bootstrap-admin-client-secret._secret = secret "realm_reconciler_secret";
        };
    };

    services.dicom-stack = {
      hardenedUnits = ["keycloak"];
      # Without units: its secrets reach it as credentials, since its user exists only while it runs.
      secretReaders.keycloak = {
        user = "root";
        units = [];
        files = ["keycloak_db_password" "realm_reconciler_secret"];
      };
    };
    systemd.services.keycloak = {
      after = ["dicom-stack-secrets.service" "postgresql-roles.service"];
      requires = ["dicom-stack-secrets.service"];
      wants = ["postgresql-roles.service"];
      environment = {
        BIND_ADDRESS = names.keycloak;
        # nginx comes from this machine's first loopback address, whichever address it speaks to.
        PROXY_TRUSTED_ADDRESSES = "127.0.0.1";
        PUBLIC_URL = "https://${cfg.domain}";
      };
      serviceConfig = {
        EnvironmentFile = "${../podman/keycloak/keycloak.env}";
        AmbientCapabilities = mkForce "";
        # It sends mail to the server that the operator chose.
        IPAddressDeny = mkIf (cfg.mail.host != null) (mkForce "");
        # Java compiles to memory that it then runs.
        MemoryDenyWriteExecute = false;
        # Java reads its own limits from /proc and /sys.
        ProcSubset = "all";
        Restart = "always";
        # Java's threads set their priority and affinity.
        SystemCallFilter = ["@system-service" "~@privileged"];
        TimeoutStartSec = "5min";
      };
    };
  };
}
