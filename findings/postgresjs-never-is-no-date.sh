#!/usr/bin/env bash
# postgres.js makes an invalid Date of infinity, and 1950 of the year 50; pg reads both.
#
# Version: postgres 3.4.7 and pg 8.16.3 (npm), PostgreSQL 15.18 (Debian 12).
# Guess: both clients of Node give `infinity` as a number or raise an error, and other times as a Date of that time.
# Behaviour: postgres.js gives what PostgreSQL writes to `new Date`, which knows no infinity and takes a year below 100 for one of
#   the last century. "For ever" is a Date that is neither before nor after any other, so what expires by `end < now` never does
#   and what is kept by `end > now` is not. pg has a parser of its own: infinity is the number Infinity.
# Seen:
# | infinity: postgres Invalid Date, pg Infinity
# | kept until infinity, by end > now: postgres false, pg true
# | the year 50: postgres 1950-03-15T00:00:00.000Z, pg 0050-03-15T00:00:00.000Z
. "$(dirname "$0")/lib.sh"

postgres_15
node_packages postgres@3.4.7 pg@8.16.3

cat >"$WORK/finding.mjs" <<'JS'
import postgres from "postgres";
import pg from "pg";

const at = { host: process.argv[2], user: "finding", database: "postgres" };
const sql = postgres({ ...at, port: 5432 });
const client = new pg.Client({ ...at, port: 5432 });
await client.connect();

const both = async (name, time, show) => {
    const text = `SELECT '${time}'::timestamptz AS it`;
    const [one] = await sql.unsafe(text);
    const [other] = (await client.query(text)).rows;
    console.log(`${name}: postgres ${show(one.it)}, pg ${show(other.it)}`);
};
await both("infinity", "infinity", String);
await both("kept until infinity, by end > now", "infinity", (it) => it > new Date());
await both("the year 50", "0050-03-15 00:00Z", (it) => it.toISOString());
await sql.end();
await client.end();
JS
node "$WORK/finding.mjs" "$WORK/pg0" | as_described
