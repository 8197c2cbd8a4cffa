# What prove.sh runs, as shell lines made from the packages themselves, so that nothing that they say stands twice.
{nixpkgs}: let
  pkgs = import nixpkgs {
    system = "x86_64-linux";
    overlays = [(import ./.)];
  };
  inherit (pkgs) lib keycloak ohif-viewer;
  inherit (lib) concatLines escapeShellArg escapeShellArgs mapAttrsToList;

  call = words: variables: concatLines (mapAttrsToList (name: value: "${name}=${escapeShellArg value}") variables ++ ["prove ${escapeShellArgs words}"]);

  compile = name: let
    package = pkgs.${name};
    archive = package.src.src or package.src;
    folders = lib.drop 1 (lib.splitString "/" (package.sourceRoot or "")) ++ [(lib.removePrefix "../" (package.cmakeDir or "."))];
    # Paths of nixpkgs' libraries say nothing to Debian, where CMake finds the same by itself.
    flags = builtins.filter (flag: !lib.hasInfix builtins.storeDir flag) package.cmakeFlags;
  in
    call (["compile" name] ++ flags) {
      archive = archive.name;
      folder = lib.concatStringsSep "/" folders;
      hash = archive.outputHash;
      patches = toString (map toString (package.patches or []));
      post_patch = package.postPatch or "";
      targets = toString (package.buildFlags or ["all"]);
    };
in
  concatLines [
    (lib.concatMapStrings compile [
      "orthanc-framework"
      "orthanc"
      "orthanc-plugin-gdcm"
      "orthanc-plugin-python"
      "orthanc-plugin-dicomweb"
      "orthanc-plugin-postgresql"
    ])
    (call ["load" "orthanc-plugins"] {plugins = toString (builtins.attrNames pkgs.orthanc-plugins.entries);})
    (call ["wheel" "dicom-importer"] {program = pkgs.dicom-importer.meta.mainProgram;})
    (call ["viewer" "ohif-viewer"] {
      inherit (ohif-viewer) buildPhase installPhase sourceRoot;
      fetch = ohif-viewer.src.buildCommand;
      hash = ohif-viewer.src.outputHash;
    })
    (call ["keycloak" "keycloak"] {
      inherit (keycloak) buildPhase version;
      hash = builtins.convertHash {
        hash = keycloak.src.outputHash;
        hashAlgo = "sha256";
        toHashFormat = "sri";
      };
      inherit ((import ../library.nix).readSettings ../../podman/versions.env) MAVEN_DEPENDENCY_PLUGIN_VERSION;
      patches = toString (map toString keycloak.patches);
    })
  ]
