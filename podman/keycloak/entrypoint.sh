#!/usr/bin/env bash
# Joins the configuration with the secrets, since Keycloak takes a single file, and becomes Keycloak.
set -euo pipefail
umask 077

config=/tmp/keycloak.conf
{
  cat /etc/keycloak/keycloak.conf
  printf 'db-password=%s\n' "$(</run/secrets/keycloak_db_password)"
  printf 'bootstrap-admin-client-id=realm-reconciler\n'
  printf 'bootstrap-admin-client-secret=%s\n' "$(</run/secrets/realm_reconciler_secret)"
} >"$config"
# Keycloak's working directory points there; nothing in it must last.
mkdir -p /tmp/keycloak
exec /opt/keycloak/bin/kc.sh --config-file="$config" start --optimized
