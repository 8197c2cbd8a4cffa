# Debian's packages behind nixpkgs' names, where they differ.
let
  major = ((import ../../modules/library.nix).readSettings ../../podman/versions.env).POSTGRESQL_MAJOR;
in
  {
    bash-interactive = "bash";
    Config-IniFiles = "libconfig-inifiles-perl";
    # nixpkgs' has `kill`.
    coreutils = "coreutils procps";
    coreutils-full = "coreutils procps";
    cryptography = "python3-cryptography";
    dbus = "dbus-bin dbus-daemon dbus-system-bus-common dbus-session-bus-common dbus";
    File-Slurp = "libfile-slurp-perl";
    gawk = "mawk";
    getent = "libc-bin";
    glibc = "libc-bin";
    glibc-nolibgcc = "libc-bin";
    gnugrep = "grep";
    gnused = "sed";
    gnutar = "tar";
    hostname-debian = "hostname";
    java = "openjdk-21-jre-headless";
    JSON = "libjson-perl";
    libxslt = "xsltproc";
    linux-pam = "libpam-modules libpam-modules-bin";
    openjdk = "openjdk-21-jre-headless";
    openssh = "openssh-client openssh-server";
    orthanc-plugin-dicomweb = "orthanc-dicomweb";
    orthanc-plugin-gdcm = "orthanc-gdcm";
    orthanc-plugin-postgresql = "orthanc-postgresql";
    orthanc-plugin-python = "orthanc-python";
    perl = "perl-base perl";
    postgresql = "postgresql-${major} postgresql-client-${major}";
    psycopg2 = "python3-psycopg2";
    pyjwt = "python3-jwt";
    python3 = "python3-minimal python3";
    shadow = "passwd login";
    syslog-ng = "syslog-ng-core syslog-ng-mod-http";
    systemd = "udev systemd systemd-sysv";
    systemd-minimal = "udev systemd systemd-sysv";
    util-linux = "util-linux mount login bsdutils";
    util-linux-minimal = "util-linux mount login bsdutils";
  }
  # Nothing of these is used when the appliance runs.
  // builtins.listToAttrs (map (name: {
      inherit name;
      value = "";
    }) [
      "bash-completion"
      "bcache-tools"
      "dosfstools"
      "glibc-locales"
      "grafana"
      "grafana-loki"
      "hicolor-icon-theme"
      "iana-etc"
      "kexec-tools"
      "make-initrd-ng"
      "man-db"
      "nano"
      "nixos-init"
      "nss-cacert"
      "oauth2-proxy"
      "sound-theme-freedesktop"
      "xauth"
    ])
