# The shipper: what every service says goes from the journal to Loki, over podman/shipper/store.conf.
{
  config,
  lib,
  pkgs,
  ...
}: let
  inherit (lib) concatStrings genAttrs mapAttrsToList mkIf toInt;
  inherit (import ./library.nix) readSettings;
  cfg = config.services.dicom-stack;
  defaults = readSettings ../podman/defaults.env;
  entrypoint = ../podman/shipper/entrypoint.sh;
  dataDir = "${cfg.dataDir}/shipper";
  metrics = "${cfg.dataDir}/metrics";
  # As the services are named in the Podman form, and what only this form has.
  units = {
    alertmanager = "alertmanager";
    auditor = "dicom-auditor";
    backup = "dicom-backup";
    before = "dicom-stack-before";
    dbmetrics = "prometheus-postgres-exporter";
    grafana = "grafana";
    hostmetrics = "prometheus-node-exporter";
    importer = "dicom-importer";
    keycloak = "keycloak";
    loki = "loki";
    nginx = "nginx";
    nginxmetrics = "prometheus-nginx-exporter";
    oauth2proxy = "oauth2-proxy";
    ohif = "ohif";
    orthanc = "orthanc";
    postgresql = "postgresql";
    prober = "prometheus-blackbox-exporter";
    prometheus = "prometheus";
    realm = "dicom-realm";
    receiver = "dicom-receiver";
    secrets = "dicom-stack-secrets";
    sftp = "dicom-sftp";
    shipper = "dicom-shipper";
    smb = "dicom-smb";
  };
  is = service: unit: ''
    set("${service}" value("label.service") condition("''${.journal._SYSTEMD_UNIT}" eq "${unit}.service"));
  '';
in {
  config = mkIf cfg.enable {
    environment.etc = {
      "shipper/store.conf".source = ../podman/shipper/store.conf;
      "shipper/syslog-ng.conf".text = ''
        @version: 4.8
        # What the units say, as the journal has it, and the requests that nginx writes into a file of its own.
        @include "/etc/shipper/store.conf"

        options {
            keep-timestamp(yes);
            log-msg-size(65536);
            mark-mode(none);
            stats(freq(0) level(1));
            time-reopen(5);
            use-dns(no);
        };

        source s_journal { systemd-journal(prefix(".journal.") read-old-records(yes)); };
        source s_requests { file("/var/log/nginx/access.log" flags(no-parse) follow-freq(1)); };

        log {
            source(s_journal);
            rewrite {
        ${concatStrings (mapAttrsToList is units)}
                set("info" value("label.level"));
                set("debug" value("label.level") condition(level(debug)));
                set("warning" value("label.level") condition(level(warning)));
                set("error" value("label.level") condition(level(err)));
                set("critical" value("label.level") condition(level(crit..emerg)));
                set("''${UNIXTIME}''${USEC}000" value("line.time_ns"));
            };
            filter { "''${label.service}" ne "" };
            parser(p_known);
            destination(d_store);
            flags(flow-control);
        };

        log {
            source(s_requests);
            if {
                parser {
                    regexp-parser(patterns("^\\{\"time\":\"(?<time>[^\"]+)\"") prefix("line."));
                    date-parser(format("%Y-%m-%dT%H:%M:%S%z") template("''${line.time}"));
                };
            };
            rewrite {
                set("nginx" value("label.service"));
                set("info" value("label.level"));
                set("''${UNIXTIME}''${USEC}000" value("line.time_ns"));
            };
            parser(p_known);
            destination(d_store);
            flags(flow-control);
        };
      '';
    };
    users.users.shipper = {
      uid = 7119;
      group = "shipper";
      # To read the journal, and what nginx writes.
      extraGroups = ["systemd-journal" config.services.nginx.group];
      isSystemUser = true;
    };
    users.groups.shipper.gid = 7119;
    systemd.tmpfiles.settings.dicom-stack =
      genAttrs [dataDir metrics] (folder: {
        d = {
          # The host's exporter reads the second.
          mode =
            if folder == metrics
            then "0755"
            else "0700";
          user = "shipper";
          group = "shipper";
        };
      })
      // {
        "/var/lib/metrics"."L+".argument = metrics;
        "/var/lib/shipper"."L+".argument = dataDir;
      };

    services.dicom-stack.hardenedUnits = ["dicom-shipper"];
    # nixpkgs' own unit runs it as root, with its state where no backup and no dataDir is.
    systemd.services.dicom-shipper = {
      description = "Shipper of the logs of the DICOM Web Viewer Stack";
      wantedBy = ["multi-user.target"];
      path = [pkgs.coreutils pkgs.gnugrep pkgs.syslogng];
      restartTriggers = [config.environment.etc."shipper/syslog-ng.conf".text ../podman/shipper/store.conf];
      unitConfig.RequiresMountsFor = [dataDir metrics];
      environment = {
        LOGS_BUFFER_BYTES = toString (toInt defaults.LOGS_BUFFER_MB * 1048576);
        LOGS_URL = "http://loki:3100/loki/api/v1/push";
      };
      serviceConfig = {
        ExecStart = "${pkgs.runtimeShell} ${entrypoint}";
        User = "shipper";
        Group = "shipper";
        MemoryMax = "128M";
        ReadWritePaths = [dataDir metrics];
        Restart = "always";
        # What the counter and the counted write is for others to read.
        UMask = "0022";
      };
    };
  };
}
