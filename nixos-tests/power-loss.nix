# The power goes in the middle of an import: afterwards every image is in the archive once, and nothing has failed.
{
  appliance,
  pkgs,
  ...
}: let
  suite = import ./suite.nix pkgs;
  count = 300;
  drop = pkgs.writeText "drop.py" ''
    """Puts one study of many images into a clinic's inbox."""

    from pathlib import Path

    from harness import drop, phantom

    drop.put(Path("/files/inbox/clinic-a/power"), phantom.ct(1, slices=${toString count}).files)
  '';
in {
  name = "dicom-stack-power-loss";
  nodes = {
    inherit appliance;
    client = ./client.nix;
  };
  testScript = ''
    def files(folder):
        return int(appliance.succeed(f"find /{folder}/ -type f | wc -l"))

    def ready():
        appliance.wait_for_unit("multi-user.target")
        appliance.wait_until_succeeds("dicom-stack status", timeout=600)

    start_all()
    ready()
    appliance.succeed("dicom-stack clinic clinic-a 'Clinic A'")
    client.wait_for_unit("multi-user.target")
    client.succeed("mkdir /files && sshfs appliance:/srv/dicom-stack/files /files -o allow_other")
    client.succeed("PYTHONPATH=${suite}/tests:${suite}/podman python3 -B ${drop}")
    appliance.wait_until_succeeds("[ $(find /processed/ -type f | wc -l) -ge 20 ]", timeout=120)
    appliance.crash()
    appliance.start()
    ready()
    appliance.wait_until_succeeds("[ $(find /inbox/ -type f | wc -l) -eq 0 ]", timeout=600)
    assert files("processed") == ${toString count}, files("processed")
    assert files("failed") == 0
    stored = appliance.succeed("sudo -u postgres psql -At -d orthanc -c 'select count(*) from resources where resourcetype = 3'")
    assert int(stored) == ${toString count}, stored
  '';
}
