# nixpkgs whose packages link to Debian's files: what is compiled is a stub, what is only written (texts, units, trees of
# links) is built as nixpkgs says. Built nowhere but in the bridge's container: without a sandbox a link into /usr is a
# way to write there.
{
  nixpkgs,
  # Names of the images whose files are linked to: with others it is all built anew.
  images,
  overlays,
}: let
  lib = import (nixpkgs + "/lib");
  inherit (lib) isFunction;
  debian = import ./debian.nix;
  platform = lib.systems.elaborate "x86_64-linux";

  # What would bring in other packages.
  lists = ["buildInputs" "checkInputs" "nativeBuildInputs" "propagatedBuildInputs" "propagatedNativeBuildInputs"];

  compiled = args: (args ? src || args ? srcs) && !(args ? buildCommand) && (args ? pname || !(args ? builder)) && !(args.dontUnpack or false) && !(args ? outputHash);

  stub = args: let
    pname = args.pname or (lib.getName args.name);
  in
    args
    // lib.genAttrs (builtins.filter (name: args ? ${name}) lists) (_: [])
    // {debian = debian.${pname} or pname;};

  # How it would be compiled stays there for whoever changes it, and is never looked at.
  derivation = args:
    if args ? debian
    then
      args
      // builtins.derivation {
        inherit (args) debian name system;
        inherit images;
        outputs = args.outputs or ["out"];
        builder = "/bin/bash";
        args = ["-eu" ./link.sh];
      }
    else builtins.derivation args;
  makeDerivation = builtins.scopedImport {inherit derivation;} (nixpkgs + "/pkgs/stdenv/generic/make-derivation.nix");

  stages = {
    config,
    overlays,
    ...
  }: let
    makeStdenv = cc:
      import (nixpkgs + "/pkgs/stdenv/generic") {defaultConfig = config;} {
        inherit cc config;
        name = "stdenv-debian";
        buildPlatform = platform;
        hostPlatform = platform;
        targetPlatform = platform;
        shell = "/bin/bash";
        initialPath = ["/" "/usr"];
        fetchurlBoot = null;
        preHook = "export NIX_ENFORCE_PURITY=";
        mkDerivationFromStdenv = stdenv: let
          real = (makeDerivation lib config stdenv).mkDerivation;
        in
          given:
            real (self: let
              args =
                if isFunction given
                then given self
                else given;
            in
              if compiled args
              then stub args
              else args);
      };
    bare = makeStdenv null;
    cc =
      bare.mkDerivation {
        name = "cc-debian";
        buildCommand = "mkdir $out";
      }
      // {
        isGNU = true;
        isClang = false;
        isLLVM = false;
        isZig = false;
        targetPrefix = "";
        suffixSalt = "";
        bintools = cc // {dynamicLinker = "/lib64/ld-linux-x86-64.so.2";};
        libc = bare.mkDerivation {
          pname = "glibc";
          version = "2";
          src = null;
          outputs = ["out" "bin" "dev" "getent"];
        };
        cc = cc;
        lib = cc;
        version = "15";
      };
  in [
    ({}: {
      __raw = true;
      inherit cc;
      fetchurl = import (nixpkgs + "/pkgs/build-support/fetchurl") {
        inherit lib;
        inherit (config) hashedMirrors rewriteURL;
        stdenvNoCC = bare;
        curl = null;
      };
    })
    (prevStage: {
      inherit config overlays;
      stdenv =
        makeStdenv cc
        // {
          inherit (prevStage) fetchurl;
          overrides = _: _: {inherit (prevStage) fetchurl;};
        };
    })
  ];
in
  import (nixpkgs + "/pkgs/top-level") {
    localSystem.system = "x86_64-linux";
    stdenvStages = stages;
    inherit overlays;
  }
