# The services' names: each resolves to a loopback address of its own, which the service binds.
{
  config,
  lib,
  ...
}: {
  config = lib.mkIf config.services.dicom-stack.enable {
    networking.hosts = lib.mapAttrs' (name: address: lib.nameValuePair address [name]) (lib.importJSON ./names.json);
  };
}
