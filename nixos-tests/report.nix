# What the evaluation tests look at in a system: a function of the evaluated example, applied by tests/nixos.
system: let
  inherit (builtins) attrNames filter listToAttrs mapAttrs;
  inherit (system) config;
  inherit (system.pkgs.lib) evalModules filterAttrs hasPrefix mkForce mkOption;
  inherit (system.pkgs.lib.types) anything listOf;
  example = import /repo/nixos-tests/example.nix;

  # Files under /etc that come from this repository.
  ours = name:
    builtins.any (prefix: hasPrefix prefix name) [
      "alertmanager/"
      "dicom-importer/"
      "grafana/"
      "keycloak/"
      "loki/"
      "nginx/"
      "oauth2proxy/"
      "ohif"
      "orthanc"
      "prometheus/"
      "shipper/"
    ];

  with' = module: (system.extendModules {modules = [module];}).config;
  # The options alone: what the rest of the system says does not depend on them, and takes its time.
  complaints = module:
    map (found: found.message) (filter (found: !found.assertion)
      (evalModules {
        modules = [
          /repo/modules/options.nix
          {
            options.assertions = mkOption {type = listOf anything;};
            config = {inherit (example) services;};
          }
          module
        ];
      })
      .config
      .assertions);
  set = values: {services.dicom-stack = mapAttrs (_: mkForce) values;};
in {
  toplevel = config.system.build.toplevel.drvPath;
  etc = mapAttrs (_: entry: toString entry.source) (filterAttrs (name: _: ours name) config.environment.etc);
  units = listToAttrs (map (name: {
    name = "${name}.service";
    value = config.systemd.units."${name}.service".text;
  }) (config.services.dicom-stack.hardenedUnits ++ ["postgresql-setup" "nginx-config-reload"]));
  hardened = config.services.dicom-stack.hardenedUnits;
  orthanc = config.services.orthanc.settings;
  alertmanager = config.services.prometheus.alertmanager.configuration;
  prober = config.services.prometheus.exporters.blackbox.configFile.text;
  # By every way at once.
  alertmanagerOfAll =
    (with' {
      services.dicom-stack = {
        alertTelegramChat = -1001;
        secretFiles = {
          alert_heartbeat_url = "/var/lib/secrets/alert_heartbeat_url";
          alert_webhook_url = "/var/lib/secrets/alert_webhook_url";
          telegram_token = "/var/lib/secrets/telegram_token";
        };
      };
    })
    .services
    .prometheus
    .alertmanager
    .configuration;
  retention = mapAttrs (_: found: filterAttrs (name: _: name == "BACKUP_TARGET" || hasPrefix "STUDY_" name) found.systemd.services.dicom-importer.environment) {
    unset = config;
    set = with' {
      services.dicom-stack = {
        backup.target = "/mnt/backup";
        retention.studies = {
          years = 10;
          clinics = {
            clinic-b = 30;
            clinic-c = null;
          };
        };
      };
    };
  };
  postgresql = config.services.postgresql.settings;
  grafana = config.services.grafana.settings;
  hosts = filterAttrs (address: _: hasPrefix "127.0.10." address) config.networking.hosts;
  ports = {
    alertmanager = config.services.prometheus.alertmanager.port;
    dbmetrics = config.services.prometheus.exporters.postgres.port;
    grafana = config.services.grafana.settings.server.http_port;
    hostmetrics = config.services.prometheus.exporters.node.port;
    keycloak = config.services.keycloak.settings.http-port;
    nginxmetrics = config.services.prometheus.exporters.nginx.port;
    orthanc = config.services.orthanc.settings.HttpPort;
    postgresql = config.services.postgresql.settings.port;
    prober = config.services.prometheus.exporters.blackbox.port;
    prometheus = config.services.prometheus.port;
  };
  firewall = {inherit (config.networking.firewall) allowedTCPPorts allowedUDPPorts interfaces;};
  firewallOnOneInterface = {
    inherit
      ((with' (set {interfaces = ["enp3s0"];})).networking.firewall)
      allowedTCPPorts
      interfaces
      ;
  };
  ownCertificate = let
    found = with' (set {
      acmeEmail = null;
      certificateFile = "/var/lib/pacs/fullchain.pem";
      certificateKeyFile = "/run/secrets/pacs.key";
    });
  in {
    siteConf = found.environment.etc."nginx/site.conf".text;
    acme = attrNames found.security.acme.certs;
  };
  backups =
    mapAttrs (_: target: let
      found = with' {
        services.dicom-stack.backup = {
          inherit target;
          hostKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK2jcaGQpfpEu/MT3dquKTRoj10ysEcM5u2DVTb3UgEH";
        };
      };
    in {
      inherit (found) warnings;
      complaints = map (one: one.message) (filter (one: !one.assertion) found.assertions);
      etc = mapAttrs (_: entry: toString entry.source) (filterAttrs (name: _: hasPrefix "prometheus/scrape/" name) found.environment.etc);
      settings = found.environment.etc."dicom-stack/settings.json".text;
      command = (builtins.head (filter (package: (package.name or "") == "dicom-stack") found.environment.systemPackages)).text;
      hardened = found.services.dicom-stack.hardenedUnits;
      units =
        mapAttrs (name: _: found.systemd.units.${name}.text)
        (filterAttrs (name: _: hasPrefix "dicom-backup" name) found.systemd.units);
    }) {
      elsewhere = "sftp:backup@nas.example.org:stack";
      onThisHost = "/mnt/backup";
    };
  receivers =
    mapAttrs (_: door: let
      found = with' {services.dicom-stack.doors.dicom = door // {enable = true;};};
    in {
      inherit (found) warnings;
      complaints = map (one: one.message) (filter (one: !one.assertion) found.assertions);
      firewall = {inherit (found.networking.firewall) allowedTCPPorts interfaces;};
      unit = found.systemd.units."dicom-receiver.service".text;
      scrape = toString found.environment.etc."prometheus/scrape/receiver.yml".source;
      command = (builtins.head (filter (package: (package.name or "") == "dicom-stack") found.environment.systemPackages)).text;
      hardened = found.services.dicom-stack.hardenedUnits;
    }) {
      plain = {};
      encrypted = {
        port = 11112;
        tls = true;
        interfaces = ["enp4s0"];
        clientAuthorityFile = "/var/lib/pacs/modalities-ca.pem";
      };
    };
  doors = let
    found = with' {
      services.dicom-stack.doors = {
        sftp.enable = true;
        smb = {
          enable = true;
          interfaces = ["enp3s0"];
        };
      };
    };
  in {
    complaints = map (one: one.message) (filter (one: !one.assertion) found.assertions);
    firewall = {inherit (found.networking.firewall) allowedTCPPorts interfaces;};
    sftp = found.systemd.units."dicom-sftp.service".text;
    inboxes = found.systemd.units."dicom-sftp-inboxes.service".text;
    accounts = found.systemd.units."dicom-accounts.service".text;
    smb = found.systemd.units."dicom-smb.service".text;
    command = (builtins.head (filter (package: (package.name or "") == "dicom-stack") found.environment.systemPackages)).text;
  };
  acme = mapAttrs (_: certificate: {inherit (certificate) group webroot;}) config.security.acme.certs;
  options = attrNames (filterAttrs (_: option: !(option.internal or false)) system.options.services.dicom-stack);
  warnings = config.warnings;
  complaints = {
    nothingWrong = complaints {};
    noCertificate = complaints (set {acmeEmail = null;});
    halfACertificate = complaints (set {
      acmeEmail = null;
      certificateFile = "/var/lib/pacs/fullchain.pem";
    });
    bothCertificates = complaints (set {
      certificateFile = "/var/lib/pacs/fullchain.pem";
      certificateKeyFile = "/run/secrets/pacs.key";
    });
    keyInStore = complaints (set {certificateKeyFile = "${builtins.storeDir}/key.pem";});
    secretInStore = complaints (set {secretFiles = {smtp_password = "${builtins.storeDir}/password";};});
    alertsWithoutMail = complaints (set {
      mail = {
        host = null;
        from = null;
        port = 25;
        user = null;
      };
    });
    mailWithoutSender = complaints {services.dicom-stack.mail.from = mkForce null;};
    backupWithinDataDir = complaints {services.dicom-stack.backup.target = "/srv/dicom-stack/backup";};
    backupWithoutHostKey = complaints {services.dicom-stack.backup.target = "sftp:backup@nas.example.org:stack";};
    backupWithPassword = complaints {services.dicom-stack.backup.target = "rest:https://stack:word@nas.example.org/";};
    devicesCertificatesWithoutTls = complaints {services.dicom-stack.doors.dicom.clientAuthorityFile = "/var/lib/pacs/ca.pem";};
    shareWithoutInterface = complaints {services.dicom-stack.doors.smb.enable = true;};
    studiesBelowMinimum = complaints {
      services.dicom-stack.retention.studies = {
        years = 10;
        clinics.clinic-a = 9;
      };
    };
    telegramWithoutToken = complaints {services.dicom-stack.alertTelegramChat = -1001;};
    userWithoutPassword = complaints (set {secretFiles = {};});
  };
}
