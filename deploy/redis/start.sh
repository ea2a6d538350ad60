#!/bin/sh
# Starts Redis with users.acl, in which it puts the name of the instance and a hash of each role's password.
# Arguments go to the server and win over redis.conf: `start.sh tls.conf`, `start.sh --port 7000`.
set -eu
conf="$(cd "$(dirname "$0")" && pwd)"
secrets="${SECRETS_DIR:-/run/secrets}"
run="${RUN_DIR:-/run/redis}"
umask 077

hash_of() {
    [ -s "$secrets/$1" ] || { echo "no password for $1 in $secrets" >&2; exit 1; }
    # As a shell reads it: a newline at the end is no part of the password.
    printf %s "$(cat "$secrets/$1")" | sha256sum | cut -c 1-64
}

cp "$conf/users.acl" "$run/users.acl"
for role in redis_engine redis_operator redis_dashboard redis_feed; do
    hash="$(hash_of "$role")"
    sed -i "s/@$role@/$hash/" "$run/users.acl"
done
sed -i "s/@instance@/${ASTRA_INSTANCE:-astra}/g" "$run/users.acl"
{
    cat "$conf/redis.conf"
    printf 'aclfile %s\n' "$run/users.acl"
    if [ "${1:-}" = tls.conf ]; then cat "$conf/tls.conf"; fi
} >"$run/server.conf"
if [ "${1:-}" = tls.conf ]; then shift; fi
cd "${DATA_DIR:-/data}"
exec "${SERVER:-valkey-server}" "$run/server.conf" "$@"
