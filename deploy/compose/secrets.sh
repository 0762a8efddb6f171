#!/bin/sh
# Makes up the secrets that are missing, a file each in deploy/secrets/. The containers' users have other numbers than you: the files are
# readable for all, and the folder for nobody but you.
set -eu
cd "$(dirname "$0")/.."
install -d -m 700 secrets
for name in component postgres xmpp-database ephemerd-database grafana; do
    [ -e "secrets/$name" ] || head -c 32 /dev/urandom | od -An -v -t x1 | tr -d ' \n' >"secrets/$name"
    chmod 644 "secrets/$name"
done
