# The DICOM Web Viewer Stack as NixOS modules, one a service, in the order in which they need each other.
{
  imports = [
    ./options.nix
    ./names.nix
    ./secrets.nix
    ./hardening.nix
    ./postgresql.nix
    ./before.nix
    ./keycloak.nix
    ./realm.nix
    ./orthanc.nix
    ./ohif.nix
    ./importer.nix
    ./receiver.nix
    ./nginx.nix
    ./auditor.nix
    ./exporters.nix
    ./prometheus.nix
    ./alertmanager.nix
    ./loki.nix
    ./grafana.nix
    ./shipper.nix
    ./operator.nix
    ./backup.nix
    ./command.nix
  ];
}
