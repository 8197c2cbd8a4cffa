# The appliance as a container with Debian's files below it.
{
  lib,
  pkgs,
  ...
}: let
  inherit (lib) mkForce;
in {
  boot.isContainer = true;
  # NixOS would make links of its own where Debian's programs look for their loader and shell.
  environment = {
    binsh = mkForce "/usr/bin/dash";
    ldso = mkForce "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";
    ldso32 = mkForce null;
    stub-ld.enable = false;
    # What the stack's own units and commands need they bring along.
    corePackages = mkForce [pkgs.coreutils pkgs.curl pkgs.findutils pkgs.gnugrep pkgs.gnused pkgs.procps pkgs.util-linux];
    defaultPackages = mkForce [];
    # It asks the kernel's configuration, and there is no kernel.
    etc."sysctl.d/55-nixos-aslr-entropy.conf".enable = false;
  };
  documentation.enable = false;
  fonts.fontconfig.enable = false;
  networking = {
    firewall.enable = false;
    resolvconf.enable = false;
    useHostResolvConf = false;
    useDHCP = false;
  };
  nix.enable = false;
  security = {
    enableWrappers = false;
    # Debian has its library in a package of its own.
    pam.services.login.lastlog.enable = mkForce false;
    sudo.enable = false;
  };
  # It would run as root, which PostgreSQL refuses.
  services.postgresql.checkConfig = false;
  services.dbus.implementation = "dbus";
  services.logrotate.enable = false;
  services.nscd.enable = false;
  system.nssModules = mkForce [];
  # Debian's own is there, and nobody writes into its /usr.
  system.activationScripts.usrbinenv = mkForce "";
  xdg.mime.enable = false;
  # Debian has no programs of these, or not in the packages that the image has.
  systemd.coredump.enable = false;
  systemd.suppressedSystemUnits = [
    "cryptsetup-pre.target"
    "cryptsetup.target"
    "dbus-org.freedesktop.import1.service"
    "dbus-org.freedesktop.machine1.service"
    "dbus-org.freedesktop.portable1.service"
    "machines.target"
    "remote-cryptsetup.target"
    "systemd-bless-boot.service"
    "systemd-boot-random-seed.service"
    "systemd-bootctl.socket"
    "systemd-bootctl@.service"
    "systemd-importd.service"
    "systemd-importd.socket"
    "systemd-machined.service"
    "systemd-machined.socket"
    "systemd-nspawn@.service"
    "systemd-oomd.service"
    "systemd-oomd.socket"
    "systemd-pcrextend.socket"
    "systemd-pcrextend@.service"
    "systemd-pcrlock.socket"
    "systemd-pcrlock@.service"
    "systemd-portabled.service"
    "systemd-repart.socket"
    "systemd-repart@.service"
    "systemd-tpm2-clear.service"
    "systemd-tpm2-setup-early.service"
    "systemd-tpm2-setup.service"
    "systemd-update-utmp.service"
  ];
  # Its extension that tells systemd when it is ready is nixpkgs' to build.
  systemd.services.keycloak.serviceConfig.Type = mkForce "exec";
  environment.etc."nginx/mime.types".source = mkForce "/usr/share/nginx/mime.types";
  # Compiled into Debian's nginx.
  systemd.tmpfiles.rules = ["d /var/lib/nginx 0700 nginx nginx"];
  # Where Debian's sshd confines who has not logged in yet.
  systemd.services.dicom-sftp.serviceConfig.RuntimeDirectory = "sshd";
  # Debian has no such programs, and Prometheus is not told of them.
  systemd.services.grafana.enable = mkForce false;
  systemd.services.loki.enable = mkForce false;
  systemd.services.oauth2-proxy.enable = mkForce false;
  environment.etc."prometheus/scrape/grafana.yml".enable = mkForce false;
  environment.etc."prometheus/scrape/oauth2proxy.yml".enable = mkForce false;
  system.stateVersion = "26.05";
}
