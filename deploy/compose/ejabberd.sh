#!/bin/bash
# ejabberd does not create its tables: its package has them in a file. grants.sql needs them before the daemon
# starts.
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

# Your certificate for the domain if there is one, or the one that is created at the first start.
certificates="/etc/ejabberd/certs/$XMPP_DOMAIN"
if [ -e "$certificates/fullchain.pem" ]; then
    certificates+="/*.pem"
elif [ -e "$certificates.pem" ]; then
    certificates+=".pem"
else
    certificate /var/lib/ejabberd/certs
    certificates="/var/lib/ejabberd/certs/$XMPP_DOMAIN.pem"
fi

text=$(<"${EJABBERD_TEMPLATE:-/etc/ejabberd/ephemerd.yml}")
text=${text//XMPP-DOMAIN/$XMPP_DOMAIN}
text=${text//SQL-HOST/$PGHOST}
text=${text//SQL-PORT/$PGPORT}
text=${text//SQL-PASSWORD/$PGPASSWORD}
text=${text//COMPONENT-SECRET/$component}
text=${text//CERTIFICATES/$certificates}
printf '%s\n' "$text" >"$config"
unset PGPASSWORD

# Debian's ejabberdctl.cfg would name its own configuration. A crash dump would contain message text. docker
# shows the whole log; the file beside it is kept small, because it is in memory.
control() {
    ERL_CRASH_DUMP_BYTES=0 ejabberdctl --config "$config" --ctl-config /dev/null --logs "$(dirname "$config")" "$@"
}

# ejabberdctl does not forward signals: ask ejabberd to stop, and wait until it has.
trap 'control stop' TERM INT
control "$@" foreground &
server=$!
wait "$server" || true # a signal ends this wait
wait "$server"
