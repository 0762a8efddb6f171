#!/bin/bash
# Prosody makes its tables when something is first looked up in them. grants.sql needs them before, so we look for an account that
# nobody has; prosodyctl finds none and says so by its exit code.
set -u
prosodyctl deluser "nobody@$XMPP_DOMAIN" || true
exec prosody -F
