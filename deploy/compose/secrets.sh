#!/bin/sh
# Creates the missing secrets, one file each in deploy/secrets/. The containers' users have other numbers than
# you, so the files are readable by all, and the folder only by you. A container must be able to enter what it
# mounts, whatever your umask.
set -eu
cd "$(dirname "$0")/.."
install -d -m 700 secrets
for name in component postgres xmpp-database ephemerd-database grafana; do
    [ -e "secrets/$name" ] || head -c 32 /dev/urandom | od -An -v -t x1 | tr -d ' \n' >"secrets/$name"
    chmod 644 "secrets/$name"
done
chmod 755 compose/certs
