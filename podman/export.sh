#!/usr/bin/env bash
# Writes what a command prints into a new file, whole or not at all, readable by its owner alone.
set -euo pipefail

target=$1
shift
if [[ -z $target || -e $target ]]; then
  echo "Nothing was exported: ${target:+$target is there already, }say a new file with TO=folder/file.zip" >&2
  exit 1
fi
part=$(mktemp -- "$target.XXXXXX.part")
trap 'rm -f -- "$part"' EXIT
"$@" >"$part"
sync -- "$part"
mv -nT -- "$part" "$target"
echo "$target: $(stat --format=%s -- "$target") bytes"
