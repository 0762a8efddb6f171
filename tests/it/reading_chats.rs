//! Users' archives in Prosody's table, and what the ledger makes of them where timers start at reading.

use ephemerd_lab::rows::{ArchiveRow, insert};
use ephemerd_lab::{Daemon, DaemonConfig, Lab, PATIENCE, Result, eventually};
use sqlx::PgPool;

use crate::support::{now, reload_rules, start};

/// The timer of every message, in seconds: nothing goes while a test looks.
pub(crate) const TIMER: i64 = 86_400;
/// What `timers.unread_for` is by default.
pub(crate) const CAP: i64 = 14 * 86_400;

/// What the ledger says of a row: what started its timer, and when, in seconds before the test's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) by: String,
    pub(crate) ago: i64,
    /// From the start until it is due.
    pub(crate) timer: i64,
    pub(crate) reason: String,
}

impl Entry {
    pub(crate) fn new(by: &str, ago: i64) -> Self {
        Self { by: by.to_owned(), ago, timer: TIMER, reason: "timer".to_owned() }
    }

    /// Nobody read what was archived so long ago.
    pub(crate) fn unread(ago: i64) -> Self {
        Self::new("unread", ago - 1 - CAP)
    }

    /// Shown by a row so long ago: its second is over.
    pub(crate) fn read(by: &str, ago: i64) -> Self {
        Self::new(by, ago - 1)
    }
}

/// A daemon over Prosody's table, and the time at which the test began.
pub(crate) struct Chats {
    pub(crate) lab: Lab,
    pub(crate) config: DaemonConfig,
    pub(crate) daemon: Daemon,
    pub(crate) began: i64,
}

impl Chats {
    /// Timers start when read.
    pub(crate) async fn start() -> Result<Self> {
        Self::start_with(&[("timers.start", "read")]).await
    }

    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> Result<Self> {
        Self::start_in(Lab::database_only().await?, settings).await
    }

    pub(crate) async fn start_in(lab: Lab, settings: &[(&str, &str)]) -> Result<Self> {
        let mut config = DaemonConfig::for_database(&lab.database)?.set("archive.poll", "50ms");
        for (key, value) in settings {
            config = config.set(key, *value);
        }
        let daemon = start(&config).await?;
        let began = now(lab.database.superuser()).await?;
        Ok(Self { lab, config, daemon, began })
    }

    pub(crate) fn pool(&self) -> &PgPool {
        self.lab.database.superuser()
    }

    /// A row of a user's archive, so many seconds ago.
    pub(crate) fn row(&self, user: &str, key: &str, ago: i64, stanza: &str) -> ArchiveRow {
        let with = with(user, stanza);
        ArchiveRow { with, ..ArchiveRow::archive(user, key, self.began - ago, stanza) }
    }

    /// What a user received; the id is the key.
    pub(crate) fn received(&self, user: &str, from: &str, key: &str, ago: i64) -> ArchiveRow {
        self.row(user, key, ago, &message(from, &format!("{user}@localhost"), key, EPHEMERAL))
    }

    /// A marker for this id that a user sent.
    pub(crate) fn marker(&self, user: &str, to: &str, id: &str, ago: i64) -> ArchiveRow {
        let key = format!("marker-{id}-{ago}");
        let stanza = without_words(&format!("{user}@localhost/phone"), to, &displayed(id));
        self.row(user, &key, ago, &stanza)
    }

    /// An item that a user published: up to this archive id of the chat.
    pub(crate) fn item(&self, user: &str, chat: &str, id: &str, ago: i64) -> ArchiveRow {
        self.item_by(user, chat, (&format!("{user}@localhost"), id), ago)
    }

    pub(crate) fn item_by(
        &self,
        user: &str,
        chat: &str,
        (by, id): (&str, &str),
        ago: i64,
    ) -> ArchiveRow {
        let value = format!(
            "<displayed xmlns='urn:xmpp:mds:displayed:0'>\
             <stanza-id xmlns='urn:xmpp:sid:0' by='{by}' id='{id}'/></displayed>"
        );
        ArchiveRow {
            store: "pep_urn:xmpp:mds:displayed:0".to_owned(),
            with: format!("{user}@localhost"),
            ..ArchiveRow::archive(user, chat, self.began - ago, &value)
        }
    }

    /// Adds rows in this order, and waits until the daemon has made of them what it will.
    pub(crate) async fn add(&self, rows: &[ArchiveRow]) -> Result<()> {
        insert(self.pool(), rows).await?;
        self.settle().await
    }

    /// Waits until the tail has passed everything that is there by now: a message that comes after it is recorded.
    pub(crate) async fn settle(&self) -> Result<()> {
        let last: i64 = sqlx::query_scalar("SELECT max(sort_id) FROM prosodyarchive")
            .fetch_one(self.pool())
            .await?;
        let user = format!("settle{last}");
        let stanza = message("ann@localhost/x", &format!("{user}@localhost"), "x", EPHEMERAL);
        insert(self.pool(), &[self.row(&user, "last", 7, &stanza)]).await?;
        // A thousand rows that belong to each other keep it busy.
        eventually("the tail", PATIENCE * 4, async || {
            let last =
                "SELECT count(*) FROM ephemerd.expiries WHERE owner = $1 AND archive_id = 'last'";
            let found: i64 = sqlx::query_scalar(last).bind(&user).fetch_one(self.pool()).await?;
            Ok((found == 1).then_some(()))
        })
        .await
    }

    /// Changes the rules, and waits until everything is recorded by the new ones.
    pub(crate) async fn reload(&mut self, config: &DaemonConfig) -> Result<()> {
        reload_rules(&mut self.daemon, self.lab.database.superuser(), config).await
    }

    /// What the ledger says of this user's row.
    pub(crate) async fn entry(&self, user: &str, key: &str) -> Result<Entry> {
        self.entry_in("archive", user, key).await
    }

    pub(crate) async fn entry_in(&self, store: &str, user: &str, key: &str) -> Result<Entry> {
        let (by, runs_from, timer, reason): (String, i64, i64, String) = sqlx::query_as(
            "SELECT started_by, extract(epoch FROM runs_from)::bigint,
                    extract(epoch FROM due_at - runs_from)::bigint, reason
               FROM ephemerd.expiries WHERE store = $1 AND owner = $2 AND archive_id = $3",
        )
        .bind(store)
        .bind(user)
        .bind(key)
        .fetch_one(self.pool())
        .await?;
        Ok(Entry { by, ago: self.began - runs_from, timer, reason })
    }
}

pub(crate) const EPHEMERAL: &str = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='86400'/>";

pub(crate) fn displayed(id: &str) -> String {
    format!("<displayed xmlns='urn:xmpp:chat-markers:0' id='{id}'/>")
}

pub(crate) fn message(from: &str, to: &str, id: &str, extra: &str) -> String {
    format!(
        "<message from='{from}' to='{to}' id='{id}' type='chat'><body>words of {id}</body>{extra}</message>"
    )
}

pub(crate) fn without_words(from: &str, to: &str, extra: &str) -> String {
    format!("<message from='{from}' to='{to}' id='own' type='chat'>{extra}</message>")
}

/// The other side's bare address, as Prosody has it beside each row.
fn with(user: &str, stanza: &str) -> String {
    let stanza = ephemerd_lab::xmpp::Element::parse(stanza).expect("a stanza");
    let bare = |name: &str| {
        let jid = stanza.attribute(name).unwrap_or_default();
        jid.split('/').next().unwrap_or_default().to_owned()
    };
    let from = bare("from");
    if from == format!("{user}@localhost") { bare("to") } else { from }
}
