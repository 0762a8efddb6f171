#!/bin/bash
# Prosody creates its tables when it first looks something up in them. grants.sql needs them earlier, so we look
# up an account that does not exist; prosodyctl's exit code says so.
set -u
certificate /var/lib/prosody/certs
prosodyctl deluser "nobody@$XMPP_DOMAIN" || true
exec prosody -F
