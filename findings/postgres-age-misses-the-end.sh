#!/usr/bin/env bash
# In PostgreSQL a start plus age(end, start) is not the end, for every seventh pair of days.
#
# Version: PostgreSQL 15.18 (Debian 12), duckdb 2.0.1 and apsw 3.54.1.0 with SQLite 3.54.1 (PyPI).
# Guess: age() is the difference in months and days, so that start + age(end, start) is the end whenever start comes first.
# Behaviour: the days that are left are counted back from the end, in the length of the month of the start: 25 December to 1 March
#   is 2 months and 7 days, since a December has 31 days, and two months and seven days after 25 December it is 3 March. It is to be
#   subtracted from the end, and even that leads elsewhere for some. DuckDB's age() does the same; SQLite's timediff() leads to the end.
# Seen, of the 8385 pairs of an earlier and a later day from 25 December 2023 to 2 May 2024:
# | PostgreSQL, 2023-12-25 to 2024-03-01: 2 mons 7 days, which leads to 2024-03-03
# | PostgreSQL: start + age is not the end of 1181, end - age not the start of 89
# | DuckDB, 2023-12-25 to 2024-03-01: 2 months 7 days, which leads to 2024-03-03
# | DuckDB: start + age is not the end of 1181, end - age not the start of 89
# | SQLite, 2023-12-25 to 2024-03-01: +0000-02-05 00:00:00.000, which leads to 2024-03-01
# | SQLite: start + timediff is not the end of 0
. "$(dirname "$0")/lib.sh"

postgres_15
python --no-deps duckdb==2.0.1 apsw==3.54.1.0

days="days AS (SELECT CAST(date '2023-12-25' + n * interval '1 day' AS timestamp) AS day FROM generate_series(0, 129) AS s(n))"
pairs="SELECT a.day AS first, b.day AS last FROM days a JOIN days b ON a.day < b.day"
count="WITH $days, pairs AS ($pairs) SELECT 'start + age is not the end of ' || count(*) FILTER (WHERE first + age(last, first) <> last)
    || ', end - age not the start of ' || count(*) FILTER (WHERE last - age(last, first) <> first) FROM pairs"
one="SELECT '2023-12-25 to 2024-03-01: ' || CAST(age(last, first) AS text) || ', which leads to ' || CAST(CAST(first + age(last, first) AS date) AS text)
    FROM (SELECT timestamp '2023-12-25' AS first, timestamp '2024-03-01' AS last) AS pair"

{
    echo "PostgreSQL, $("${PSQL[@]}" -c "$one")"
    echo "PostgreSQL: $("${PSQL[@]}" -c "$count")"
    ONE=$one COUNT=$count python3 - <<'PYTHON'
import os

import apsw
import duckdb

print("DuckDB,", duckdb.sql(os.environ["ONE"]).fetchall()[0][0])
print("DuckDB:", duckdb.sql(os.environ["COUNT"]).fetchall()[0][0])

sqlite = apsw.Connection(":memory:")
first, last = "2023-12-25", "2024-03-01"
(difference, there), = sqlite.execute("SELECT timediff(?2, ?1), date(?1, timediff(?2, ?1))", (first, last))
print(f"SQLite, {first} to {last}: {difference}, which leads to {there}")
(missed,), = sqlite.execute("""
    WITH RECURSIVE days(day) AS (SELECT '2023-12-25' UNION ALL SELECT date(day, '+1 day') FROM days LIMIT 130)
    SELECT count(*) FROM days a JOIN days b ON a.day < b.day WHERE date(a.day, timediff(b.day, a.day)) <> b.day""")
print(f"SQLite: start + timediff is not the end of {missed}")
PYTHON
} | as_described
