# What nixpkgs lacks or has too old for the stack, as an overlay: the same versions as podman/'s images have.
final: prev: let
  inherit (prev) lib;
  versions = (import ../library.nix).readSettings ../../podman/versions.env;
  # The images' builds refuse what is below the same floors.
  require = floor: package: lib.throwIf (lib.versionOlder package.version floor) "${package.name} is below the floor ${floor} of podman/versions.env" package;
  debianArchive = import ./debian-archive.nix {inherit (final) fetchurl;};
  raised = import ./raised.nix {inherit debianArchive final lib prev versions;};
  plugins = import ./orthanc-plugins.nix {inherit debianArchive final lib;};
in {
  keycloak = require versions.KEYCLOAK_FLOOR raised.keycloak;
  orthanc = require versions.ORTHANC_FLOOR raised.orthanc;
  orthanc-plugin-dicomweb = require versions.ORTHANC_DICOMWEB_FLOOR raised.orthanc-plugin-dicomweb;

  orthanc-plugin-gdcm = require versions.ORTHANC_GDCM_FLOOR plugins.gdcm;
  orthanc-plugin-postgresql = require versions.ORTHANC_POSTGRESQL_FLOOR plugins.postgresql;
  orthanc-plugin-python = require versions.ORTHANC_PYTHON_FLOOR plugins.python;

  # The modules that podman/orthanc/clinic_access_plugin.py needs, for the Python that the plugin is linked against.
  orthanc-python-env = final.orthanc-plugin-python.python3.withPackages (ps: [ps.cryptography ps.psycopg2 ps.pyjwt]);

  # The folder that the Plugins of podman/orthanc/orthanc.json are looked up in.
  orthanc-plugins =
    lib.addMetaAttrs {
      description = "Plugins that the stack loads into Orthanc";
      platforms = lib.platforms.linux;
    } (final.linkFarm "orthanc-plugins" (lib.mapAttrs (file: plugin: "${plugin}/share/orthanc/plugins/${file}") {
      "libOrthancDicomWeb.so" = final.orthanc-plugin-dicomweb;
      "libOrthancGdcm.so" = final.orthanc-plugin-gdcm;
      "libOrthancPostgreSQLIndex.so" = final.orthanc-plugin-postgresql;
      "libOrthancPython.so" = final.orthanc-plugin-python;
    }));

  ohif-viewer = require versions.OHIF_FLOOR (final.callPackage ./ohif-viewer.nix {inherit versions;});
  dicom-importer = final.callPackage ./dicom-importer.nix {};
}
