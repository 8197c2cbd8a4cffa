# The appliance under test: the module as a site configures it, with a certificate made for the test.
module: {pkgs, ...}: let
  inherit (import (pkgs.path + "/nixos/tests/ssh-keys.nix") pkgs) snakeOilPublicKey;
  tls = import ./tls.nix pkgs;
in {
  imports = [module];

  services.dicom-stack = {
    enable = true;
    domain = "appliance";
    certificateFile = "/etc/tls/server.crt";
    certificateKeyFile = "/etc/tls/server.key";
    cooldownSeconds = 2;
    doors.page.enable = true;
  };
  environment.etc = {
    "tls/server.crt".source = "${tls}/server.crt";
    "tls/server.key" = {
      source = "${tls}/server.key";
      mode = "0440";
      group = "nginx";
    };
  };

  # How the client drops files and asks for clinics and people.
  services.openssh.enable = true;
  users.users.root.openssh.authorizedKeys.keys = [snakeOilPublicKey];

  virtualisation = {
    cores = 2;
    diskSize = 8192;
    memorySize = 6144;
  };
}
