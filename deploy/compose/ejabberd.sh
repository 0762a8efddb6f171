#!/bin/bash
# ejabberd makes no tables: its package has them in a file. grants.sql needs them before the daemon comes.
set -euo pipefail
umask 077
secrets="${SECRETS:-/run/secrets}"
config="${EJABBERD_CONFIG:-/run/ejabberd/ejabberd.yml}"
export PGHOST="${XMPP_DATABASE_HOST:-postgres}" PGPORT="${XMPP_DATABASE_PORT:-5432}" PGUSER=ejabberd PGDATABASE=ejabberd
PGPASSWORD=$(tr -d '\r\n' <"$secrets/xmpp-database")
component=$(tr -d '\r\n' <"$secrets/component")
export PGPASSWORD

if [ "$(psql -tAc "SELECT to_regclass('archive') IS NULL")" = t ]; then
    psql -q -v ON_ERROR_STOP=1 --single-transaction -f /usr/share/ejabberd/sql/pg.sql
fi
text=$(<"${EJABBERD_TEMPLATE:-/etc/ejabberd/ephemerd.yml}")
text=${text//XMPP-DOMAIN/$XMPP_DOMAIN}
text=${text//SQL-HOST/$PGHOST}
text=${text//SQL-PORT/$PGPORT}
text=${text//SQL-PASSWORD/$PGPASSWORD}
text=${text//COMPONENT-SECRET/$component}
printf '%s\n' "$text" >"$config"
unset PGPASSWORD
# Debian's ejabberdctl.cfg would name its own configuration.
exec ejabberdctl --config "$config" --ctl-config /dev/null "$@" foreground
