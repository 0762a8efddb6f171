#!/usr/bin/env bash
# DuckDB counts an updated or merged row once for every row that it is joined with, and returns values that were never in the table.
#
# Version: duckdb 2.0.1 (PyPI); PostgreSQL 15.18 (Debian 12) for comparison.
# Guess: with three rows of the source for one of the target, UPDATE … FROM counts and returns one; MERGE is an error, as the standard says.
# Behaviour: one of the three is taken; all three are counted and returned, with a primary key counted only. MERGE does the same without
#   an error, and counts three for a row that it deletes. DELETE … USING counts one.
# Seen, of the row (1, 1), and in the source (1, 10), (1, 20) and (1, 30):
# | PostgreSQL, UPDATE: UPDATE 1
# | PostgreSQL, MERGE: ERROR: MERGE command cannot affect row a second time
# | DuckDB, UPDATE: counts 3, returns 3, in the table after it 1
# | DuckDB, MERGE: counts 3, returns 3, in the table after it 1
# | DuckDB, MERGE that deletes: counts 3, returns 1, in the table after it 0
# | DuckDB, DELETE: counts 1, returns 1, in the table after it 0
# | DuckDB, UPDATE, primary key: counts 3, returns 1, in the table after it 1
# | DuckDB, MERGE, primary key: counts 3, returns 1, in the table after it 1
# | DuckDB, MERGE that deletes, primary key: counts 3, returns 1, in the table after it 0
# | DuckDB, DELETE, primary key: counts 1, returns 1, in the table after it 0
. "$(dirname "$0")/lib.sh"

postgres_15
python --no-deps duckdb==2.0.1

tables="CREATE TABLE t (id int, v int); INSERT INTO t VALUES (1, 1); CREATE TABLE s (id int, v int); INSERT INTO s VALUES (1, 10), (1, 20), (1, 30)"
update="UPDATE t SET v = s.v FROM s WHERE t.id = s.id"
merge="MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN UPDATE SET v = s.v"

{
    "${PSQL[@]}" -c "$tables"
    echo "PostgreSQL, UPDATE: $(psql "${PSQL[@]:1:1}" "${PSQL[@]:3}" -c "$update")"
    echo "PostgreSQL, MERGE: $("${PSQL[@]}" -c "$merge" 2>&1 | sed -n 's/^ERROR:  /ERROR: /p')"
    TABLES=$tables UPDATE=$update MERGE=$merge python3 - <<'PYTHON'
import os

import duckdb

TABLES, UPDATE, MERGE = (os.environ[name] for name in ("TABLES", "UPDATE", "MERGE"))
STATEMENTS = {
    "UPDATE": (UPDATE, "t.id, t.v"),
    "MERGE": (MERGE, "id, v"),
    "MERGE that deletes": ("MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN DELETE", "id, v"),
    "DELETE": ("DELETE FROM t USING s WHERE t.id = s.id", "t.id, t.v"),
}

for key in ("", ", primary key"):
    for name, (statement, columns) in STATEMENTS.items():
        def fresh():
            connection = duckdb.connect()
            connection.execute(TABLES.replace("CREATE TABLE t (id int,", f"CREATE TABLE t (id int{key[1:]},"))
            return connection

        counted = fresh().execute(statement).fetchall()[0][0]
        connection = fresh()
        returned = connection.execute(f"{statement} RETURNING {columns}").fetchall()
        there = connection.execute("SELECT * FROM t").fetchall()
        print(f"DuckDB, {name}{key}: counts {counted}, returns {len(returned)}, in the table after it {len(there)}")
PYTHON
} | as_described
