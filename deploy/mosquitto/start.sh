#!/bin/sh
# Starts Mosquitto with users.acl for the instance, and hashes of each role's password.
# `start.sh tls.conf` listens with TLS, and not without.
set -eu
conf="$(cd "$(dirname "$0")" && pwd)"
secrets="${SECRETS_DIR:-/run/secrets}"
run="${RUN_DIR:-/run/mosquitto}"
umask 077

sed "s/@instance@/${ASTRA_INSTANCE:-astra}/g" "$conf/users.acl" >"$run/users.acl"
: >"$run/passwords"
for role in engine operator dashboard feed; do
    [ -s "$secrets/mqtt_$role" ] || { echo "no password for mqtt_$role in $secrets" >&2; exit 1; }
    printf '%s:%s\n' "$role" "$(cat "$secrets/mqtt_$role")" >>"$run/passwords"
done
mosquitto_passwd -U "$run/passwords"
{
    # Whoever started this script: a container gives it a user of its own.
    printf 'user %s\n' "$(id -un)"
    printf 'persistence_location %s/\n' "${DATA_DIR:-/mosquitto/data}"
    cat "$conf/mosquitto.conf"
    sed "s|^listener \([0-9]*\)|listener ${PORT:-\1} ${BIND:-}|" "$conf/${1:-plain.conf}"
} >"$run/server.conf"
for file in ca.crt server.crt server.key; do
    if [ -f "$conf/$file" ]; then cp "$conf/$file" "$run/$file"; fi
done
cd "$run"
exec mosquitto -c server.conf
