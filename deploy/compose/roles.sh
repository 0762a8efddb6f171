#!/bin/sh
# Before the XMPP server: creates the two roles with the passwords from the secrets' files, and the server's
# database. Runs at each `up`, so that a failed first start is repaired by the next one, and changed passwords
# take effect.
set -eu

secret() { tr -d '\r\n' <"/run/secrets/$1"; }

PGPASSWORD=$(secret postgres)
export PGPASSWORD
# Read one by one: an unreadable secret ends this script instead of becoming an empty password.
server_password=$(secret xmpp-database)
our_password=$(secret ephemerd-database)
psql -q -v ON_ERROR_STOP=1 -v server="$XMPP_ROLE" -v server_password="$server_password" -v our_password="$our_password" <<'SQL'
SELECT format('CREATE ROLE %I LOGIN', name) FROM unnest(ARRAY[:'server', 'ephemerd']) AS name
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE :"server" PASSWORD :'server_password';
ALTER ROLE ephemerd PASSWORD :'our_password';
SELECT format('CREATE DATABASE %I OWNER %I', :'server', :'server')
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'server') \gexec
SQL
