//! A room's subject with a timer, where ephemerd erases the archive's rows itself and the module clears the subject.

use ephemerd_lab::prosody::{ProsodyConfig, Storage};
use ephemerd_lab::{DaemonConfig, EjabberdConfig, Lab, PATIENCE, Result, Server, eventually};
use sqlx::{AssertSqlSafe, PgPool};

use crate::companion_memory::{set_subject, shown, until_subject};
use crate::holds::{hold, release};
use crate::reliability::saw;
use crate::remote::timer;
use crate::support::{pause, printed, resume, start};

/// How many archived rows say this.
async fn rows<S: Server>(pool: &PgPool, words: &str) -> Result<i64> {
    let mut found = 0;
    for table in S::TABLES {
        let count =
            format!("SELECT count(*) FROM {} WHERE strpos({}, $1) > 0", table.name, table.xml[0]);
        found +=
            sqlx::query_scalar::<_, i64>(AssertSqlSafe(count)).bind(words).fetch_one(pool).await?;
    }
    Ok(found)
}

/// Who joins later is shown no subject, and the archive has none; a newer subject stays, and so does one on hold, with its
/// row.
async fn only_what_is_due_is_cleared<S: Server>(lab: &Lab<S>, daemon: &DaemonConfig) -> Result<()> {
    let [goes, newer, held] = ["goes", "newer", "held"].map(|it| lab.endpoints().room(it));
    let mut peter = lab.online("peter").await?;
    let _running = start(daemon).await?;
    let placed = hold(daemon, &["--room", &held]).await?;
    pause(daemon).await?;
    for room in [&goes, &newer, &held] {
        peter.join(room, "peter").await?;
        set_subject(&mut peter, room, &format!("until noon in {room}."), &timer(2)).await?;
    }
    set_subject(&mut peter, &newer, "until evening", &timer(3_600)).await?;
    let words = |room: &str| format!("until noon in {room}.");
    assert_eq!(shown(lab, "rosa", &goes).await?.1, words(&goes));
    let pool = lab.database.superuser();
    let archived = rows::<S>(pool, &words(&held)).await?;
    resume(daemon).await?;

    until_subject(lab, &goes, "").await?;
    assert_eq!(shown(lab, "rosa", &newer).await?.1, "until evening", "it is a newer one");
    for room in [&goes, &newer] {
        eventually("no row has the subject", PATIENCE, async || {
            Ok((rows::<S>(pool, &words(room)).await? == 0).then_some(()))
        })
        .await?;
    }
    assert_eq!(shown(lab, "rosa", &held).await?.1, words(&held), "it is on hold");
    assert_eq!(rows::<S>(pool, &words(&held)).await?, archived, "its row is on hold");

    release(daemon, &placed).await?;
    until_subject(lab, &held, "").await?;
    eventually("no row has the subject", PATIENCE, async || {
        Ok((rows::<S>(pool, &words(&held)).await? == 0).then_some(()))
    })
    .await?;
    assert_eq!(shown(lab, "rosa", &newer).await?.1, "until evening", "its timer runs");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_archives_in_sql_only_what_is_due_is_cleared() -> Result<()> {
    let prosody = async {
        let config = ProsodyConfig::default().storage_in(Storage::Postgres).with_companion();
        let lab = Lab::prosody_with(&config).await?;
        only_what_is_due_is_cleared(&lab, &lab.daemon_config()).await
    };
    let ejabberd = async {
        let config = EjabberdConfig { companion: true, ..EjabberdConfig::default() };
        let lab = Lab::ejabberd(&config).await?;
        only_what_is_due_is_cleared(&lab, &lab.daemon_config()).await
    };
    tokio::try_join!(prosody, ejabberd)?;
    saw(
        "a room's subject, with archives in SQL",
        "one with a timer falls due; another was replaced, and a third is on hold",
        "people who join are shown neither the first nor its row, but the newer one, and the third until the hold ends",
    );
    Ok(())
}

/// Without a module in a rooms' host a subject stays, and `check` says so; with one it says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn check_says_that_subjects_stay() -> Result<()> {
    const STAY: &str = "and their subjects, stay until the rooms forget them";
    let without = Lab::prosody().await?;
    let checked = printed(&without.daemon_config(), &["check"]).await?;
    assert!(checked.contains(STAY), "{checked}");
    let config = ProsodyConfig::default().storage_in(Storage::Postgres).with_companion();
    let with = Lab::prosody_with(&config).await?;
    let checked = printed(&with.daemon_config(), &["check"]).await?;
    assert!(!checked.contains(STAY), "{checked}");
    Ok(())
}
