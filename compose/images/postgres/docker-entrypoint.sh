#!/bin/bash
# The part of the public image's contract that compose/ha.yaml uses: POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB and
# the scripts of /docker-entrypoint-initdb.d, once, on an empty data folder.
set -euo pipefail

if [ "$(id -u)" = 0 ]; then
	install -d -o postgres -g postgres -m 0700 "$PGDATA"
	exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi

: "${POSTGRES_USER:=postgres}" "${POSTGRES_PASSWORD:?is not set}" "${POSTGRES_DB:=$POSTGRES_USER}"
export POSTGRES_USER POSTGRES_DB

if [ ! -s "$PGDATA/PG_VERSION" ]; then
	initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") \
		--auth-host=scram-sha-256 --auth-local=trust --encoding=UTF8 --locale=C.UTF-8 >/dev/null
	echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
	# Nobody but us may find it before it is complete.
	pg_ctl start --wait --silent --options="-c listen_addresses=''"
	if [ "$POSTGRES_DB" != postgres ]; then
		createdb --username="$POSTGRES_USER" --maintenance-db=postgres "$POSTGRES_DB"
	fi
	for script in /docker-entrypoint-initdb.d/*.sh; do
		if [ -f "$script" ]; then
			bash -e "$script"
		fi
	done
	pg_ctl stop --wait --silent --mode=fast
fi

exec "$@" -c listen_addresses='*'
