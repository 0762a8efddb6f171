//! One suite for every kind of archive and every mode: the same messages, the same outcomes, real servers.
//!
//! It prints its matrix, case × kind. A kind that differs has an entry in [`EXCEPTIONS`], with its reason; no
//! case is left out anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use chrono::SecondsFormat;
use ephemerd::model::{Clock as _, SystemClock};
use ephemerd_lab::ejabberd::{EjabberdConfig, Schema};
use ephemerd_lab::xmpp::{Client, Element, MamQuery};
use ephemerd_lab::{Daemon, DaemonConfig, Lab, PATIENCE, Result, Server, Snapshot, eventually};
use sqlx::{AssertSqlSafe, PgPool};

use crate::conformance_cases::{
    CASES, Case, EXCEPTIONS, Fate, NAMED, Place, QUOTED, archived, fate, is_usual,
};
use crate::conformance_remote;
use crate::support::{REFUSED, pause, resume, show_read, show_read_in_room, start};
use crate::supported;

/// The timer of all marked messages, in seconds. While they are sent and looked at erasing is paused, and after that both ends
/// are restarted before it runs out, unless the machine is very busy.
pub(crate) const TIMER: u64 = 20;
/// How long after its due time a message may still exist: restarts, rests on files and a busy machine are included.
pub(crate) const LATEST: Duration = Duration::from_secs(TIMER + 240);

/// How many rows contain a case's message: before anything was due, and after everything was.
pub(crate) type Rows = (i64, i64);

pub(crate) struct Talk<S> {
    pub(crate) lab: Lab<S>,
    pub(crate) daemon: Daemon,
    pub(crate) config: DaemonConfig,
    peter: Client,
    rosa: Client,
    pub(crate) kind: &'static str,
    /// The archive id of the last message in the room.
    last_in_room: String,
}

/// Identifies a case's message among all others, in its `id`.
pub(crate) fn token(case: &Case) -> String {
    let at = CASES.iter().position(|it| it.name == case.name);
    format!("case-{:02}-", at.unwrap_or_default())
}

/// What goes without anybody logging in for it.
pub(crate) fn goes_now(kind: &str) -> impl Iterator<Item = &'static Case> {
    CASES.iter().filter(move |it| fate(it, kind) == Fate::Goes && it.place != Place::Offline)
}

/// The content of a case's message.
fn inside(case: &Case) -> String {
    let until = SystemClock.now() + Duration::from_secs(TIMER);
    let until = until.to_rfc3339_opts(SecondsFormat::Secs, true);
    let inside = case.inside.replace("WORDS", &token(case));
    inside.replace("TIMER", &TIMER.to_string()).replace("UNTIL", &until)
}

async fn talk<S: Server>(lab: Lab<S>, kind: &'static str, mode: &str) -> Result<Talk<S>> {
    let config = lab.daemon_config();
    talk_with(lab, config, kind, mode).await
}

/// The same with another configuration; erasing is paused.
pub(crate) async fn talk_with<S: Server>(
    lab: Lab<S>,
    config: DaemonConfig,
    kind: &'static str,
    mode: &str,
) -> Result<Talk<S>> {
    let config = config
        .set("archive.poll", "200ms")
        .set("erase.mode", mode)
        .set("timers.negotiation_for", format!("{TIMER}s"))
        .set("hints.keep_for", format!("{TIMER}s"))
        .set("timers.legacy_expiry", "true")
        .set("offline.undelivered_for", "1h");
    let daemon = start(&config).await?;
    pause(&config).await?;
    lab.client("otto").await?.close().await?;
    let mut peter = lab.online("peter").await?;
    let mut rosa = lab.online("rosa").await?;
    let den = lab.endpoints().room("den");
    peter.join(&den, "Peter").await?;
    rosa.join(&den, "Rosa").await?;
    Ok(Talk { lab, daemon, config, peter, rosa, kind, last_in_room: String::new() })
}

impl<S: Server> Talk<S> {
    pub(crate) async fn say_all(&mut self) -> Result<()> {
        for case in CASES {
            if case.place == Place::Elsewhere && archived(case, self.kind) == 0 {
                continue;
            }
            let (to, kind) = match case.place {
                Place::Elsewhere => {
                    self.archive_elsewhere(case).await?;
                    continue;
                }
                Place::Online | Place::Taken => (self.lab.endpoints().jid("rosa"), "chat"),
                Place::Offline => (self.lab.endpoints().jid("otto"), "chat"),
                Place::Room => (self.lab.endpoints().room("den"), "groupchat"),
            };
            let id = if case.is_named { NAMED.to_owned() } else { token(case) };
            let inside = inside(case);
            let stanza = format!("<message to='{to}' type='{kind}' id='{id}'>{inside}</message>");
            self.peter.send(&stanza).await?;
        }
        self.peter.sync().await?;
        let last = format!(
            "<message to='{}' type='chat' id='last'><body>last</body></message>",
            self.rosa.bare_jid()
        );
        self.peter.send(&last).await?;
        self.rosa.wait_for_body("last").await.map(drop)?;
        let den = self.lab.endpoints().room("den");
        self.peter.groupchat(&den, "last in the room", "").await?;
        let last = self.rosa.wait_for_body("last in the room").await?;
        let id = last.child("urn:xmpp:sid:0", "stanza-id").and_then(|it| it.attribute("id"));
        self.last_in_room = id.unwrap_or_default().to_owned();
        Ok(())
    }

    /// A row of a host that `archive.hosts` does not list, as the server would write it.
    async fn archive_elsewhere(&self, case: &Case) -> Result<()> {
        let insert = match self.kind.split(',').next() {
            Some("prosody") => {
                r#"INSERT INTO prosodyarchive (host, "user", store, key, "when", "with", type, value)
                   VALUES ('other.example', 'rosa', 'archive', 'key',
                           extract(epoch FROM now())::int, 'a@b', 'xml', $1)"#
            }
            Some("classic") => {
                "INSERT INTO archive (username, timestamp, peer, bare_peer, xml, kind)
                 VALUES ('den@rooms.other.example',
                         (extract(epoch FROM now()) * 1000000)::bigint, 'a@b', 'a@b', $1, 'groupchat')"
            }
            _ => {
                "INSERT INTO archive (server_host, username, timestamp, peer, bare_peer, xml, kind)
                 VALUES ('other.example', 'rosa',
                         (extract(epoch FROM now()) * 1000000)::bigint, 'a@b', 'a@b', $1, 'chat')"
            }
        };
        let (id, inside) = (token(case), inside(case));
        sqlx::query(insert)
            .bind(format!("<message type='chat' id='{id}'>{inside}</message>"))
            .execute(self.lab.database.superuser())
            .await?;
        Ok(())
    }

    /// How many archived and queued rows contain each case's message.
    async fn rows(&self, queued: bool) -> Result<BTreeMap<&'static str, i64>> {
        let mut rows = BTreeMap::new();
        for case in CASES {
            rows.insert(
                case.name,
                count(self.lab.database.superuser(), S::TABLES, &token(case), queued).await?,
            );
        }
        Ok(rows)
    }

    /// Timers start when the recipient's client, or in the room anybody else's, shows that the message was read.
    pub(crate) fn waits_for_readers(&self) -> bool {
        self.kind.ends_with("read")
    }

    /// Rosa has read everything, where timers wait for that.
    pub(crate) async fn read_all(&mut self) -> Result<()> {
        if !self.waits_for_readers() {
            return Ok(());
        }
        // A marker names it, and must not name a case.
        let last = "<message to='otto@localhost' type='chat' id='last'><body>last</body></message>";
        self.peter.send(last).await?;
        self.peter.sync().await?;
        show_read(&mut self.rosa, &self.lab.endpoints().jid("peter"), "last").await?;
        let den = self.lab.endpoints().room("den");
        // What Peter's own client shows does not count.
        show_read_in_room(&mut self.peter, &den, &self.last_in_room).await?;
        show_read_in_room(&mut self.rosa, &den, &self.last_in_room).await
    }

    /// Somebody else removes these rows before us: a retraction, or the server's own expiry.
    async fn take_rows(&self) -> Result<()> {
        for case in CASES.iter().filter(|it| it.place == Place::Taken) {
            for table in S::TABLES.iter().filter(|it| !it.is_queue) {
                let delete =
                    format!("DELETE FROM {} WHERE strpos({}, $1) > 0", table.name, table.xml[0]);
                sqlx::query(AssertSqlSafe(delete))
                    .bind(token(case))
                    .execute(self.lab.database.superuser())
                    .await?;
            }
        }
        Ok(())
    }

    async fn run(mut self) -> Result<(&'static str, BTreeMap<&'static str, Rows>, Vec<String>)> {
        self.say_all().await?;
        self.read_all().await?;
        let first = self.rows(false).await?;
        let queued = self.rows(true).await?;
        self.wait_until_recorded(&first).await?;
        self.take_rows().await?;
        let before = self.lab.snapshots().await?;
        resume(&self.config).await?;

        // Both ends stop and come back while the timers run.
        self.daemon.kill().await?;
        self.lab.server.restart().await?;
        self.daemon.resume().await?;

        let after = eventually(&format!("{}: what is due goes", self.kind), LATEST, async || {
            let after = self.rows(false).await?;
            Ok(goes_now(self.kind).all(|case| after[case.name] == 0).then_some(after))
        })
        .await?;
        let mut faults = Vec::new();
        let offline: Vec<_> = CASES.iter().filter(|it| it.place == Place::Offline).collect();
        for case in &offline {
            if queued.get(case.name).copied().unwrap_or_default() > 0
                && case.fate == Fate::Goes
                && after.get(case.name).copied().unwrap_or_default() == 0
            {
                faults.push(format!("{}: gone although nobody had it", case.name));
            }
        }
        self.deliver().await?;
        let after = self.rows(false).await?;
        let rows = first
            .into_iter()
            .map(|(name, first)| (name, (first, after.get(name).copied().unwrap_or_default())))
            .collect();
        faults.extend(self.faults_of_tables(&before).await?);
        faults.extend(self.faults_of_views().await?);
        let failures = self.daemon.figures().await?.get("ephemerd_erase_failures_total", &REFUSED);
        if failures != Some(0.0) {
            faults.push(format!("erasing failed: {failures:?}"));
        }
        Ok((self.kind, rows, faults))
    }

    /// What must go is in the ledger before anything happens to it.
    pub(crate) async fn wait_until_recorded(
        &self,
        first: &BTreeMap<&'static str, i64>,
    ) -> Result<()> {
        let going: i64 = CASES
            .iter()
            .filter(|it| fate(it, self.kind) == Fate::Goes)
            .filter_map(|it| first.get(it.name))
            .sum();
        eventually("all that goes is recorded", PATIENCE, async || {
            let recorded = "SELECT count(*) FROM ephemerd.expiries WHERE store <> 'queue'";
            let pool = self.lab.database.superuser();
            let recorded: i64 = sqlx::query_scalar(recorded).fetch_one(pool).await?;
            Ok((recorded == going).then_some(()))
        })
        .await?;
        // What modules tell of reading is kept in memory for as long as no row is known that it is about.
        eventually("what Rosa has read has started", PATIENCE, async || {
            let waiting = "SELECT count(*) FROM ephemerd.expiries
                WHERE (owner = 'rosa' AND store = 'archive' OR store = 'room') AND started_by = 'unread'";
            let pool = self.lab.database.superuser();
            let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(pool).await?;
            Ok((waiting == 0).then_some(()))
        })
        .await
    }

    /// Otto logs in, and the timers of what waited for him start.
    async fn deliver(&self) -> Result<()> {
        let mut otto = self.lab.online("otto").await?;
        otto.sync().await?;
        if self.waits_for_readers() {
            show_read(&mut otto, &self.lab.endpoints().jid("peter"), "last").await?;
        }
        eventually(&format!("{}: what was delivered goes", self.kind), LATEST, async || {
            let mut left = 0;
            for case in
                CASES.iter().filter(|it| it.place == Place::Offline && it.fate == Fate::Goes)
            {
                left +=
                    count(self.lab.database.superuser(), S::TABLES, &token(case), false).await?;
            }
            Ok((left == 0).then_some(()))
        })
        .await
    }

    /// Unmarked rows are unchanged, byte for byte.
    async fn faults_of_tables(&self, before: &[Snapshot]) -> Result<Vec<String>> {
        let mut going: BTreeSet<String> =
            CASES.iter().filter(|it| fate(it, self.kind) == Fate::Goes).map(token).collect();
        going.insert(QUOTED.to_owned());
        let mut faults = Vec::new();
        let quoted = count(self.lab.database.superuser(), S::TABLES, QUOTED, false).await?;
        if quoted > 0 {
            faults.push(format!("{quoted} rows still quote what has gone"));
        }
        for before in before {
            let now = Snapshot::take(&self.lab.database, before.table()).await?;
            faults.extend(before.faults(&now, &going));
        }
        if self.waits_for_readers() {
            // Otto's marker, in both archives.
            let (new, others): (Vec<_>, Vec<_>) =
                faults.into_iter().partition(|it| it.ends_with(" is new"));
            faults = others;
            if new.len() != 2 {
                faults.push(format!("{} rows are new, instead of a marker's two", new.len()));
            }
        }
        Ok(faults)
    }

    /// What fresh clients find is what the tables contain.
    async fn faults_of_views(&self) -> Result<Vec<String>> {
        let den = MamQuery::room(&self.lab.endpoints().room("den"));
        let own = MamQuery::default();
        let mut seen = String::new();
        for (user, query) in [("peter", &own), ("rosa", &own), ("otto", &own), ("rosa", &den)] {
            for item in self.lab.archive(user, query).await? {
                Element::parse(&item.xml)?;
                let _ = write!(seen, "{}", item.xml);
            }
        }
        let wrong = |case: &&Case| {
            let stays = fate(case, self.kind) != Fate::Goes && archived(case, self.kind) > 0;
            seen.contains(&token(case)) != (stays && case.place != Place::Elsewhere)
        };
        let wrong = CASES.iter().filter(wrong);
        Ok(wrong.map(|it| format!("{}: not as clients should see it", it.name)).collect())
    }
}

pub(crate) async fn count(
    pool: &PgPool,
    tables: &[ephemerd_lab::snapshot::Table],
    token: &str,
    queued: bool,
) -> Result<i64> {
    let mut rows = 0;
    for table in tables.iter().filter(|it| it.is_queue == queued) {
        let select = format!(
            "SELECT count(*) FROM {} WHERE {} AND strpos({}, $1) > 0",
            table.name, table.rows, table.xml[0]
        );
        let found: i64 =
            sqlx::query_scalar(AssertSqlSafe(select)).bind(token).fetch_one(pool).await?;
        rows += found;
    }
    Ok(rows)
}

pub(crate) type Column = (&'static str, BTreeMap<&'static str, Rows>, Vec<String>);

/// The matrix, and what was wrong in it.
pub(crate) fn judge(columns: &[Column]) -> (String, Vec<String>) {
    let (mut text, mut faults) = (format!("{:34}", "rows first → at last"), Vec::new());
    for (kind, ..) in columns {
        let _ = write!(text, " | {kind:27}");
    }
    text.push('\n');
    for case in CASES {
        let _ = write!(text, "{:34}", case.name);
        for (kind, rows, _) in columns {
            let first = archived(case, kind);
            let expected = (first, if fate(case, kind) == Fate::Goes { 0 } else { first });
            let seen = rows.get(case.name).copied().unwrap_or_default();
            let mark = if is_usual(case, kind) { "" } else { "*" };
            let _ = write!(text, " | {:27}", format!("{} → {}{mark}", seen.0, seen.1));
            if seen != expected {
                faults.push(format!("{kind}: {}: {seen:?} instead of {expected:?}", case.name));
            }
        }
        text.push('\n');
    }
    for exception in EXCEPTIONS {
        let _ = writeln!(text, "* {}, {}: {}", exception.kind, exception.case, exception.reason);
    }
    for (kind, _, more) in columns {
        faults.extend(more.iter().map(|it| format!("{kind}: {it}")));
    }
    (text, faults)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_and_mode_does_the_same() -> Result<()> {
    // Both modes of two kinds at a time: they mostly wait.
    let (prosody, files, prosody_read) = tokio::try_join!(
        pair(Lab::prosody, ["prosody, placeholder", "prosody, delete"]),
        conformance_remote::prosody_files(),
        by_readers(Lab::prosody(), "prosody, read"),
    )?;
    let ejabberd = async |schema| Lab::ejabberd(&EjabberdConfig::default().schema(schema)).await;
    let (classic, sqlite, classic_read) = tokio::try_join!(
        pair(|| ejabberd(Schema::Classic), ["classic, placeholder", "classic, delete"]),
        conformance_remote::prosody_sqlite(),
        by_readers(ejabberd(Schema::Classic), "classic, read"),
    )?;
    let (multihost, mnesia, multihost_read) = tokio::try_join!(
        pair(|| ejabberd(Schema::MultiHost), ["multihost, placeholder", "multihost, delete"]),
        conformance_remote::ejabberd_mnesia(),
        by_readers(ejabberd(Schema::MultiHost), "multihost, read"),
    )?;
    let by_modules = conformance_remote::by_readers().await?;
    let pairs = [prosody, classic, multihost, files, sqlite, mnesia].into_iter().flatten();
    let by_readers = [prosody_read, classic_read, multihost_read].into_iter().chain(by_modules);
    let columns: Vec<Column> = pairs.chain(by_readers).collect();
    let (matrix, faults) = judge(&columns);
    #[expect(clippy::print_stdout, reason = "the matrix is what this suite is run for")]
    {
        println!("{}\n{matrix}", supported::heading()?);
    }
    assert!(faults.is_empty(), "{matrix}\n{}", faults.join("\n"));
    supported::record(&columns)
}

/// Timers that start at reading.
async fn by_readers<S: Server>(
    lab: impl Future<Output = Result<Lab<S>>>,
    kind: &'static str,
) -> Result<Column> {
    let lab = lab.await?;
    let config = lab.daemon_config().set("timers.start", "read").set("rooms.start", "first_reader");
    talk_with(lab, config, kind, "auto").await?.run().await
}

/// Both modes of a kind, side by side.
async fn pair<S: Server, F: Future<Output = Result<Lab<S>>>>(
    lab: impl Fn() -> F,
    [placeholder, delete]: [&'static str; 2],
) -> Result<[Column; 2]> {
    let (one, other) = tokio::try_join!(
        async { talk(lab().await?, placeholder, "placeholder").await?.run().await },
        async { talk(lab().await?, delete, "delete").await?.run().await },
    )?;
    Ok([one, other])
}
