#!/bin/sh
# Gives the engine its secrets: every file of the secrets' folder whose name begins with ASTRA_ becomes the
# environment variable of that name. Nothing else of a container knows them.
set -eu
for file in "${SECRETS_DIR:-/run/secrets}"/ASTRA_*; do
    [ -f "$file" ] && export "$(basename "$file")=$(cat "$file")"
done
exec astra "$@"
