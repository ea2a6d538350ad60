#!/bin/sh
# Makes the secrets of docker-compose.yml, those that are not there yet, in deploy/secrets: only the owner gets
# into the folder, and each container is given nothing but its own files.
set -eu
folder="$(cd "$(dirname "$0")" && pwd)/secrets"
mkdir -p -m 0700 "$folder"
for name in redis_engine redis_operator redis_dashboard redis_feed \
    mqtt_engine mqtt_operator mqtt_dashboard mqtt_feed \
    operator_key halt_key console_token grafana_admin; do
    if [ ! -s "$folder/$name" ]; then
        openssl rand -hex 32 >"$folder/$name"
        # Containers run under other users than the owner; the folder keeps everybody else out.
        chmod 0444 "$folder/$name"
        echo "made $name"
    fi
done
