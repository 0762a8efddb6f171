//! ejabberd's rows that no key distinguishes, and rows committed by several writers.

use std::time::Duration;

use ephemerd::archive::ejabberd::Schema as Found;
use ephemerd::archive::{Kind, Search, Table, probe};
use ephemerd_lab::ejabberd::rows::{ArchiveRow, insert};
use ephemerd_lab::ejabberd::{EjabberdConfig, Schema};
use ephemerd_lab::{DaemonConfig, Lab, PATIENCE, Result, eventually};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};

use crate::support::{REFUSED, marked, start};

const SCHEMAS: [Schema; 2] = [Schema::Classic, Schema::MultiHost];

async fn tables(schema: Schema) -> Result<Lab> {
    Lab::ejabberd_tables(&EjabberdConfig { schema, origin_id: true, ..EjabberdConfig::default() })
        .await
}

async fn now(pool: &PgPool) -> Result<i64> {
    let now = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
    Ok(sqlx::query_scalar(now).fetch_one(pool).await?)
}

async fn left(pool: &PgPool) -> Result<Vec<i32>> {
    let left = "SELECT id FROM archive WHERE xml NOT LIKE '%urn:ephemerd:0%' ORDER BY id";
    Ok(sqlx::query_scalar(left).fetch_all(pool).await?)
}

fn plain(body: &str) -> String {
    format!(
        "<message type='chat' to='rosa@localhost' from='peter@localhost/phone'><body>{body}</body></message>"
    )
}

/// Rows with the same timestamp, some of them marked: in each mode exactly those go, identical twins
/// together; never a neighbour, another kind or another host.
#[tokio::test(flavor = "multi_thread")]
async fn neighbours_of_the_same_timestamp_survive() -> Result<()> {
    for (schema, mode) in SCHEMAS.into_iter().flat_map(|it| [(it, "delete"), (it, "placeholder")]) {
        let lab = tables(schema).await?;
        let pool = lab.database.superuser();
        let config = DaemonConfig::for_ejabberd_tables(&lab.database)?
            .set("erase.mode", mode)
            .set("erase.placeholder_for", "3s");
        let daemon = start(&config).await?;
        let at = now(pool).await?;
        let elsewhere = ArchiveRow {
            server_host: "other.example".to_owned(),
            username: "den@conference.other.example".to_owned(),
            ..ArchiveRow::room("den", at, &marked("one", 1))
        };
        let rows = [
            ArchiveRow::user("peter", at, &marked("one", 1)),
            ArchiveRow::user("peter", at, &marked("two", 1)),
            ArchiveRow::room("den", at, &marked("one", 1)),
            ArchiveRow::user("peter", at, &marked("one", 1)),
            // From here on nothing may go.
            ArchiveRow::user("peter", at, &marked("one", 3600)),
            ArchiveRow::user("peter", at, &plain("three")),
            ArchiveRow::user("rosa", at, &plain("three")),
            ArchiveRow::room("den", at, &plain("three")),
            elsewhere,
        ];
        let ids = insert(&lab.database, schema, &rows).await?;
        eventually("what is marked goes", PATIENCE, async || {
            Ok((left(pool).await?.len() <= 5).then_some(()))
        })
        .await?;
        assert_eq!(left(pool).await?, ids[4..], "{schema:?}, {mode}");
        let txt: i64 = sqlx::query_scalar("SELECT count(*) FROM archive WHERE txt = 'words'")
            .fetch_one(pool)
            .await?;
        assert_eq!(txt, 5, "{schema:?}, {mode}: the body in clear goes too");
        eventually("placeholders go too", PATIENCE, async || {
            let all: i64 =
                sqlx::query_scalar("SELECT count(*) FROM archive").fetch_one(pool).await?;
            let entries: i64 = sqlx::query_scalar("SELECT count(*) FROM ephemerd.expiries")
                .fetch_one(pool)
                .await?;
            Ok((all == 5 && entries == 1).then_some(()))
        })
        .await?;
        assert_eq!(left(pool).await?, ids[4..], "{schema:?}, {mode}");
        let figures = daemon.figures().await?;
        assert_eq!(figures.get("ephemerd_erase_failures_total", &REFUSED), Some(0.0));
    }
    Ok(())
}

/// Four writers stamp early and commit late, some after the cursor has passed their stamps.
#[tokio::test(flavor = "multi_thread")]
async fn four_writers_that_commit_late_are_not_missed() -> Result<()> {
    for schema in SCHEMAS {
        let lab = tables(schema).await?;
        let pool = lab.database.superuser().clone();
        let _daemon = start(&DaemonConfig::for_ejabberd_tables(&lab.database)?).await?;
        let column = if schema == Schema::MultiHost { "server_host, " } else { "" };
        let value = if schema == Schema::MultiHost { "'localhost', " } else { "" };
        let insert = format!(
            "INSERT INTO archive ({column}username, timestamp, peer, bare_peer, xml, kind)
             VALUES ({value}$1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, 'r', 'r', $2, 'chat')"
        );
        let writers = (0..4_u64).map(|writer| {
            let (url, insert) = (lab.database.server_url(), insert.clone());
            tokio::spawn(async move {
                let mut random = StdRng::seed_from_u64(writer);
                let mut connection = PgConnection::connect(&url).await?;
                for number in 0..12 {
                    let mut transaction = connection.begin().await?;
                    sqlx::query(AssertSqlSafe(insert.clone()))
                        .bind(format!("writer{writer}"))
                        .bind(marked(&format!("w{writer}n{number}"), 1))
                        .execute(&mut *transaction)
                        .await?;
                    // Real time: the row must be stamped long before it is seen.
                    let open = if number == 11 { 8_000 } else { random.random_range(0..900) };
                    tokio::time::sleep(Duration::from_millis(open)).await;
                    transaction.commit().await?;
                }
                Ok::<_, ephemerd_lab::LabError>(())
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.expect("a writer ends")?;
        }
        // What was committed more than 5 s after its stamp is looked for every minute.
        eventually("everything marked goes", Duration::from_secs(180), async || {
            Ok(left(&pool).await?.is_empty().then_some(()))
        })
        .await?;
    }
    Ok(())
}

/// Blocks of the archive and its indexes touched so far, by this session and by ended ones.
async fn touched(pool: &PgPool, session: &mut PgConnection) -> Result<i64> {
    sqlx::query("SELECT pg_stat_force_next_flush()").execute(&mut *session).await?;
    sqlx::query("SELECT 1").execute(session).await?;
    let blocks = "SELECT (heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read)::bigint
                    FROM pg_statio_all_tables WHERE relname = 'archive' AND schemaname = 'public'";
    Ok(sqlx::query_scalar(blocks).fetch_one(pool).await?)
}

/// A poll touches as many blocks as there are new rows, however large the archive is.
#[tokio::test(flavor = "multi_thread")]
async fn a_poll_costs_what_is_new() -> Result<()> {
    for schema in SCHEMAS {
        let lab = tables(schema).await?;
        let pool = lab.database.superuser();
        let (column, value) = match schema {
            Schema::Classic => ("", ""),
            Schema::MultiHost => ("server_host, ", "'localhost', "),
        };
        let fill = format!(
            "INSERT INTO archive ({column}username, timestamp, peer, bare_peer, xml, txt, kind)
             SELECT {value}'user' || nr % 100, 1700000000000000 + nr * 1000, 'r', 'r',
                    '<message><body>' || repeat(md5(nr::text), 6) || '</body></message>', '', 'chat'
               FROM generate_series(1, 1000000) AS nr"
        );
        // Faster to fill; nothing measured here depends on it. A vacuum meanwhile would be counted too.
        let unlogged = "ALTER TABLE archive SET UNLOGGED;
                        ALTER TABLE archive SET (autovacuum_enabled = false); DROP INDEX IF EXISTS i_username_peer,
                        i_username_bare_peer, i_archive_sh_username_peer, i_archive_sh_username_bare_peer";
        // A session reports what it touched when it ends, at the latest: nothing of this may arrive later.
        let mut filling = PgConnection::connect(&lab.database.superuser_url()).await?;
        let pid: i32 =
            sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut filling).await?;
        sqlx::raw_sql(unlogged).execute(&mut filling).await?;
        sqlx::query(AssertSqlSafe(fill)).execute(&mut filling).await?;
        sqlx::query("ANALYZE archive").execute(&mut filling).await?;
        filling.close().await?;
        eventually("the session's end", PATIENCE, async || {
            let sessions = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1";
            let left: i64 = sqlx::query_scalar(sessions).bind(pid).fetch_one(pool).await?;
            Ok((left == 0).then_some(()))
        })
        .await?;
        let daemon = lab.database.daemon_pool(1).await?;
        let mut connection = daemon.acquire().await?;
        let hosts = ["localhost".to_owned(), "conference.localhost".to_owned()];
        let probed = probe(&mut connection, Kind::Ejabberd, &hosts).await.expect("a probe");
        let archive = probed.archive.expect("a schema that is known");
        let is_archive = |it: &Table| matches!(it, Table::EjabberdArchive(_));
        let table = archive.tables().into_iter().find(is_archive).expect("it has an archive");
        assert_eq!(matches!(table, Table::EjabberdArchive(Found::MultiHost)), !column.is_empty());
        let newest = table.horizon(&mut connection).await.expect("a horizon").newest;
        assert_eq!(newest, 1_700_001_000_000_000);
        for (news, blocks) in [(0, 40), (100, 60), (5_000, 1_000)] {
            let before = touched(pool, &mut connection).await?;
            let span = (newest - news * 1_000, newest);
            let searched = (hosts.as_slice(), Search::MARKED);
            table.horizon(&mut connection).await.expect("a horizon");
            let end = table.span_end(&mut connection, span, 5_000).await.expect("a span");
            assert_eq!(end.map(|it| it.1), (news > 0).then_some(news));
            let found = table.candidates(&mut connection, searched, span, (500, 1 << 23)).await;
            assert!(found.expect("candidates").is_empty());
            let cost = touched(pool, &mut connection).await? - before;
            assert!(cost <= blocks, "{schema:?}: {news} new rows touched {cost} blocks");
        }
    }
    Ok(())
}
