#!/usr/bin/env bash
# Becomes smbd, which keeps what it remembers in memory: there is nothing in it that a restart must keep.
set -euo pipefail

mkdir -p /run/samba/{cache,lock,ncalrpc,private,state}
exec /usr/sbin/smbd --foreground --no-process-group --debug-stdout --configfile=/etc/smb/smb.conf
