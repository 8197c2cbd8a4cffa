#!/usr/bin/env bash
# Makes the cluster on first start, keeps the roles in step with their secrets, then becomes PostgreSQL.
set -euo pipefail
umask 077

home=/var/lib/postgresql
version_dir=$home/$POSTGRESQL_MAJOR
data=$version_dir/main
config=/etc/postgresql/postgresql.conf

die() {
  echo "postgresql: $*" >&2
  exit 1
}

for name in orthanc keycloak monitoring; do
  [[ -s /run/secrets/${name}_db_password ]] || die "/run/secrets/${name}_db_password is missing or empty"
done

# postmaster.pid cannot guard against a second container, whose process ids mean nothing here; a lock can.
# It is inherited by every server process, so it lasts as long as the last of them, and no longer.
exec {lock}>"$home/lock"
flock --nonblock "$lock" || die "$home is in use by another container"

if [[ ! -e $data ]]; then
  for other in "$home"/*/main; do
    [[ ! -e $other ]] || die "$other is of another major version; migrate it before starting version $POSTGRESQL_MAJOR"
  done
  # Made aside and renamed, so that a cluster either is whole or is not there.
  rm -rf "$version_dir/new"
  mkdir -p "$version_dir"
  initdb --pgdata="$version_dir/new" --username=postgres --auth-local=peer --auth-host=reject \
    --data-checksums --encoding=UTF8 --locale-provider=builtin --locale=C.UTF-8 >/dev/null
  mv --no-target-directory "$version_dir/new" "$data"
  sync "$version_dir" "$home"
fi
rm -f "$data/postmaster.pid"

# Nobody but this script reaches the server until the roles are right: it listens on its socket only.
socket=$(mktemp --directory)
trap 'exit 1' INT TERM
trap 'pg_ctl stop --pgdata="$data" --mode=fast --silent' EXIT
pg_ctl start --pgdata="$data" --wait --timeout=600 --silent \
  --options="-c config_file=$config -c listen_addresses= -c unix_socket_directories=$socket"
for name in orthanc keycloak monitoring; do
  # The password reaches psql by file and the server by socket; a failing statement is not logged, for it would show it.
  PGOPTIONS='-c log_min_error_statement=panic' \
    psql --quiet --no-psqlrc --host="$socket" --dbname=postgres --file=/etc/postgresql/roles.sql \
    --set=name="$name" --set=secret="/run/secrets/${name}_db_password"
done
trap - EXIT INT TERM
pg_ctl stop --pgdata="$data" --mode=fast --silent
exec postgres -D "$data" -c config_file="$config" -c unix_socket_directories="$PGHOST"
