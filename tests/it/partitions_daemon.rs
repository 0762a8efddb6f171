//! The daemon beside tables with partitions or children, some of which go while it works.

use ephemerd_lab::ejabberd::Schema;
use ephemerd_lab::layouts::Layout;
use ephemerd_lab::{Daemon, DaemonConfig, Lab, PATIENCE, Result, eventually};
use sqlx::AssertSqlSafe;

use crate::partitions::{Kept, Place};
use crate::support::{REFUSED, marked, number, program, start};

/// Now, in seconds, rounded up: what is stamped before the daemon's first start would be held.
const NOW: &str = "SELECT ceil(extract(epoch FROM clock_timestamp()))::bigint";

/// The daemon itself: unmarked rows in an older part, marked ones in a newer part.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_other_parts_survive_the_daemon() -> Result<()> {
    let layouts = [
        Layout::partitions("LIST (username)", &["FOR VALUES IN ('peter')", "DEFAULT"]),
        Layout::children(1),
    ];
    for (layout, mode) in layouts.into_iter().zip(["delete", "placeholder"]) {
        let kept = Kept::Archive(Schema::Classic);
        let lab: Lab = kept.lab().await?;
        layout.lay_out(&lab.database, "archive").await?;
        let pool = lab.database.superuser();
        let config = DaemonConfig::for_ejabberd_tables(&lab.database)?.set("erase.mode", mode);
        let daemon = start(&config).await?;
        let now = number(pool, NOW).await?;
        let child = if layout.by.is_some() { "archive" } else { "archive_0" };
        for number in 0..20 {
            let stays = format!("<message><body>stays {number}</body></message>");
            kept.insert(pool, "archive", Place::of("rosa", now), &stays).await?;
            let goes = marked(&format!("goes {number}"), 1);
            kept.insert(pool, child, Place::of("peter", now), &goes).await?;
        }
        let count = async |like: &str| -> Result<i64> {
            let count = "SELECT count(*) FROM archive WHERE xml LIKE $1";
            Ok(sqlx::query_scalar(count).bind(like).fetch_one(pool).await?)
        };
        eventually("the marked rows go", PATIENCE, async || {
            Ok((count("%goes%").await? == 0).then_some(()))
        })
        .await?;
        assert_eq!(count("%<body>stays%").await?, 20, "{mode}");
        // What went is counted after the commit.
        let erased = "ephemerd_erased_total";
        let erased = daemon.wait_for_figure(erased, &[], PATIENCE, |it| it >= 20.0).await?;
        assert_eq!(erased, 20.0, "{mode}");
        let figures = daemon.figures().await?;
        assert_eq!(figures.get("ephemerd_erase_failures_total", &REFUSED), Some(0.0), "{mode}");
    }
    Ok(())
}

/// What is pending in a detached or dropped partition is gone, and counted as such; nothing fails.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_goes_while_its_rows_are_pending() -> Result<()> {
    tokio::try_join!(
        partitions_go(Kept::Archive(Schema::Classic), "delete"),
        partitions_go(Kept::Archive(Schema::MultiHost), "placeholder"),
        partitions_go(Kept::Spool(Schema::Classic), "placeholder"),
        partitions_go(Kept::Prosody, "delete"),
    )
    .map(drop)
}

async fn partitions_go(kept: Kept, mode: &str) -> Result<()> {
    let lab: Lab = kept.lab().await?;
    let (name, user) = (kept.table().name, kept.user_column());
    let (pool, case) = (lab.database.superuser(), format!("{kept:?}, {mode}"));
    let users = ["FOR VALUES IN ('peter')", "FOR VALUES IN ('rosa')", "DEFAULT"];
    Layout::partitions(&format!("LIST ({user})"), &users).lay_out(&lab.database, name).await?;
    let config = match kept {
        Kept::Prosody => DaemonConfig::for_database(&lab.database)?,
        _ => DaemonConfig::for_ejabberd_tables(&lab.database)?,
    };
    let config = config.set("erase.mode", mode).set("erase.placeholder_for", "2s");
    let daemon = start(&config).await?;
    let is_queue = matches!(kept, Kept::Spool(_));
    let count = async |sql: String| -> Result<i64> {
        Ok(sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(pool).await?)
    };
    let now = number(pool, NOW).await?;
    for user in ["peter", "rosa", "karl"] {
        for number in 0..10 {
            let xml = marked(&format!("{user} {number}"), 3_600);
            kept.insert(pool, name, Place::of(user, now), &xml).await?;
        }
    }
    let entries = async || count("SELECT count(*) FROM ephemerd.expiries".to_owned()).await;
    eventually("all is recorded", PATIENCE, async || Ok((entries().await? == 30).then_some(())))
        .await?;
    // A daemon that does not look at the table again, and none that goes on with a sweep: it would drop the entries.
    eventually("the first sweep is over", PATIENCE, async || {
        let open = "SELECT count(*) FROM ephemerd.sweeps WHERE requested_at IS NOT NULL OR completed_at IS NULL";
        Ok((count(open.to_owned()).await? == 0).then_some(()))
    })
    .await?;
    assert!(daemon.terminate().await?.success());
    let config = config.set("archive.poll", "60s").set("archive.max_lag", "10m");
    let daemon = Daemon::spawn(program(), &config)?;
    // If the first poll fails, as on a very busy machine, the next one comes a whole interval later.
    daemon.wait_ready(3 * PATIENCE).await?;
    eventually("it has looked", PATIENCE, async || {
        let looked = "ephemerd_last_inspection_timestamp_seconds";
        Ok(daemon.figures().await?.get(looked, &[]).filter(|at| *at > 0.0))
    })
    .await?;
    let parts = format!("ALTER TABLE {name} DETACH PARTITION {name}_0; DROP TABLE {name}_1");
    sqlx::raw_sql(AssertSqlSafe(parts)).execute(pool).await?;
    // Only now, however long all that took.
    let due = "UPDATE ephemerd.expiries SET due_at = now(); NOTIFY ephemerd, '0'";
    sqlx::raw_sql(due).execute(pool).await?;
    eventually("nothing is pending", PATIENCE, async || Ok((entries().await? == 0).then_some(())))
        .await?;
    let stands = format!("SELECT count(*) FROM {name}_0 AS t WHERE t::text LIKE '%<ephemeral%'");
    assert_eq!(count(stands).await?, 10, "{case}: what was detached is nobody's business");
    let left = count(format!("SELECT count(*) FROM {name}")).await?;
    assert_eq!(left, if is_queue { 10 } else { 0 }, "{case}");
    // What became of them is counted after the commit. Who is due to erase it notices that it is gone, or who looks for removed
    // accounts before that.
    let figures = eventually("all is counted", PATIENCE, async || {
        let figures = daemon.figures().await?;
        let gone = ["ephemerd_already_gone_total", "ephemerd_removed_entries_total"];
        let gone: f64 = gone.iter().filter_map(|name| figures.get(name, &[])).sum();
        let erased = figures.get("ephemerd_erased_total", &[]);
        Ok(((erased, gone) == (Some(10.0), 20.0)).then_some(figures))
    })
    .await?;
    assert_eq!(figures.get("ephemerd_erase_failures_total", &REFUSED), Some(0.0), "{case}");
    let log = daemon.log()?;
    assert!(!log.contains("restored from a backup") && !log.contains("ERROR"), "{case}: {log}");
    Ok(())
}
