# The plugins of Orthanc that nixpkgs lacks, against Orthanc's shared framework.
{
  debianArchive,
  final,
  lib,
}: let
  inherit (lib) cmakeBool cmakeFeature getDev;
  inherit (final) libpq orthanc orthanc-framework protobuf python3;

  plugin = {
    name,
    archive,
    license,
    description,
    python ? python3,
    ...
  } @ args:
    final.stdenv.mkDerivation (removeAttrs args ["archive" "description" "license" "name" "python"]
      // {
        pname = "orthanc-plugin-${name}";
        inherit (archive) version;
        src = debianArchive ({name = "orthanc-${name}";} // archive);
        strictDeps = true;
        nativeBuildInputs = [final.cmake final.unzip python] ++ args.nativeBuildInputs or [];
        buildInputs = [final.boost final.jsoncpp final.libuuid orthanc orthanc-framework] ++ args.buildInputs or [];
        cmakeFlags =
          [
            (cmakeFeature "ORTHANC_FRAMEWORK_SOURCE" "system")
            (cmakeFeature "ORTHANC_FRAMEWORK_ROOT" "${orthanc-framework}/include/orthanc-framework")
            # Two of the releases are older than the CMake that asks for a newer policy.
            (cmakeFeature "CMAKE_POLICY_VERSION_MINIMUM" "3.5")
          ]
          ++ args.cmakeFlags or [];
        meta = {
          inherit description license;
          homepage = "https://orthanc.uclouvain.be/book/plugins/${name}.html";
          platforms = lib.platforms.linux;
        };
      });
in {
  gdcm = plugin {
    name = "gdcm";
    description = "Plugin of Orthanc that decodes and transcodes images with GDCM";
    license = lib.licenses.gpl3Plus;
    archive = {
      version = "1.8";
      hash = "sha256-ydGivwU66jolT6QicZnykvcoJNEsshLmy9RDHJVRaxI=";
    };
    # Without VTK, which only GDCM's own viewers need.
    buildInputs = [(final.gdcm.override {enableVTK = false;})];
  };

  postgresql = plugin {
    name = "postgresql";
    description = "Plugin of Orthanc that keeps its index in PostgreSQL";
    license = lib.licenses.agpl3Plus;
    archive = {
      version = "5.0";
      hash = "sha256-7tlYhsrfgvPV2H4yBz6VKMsYbK3b3VpDP07XVHBnp4Y=";
    };
    patches = [./orthanc-plugin-postgresql.patch];
    cmakeDir = "../PostgreSQL";
    nativeBuildInputs = [protobuf];
    buildInputs = [final.gtest libpq final.openssl protobuf final.zlib];
    cmakeFlags = [
      (cmakeFeature "PostgreSQL_TYPE_INCLUDE_DIR" "${getDev libpq}/include/postgresql/server")
      (cmakeBool "CMAKE_SKIP_INSTALL_ALL_DEPENDENCY" true)
    ];
    # Not the unit tests, which need a database.
    buildFlags = ["OrthancPostgreSQLIndex" "OrthancPostgreSQLStorage"];
  };

  python = plugin {
    name = "python";
    description = "Plugin of Orthanc that runs plugins written in Python";
    license = lib.licenses.agpl3Plus;
    archive = {
      version = "7.1";
      repack = "ds";
      hash = "sha256-qxrBGK7dgY3jveE0yUEY4q39kYqTGjJC0FLq4AYMPV4=";
    };
    # Its build writes the wrapper of Orthanc's interface from templates.
    python = python3.pythonOnBuildForHost.withPackages (ps: [ps.pystache]);
    nativeBuildInputs = [final.pkg-config];
    buildInputs = [python3];
    cmakeFlags = [
      (cmakeFeature "ORTHANC_SDK_SYSTEM_DIR" "${getDev orthanc}/include/orthanc")
      (cmakeFeature "PYTHON_VERSION" python3.pythonVersion)
    ];
    passthru = {inherit python3;};
  };
}
