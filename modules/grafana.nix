# Grafana, the dashboards, over podman/grafana/; its door in the front and what Prometheus watches of it and of Loki.
{
  config,
  lib,
  options,
  ...
}: let
  inherit (lib) filterAttrs mapAttrs mkForce mkIf toUpper;
  cfg = config.services.dicom-stack;
  names = lib.importJSON ./names.json;
  shipped = (import ./library.nix).readSettings ../podman/grafana/grafana.env;
  dataDir = "${cfg.dataDir}/grafana";

  # The environment counts, but nixpkgs writes a default of its own for every setting that it knows: those say the same.
  known = removeAttrs (options.services.grafana.settings.type.getSubOptions []) ["_freeformOptions" "_module"];
  variable = section: key: "GF_${toUpper section}_${toUpper key}";
  typed = text:
    if builtins.match "true|false|[0-9]+" text == null
    then text
    else builtins.fromJSON text;
  settings = mapAttrs (section: keys:
    mapAttrs (key: _: typed shipped.${variable section key})
    (filterAttrs (key: _: shipped ? ${variable section key}) keys))
  known;
in {
  config = mkIf cfg.enable {
    services.grafana = {
      enable = true;
      inherit dataDir;
      settings = lib.recursiveUpdate settings {server.http_addr = names.grafana;};
    };
    environment.etc = {
      "grafana/dashboards".source = ../podman/grafana/dashboards;
      "grafana/provisioning".source = ../podman/grafana/provisioning;
      "nginx/doors/grafana.conf".source = ../podman/nginx/doors/grafana.conf;
      "prometheus/scrape/grafana.yml".source = ../podman/prometheus/scrape/grafana.yml;
    };
    users.users.grafana = {
      uid = mkForce 7111;
      isSystemUser = true;
      # Made below, when what dataDir lies on is mounted.
      createHome = mkForce false;
    };
    users.groups.grafana.gid = 7111;
    systemd.tmpfiles.settings.dicom-stack.${dataDir}.d = {
      mode = "0700";
      user = "grafana";
      group = "grafana";
    };

    services.dicom-stack = {
      hardenedUnits = ["grafana"];
      secretReaders.grafana = {
        user = "grafana";
        units = ["grafana"];
        files = ["grafana_secret" "grafana_secret_key"];
      };
    };
    systemd.services = {
      grafana = {
        environment = {
          BIND_ADDRESS = names.grafana;
          PUBLIC_URL = "https://${cfg.domain}";
        };
        restartTriggers = [../podman/grafana/dashboards ../podman/grafana/provisioning];
        unitConfig.RequiresMountsFor = dataDir;
        serviceConfig = {
          EnvironmentFile = "${../podman/grafana/grafana.env}";
          MemoryMax = "512M";
          ProtectSystem = mkForce "strict";
          ReadWritePaths = [dataDir];
          Restart = mkForce "always";
        };
      };
      nginx-config-reload.restartTriggers = [../podman/nginx/doors/grafana.conf];
      prometheus.restartTriggers = [../podman/prometheus/scrape/grafana.yml];
    };
  };
}
