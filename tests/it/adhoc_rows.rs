//! What users are told of themselves is counted from their own entries alone, and by index.

use std::sync::Arc;
use std::time::Duration;

use ephemerd::ledger::{KeptEntries, MOST_KEPT};
use ephemerd::model::{Limit, Limits, Reason, RetentionRules, Store, WishRules};
use ephemerd::ops::{Kept, kept};
use ephemerd::policy::Retention;
use ephemerd_lab::{DaemonConfig, Lab, Result};
use sqlx::{AssertSqlSafe, PgPool};

use crate::statement_costs::explaining;
use crate::support::printed;

const DAY: u64 = 86_400;
const POLICY: &[u8] = b"policy";

/// Records so many entries: `columns` and `values` are those that matter.
async fn record(pool: &PgPool, owner: &str, count: i64, columns: &str, values: &str) -> Result<()> {
    let insert = format!(
        "INSERT INTO ephemerd.expiries (host, owner, archive_id, {columns})
         SELECT split_part($1, '@', 2), split_part($1, '@', 1), gen_random_uuid()::text, {values}
           FROM generate_series(1, $2)"
    );
    sqlx::query(AssertSqlSafe(insert)).bind(owner).bind(count).execute(pool).await?;
    Ok(())
}

const COLUMNS: &str = "store, stamped_at, runs_from, due_at, reason, started_by, phase, backlog";

fn days(days: u64) -> Retention {
    let archive = Some(Limit::After(Duration::from_secs(DAY * days)));
    let everyone = Limits { archive, ..Limits::default() };
    Retention::new(RetentionRules { everyone, rules: vec![] })
}

/// Looks up an account as the daemon does, with its role.
async fn look(pool: &PgPool, owner: (&str, &str), retention: &Retention) -> Result<Kept> {
    let mut connection = pool.acquire().await?;
    let rules = (retention, WishRules::default());
    Ok(kept(&mut connection, owner, rules, POLICY).await.expect("the ledger answers"))
}

fn of(kept: &Kept, store: Store, reason: Option<Reason>) -> Option<&KeptEntries> {
    let entries = kept.entries.as_ref().expect("they were counted");
    entries.iter().find(|it| it.store == store && it.reason == reason)
}

#[tokio::test]
async fn everybody_is_told_of_their_own_entries_only() -> Result<()> {
    let lab = Lab::database_only().await?;
    printed(&DaemonConfig::for_database(&lab.database)?, &["migrate"]).await?;
    let (pool, ours) = (lab.database.superuser(), lab.database.daemon_pool(1).await?);
    let rosa = "rosa@localhost";
    let recent = "now() - interval '1 day'";
    let start = format!("{recent}, {recent}");
    for (count, values) in [
        (
            2,
            format!(
                "'archive', {start}, now() + interval '1 hour', 'timer', 'delivered', 'pending', false"
            ),
        ),
        (
            1,
            format!(
                "'archive', {recent}, now() + interval '9 days', now() + interval '10 days', 'timer', 'unread', 'pending', false"
            ),
        ),
        (
            1,
            format!(
                "'archive', {start}, now() - interval '1 hour', 'hint', 'archived', 'pending', false"
            ),
        ),
        (
            4,
            format!(
                "'archive', {start}, now() + interval '1 hour', 'timer', 'delivered', 'pending', true"
            ),
        ),
        (
            3,
            format!(
                "'archive', {start}, now() + interval '9 days', 'timer', 'delivered', 'placeholder', false"
            ),
        ),
        (
            1,
            format!(
                "'queue', {start}, now() + interval '13 days', 'undelivered', 'archived', 'pending', false"
            ),
        ),
        // A room of the same name.
        (
            7,
            format!(
                "'room', {start}, now() + interval '1 hour', 'timer', 'archived', 'pending', false"
            ),
        ),
    ] {
        record(pool, rosa, count, COLUMNS, &values).await?;
    }
    let other = format!(
        "'archive', {start}, now() + interval '1 hour', 'timer', 'delivered', 'pending', false"
    );
    for owner in ["rosa@other.example", "rosamund@localhost", "ros@localhost"] {
        record(pool, owner, 5, COLUMNS, &other).await?;
    }

    let found = look(&ours, ("localhost", "rosa"), &Retention::default()).await?;
    let timer = of(&found, Store::Archive, Some(Reason::Timer)).expect("messages with timers");
    let counts = (timer.going, timer.unread, timer.backlog, timer.emptied);
    assert_eq!(counts, (3, 1, 4, 3));
    let soonest: bool = sqlx::query_scalar("SELECT $1 BETWEEN now() AND now() + interval '1 hour'")
        .bind(timer.next)
        .fetch_one(pool)
        .await?;
    assert!(soonest, "{:?}", timer.next);
    let hint = of(&found, Store::Archive, Some(Reason::Hint)).expect("the message with a hint");
    assert_eq!((hint.going, hint.next), (1, None), "what is overdue has no time to come");
    let queue = of(&found, Store::Queue, Some(Reason::Undelivered)).expect("the queue's message");
    assert_eq!(queue.going, 1);
    assert!(of(&found, Store::Room, Some(Reason::Timer)).is_none(), "a room is no user");
    assert_eq!(
        look(&ours, ("localhost", "nobody"), &Retention::default()).await?.entries,
        Some(vec![])
    );
    Ok(())
}

/// What gets too old first goes by its age, as soon as the policy is in force and no sooner.
#[tokio::test]
async fn age_decides_once_the_policy_is_in_force() -> Result<()> {
    let lab = Lab::database_only().await?;
    printed(&DaemonConfig::for_database(&lab.database)?, &["migrate"]).await?;
    let (pool, ours) = (lab.database.superuser(), lab.database.daemon_pool(1).await?);
    let old = "'archive', now() - interval '29 days', now() - interval '29 days', now() + interval '9 days', 'timer', 'archived', 'pending', false";
    record(pool, "rosa@localhost", 1, COLUMNS, old).await?;
    let account = ("localhost", "rosa");
    let announce = "INSERT INTO ephemerd.retention (policy, begins_at, first_rows, must_accept)
                    VALUES ($1, now() + interval '1 day', 0, false)";
    sqlx::query(announce).bind(POLICY).execute(pool).await?;
    let announced = look(&ours, account, &days(30)).await?;
    assert!(!announced.ages && of(&announced, Store::Archive, Some(Reason::Timer)).is_some());
    let begin = "UPDATE ephemerd.retention SET begins_at = now() - interval '1 day'";
    sqlx::query(begin).execute(pool).await?;
    let in_force = look(&ours, account, &days(30)).await?;
    let aged = of(&in_force, Store::Archive, None).expect("its age decides");
    assert!(in_force.ages && aged.going == 1);
    let tomorrow: bool = sqlx::query_scalar("SELECT $1 < now() + interval '1 day'")
        .bind(aged.next)
        .fetch_one(pool)
        .await?;
    assert!(tomorrow, "{:?}", aged.next);
    let longer = look(&ours, account, &days(60)).await?;
    assert!(of(&longer, Store::Archive, Some(Reason::Timer)).is_some(), "the timer is sooner");
    Ok(())
}

/// Up to the bound everything is counted, above it nothing; and the index by owner finds it, however much others have.
#[tokio::test(flavor = "multi_thread")]
async fn the_count_is_bounded_and_by_index() -> Result<()> {
    let postgres = explaining().await?;
    let lab = Lab::database_only_on(Arc::clone(&postgres)).await?;
    printed(&DaemonConfig::for_database(&lab.database)?, &["migrate"]).await?;
    let (pool, ours) = (lab.database.superuser(), lab.database.daemon_pool(1).await?);
    let values =
        "'archive', now(), now(), now() + interval '1 hour', 'timer', 'archived', 'pending', false";
    record(pool, "many@localhost", MOST_KEPT, COLUMNS, values).await?;
    record(pool, "few@localhost", 3, COLUMNS, values).await?;
    sqlx::query("ANALYZE ephemerd.expiries").execute(pool).await?;
    let found = look(&ours, ("localhost", "few"), &Retention::default()).await?;
    assert_eq!(of(&found, Store::Archive, Some(Reason::Timer)).map(|it| it.going), Some(3));
    let log = postgres.log_text()?;
    let plan = log.rsplit("Query Text: -- kept_of_owner").next().expect("it was logged");
    assert!(plan.contains("expiries_identity"), "{plan}");
    assert!(!plan.contains("Seq Scan on expiries"), "{plan}");

    let many = look(&ours, ("localhost", "many"), &Retention::default()).await?;
    let counted = of(&many, Store::Archive, Some(Reason::Timer)).map(|it| it.going);
    assert_eq!(counted, Some(MOST_KEPT));
    record(pool, "many@localhost", 1, COLUMNS, values).await?;
    let too_many = look(&ours, ("localhost", "many"), &Retention::default()).await?;
    assert_eq!(too_many.entries, None);
    Ok(())
}
