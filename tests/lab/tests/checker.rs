//! The checker must find each kind of fault: here the test plays the daemon, well and badly.

use std::time::Duration;

use ephemerd_lab::{Archive, Checker, Lab, Prosody, Result, Server as _, Snapshot, Words};
use tokio::time::Instant;

const GONE: &str = "<message><expired xmlns='urn:ephemerd:0'/></message>";

struct Scene {
    lab: Lab<Prosody>,
    checker: Checker,
    before: Vec<Snapshot>,
    stays: String,
    goes: String,
}

/// Peter tells Rosa one thing that stays and one that must be gone already, and both say something in a room.
async fn scene() -> Result<Scene> {
    let lab = Lab::prosody().await?;
    let mut words = Words::random();
    let [stays, goes, in_room] = [(); 3].map(|()| words.word());
    let mut peter = lab.online("peter").await?;
    lab.server.register("rosa").await?;
    peter.chat("rosa@localhost", &stays, "").await?;
    peter.chat("rosa@localhost", &goes, "").await?;
    peter.join(&lab.endpoints().room("garden"), "peter").await?;
    peter.groupchat(&lab.endpoints().room("garden"), &in_room, "").await?;
    peter.wait_for_body(&in_room).await?;

    let both = [Archive::user("peter"), Archive::user("rosa")];
    let now = Instant::now();
    let mut checker = Checker::new();
    checker.stays(&stays, &both);
    checker.goes(&goes, &both, now, now);
    checker.stays(&in_room, &[Archive::room("garden", "rosa")]);
    let before = lab.snapshots().await?;
    assert_eq!(before.iter().map(Snapshot::len).sum::<usize>(), 5);
    Ok(Scene { lab, checker, before, stays, goes })
}

impl Scene {
    async fn execute(&self, sql: &str, word: &str) -> Result<()> {
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(format!("%{word}%"))
            .bind(GONE)
            .execute(self.lab.database.superuser())
            .await?;
        Ok(())
    }

    async fn faults(&self) -> Result<Vec<String>> {
        Ok(self.checker.judge(&self.lab, &self.before).await?.faults)
    }
}

/// One of the faults must begin so.
fn assert_fault(faults: &[String], start: &str, word: &str) {
    let found = faults.iter().any(|it| it.starts_with(start) && it.contains(word));
    assert!(found, "no fault {start:?} {word}: {faults:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_deletion_and_a_placeholder_are_right() -> Result<()> {
    let scene = scene().await?;
    let faults = scene.faults().await?;
    assert_fault(&faults, "MAM: User(\"peter\") shows", &scene.goes);
    assert_fault(&faults, "MAM: User(\"rosa\") shows", &scene.goes);
    assert_fault(&faults, "SQL: public.prosodyarchive holds", &scene.goes);
    scene
        .execute(
            "UPDATE prosodyarchive SET value = $2 WHERE value LIKE $1 AND \"user\" = 'peter'",
            &scene.goes,
        )
        .await?;
    assert!(!scene.faults().await?.is_empty());
    scene
        .execute("DELETE FROM prosodyarchive WHERE value LIKE $1 AND $2 <> ''", &scene.goes)
        .await?;
    assert_eq!(scene.faults().await?, [""; 0]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_changed_copied_or_broken_is_found() -> Result<()> {
    let scene = scene().await?;
    let before = scene.before.clone();
    for (sql, word, fault) in [
        (
            "DELETE FROM prosodyarchive WHERE value LIKE $1 AND \"user\" = 'rosa' AND $2 <> ''",
            &scene.stays,
            "is gone",
        ),
        (
            "UPDATE prosodyarchive SET \"when\" = 1 WHERE value LIKE $1 AND $2 <> ''",
            &scene.stays,
            "changed in when",
        ),
        (
            "UPDATE prosodyarchive SET key = 'x' WHERE value LIKE $1 AND \"user\" = 'rosa' AND $2 <> ''",
            &scene.goes,
            "which is not its text",
        ),
        (
            "UPDATE prosodyarchive SET value = value || '<!-- -->' WHERE value LIKE $1 AND $2 <> ''",
            &scene.goes,
            "in part only",
        ),
        (
            "UPDATE prosodyarchive SET value = '<message>' WHERE value LIKE $1 AND $2 <> ''",
            &scene.goes,
            "no valid XML",
        ),
        (
            "INSERT INTO prosodyarchive (host, \"user\", store, key, \"when\", \"with\", type, value) VALUES ('localhost', 'rosa', 'archive', $1, 1, '', 'xml', $2)",
            &scene.goes,
            "is new",
        ),
    ] {
        let mut transaction = scene.lab.database.superuser().begin().await?;
        let pattern = format!("%{word}%");
        sqlx::query(sql).bind(pattern).bind(GONE).execute(&mut *transaction).await?;
        transaction.commit().await?;
        let now = scene.lab.snapshots().await?;
        let faults = before[0].faults(&now[0], &[scene.goes.clone()].into());
        assert_fault(&faults, "prosodyarchive row", fault);
        restore(&scene).await?;
        let now = scene.lab.snapshots().await?;
        assert_eq!(before[0].faults(&now[0], &[scene.goes.clone()].into()), [""; 0]);
    }
    // A copy of the words in another table, as if the daemon kept them.
    scene
        .execute(
            "CREATE TABLE ephemerd.diary AS SELECT value FROM prosodyarchive WHERE $1 <> $2",
            "",
        )
        .await?;
    assert_fault(&scene.faults().await?, "SQL: ephemerd.diary holds", &scene.stays);
    Ok(())
}

/// Puts back what was there before.
async fn restore(scene: &Scene) -> Result<()> {
    sqlx::query("DELETE FROM prosodyarchive").execute(scene.lab.database.superuser()).await?;
    for row in scene.before.iter().flat_map(Snapshot::rows) {
        sqlx::query("INSERT INTO prosodyarchive SELECT * FROM jsonb_populate_record(NULL::prosodyarchive, $1::jsonb)")
            .bind(row)
            .execute(scene.lab.database.superuser())
            .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_too_early_or_shows_up_unasked_is_found() -> Result<()> {
    let mut scene = scene().await?;
    let later = Instant::now() + Duration::from_secs(600);
    let both = [Archive::user("peter"), Archive::user("rosa")];
    scene.checker.goes(&scene.goes, &both, later, later);
    assert_eq!(scene.faults().await?, [""; 0]);
    scene
        .execute("DELETE FROM prosodyarchive WHERE value LIKE $1 AND $2 <> ''", &scene.goes)
        .await?;
    assert_fault(&scene.faults().await?, "MAM: User(\"peter\") lacks", &scene.goes);

    let mut eve = scene.lab.online("eve").await?;
    eve.chat("rosa@localhost", "unexpected", "").await?;
    eve.sync().await?;
    assert_fault(&scene.faults().await?, "MAM: User(\"rosa\") shows", "unexpected");
    Ok(())
}
