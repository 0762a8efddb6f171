//! A daemon killed at any moment loses nothing and repeats nothing.

use std::time::Duration;

use ephemerd_lab::snapshot::PROSODY_ARCHIVES;
use ephemerd_lab::{
    Daemon, DaemonConfig, Lab, Load, MARKED, PATIENCE, Result, Shadow, Words, eventually,
};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::PgPool;

use crate::support::{program, start};

const KILLS: u32 = 10;

/// Seeded kill -9 at random moments under load, then one start: everything marked is gone, everything else is
/// unchanged byte for byte, and the ledger has no entry for anything that is gone.
#[tokio::test(flavor = "multi_thread")]
async fn kills_under_load_lose_nothing_and_take_nothing() -> Result<()> {
    let seed = Words::random().seed();
    for mode in ["placeholder", "delete"] {
        let mut random = StdRng::seed_from_u64(seed);
        let lab = Lab::database_only().await?;
        let shadow = Shadow::cast(&lab.database, PROSODY_ARCHIVES).await?;
        let config = DaemonConfig::for_database(&lab.database)?
            .set("erase.mode", mode)
            .set("erase.batch", random.random_range(1..50))
            .set("archive.poll", "50ms");
        start(&config).await?.terminate().await?;
        let load = Load::prosody_rows(&lab.database, seed);
        for _ in 0..KILLS {
            let daemon = Daemon::spawn(program(), &config)?;
            tokio::time::sleep(Duration::from_millis(random.random_range(100..1500))).await;
            daemon.kill().await?;
        }
        load.stop().await?;

        let _daemon = start(&config).await?;
        eventually("all that is marked goes", PATIENCE, async || {
            let standing = shadow.compare(&lab.database, MARKED).await?;
            Ok((standing.marked_left == 0).then_some(()))
        })
        .await?;
        let standing = shadow.compare(&lab.database, MARKED).await?;
        assert_eq!(
            (standing.unmarked_harmed, standing.early),
            (0, 0),
            "{mode}, seed {seed}: {standing:?}"
        );
        assert!(standing.archived > 100, "there was a load: {standing:?}");
        // Whoever had read a row just before it went may record it once more, and such an entry is due at once.
        eventually(&format!("{mode}, seed {seed}: nothing is left"), PATIENCE, async || {
            Ok((left_in_ledger(lab.database.superuser(), mode).await? == 0).then_some(()))
        })
        .await?;
    }
    Ok(())
}

/// Entries without a row, or whose text is gone.
async fn left_in_ledger(pool: &PgPool, mode: &str) -> Result<i64> {
    let wrong = match mode {
        "placeholder" => {
            "SELECT count(*) FROM ephemerd.expiries e LEFT JOIN prosodyarchive a ON a.sort_id = e.row_number
              WHERE e.phase <> 'placeholder' OR a.value NOT LIKE '%urn:ephemerd:0%' OR a.value IS NULL"
        }
        _ => "SELECT count(*) FROM ephemerd.expiries",
    };
    Ok(sqlx::query_scalar(wrong).fetch_one(pool).await?)
}
