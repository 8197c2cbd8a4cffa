# What nixpkgs has, raised to the versions of the images as long as nixpkgs' own are older.
{
  debianArchive,
  final,
  lib,
  prev,
  versions,
}: let
  inherit (lib) cmakeBool versionAtLeast;
  raise = package: version: change:
    if versionAtLeast package.version version
    then package
    else package.overrideAttrs (old: {inherit version;} // change old);
in {
  orthanc = let
    version = "1.13.0";
  in
    raise prev.orthanc version (old: {
      # Unpacked, for nixpkgs' expressions of Orthanc and of its framework take files out of it.
      src = final.applyPatches {
        name = "orthanc-${version}";
        src = debianArchive {
          name = "orthanc";
          inherit version;
          hash = "sha256-5Tw74KtfjIt3EsPdqq/2BWrQb5xUXrDDPMD0+v2ixDg=";
        };
      };
      # The archive comes without the bundled minizip, and without the JavaScript of Orthanc Explorer, which is off here.
      buildInputs = old.buildInputs ++ [final.minizip];
      # Each installation compiles this itself, in half the time without the unit tests.
      cmakeFlags = old.cmakeFlags ++ [(cmakeBool "USE_SYSTEM_MINIZIP" true) (cmakeBool "BUILD_UNIT_TESTS" false)];
    });

  orthanc-plugin-dicomweb = let
    version = "1.24";
  in
    raise prev.orthanc-plugin-dicomweb version (old: {
      src = debianArchive {
        name = "orthanc-dicomweb";
        inherit version;
        hash = "sha256-CL3V5ccotrwPT35QuUUc7XeJ+JTYf28GwfI0TU1xkzY=";
      };
      # The plugin's own web pages need JavaScript that its build would download; the stack does not serve them.
      postPatch = ''
        cat >Resources/CMake/JavaScriptLibraries.cmake <<'END'
        set(JAVASCRIPT_LIBS_DIR ''${CMAKE_CURRENT_BINARY_DIR}/javascript-libs)
        file(MAKE_DIRECTORY ''${JAVASCRIPT_LIBS_DIR})
        END
      '';
      cmakeFlags = old.cmakeFlags ++ [(cmakeBool "CMAKE_SKIP_INSTALL_ALL_DEPENDENCY" true)];
      buildFlags = ["OrthancDicomWeb"];
      # As its sources say; nixpkgs has the licence of Orthanc itself here.
      meta = old.meta // {license = lib.licenses.agpl3Plus;};
    });

  keycloak = let
    version = versions.KEYCLOAK_VERSION;
  in
    raise prev.keycloak version (old: {
      src = final.fetchurl {
        url = "mirror://maven/org/keycloak/keycloak-quarkus-dist/${version}/keycloak-quarkus-dist-${version}.zip";
        sha256 = versions.KEYCLOAK_SHA256;
      };
      nativeBuildInputs = old.nativeBuildInputs ++ [final.unzip];
    });
}
