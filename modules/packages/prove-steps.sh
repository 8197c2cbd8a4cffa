#!/usr/bin/env bash
# The steps of prove.sh within its container; the lines that prove.nix makes set their variables and call them.
# shellcheck disable=SC2034,SC2154,SC2317
set -euo pipefail
failed=0
update-ca-certificates >/dev/null 2>&1

prove() {
  local start=$SECONDS step=$1 name=$2 log=/work/$2.log result=ok
  shift 2
  mkdir -p "/work/$name"
  # Not as a condition: there, a failing command would not end the step.
  (
    cd "/work/$name"
    "$step" "$@"
  ) >"$log" 2>&1 </dev/null &
  wait $! || result=failed
  echo "$name: $result, $((SECONDS - start)) s$(sed -n 's/^note: /, /p' "$log")"
  [[ $result == ok ]] || { failed=1 && tail -n 20 "$log" | sed 's/^/  /'; }
}

same_hash() { # file, hash as Nix writes it
  local found
  found=${2%%-*}-$(openssl dgst "-${2%%-*}" -binary "$1" | base64 -w0)
  [[ $found == "$2" ]] || { echo "$1 has $found, not $2" && return 1; }
}

compile() { # flags of CMake
  local package=${archive%%_*} patch
  [[ ! -e /sources/$archive ]] || cp "/sources/$archive" .
  [[ -e $archive ]] || apt-get source --download-only "$package" || echo "the mirror lacks it"
  if [[ -e $archive ]]; then
    same_hash "$archive" "$hash"
    mkdir source && tar -xf "$archive" -C source --strip-components 1
  else
    cp -r "/sources/$package" source
    echo "note: from an unpacked tree, not from the archive of the hash"
  fi
  cd source
  for patch in $patches; do patch -p1 <"$patch"; done
  bash -euc "$post_patch"
  # After the package's own flags: where Debian has other folders and another Python.
  cmake -S "$folder" -B build -DCMAKE_INSTALL_PREFIX=/usr -DCMAKE_BUILD_TYPE=Release "$@" \
    -DPYTHON_VERSION="$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')" \
    -DPostgreSQL_TYPE_INCLUDE_DIR="$(dirname /usr/include/postgresql/*/server/catalog)"
  # shellcheck disable=SC2086 # several words
  cmake --build build --parallel 2 --target $targets
  cmake --install build
}

load() {
  pg_ctlcluster "$(ls /etc/postgresql)" main start
  su postgres -c "psql -c \"create role orthanc login password 'orthanc'\" -c 'create database orthanc owner orthanc'"
  # By a name that lives on: the plugin crashes at the end when it lets go of a function that nothing else holds.
  printf '%s\n' 'import cryptography, jwt, orthanc' 'def answer(output, uri, **_):' \
    ' output.AnswerBuffer(jwt.__version__, "text/plain")' 'orthanc.RegisterRestCallback("/jwt", answer)' >plugin.py
  jq -n --arg plugins "$plugins" '{Plugins: ($plugins | split(" ") | map("/usr/share/orthanc/plugins/" + .)),
    DicomServerEnabled: false, Python: {Path: "plugin.py"}, StorageDirectory: "storage",
    PostgreSQL: {EnableIndex: true, ConnectionUri: "postgresql://orthanc:orthanc@localhost/orthanc"}}' >orthanc.json
  Orthanc orthanc.json &
  local archive=http://localhost:8042
  curl -sSf --retry 30 --retry-connrefused --retry-delay 1 $archive/system | tee system.json
  curl -sSf -d '{"Tags": {"PatientID": "1"}}' $archive/tools/create-dicom
  curl -sSf $archive/dicom-web/studies | jq -e 'length == 1'
  curl -sSf -w '\n' $archive/jwt
  echo "note: Orthanc $(jq -r '.Version + " on " + (.DatabaseBackendPlugin | sub(".*/"; ""))' system.json) with$(
    for plugin in $(curl -sSf $archive/plugins | jq -r '.[] | select(endswith(".js") | not)'); do curl -sSf "$archive/plugins/$plugin" | jq -j '" " + .ID + " " + .Version'; done
  )"
  kill %1 && wait %1
}

wheel() {
  cp -r /repo/importer/{pyproject.toml,src} .
  python3 -m pip wheel --no-deps --no-build-isolation .
  python3 -m venv --system-site-packages venv && venv/bin/pip install --no-index ./*.whl
  "venv/bin/$program" --help
}

viewer() {
  TMPDIR=$PWD out=$PWD/package.tar bash -euc "$fetch"
  same_hash package.tar "$hash"
  tar -xf package.tar && cd "$sourceRoot"
  out=/work/ohif bash -euc "runHook() { :; } && $buildPhase$installPhase"
  echo "note: $(find /work/ohif -type f | wc -l) files of $(du -sh /work/ohif | cut -f1)"
}

keycloak() {
  local plugin=org.apache.maven.plugins:maven-dependency-plugin:$MAVEN_DEPENDENCY_PLUGIN_VERSION
  mvn -B -q -Dmaven.repo.local="$PWD/m" "$plugin:get" "-Dartifact=org.keycloak:keycloak-quarkus-dist:$version:zip" -Dtransitive=false
  cp m/org/keycloak/keycloak-quarkus-dist/"$version"/*.zip package.zip
  same_hash package.zip "$hash"
  unzip -q package.zip && cd "keycloak-$version"
  for patch in $patches; do patch -p1 <"$patch"; done
  bash -euc "runHook() { :; } && patchShebangs() { :; } && $buildPhase"
}
