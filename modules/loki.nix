# Loki, which keeps the logs that are sent to it, over podman/loki/loki.yaml.
{
  config,
  lib,
  ...
}: let
  inherit (lib) mkForce mkIf;
  cfg = config.services.dicom-stack;
  names = lib.importJSON ./names.json;
  dataDir = "${cfg.dataDir}/loki";
in {
  config = mkIf cfg.enable {
    services.loki = {
      enable = true;
      inherit dataDir;
      configFile = "/etc/loki/loki.yaml";
      extraFlags = ["-config.expand-env=true"];
    };
    environment.etc."loki/loki.yaml".source = ../podman/loki/loki.yaml;
    users.users.loki = {
      uid = 7110;
      # Made below, when what dataDir lies on is mounted.
      createHome = mkForce false;
    };
    users.groups.loki.gid = 7110;
    systemd.tmpfiles.settings.dicom-stack = {
      ${dataDir}.d = {
        mode = "0700";
        user = "loki";
        group = "loki";
      };
      "/var/lib/loki"."L+".argument = dataDir;
    };

    services.dicom-stack.hardenedUnits = ["loki"];
    systemd.services.loki = {
      environment = {
        BIND_ADDRESS = names.loki;
        LOGS_RETENTION_DAYS = toString cfg.retention.logsDays;
      };
      restartTriggers = [../podman/loki/loki.yaml];
      unitConfig.RequiresMountsFor = dataDir;
      serviceConfig = {
        MemoryMax = "512M";
        ProtectSystem = mkForce "strict";
        ReadWritePaths = [dataDir];
      };
    };
  };
}
