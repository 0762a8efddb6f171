//! What it costs the tail that corrections, reactions and replies may belong to messages that go.

use std::sync::Arc;

use ephemerd_lab::{Daemon, DaemonConfig, Lab, Postgres, Result, eventually};
use sqlx::PgPool;
use tokio::time::Instant;

use crate::data::{PATIENCE, Scale, end, program};
use crate::progress::Progress;
use crate::report::{Figure, Target};

/// Every second message is a reaction or a reply with a quote, to the one before it, which nothing asks to go.
const CHAT: &str = r#"
    INSERT INTO prosodyarchive (host, "user", store, key, "when", "with", type, value)
    SELECT 'localhost', 'user' || nr / 2 % 50, 'archive', gen_random_uuid()::text,
           floor(extract(epoch FROM clock_timestamp()))::int, 'rosa@localhost', 'xml',
           '<message type=''chat'' id=''c' || nr || ''' to=''rosa@localhost'' from=''user' || nr / 2 % 50 || '@localhost/phone''>'
             || CASE nr % 4
                WHEN 1 THEN '<reactions xmlns=''urn:xmpp:reactions:0'' id=''c' || nr - 1
                            || '''><reaction>👋</reaction></reactions><store xmlns=''urn:xmpp:hints''/>'
                WHEN 3 THEN '<body>&gt; Meet me at the bridge.' || E'\n' || repeat('I will be there. ', 9)
                            || '</body><reply xmlns=''urn:xmpp:reply:0'' to=''rosa@localhost/x'' id=''c' || nr - 1
                            || '''/><fallback xmlns=''urn:xmpp:fallback:0'' for=''urn:xmpp:reply:0''>'
                            || '<body start=''0'' end=''25''/></fallback>'
                ELSE '<body>' || repeat('Meet me at the bridge. ', 9)
                     || '</body><markable xmlns=''urn:xmpp:chat-markers:0''/>' END
             || '</message>'
      FROM generate_series(1, $1) AS nr"#;

/// Messages that go, each of another user.
const MARKED: &str = r#"
    INSERT INTO prosodyarchive (host, "user", store, key, "when", "with", type, value)
    SELECT 'localhost', $3 || nr, 'archive', $3 || nr, floor(extract(epoch FROM clock_timestamp()))::int,
           'rosa@localhost', 'xml',
           '<message type=''chat'' id=''' || $3 || nr || ''' from=''rosa@localhost/x'' to=''' || $3 || nr
             || '@localhost''><body>words</body><ephemeral timer=''86400'' xmlns=''urn:xmpp:ephemeral:0''/></message>'
      FROM generate_series($1, $2) AS nr"#;

pub(crate) const fn steps(scale: Scale) -> usize {
    scale.runs
}

/// Adds the figure.
pub(crate) async fn measure(
    postgres: &Arc<Postgres>,
    scale: Scale,
    figures: &mut Vec<Figure>,
    progress: &Progress,
) -> Result<()> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for run in 0..scale.runs {
        progress.step("the tail, with and without what others may belong to");
        for named in [run % 2 == 0, run % 2 == 1] {
            let side = if named { &mut ours } else { &mut theirs };
            side.push(tail_rate(postgres, scale, named).await?);
        }
    }
    figures.push(Figure {
        what: "the tail, half of the messages reactions and replies".to_owned(),
        against: "the same, with a ledger in which messages have no names".to_owned(),
        unit: "messages/s".to_owned(),
        ours,
        theirs,
        target: Target::AtLeast(0.95, 0.97),
        sql: String::new(),
    });
    Ok(())
}

/// Messages per second, of those that came while no daemon ran. If they are `named`, each user has a message that what comes
/// may belong to; else there are as many, but nothing can find them, as after an upgrade before the first sweep.
async fn tail_rate(postgres: &Arc<Postgres>, scale: Scale, named: bool) -> Result<f64> {
    let database = Lab::database_only_on(Arc::clone(postgres)).await?.database;
    let pool = database.superuser();
    let config = DaemonConfig::for_database(&database)?.set("timers.start", "archived");
    let daemon = Daemon::start(program(), &config).await?;
    marked(pool, (0, 49), "user").await?;
    // It must not read them again.
    let passed = "SELECT count(*) FROM ephemerd.cursors WHERE position >= (SELECT max(sort_id) FROM prosodyarchive)";
    eventually("the cursor", PATIENCE, async || {
        let found: i64 = sqlx::query_scalar(passed).fetch_one(pool).await?;
        Ok((found == 1).then_some(()))
    })
    .await?;
    daemon.terminate().await?;
    if !named {
        let unnamed = "UPDATE ephemerd.expiries SET name = NULL, sender = NULL";
        sqlx::query(unnamed).execute(pool).await?;
    }
    let rows = scale.rows / 2;
    sqlx::query(CHAT).bind(rows).execute(pool).await?;
    marked(pool, (1, 1), "last").await?;
    sqlx::query("VACUUM ANALYZE prosodyarchive").execute(pool).await?;
    let started = Instant::now();
    let daemon = Daemon::start(program(), &config).await?;
    eventually("the tail", PATIENCE, async || {
        let found = "SELECT count(*) FROM ephemerd.expiries WHERE archive_id = 'last1'";
        let found: i64 = sqlx::query_scalar(found).fetch_one(pool).await?;
        Ok((found == 1).then_some(()))
    })
    .await?;
    let rate = rows as f64 / started.elapsed().as_secs_f64();
    daemon.terminate().await?;
    end(database).await?;
    Ok(rate)
}

async fn marked(pool: &PgPool, (from, to): (i32, i32), user: &str) -> Result<()> {
    sqlx::query(MARKED).bind(from).bind(to).bind(user).execute(pool).await?;
    Ok(())
}
