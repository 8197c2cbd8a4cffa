# What Prometheus asks about the host, PostgreSQL and nginx, and the prober of the front door: nixpkgs' exporters.
{
  config,
  lib,
  pkgs,
  ...
}: let
  inherit (lib) mapAttrs mkForce mkIf;
  cfg = config.services.dicom-stack;
  names = lib.importJSON ./names.json;
  shipped = lib.importJSON ../podman/prober/prober.json;
  login = (import ./library.nix).readSettings ../podman/prober/database.env;
  # podman/stack/probes.py does the same for the Podman form.
  probed =
    shipped
    // {
      modules = mapAttrs (_: module:
        lib.recursiveUpdate module {
          http = {
            headers.Host = cfg.domain;
            tls_config.server_name = cfg.domain;
          };
        })
      shipped.modules;
    };
in {
  config = mkIf cfg.enable {
    services.prometheus.exporters = {
      blackbox = {
        enable = true;
        configFile = pkgs.writeText "prober.json" (builtins.toJSON probed);
        # The secret that it names exists on the appliance only; tests ask its program.
        enableConfigCheck = false;
        extraFlags = ["--log.prober=warn"];
        listenAddress = names.prober;
      };
      nginx = {
        enable = true;
        listenAddress = names.nginxmetrics;
        scrapeUri = "http://nginx:8081/status";
      };
      node = {
        enable = true;
        enabledCollectors = ["cpu" "filesystem" "loadavg" "meminfo" "textfile" "timex" "vmstat"];
        extraFlags = [
          "--collector.disable-defaults"
          "'--collector.filesystem.mount-points-exclude=^/(boot|dev|etc|nix/store|proc|run|sys|tmp|var/tmp)($|/)'"
          "--collector.textfile.directory=/var/lib/metrics"
          "'--collector.vmstat.fields=^oom_kill'"
        ];
        listenAddress = names.hostmetrics;
      };
      postgres = {
        enable = true;
        # Else it counts for more than the variables of the shared file.
        dataSourceName = "";
        extraFlags = ["--collector.postmaster"];
        listenAddress = names.dbmetrics;
      };
    };
    users.users.blackbox-exporter = {
      uid = 7117;
      group = "blackbox-exporter";
      isSystemUser = true;
    };
    users.groups.blackbox-exporter.gid = 7117;
    users.users.node-exporter.uid = 7114;
    users.groups.node-exporter.gid = 7114;
    users.users.postgres-exporter.uid = 7115;
    users.groups.postgres-exporter.gid = 7115;

    services.dicom-stack = {
      hardenedUnits = [
        "prometheus-blackbox-exporter"
        "prometheus-nginx-exporter"
        "prometheus-node-exporter"
        "prometheus-postgres-exporter"
      ];
      secretReaders.dbmetrics = {
        user = "postgres-exporter";
        units = ["prometheus-postgres-exporter"];
        files = ["monitoring_db_password"];
      };
      secretReaders.prober = {
        user = "blackbox-exporter";
        units = ["prometheus-blackbox-exporter"];
        files = ["monitoring_secret"];
      };
    };
    systemd.services = {
      prometheus-blackbox-exporter.serviceConfig = {
        # It pings nobody.
        AmbientCapabilities = mkForce "";
        # Its secret belongs to a user that is there before it runs.
        DynamicUser = mkForce false;
        MemoryMax = "48M";
        Restart = mkForce "always";
      };
      prometheus-nginx-exporter = {
        # What is down must be told.
        requires = mkForce [];
        serviceConfig = {
          MemoryMax = "48M";
          Restart = mkForce "always";
        };
      };
      prometheus-node-exporter.serviceConfig = {
        MemoryMax = "48M";
        # Memory and load are of the whole host, and so is the clock, which it reads by the call that also sets it.
        ProcSubset = "all";
        ProtectClock = mkForce false;
        Restart = mkForce "always";
        SystemCallFilter = ["@system-service" "~@privileged @resources" "adjtimex clock_adjtime"];
      };
      prometheus-postgres-exporter = {
        environment = {inherit (login) DATA_SOURCE_PASS_FILE DATA_SOURCE_URI DATA_SOURCE_USER;};
        serviceConfig = {
          MemoryMax = "48M";
          Restart = mkForce "always";
        };
      };
    };
  };
}
