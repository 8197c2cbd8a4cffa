# The acceptance suite with what it reads of the rest of the repository.
pkgs: let
  inherit (pkgs.lib) fileset;
in
  fileset.toSource {
    root = ../.;
    fileset = fileset.unions [../importer/src ../modules/names.json ../podman ../tests];
  }
