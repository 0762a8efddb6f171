#!/bin/sh
# Between the XMPP server and the daemon: by now the server's tables exist, so grants can be given on them.
set -eu

PGPASSWORD=$(tr -d '\r\n' </run/secrets/postgres)
export PGPASSWORD
exec psql -q -v ON_ERROR_STOP=1 -f /ephemerd/grants.sql
