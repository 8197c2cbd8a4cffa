# Debian's packages behind nixpkgs' names, where they differ.
{
  bash-interactive = "bash";
  coreutils-full = "coreutils";
  dbus = "dbus-bin dbus-daemon dbus-system-bus-common dbus-session-bus-common dbus";
  gawk = "mawk";
  getent = "libc-bin";
  glibc = "libc-bin";
  glibc-nolibgcc = "libc-bin";
  gnugrep = "grep";
  gnused = "sed";
  gnutar = "tar";
  hostname-debian = "hostname";
  java = "openjdk-21-jre-headless";
  openjdk = "openjdk-21-jre-headless";
  openssh = "openssh-client";
  orthanc-plugin-dicomweb = "orthanc-dicomweb";
  orthanc-plugin-gdcm = "orthanc-gdcm";
  orthanc-plugin-postgresql = "orthanc-postgresql";
  orthanc-plugin-python = "orthanc-python";
  perl = "perl-base perl";
  postgresql = "postgresql-18 postgresql-client-18";
  procps = "procps";
  python3 = "python3-minimal python3.13-minimal python3";
  shadow = "passwd login";
  systemd = "udev systemd systemd-sysv";
  systemd-minimal = "udev systemd systemd-sysv";
  util-linux = "util-linux mount login fdisk bsdutils util-linux-extra";
  util-linux-minimal = "util-linux mount login fdisk bsdutils util-linux-extra";
}
