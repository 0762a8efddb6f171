#!/bin/sh
# Run by PostgreSQL's image once, when it makes its data folder: the roles with their passwords, the server's database, and Prosody's
# one table as Prosody itself would make it. Prosody makes it only when somebody first asks for an archive, and then grants.sql would
# have come too early; it leaves alone what is there.
set -eu

secret() { tr -d '\r\n' <"/run/secrets/$1"; }

psql -v ON_ERROR_STOP=1 --username postgres -v server="$XMPP_ROLE" \
    -v server_password="$(secret server-database)" -v our_password="$(secret ephemerd-database)" <<'SQL'
CREATE ROLE :"server" LOGIN PASSWORD :'server_password';
CREATE ROLE ephemerd LOGIN PASSWORD :'our_password';
CREATE DATABASE :"server" OWNER :"server";
SQL
as_server() { psql -v ON_ERROR_STOP=1 --username postgres --dbname "$XMPP_ROLE" -c "SET ROLE $XMPP_ROLE" -f "$1"; }
as_server /ephemerd/tables.sql
psql -v ON_ERROR_STOP=1 --username postgres --dbname "$XMPP_ROLE" -f /ephemerd/grants.sql
