#!/bin/sh
# Run by PostgreSQL's image once, when it makes its data folder: the two roles with their passwords, and the XMPP server's database.
set -eu

secret() { tr -d '\r\n' <"/run/secrets/$1"; }

psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres -v server="$XMPP_ROLE" \
    -v server_password="$(secret xmpp-database)" -v our_password="$(secret ephemerd-database)" <<'SQL'
CREATE ROLE :"server" LOGIN PASSWORD :'server_password';
CREATE ROLE ephemerd LOGIN PASSWORD :'our_password';
CREATE DATABASE :"server" OWNER :"server";
SQL
