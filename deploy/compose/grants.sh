#!/bin/sh
# The one-shot between XMPP server and daemon: the server's tables stand by now, so that grants can be given on them. It sets the daemon's
# password anew each time, so that another one in the secret's file takes effect at the next `docker compose up`.
set -eu

secret() { tr -d '\r\n' <"/run/secrets/$1"; }

PGPASSWORD=$(secret postgres)
export PGPASSWORD
psql -v ON_ERROR_STOP=1 -f /ephemerd/grants.sql
psql -v ON_ERROR_STOP=1 -v our_password="$(secret ephemerd-database)" <<'SQL'
ALTER ROLE ephemerd PASSWORD :'our_password';
SQL
