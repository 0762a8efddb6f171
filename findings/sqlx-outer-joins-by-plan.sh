#!/usr/bin/env bash
# Whether sqlx's macros take a column of an outer join for one that may be NULL depends on how the database plans the query.
#
# Version: sqlx 0.9.0, PostgreSQL 15.18.
# Guess: a NOT NULL column of a LEFT JOIN's right-hand table is an Option in the macros' types, and so is what ROLLUP adds.
# Behaviour: they look for outer joins in the plan that the database has while the program is compiled, and find those that are planned
#   as left joins in which nothing stands above. The same join of tables without statistics, as after migrations alone, is planned as a
#   right join; below a sort with LIMIT or in a materialized CTE it is not found either, and ROLLUP is no join. All of these compile
#   without an Option, and a NULL is an error at run time.
# Seen, the types, and what becomes of rows with NULL:
# | tables with statistics: Option<i32>, 1000 rows
# | tables without: i32, unexpected null
# | with statistics, sorted, LIMIT: i32, unexpected null
# | with statistics, in a materialized CTE: i32, unexpected null
# | FULL JOIN: Option<i32>, 2 rows
# | ROLLUP: alloc::string::String, unexpected null
. "$(dirname "$0")/lib.sh"

postgres_15
"${PSQL[@]}" <<'SQL'
CREATE TABLE message (id int PRIMARY KEY, owner text NOT NULL);
CREATE TABLE timer (message int PRIMARY KEY, seconds int NOT NULL);
CREATE TABLE many (id int PRIMARY KEY, owner text NOT NULL);
CREATE TABLE few (message int PRIMARY KEY, seconds int NOT NULL);
INSERT INTO many SELECT nr, 'ann' FROM generate_series(1, 1000) AS nr;
INSERT INTO few VALUES (1, 60);
ANALYZE many, few;
SQL
export DATABASE_URL="postgres://finding@localhost/postgres?host=$WORK/pg0"

rust 'sqlx = { version = "=0.9.0", default-features = false, features = ["postgres", "runtime-tokio", "macros"] }' \
    'tokio = { version = "1", features = ["rt", "macros"] }' >"$WORK/seen" <<'RUST'
use sqlx::Connection as _;

fn say<T>(what: &str, rows: Result<Vec<T>, sqlx::Error>) {
    let name = std::any::type_name::<T>().replace("core::option::", "");
    match rows {
        Ok(rows) => println!("{what}: {name}, {} rows", rows.len()),
        Err(error) if error.to_string().contains("unexpected null") => println!("{what}: {name}, unexpected null"),
        Err(error) => println!("{what}: {name}, {error}"),
    }
}

macro_rules! see {
    ($connection:expr, $what:literal, $sql:literal) => {
        say($what, sqlx::query_scalar!($sql).fetch_all(&mut $connection).await)
    };
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), sqlx::Error> {
    let mut it = sqlx::PgConnection::connect(&std::env::var("DATABASE_URL").unwrap()).await?;
    sqlx::raw_sql("INSERT INTO message VALUES (1, 'ann'), (2, 'bob'); INSERT INTO timer VALUES (1, 60)").execute(&mut it).await?;
    see!(it, "tables with statistics", "SELECT few.seconds FROM many LEFT JOIN few ON few.message = many.id");
    see!(it, "tables without", "SELECT timer.seconds FROM message LEFT JOIN timer ON timer.message = message.id");
    see!(
        it,
        "with statistics, sorted, LIMIT",
        "SELECT few.seconds FROM many LEFT JOIN few ON few.message = many.id ORDER BY many.id LIMIT 5"
    );
    see!(
        it,
        "with statistics, in a materialized CTE",
        "WITH all_of AS MATERIALIZED (SELECT few.seconds FROM many LEFT JOIN few ON few.message = many.id) SELECT seconds FROM all_of"
    );
    see!(it, "FULL JOIN", "SELECT timer.seconds FROM message FULL JOIN timer ON timer.message = message.id");
    see!(it, "ROLLUP", "SELECT owner FROM many GROUP BY ROLLUP (owner)");
    Ok(())
}
RUST
as_described <"$WORK/seen"
