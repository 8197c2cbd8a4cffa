# Prometheus over podman/prometheus/: it watches every service of the stack and hands alerts on.
{
  config,
  lib,
  ...
}: let
  inherit (lib) mkIf;
  cfg = config.services.dicom-stack;
  names = lib.importJSON ./names.json;
in {
  config = mkIf cfg.enable {
    services.prometheus = {
      enable = true;
      configText = builtins.readFile ../podman/prometheus/prometheus.yml;
      # The secrets that it names exist on the appliance only.
      checkConfig = "syntax-only";
      # On the loopback it answers without the prefix, which nginx takes away.
      extraFlags = ["--storage.tsdb.retention.size=5GB" "--web.route-prefix=/"];
      listenAddress = names.prometheus;
      retentionTime = "30d";
      webExternalUrl = "https://${cfg.domain}/prometheus/";
    };
    environment.etc."prometheus/rules".source = ../podman/prometheus/rules;

    services.dicom-stack = {
      hardenedUnits = ["prometheus"];
      secretReaders.prometheus = {
        user = "prometheus";
        units = ["prometheus"];
        files = ["monitoring_secret"];
      };
    };
    systemd.services.prometheus.restartTriggers = [../podman/prometheus/rules];
  };
}
