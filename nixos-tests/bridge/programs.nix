# What is no package of Debian's, or has other names there.
{images}: _: prev: let
  inherit (prev) lib runCommand writeShellScriptBin;
  # A program that Debian has by another name.
  renamed = name: there: runCommand name {meta.mainProgram = name;} "mkdir -p $out/bin && ln -s /usr/bin/${there} $out/bin/${name}";
in {
  # The other one is compiled.
  makeBinaryWrapper = prev.makeShellWrapper;
  lndir = writeShellScriptBin "lndir" ''
    shift $(($# > 2 ? $# - 2 : 0))
    [[ ! -d $1 ]] || exec cp -rs "$1/." "''${2:-.}"
  '';
  # For files that have nothing to substitute: -o OUT -i IN.
  envsubst = writeShellScriptBin "envsubst" ''exec cp "$4" "$2"'';
  # NEEDLE FILE-WITH-SECRET FILE; nixpkgs' asks for a `python`, which Debian does not have.
  replace-secret = prev.writeScriptBin "replace-secret" ''
    #!/usr/bin/python3
    import pathlib, sys
    needle, secret, file = sys.argv[1:]
    file = pathlib.Path(file)
    file.write_text(file.read_text().replace(needle, pathlib.Path(secret).read_text().strip("\n")))
  '';
  prometheus-blackbox-exporter = renamed "blackbox_exporter" "prometheus-blackbox-exporter";
  prometheus-nginx-exporter = renamed "nginx-prometheus-exporter" "prometheus-nginx-exporter";
  prometheus-node-exporter = renamed "node_exporter" "prometheus-node-exporter";
  prometheus-postgres-exporter = renamed "postgres_exporter" "prometheus-postgres-exporter";
  prometheus-alertmanager = runCommand "alertmanager" {meta.mainProgram = "alertmanager";} ''
    mkdir -p $out/bin
    ln -s /usr/bin/prometheus-alertmanager $out/bin/alertmanager
    ln -s /usr/bin/amtool $out/bin/amtool
  '';
  # Built as the Podman form's image has it, which lies there; its script is changed as nixpkgs does.
  keycloak = lib.makeOverridable (_:
    runCommand "keycloak-${prev.keycloak.version}" {
      inherit images;
      passthru = {
        inherit (prev.keycloak) version;
        plugins = prev.keycloak.plugins or {};
      };
    } ''
      mkdir -p $out/bin
      for name in conf lib providers themes; do
        ln -s /opt/keycloak/$name $out/$name
      done
      sed -e "s|'\$(abs_path '..')'|\$KC_HOME_DIR|; s|'\$(abs_path '../conf')'|\$KC_CONF_DIR|" \
        -e "2i JAVA_HOME=/usr/lib/jvm/java-21-openjdk-amd64" /opt/keycloak/bin/kc.sh >$out/bin/kc.sh
      grep -q KC_HOME_DIR $out/bin/kc.sh && grep -q KC_CONF_DIR $out/bin/kc.sh || {
        echo "Keycloak's kc.sh has changed: look at nixpkgs' patch of it" >&2
        exit 1
      }
      chmod +x $out/bin/kc.sh
    '') {};
  ohif-viewer =
    runCommand "ohif-viewer-${prev.ohif-viewer.version}" {} "mkdir -p $out/share && ln -s /opt/ohif $out/share/ohif";
  # Compiled by cargo as switch/Containerfile says.
  switch-to-configuration-ng = runCommand "switch-to-configuration" {
    inherit images;
    meta.mainProgram = "switch-to-configuration";
  } "install -D /opt/switch/switch-to-configuration $out/bin/switch-to-configuration";
  dicom-importer = runCommand "dicom-importer" {meta.mainProgram = "dicom-importer";} ''
    mkdir -p $out/bin
    while read -r name module; do
      cat >$out/bin/$name <<END
    #!/usr/bin/python3 -B
    import sys
    sys.path.insert(0, "${../../importer/src}")
    sys.path.append("/opt/python")
    from $module.cli import main
    raise SystemExit(main())
    END
      chmod +x $out/bin/$name
    done <<'END'
    dicom-importer dicom_importer
    dicom-audit access_audit
    dicom-backup dicom_backup
    dicom-receiver dicom_receiver
    END
  '';
}
