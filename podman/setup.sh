#!/usr/bin/env bash
# Installs what the host needs for the Podman form: Debian's packages, and podman-compose in .venv; with --tests what the
# tests need, with --tests --boot also what runs the NixOS form's units.
set -euo pipefail

cd "$(dirname "$0")/.."

packages=(aardvark-dns ca-certificates catatonit debian-archive-keyring iptables kmod mmdebstrap
  netavark openssl podman python3 python3-venv runc)
if [[ ${1:-} == --tests ]]; then
  # libatomic1 is for the Node.js that Playwright brings along.
  packages+=(chromium dcmtk fonts-dejavu-core git libatomic1 libnss3-tools shellcheck shfmt smbclient strace testssl.sh xfsprogs)
fi

# What runs the NixOS form's units.
[[ ${2:-} == --boot ]] && packages+=(iproute2 systemd-container)

missing=()
for package in "${packages[@]}"; do
  [[ $(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null) == ii* ]] || missing+=("$package")
done
if ((${#missing[@]})); then
  if ((EUID != 0)); then
    echo "These Debian packages are missing and only root can install them: ${missing[*]}" >&2
    exit 1
  fi
  echo "set-up: installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

locks=(podman/requirements.txt)
[[ ${1:-} == --tests ]] && locks+=(importer/requirements.txt tests/requirements.txt)
for lock in "${locks[@]}"; do
  stamp=.venv/$(sha256sum "$lock" | cut -c1-16)
  [[ -e $stamp ]] && continue
  echo "set-up: Python packages of $lock"
  [[ -x .venv/bin/python ]] || /usr/bin/python3 -m venv .venv
  .venv/bin/pip install -q --disable-pip-version-check --require-hashes -r "$lock"
  touch "$stamp"
done
