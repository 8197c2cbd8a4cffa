#!/usr/bin/env bash
# Becomes sshd, which wants an empty folder for its children that speak with strangers.
set -euo pipefail

install -d -m 0755 /run/sshd
exec /usr/sbin/sshd -D -e -f /etc/sftp/sshd_config
