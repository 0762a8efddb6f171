#!/usr/bin/env bash
# slixmpp asks the archive for a time that is in no time zone.
#
# Version: slixmpp 1.17.0.
# Guess: a `datetime` without a time zone, as Python's own now() gives, is taken for UTC or for local time, and asked for in UTC.
# Behaviour: it is written as it stands, without Z or offset, which XEP-0082 does not allow. Servers differ in what they make
#   of that, and a bot that asks for the last hour by now() gets another hour. Only a datetime with a time zone is safe.
# Seen, the field `start` of the query on a machine in Tokyo:
# | without a time zone: 2026-11-29T12:00:00
# | in UTC: 2026-11-29T12:00:00Z
# | in Tokyo: 2026-11-29T12:00:00+09:00
. "$(dirname "$0")/lib.sh"

python slixmpp==1.17.0
export TZ=Asia/Tokyo

python3 - 2>>"$WORK/log" <<'PY' | as_described
import asyncio
import re
from datetime import datetime, timedelta, timezone

import slixmpp


async def main():
    client = slixmpp.ClientXMPP("alice@localhost", "secret")
    client.register_plugin("xep_0313")
    zones = {"without a time zone": None, "in UTC": timezone.utc, "in Tokyo": timezone(timedelta(hours=9))}
    for name, zone in zones.items():
        iq = client.Iq()
        iq["mam"]["start"] = datetime(2026, 11, 29, 12, tzinfo=zone)
        print(f"{name}:", re.search("<field var=\"start\"[^>]*><value>([^<]*)", str(iq))[1])


asyncio.run(main())
PY
