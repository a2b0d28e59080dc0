#!/bin/sh
# Makes the data folder if it is empty, then becomes the server.
set -eu

bin=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    umask 077
    password=$(mktemp)
    printf '%s' "$POSTGRES_PASSWORD" > "$password"
    "$bin/initdb" --pgdata="$PGDATA" --username=postgres --pwfile="$password" --no-sync \
        --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8
    rm "$password"
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
fi
program=$1
shift
exec "$bin/$program" -c listen_addresses='*' "$@"
