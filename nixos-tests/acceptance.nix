# Real DICOM is dropped, a physician of that clinic reads it in Chromium, another clinic's physician finds nothing.
{appliance, ...}: {
  name = "dicom-stack-acceptance";
  nodes = {
    inherit appliance;
    client = ./client.nix;
  };
  testScript = ''
    start_all()
    appliance.wait_for_unit("multi-user.target")
    appliance.wait_until_succeeds("dicom-stack status", timeout=600)
    client.wait_for_unit("multi-user.target")
    client.succeed("mkdir /files && sshfs appliance:/srv/dicom-stack/files /files -o allow_other")
    print(client.succeed("acceptance tests/e2e", timeout=1800))
  '';
}
