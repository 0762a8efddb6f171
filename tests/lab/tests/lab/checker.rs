//! The checker must find each kind of fault: here the test plays the daemon, well and badly.

use std::time::Duration;

use ephemerd_lab::{Archive, Checker, Lab, Prosody, Result, Server as _, Snapshot, Words};
use sqlx::AssertSqlSafe;
use tokio::time::Instant;

const GONE: &str = "<message><expired xmlns='urn:ephemerd:0'/></message>";

struct Scene {
    lab: Lab<Prosody>,
    checker: Checker,
    before: Vec<Snapshot>,
    stays: String,
    goes: String,
}

/// Peter sends Rosa one message that stays and one that must be gone already, and both say something in a
/// room.
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
    /// Runs a statement on the rows of `prosodyarchive` that contain this word.
    async fn execute(&self, what: &str, word: &str, and: &str) -> Result<()> {
        let sql = format!("{what} WHERE value LIKE '%{word}%' AND {and}");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(self.lab.database.superuser()).await?;
        Ok(())
    }

    async fn faults(&self) -> Result<Vec<String>> {
        Ok(self.checker.judge(&self.lab, &self.before).await?.faults)
    }

    /// What the snapshots alone say.
    async fn faults_of_rows(&self) -> Result<Vec<String>> {
        let going = [self.goes.clone()].into();
        let now = self.lab.snapshots().await?;
        let pairs = self.before.iter().zip(&now);
        Ok(pairs.flat_map(|(before, now)| before.faults(now, &going)).collect())
    }

    /// Puts back what was there before.
    async fn restore(&self) -> Result<()> {
        let pool = self.lab.database.superuser();
        sqlx::query("DELETE FROM prosodyarchive").execute(pool).await?;
        for row in self.before.iter().flat_map(Snapshot::rows) {
            let insert = "INSERT INTO prosodyarchive \
                SELECT * FROM jsonb_populate_record(NULL::prosodyarchive, $1::jsonb)";
            sqlx::query(insert).bind(row).execute(pool).await?;
        }
        Ok(())
    }
}

/// One of the faults must begin like this.
fn assert_fault(faults: &[String], start: &str, word: &str) {
    let found = faults.iter().any(|it| it.starts_with(start) && it.contains(word));
    assert!(found, "no fault {start:?} {word}: {faults:#?}");
}

const DELETE: &str = "DELETE FROM prosodyarchive";
const PETERS: &str = "\"user\" = 'peter'";
const ROSAS: &str = "\"user\" = 'rosa'";

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_and_a_placeholder_are_right() -> Result<()> {
    let scene = scene().await?;
    let faults = scene.faults().await?;
    assert_fault(&faults, "MAM: User(\"peter\") shows", &scene.goes);
    assert_fault(&faults, "MAM: User(\"rosa\") shows", &scene.goes);
    assert_fault(&faults, "SQL: public.prosodyarchive holds", &scene.goes);
    let blank = format!("UPDATE prosodyarchive SET value = $${GONE}$$");
    scene.execute(&blank, &scene.goes, PETERS).await?;
    assert!(!scene.faults().await?.is_empty());
    scene.execute(DELETE, &scene.goes, ROSAS).await?;
    assert_eq!(scene.faults().await?, [""; 0]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_lost_changed_or_broken_is_found() -> Result<()> {
    let scene = scene().await?;
    let twin = "INSERT INTO prosodyarchive \
        SELECT sort_id + 100, host, \"user\", store, 'twin', \"when\", \"with\", type, value FROM prosodyarchive";
    for (what, word, and, fault) in [
        (DELETE, &scene.stays, ROSAS, "is gone"),
        ("UPDATE prosodyarchive SET \"when\" = 1", &scene.stays, ROSAS, "changed in when"),
        (
            "UPDATE prosodyarchive SET value = value || ' '",
            &scene.stays,
            PETERS,
            "changed in value",
        ),
        ("UPDATE prosodyarchive SET key = 'x'", &scene.goes, ROSAS, "which is not its text"),
        ("UPDATE prosodyarchive SET value = value || ' '", &scene.goes, ROSAS, "in part only"),
        ("UPDATE prosodyarchive SET value = '<message>'", &scene.goes, ROSAS, "no valid XML"),
        (twin, &scene.goes, ROSAS, "is new"),
    ] {
        assert_eq!(scene.faults_of_rows().await?, [""; 0]);
        scene.execute(what, word, and).await?;
        let faults = scene.faults_of_rows().await?;
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert_fault(&faults, "prosodyarchive row", fault);
        scene.restore().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn words_kept_in_another_table_are_found() -> Result<()> {
    let scene = scene().await?;
    let copy = "CREATE TABLE ephemerd.diary AS SELECT value FROM prosodyarchive";
    scene.execute(copy, &scene.stays, PETERS).await?;
    assert_fault(&scene.faults().await?, "SQL: ephemerd.diary holds", &scene.stays);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_too_early_or_shows_up_unasked_is_found() -> Result<()> {
    let mut scene = scene().await?;
    let later = Instant::now() + Duration::from_secs(600);
    let both = [Archive::user("peter"), Archive::user("rosa")];
    scene.checker.goes(&scene.goes, &both, later, later);
    assert_eq!(scene.faults().await?, [""; 0]);
    scene.execute(DELETE, &scene.goes, PETERS).await?;
    assert_fault(&scene.faults().await?, "MAM: User(\"peter\") lacks", &scene.goes);

    scene.checker.all_due();
    assert_fault(&scene.faults().await?, "MAM: User(\"rosa\") shows", &scene.goes);
    let mut eve = scene.lab.online("eve").await?;
    eve.chat("rosa@localhost", "unexpected", "").await?;
    eve.sync().await?;
    assert_fault(&scene.faults().await?, "MAM: User(\"rosa\") shows", "unexpected");
    Ok(())
}
