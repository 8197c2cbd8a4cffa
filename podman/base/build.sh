#!/usr/bin/env bash
# Builds a base image from Debian's packages: build.sh SUITE TAG, with DEBIAN_MIRROR and MIRROR_LAG_DAYS from the environment.
set -euo pipefail

suite=${1:?which suite, trixie or forky} tag=${2:?which tag for the image}
here=$(cd "$(dirname "$0")" && pwd)
# A mirror that is not kept up to date serves lists past their validity date. A frozen mirror hides security updates,
# so they are taken only when there are no valid ones, and only so old.
lag_days=${MIRROR_LAG_DAYS:-60}
work=$(mktemp --directory --tmpdir="${TMPDIR:-/var/tmp}" base.XXXXXX)
trap 'rm -rf "$work"' EXIT

# No source is no argument: mmdebstrap then takes Debian's own, with updates and security.
sources=()
if [[ -n ${DEBIAN_MIRROR:-} ]]; then
  mirror=${DEBIAN_MIRROR%/}
  sources=("deb $mirror $suite main" "deb $mirror $suite-updates main" "deb $mirror-security $suite-security main")
fi

options=(
  --mode=root --variant=minbase --format=tar
  --include=ca-certificates --include=tini --include=tzdata
  --aptopt='Acquire::Languages "none"'
  --aptopt='Acquire::Retries "3"'
  --aptopt='APT::Install-Recommends "false"'
  --aptopt='DPkg::Use-Pty "false"'
  --customize-hook="install -o 0 -g 0 '$here/http-ok' '$here/require-version' \"\$1/usr/local/bin\""
  --customize-hook="find \"\$1\" -xdev -perm /6000 -type f -exec chmod ug-s {} +"
)
for path in doc i18n info lintian locale man; do
  options+=(--dpkgopt="path-exclude=/usr/share/$path/*")
done
# What maintainer scripts expect to find: the licences, and directories for manual pages.
options+=(--dpkgopt='path-include=/usr/share/doc/*/copyright' --dpkgopt='path-include=/usr/share/man/man[1-9]')

bootstrap() {
  mmdebstrap "${options[@]}" "$@" "$suite" "$work/root.tar" "${sources[@]}" >"$work/log" 2>&1
}

fail() {
  cat "$work/log" >&2
  exit 1
}

if ! bootstrap; then
  grep -q 'Release file .* is expired' "$work/log" || fail
  if ((lag_days == 0)); then
    echo "The mirror's lists of $suite are past their validity date. Use a current mirror (DEBIAN_MIRROR)" \
      "or say how many days old they may be (MIRROR_LAG_DAYS)." >&2
    exit 1
  fi
  echo "Warning: the mirror's lists of $suite are past their validity date; taken as long as they are" \
    "at most $lag_days days old (MIRROR_LAG_DAYS=0 forbids it)." >&2
  bootstrap --aptopt="Acquire::Min-ValidTime \"$((lag_days * 86400))\"" || fail
fi
podman import --quiet --change "LABEL dicom-stack.suite=$suite" "$work/root.tar" "$tag"
