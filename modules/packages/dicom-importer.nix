# The importer of this repository.
{
  lib,
  python3Packages,
}: let
  inherit (lib) fileset;
  root = ../../importer;
  inherit (lib.importTOML (root + "/pyproject.toml")) project;
in
  python3Packages.buildPythonApplication {
    pname = project.name;
    inherit (project) version;
    pyproject = true;
    src = fileset.toSource {
      inherit root;
      fileset = fileset.union (root + "/pyproject.toml") (fileset.fileFilter (file: file.hasExt "json" || file.hasExt "py" || file.hasExt "typed") (root + "/src"));
    };
    build-system = [python3Packages.setuptools];
    dependencies = [
      python3Packages.prometheus-client
      python3Packages.pydicom
      python3Packages.pynetdicom
      python3Packages.requests
      python3Packages.urllib3
      python3Packages.watchdog
    ];
    pythonImportsCheck = ["access_audit" "dicom_backup" "dicom_importer" "dicom_receiver"];
    meta = {
      inherit (project) description;
      license = lib.licenses.asl20;
      mainProgram = "dicom-importer";
      platforms = lib.platforms.linux;
    };
  }
