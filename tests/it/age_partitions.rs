//! Partitions of which all is too old are named for the operator, and never dropped by us.

use ephemerd_lab::layouts::Layout;
use ephemerd_lab::{DaemonConfig, Lab, PATIENCE, Result, eventually};

use crate::age_rows::{Kind, Put, on_every_kind};
use crate::holds::{hold, release};
use crate::support::{now, run, start};

const DAY: i64 = 86_400;

/// What `check` says of partitions; nothing listens where the component connects, so it finds a problem, too.
async fn said(config: &DaemonConfig) -> Result<Option<String>> {
    let checked = run(config, &["check"]).await?;
    Ok(checked.stdout.lines().find(|it| it.contains("artition")).map(str::to_owned))
}

async fn named(kind: Kind) -> Result<()> {
    let lab: Lab = kind.lab().await?;
    let pool = lab.database.superuser();
    let (table, column, unit) = match kind {
        Kind::Prosody => ("prosodyarchive", "\"when\"", 1),
        Kind::Classic | Kind::MultiHost => ("archive", "timestamp", 1_000_000),
    };
    // Ten days ago, five days ago, and since.
    let now = now(pool).await?;
    let (one, two) = ((now - 10 * DAY) * unit, (now - 5 * DAY) * unit);
    let bounds = [
        format!("FOR VALUES FROM (MINVALUE) TO ({one})"),
        format!("FOR VALUES FROM ({one}) TO ({two})"),
        format!("FOR VALUES FROM ({two}) TO (MAXVALUE)"),
    ];
    let layout = Layout { by: Some(format!("RANGE ({column})")), parts: bounds.to_vec() };
    layout.lay_out(&lab.database, table).await?;
    kind.put(pool, &[Put::archive("peter", "old", 20 * DAY), Put::archive("peter", "new", 60)])
        .await?;

    let first = format!("{table}_0");
    let policy =
        kind.config(&lab)?.set("retention.rooms_for", "7d").set("retention.queue_for", "7d");
    let config = policy.clone().set("retention.archive_for", "8d");
    let daemon = start(&config).await?;
    eventually("the partition is named", PATIENCE, async || {
        Ok(said(&config).await?.filter(|it| it.contains(&first)))
    })
    .await?;
    let line = said(&config).await?.unwrap_or_default();
    assert!(!line.contains(&format!("{table}_1")), "{kind:?}: {line}");
    let placed = hold(&config, &["--all"]).await?;
    assert_eq!(said(&config).await?, None, "{kind:?}: something may be on hold");
    release(&config, &placed).await?;
    assert!(said(&config).await?.is_some(), "{kind:?}");
    if matches!(kind, Kind::Prosody) {
        // What Peter published once, for example his bookmarks.
        let published = "INSERT INTO prosodyarchive (host, \"user\", store, key, \"when\", \"with\", type, value)
                         VALUES ('localhost', 'peter', 'pep_urn:xmpp:bookmarks:1', 'den', $1, '', 'xml', '<item/>')";
        sqlx::query(published).bind(now - 20 * DAY).execute(pool).await?;
        assert_eq!(said(&config).await?, None, "it would go with the partition");
        sqlx::query("DELETE FROM prosodyarchive WHERE key = 'den'").execute(pool).await?;
        assert!(said(&config).await?.is_some());
    }
    assert!(daemon.terminate().await?.success());

    // One user's messages are kept for ever: they may be in any partition.
    let rule = r#"[{"users": ["ida@localhost"], "archive_for": "never"}]"#;
    let config = config.env("EPHEMERD__RETENTION__RULE", rule);
    let daemon = start(&config).await?;
    assert_eq!(said(&config).await?, None, "{kind:?}");
    assert!(daemon.terminate().await?.success());
    let parts = format!("SELECT count(*) FROM pg_inherits WHERE inhparent = '{table}'::regclass");
    let parts: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(parts)).fetch_one(pool).await?;
    assert_eq!(parts, 3, "{kind:?}: all partitions are there");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_too_old_are_named() -> Result<()> {
    on_every_kind(named).await
}
