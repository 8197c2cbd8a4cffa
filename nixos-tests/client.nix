# The other side: Chromium, the acceptance suite, and the appliance's inboxes as a workstation sees them.
{pkgs, ...}: let
  inherit (import (pkgs.path + "/nixos/tests/ssh-keys.nix") pkgs) snakeOilPrivateKey;
  suite = import ./suite.nix pkgs;
  python = pkgs.python3.withPackages (ps: [
    ps.cryptography
    ps.hypothesis
    ps.numpy
    ps.pillow
    ps.playwright
    ps.prometheus-client
    ps.pydicom
    ps.pyjwt
    ps.pytest
    ps.pyyaml
    ps.requests
    ps.watchdog
  ]);
in {
  environment.systemPackages = [
    pkgs.chromium
    pkgs.nssTools
    pkgs.openssh
    pkgs.sshfs
    python
    # ssh hands one string to a shell, and names of clinics have spaces.
    (pkgs.writeShellApplication {
      name = "on-appliance";
      text = ''exec ssh appliance "$(printf '%q ' "$@")"'';
    })
    (pkgs.writeShellApplication {
      name = "acceptance";
      text = ''
        cp -r --no-preserve=mode ${suite} /tmp/suite
        cd /tmp/suite
        exec python3 -B -m pytest -c tests/pytest.ini --stack=https://appliance --ca=${import ./tls.nix pkgs}/ca.crt \
          --files=/files --control="on-appliance dicom-stack" "$@"
      '';
    })
  ];
  programs.fuse.userAllowOther = true;
  programs.ssh.extraConfig = ''
    Host appliance
      User root
      IdentityFile /root/key
      StrictHostKeyChecking no
  '';
  systemd.tmpfiles.rules = ["C /root/key 0400 root root - ${snakeOilPrivateKey}"];

  virtualisation = {
    cores = 2;
    memorySize = 3072;
  };
}
