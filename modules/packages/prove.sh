#!/usr/bin/env bash
# Builds what the packages describe on Debian testing, with Debian's libraries: their sources, hashes, patches, flags and steps.
# A run by hand, of about half an hour. SOURCES may hold archives, or unpacked trees, that the mirror does not have.
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${NIXPKGS:?set it to the folder of a nixpkgs tree}" "${BASE_TESTING:?set it to the name of the image of Debian testing}"
nix_image=${NIX_IMAGE:-localhost/nixtools}
sources=${SOURCES:-$(mktemp -d)}
image=localhost/dicom-stack/prove
[[ -d /run/systemd/system ]] || export CONTAINERS_CONF=$PWD/podman/containers.conf

# Hosts whose way out is inspected have an authority of their own, which the downloads must trust.
mounts=(-v "$NIXPKGS:/nixpkgs:ro" -v "$PWD:/repo:ro" -v "$(realpath "$sources"):/sources:ro")
[[ -d /usr/local/share/ca-certificates ]] && mounts+=(-v /usr/local/share/ca-certificates:/usr/local/share/ca-certificates:ro)

steps=$(podman run --rm "${mounts[@]}" "$nix_image" \
  nix-instantiate --eval --raw /repo/modules/packages/prove.nix --argstr nixpkgs /nixpkgs)

podman build -q -t "$image" --build-arg BASE="$BASE_TESTING" -f - modules/packages <<'END' >/dev/null
ARG BASE
FROM ${BASE}
RUN sed -n 's/^deb /deb-src /p' /etc/apt/sources.list >/etc/apt/sources.list.d/source.list \
    && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qqy --no-install-recommends \
        build-essential ca-certificates cmake curl jq maven npm openssl patch pkgconf postgresql unzip \
        libboost-all-dev libcharls-dev libcivetweb-dev libcurl4-openssl-dev libdcmtk-dev libgdcm-dev libgtest-dev libicu-dev \
        libjpeg-dev libjsoncpp-dev liblua5.3-dev libminizip-dev libpng-dev libpq-dev libprotobuf-dev libpugixml-dev \
        libsqlite3-dev libssl-dev libwrap0-dev postgresql-server-dev-all protobuf-compiler python3-dev uuid-dev zlib1g-dev \
        python3-cryptography python3-jwt python3-pip python3-prometheus-client python3-psycopg2 python3-pydicom python3-pystache \
        python3-requests python3-setuptools python3-venv python3-watchdog >/var/log/prove 2>&1 || { tail /var/log/prove; exit 1; }
END

podman run --rm -i "${mounts[@]}" "$image" bash -s <<<". /repo/modules/packages/prove-steps.sh
$steps
exit \$failed"
