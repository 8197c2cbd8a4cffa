# The built OHIF viewer out of its npm package, with the steps of podman/nginx/Containerfile.
{
  lib,
  stdenvNoCC,
  cacert,
  nodejs,
  versions,
}: let
  version = versions.OHIF_VERSION;
  archive = stdenvNoCC.mkDerivation {
    name = "ohif-app-${version}.tgz";
    nativeBuildInputs = [nodejs];
    # npm asks the registry that it is set up for; a proxy with an authority of its own names it in the environment.
    impureEnvVars = lib.fetchers.proxyImpureEnvVars ++ ["NODE_EXTRA_CA_CERTS" "npm_config_registry"];
    SSL_CERT_FILE = "${cacert}/etc/ssl/certs/ca-bundle.crt";
    buildCommand = ''
      HOME=$TMPDIR npm pack --silent "@ohif/app@${version}"
      mv ./*.tgz $out
    '';
    outputHashMode = "flat";
    outputHash = versions.OHIF_INTEGRITY;
  };
in
  stdenvNoCC.mkDerivation {
    pname = "ohif-viewer";
    inherit version;
    src = archive;
    sourceRoot = "package/dist";
    # Machine learning needs models from elsewhere, which the viewer must not reach; the rest is for nginx's gzip_static.
    buildPhase = ''
      runHook preBuild
      rm -r ort
      find . -name '*.map' -delete
      find . -type f -size +1k -regex '.*\.\(css\|html\|js\|json\|svg\|wasm\)' -exec gzip -9 --keep --no-name {} +
      runHook postBuild
    '';
    installPhase = ''
      runHook preInstall
      mkdir -p $out/share
      cp -r . $out/share/ohif
      runHook postInstall
    '';
    # The files stay as they were published.
    dontFixup = true;
    meta = {
      description = "Zero-footprint web viewer for DICOM";
      homepage = "https://ohif.org/";
      license = lib.licenses.mit;
      platforms = lib.platforms.all;
    };
  }
