# nginx, the front door, over podman/nginx/; the certificate by ACME or from the operator's files.
{
  config,
  lib,
  ...
}: let
  inherit (lib) genAttrs mkForce mkIf optional;
  cfg = config.services.dicom-stack;
  inherit (import ./library.nix) siteConf;
  acme = cfg.acmeEmail != null;
  # Where the certificate lies until the authority has signed one, too.
  issued = config.security.acme.certs.${cfg.domain}.directory;
  ports = [80 443];
in {
  config = mkIf cfg.enable {
    services.nginx = {
      enable = true;
      enableReload = true;
      config = builtins.readFile ../podman/nginx/nginx.conf;
      logError = "stderr notice";
      # That checker would look for the included files where they do not lie during the build; tests run nginx -t on all.
      validateConfigFile = false;
    };
    environment.etc = {
      "nginx/includes".source = ../podman/nginx/includes;
      "nginx/mime.types".source = "${config.services.nginx.package}/conf/mime.types";
      "nginx/site.conf".text = siteConf {
        inherit (cfg) adminNetworks siteName trustedProxies;
        certificate =
          if acme
          then "${issued}/fullchain.pem"
          else cfg.certificateFile;
        certificateKey =
          if acme
          then "${issued}/key.pem"
          else cfg.certificateKeyFile;
        languageTag = cfg.language;
        publicAuthority = cfg.domain;
        publicUrl = "https://${cfg.domain}";
        strictTransport = "max-age=31536000";
      };
    };
    security.acme.certs = mkIf acme {
      ${cfg.domain} = {
        email = cfg.acmeEmail;
        group = config.services.nginx.group;
        webroot = "/var/lib/acme/acme-challenge";
      };
    };
    networking.firewall =
      if cfg.interfaces == []
      then {allowedTCPPorts = ports;}
      else {interfaces = genAttrs cfg.interfaces (_: {allowedTCPPorts = ports;});};

    # Lines for the auditor, which removes the files that it has read; they get its group (setgid).
    systemd.tmpfiles.settings.dicom-stack = {
      "${cfg.dataDir}/audit/spool".d = {
        mode = "2770";
        user = "nginx";
        group = "dicom-auditor";
      };
      "/var/log/nginx-audit"."L+".argument = "${cfg.dataDir}/audit/spool";
    };

    services.dicom-stack.hardenedUnits = ["nginx"];
    systemd.services = {
      nginx = {
        wants = optional acme "acme-${cfg.domain}.service";
        after = optional acme "acme-${cfg.domain}.service";
        before = optional acme "acme-order-renew-${cfg.domain}.service";
        serviceConfig = {
          AmbientCapabilities = mkForce ["CAP_NET_BIND_SERVICE"];
          CapabilityBoundingSet = mkForce ["CAP_NET_BIND_SERVICE"];
          # Enough for worker_rlimit_nofile, which then needs no capability.
          LimitNOFILE = 8192;
          # The world is its client.
          IPAddressAllow = "any";
          IPAddressDeny = "";
          # Within a user namespace its capability would not count for the host's ports.
          PrivateUsers = false;
          # Its own list of calls is nixpkgs'.
          SystemCallFilter = ["~@cpu-emulation @debug @keyring @mount @obsolete @privileged @setuid"];
          ReadWritePaths = ["${cfg.dataDir}/audit/spool"];
          UMask = "0027";
        };
      };
      nginx-config-reload.restartTriggers = [
        ../podman/nginx/includes
        config.environment.etc."nginx/site.conf".text
      ];
    };
  };
}
