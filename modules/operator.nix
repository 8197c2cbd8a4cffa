# oauth2-proxy over podman/oauth2proxy/: it lets admins in to the operator's pages, of Prometheus and Alertmanager here.
{
  config,
  lib,
  ...
}: let
  inherit (lib) getExe mkForce mkIf;
  cfg = config.services.dicom-stack;
  names = lib.importJSON ./names.json;
  realm = "https://${cfg.domain}/auth/realms/dicom";
in {
  config = mkIf cfg.enable {
    services.oauth2-proxy = {
      enable = true;
      clientID = "operator-pages";
    };
    environment.etc = {
      "nginx/doors/operator.conf".source = ../podman/nginx/doors/operator.conf;
      "nginx/pages".source = ../podman/nginx/pages;
      "oauth2proxy/oauth2-proxy.cfg".source = ../podman/oauth2proxy/oauth2-proxy.cfg;
      "prometheus/scrape/oauth2proxy.yml".source = ../podman/prometheus/scrape/oauth2proxy.yml;
    };
    users.users.oauth2-proxy.uid = 7121;
    users.groups.oauth2-proxy.gid = 7121;

    services.dicom-stack = {
      hardenedUnits = ["oauth2-proxy"];
      secretReaders.oauth2proxy = {
        user = "oauth2-proxy";
        units = ["oauth2-proxy"];
        files = ["operator_cookie_secret" "operator_pages_secret"];
      };
    };
    systemd.services = {
      oauth2-proxy = {
        environment = {
          OAUTH2_PROXY_HTTP_ADDRESS = "${names.oauth2proxy}:4180";
          OAUTH2_PROXY_LOGIN_URL = "${realm}/protocol/openid-connect/auth";
          OAUTH2_PROXY_METRICS_ADDRESS = "${names.oauth2proxy}:44180";
          OAUTH2_PROXY_OIDC_ISSUER_URL = realm;
          OAUTH2_PROXY_REDIRECT_URL = "https://${cfg.domain}/operator/session/callback";
          # Whoever is on this machine's loopback is the front door.
          OAUTH2_PROXY_TRUSTED_PROXY_IPS = "127.0.0.0/8";
        };
        restartTriggers = [../podman/oauth2proxy/oauth2-proxy.cfg];
        serviceConfig = {
          # What nixpkgs' module would say by arguments counts for more than the shared file.
          ExecStart = mkForce "${getExe config.services.oauth2-proxy.package} --config=/etc/oauth2proxy/oauth2-proxy.cfg";
          MemoryMax = "64M";
        };
      };
      nginx-config-reload.restartTriggers = [../podman/nginx/doors/operator.conf ../podman/nginx/pages];
      prometheus.restartTriggers = [../podman/prometheus/scrape/oauth2proxy.yml];
    };
  };
}
