#!/bin/bash
# certificate FOLDER: creates the certificate that the server uses until it is given a better one. Each user
# accepts it once.
set -euo pipefail
umask 077
folder=$1
[ ! -e "$folder/$XMPP_DOMAIN.pem" ] || exit 0
mkdir -p "$folder"
cd "$folder"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -keyout "$XMPP_DOMAIN.key" -out "$XMPP_DOMAIN.crt" \
    -subj "/CN=$XMPP_DOMAIN" -addext "subjectAltName=DNS:$XMPP_DOMAIN,DNS:conference.$XMPP_DOMAIN" 2>/dev/null
cat "$XMPP_DOMAIN.crt" "$XMPP_DOMAIN.key" >"$XMPP_DOMAIN.pem"
