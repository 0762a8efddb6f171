//! Tables with partitions or children: row places are counted in each part from the start.

use std::collections::BTreeSet;

use ephemerd::archive::{Archive, Erasure, Kind, Search, Which, probe};
use ephemerd::model::{RowKey, Store};
use ephemerd_lab::ejabberd::{EjabberdConfig, Schema};
use ephemerd_lab::layouts::Layout;
use ephemerd_lab::snapshot::{
    EJABBERD_ARCHIVES, EJABBERD_QUEUE, PROSODY_ARCHIVES, Snapshot, Table,
};
use ephemerd_lab::{Lab, Result};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};

use crate::reliability::saw;
use crate::support::marked;

/// One of the servers' tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    Archive(Schema),
    Spool(Schema),
    Prosody,
}

const KEPT: [Kept; 5] = [
    Kept::Archive(Schema::Classic),
    Kept::Archive(Schema::MultiHost),
    Kept::Spool(Schema::Classic),
    Kept::Spool(Schema::MultiHost),
    Kept::Prosody,
];

/// Stamps of rows start here, in seconds.
const BASE: i64 = 1_700_000_000;

const USERS: [&str; 4] = ["peter", "rosa", "karl", "clara"];

impl Kept {
    pub(crate) fn table(self) -> Table {
        match self {
            Self::Archive(_) => EJABBERD_ARCHIVES,
            Self::Spool(_) => EJABBERD_QUEUE,
            Self::Prosody => Table { rows: "true", ..PROSODY_ARCHIVES },
        }
    }

    fn has_hosts(self) -> bool {
        !matches!(self, Self::Archive(Schema::Classic) | Self::Spool(Schema::Classic))
    }

    pub(crate) fn user_column(self) -> &'static str {
        if self == Self::Prosody { "\"user\"" } else { "username" }
    }

    /// Every layout that the table may have; `next` is the number of the next row.
    fn layouts(self, next: i64) -> Vec<Layout> {
        let user = self.user_column();
        let (number, stamp, host) = match self {
            Self::Archive(_) => (None, Some("timestamp"), "server_host"),
            Self::Spool(_) => (Some("seq"), None, "server_host"),
            Self::Prosody => (Some("sort_id"), Some("\"when\""), "host"),
        };
        let second = if matches!(self, Self::Archive(_)) { 1_000_000 } else { 1 };
        let range = |column: &str, from: i64, step: i64| {
            let (one, two) = (from + step, from + 2 * step);
            let bounds = [
                format!("FOR VALUES FROM (MINVALUE) TO ({one})"),
                format!("FOR VALUES FROM ({one}) TO ({two})"),
                "DEFAULT".to_owned(),
            ];
            Layout { by: Some(format!("RANGE ({column})")), parts: bounds.to_vec() }
        };
        let mut layouts = vec![
            Layout::plain(),
            Layout::children(2),
            Layout::children(3),
            Layout::partitions(
                &format!("LIST ({user})"),
                &["FOR VALUES IN ('peter')", "FOR VALUES IN ('rosa', 'karl')", "DEFAULT"],
            ),
            Layout::partitions(
                &format!("HASH ({user})"),
                &["0", "1", "2"]
                    .map(|it| format!("FOR VALUES WITH (MODULUS 3, REMAINDER {it})"))
                    .each_ref()
                    .map(String::as_str),
            ),
        ];
        layouts.extend(number.map(|column| range(column, next, 10)));
        layouts.extend(stamp.map(|column| range(column, BASE * second, 10 * second)));
        if self.has_hosts() {
            let hosts = ["FOR VALUES IN ('localhost')", "DEFAULT"];
            layouts.push(Layout::partitions(&format!("LIST ({host})"), &hosts));
        }
        match self {
            Self::Archive(_) => layouts.push(Layout::partitions(
                "LIST (kind)",
                &["FOR VALUES IN ('chat')", "FOR VALUES IN ('groupchat')"],
            )),
            Self::Prosody => layouts.push(Layout::partitions(
                "LIST (store)",
                &["FOR VALUES IN ('archive')", "FOR VALUES IN ('muc_log')", "DEFAULT"],
            )),
            Self::Spool(_) => {}
        }
        layouts
    }

    /// Inserts a row with this text into the table or one of its children.
    pub(crate) async fn insert(
        self,
        pool: &PgPool,
        into: &str,
        row: Place,
        xml: &str,
    ) -> Result<()> {
        let Place { user, vhost, at, is_room, is_queued } = row;
        let room = format!("conference.{vhost}");
        let (column, value) = if self.has_hosts() {
            ("server_host, ", format!("'{vhost}', "))
        } else {
            ("", String::new())
        };
        let insert = match self {
            Self::Archive(_) => {
                let (name, kind) = match is_room {
                    true => (format!("{user}@{room}"), "groupchat"),
                    false => (user.to_owned(), "chat"),
                };
                format!(
                    "INSERT INTO {into} ({column}username, timestamp, peer, bare_peer, xml, txt, kind, nick)
                     VALUES ({value}'{name}', {at}000000, 'r@x/y', 'r@x', $1, 'words', '{kind}', '')"
                )
            }
            Self::Spool(_) => {
                format!("INSERT INTO {into} ({column}username, xml) VALUES ({value}'{user}', $1)")
            }
            Self::Prosody => {
                let (host, store) = match (is_room, is_queued) {
                    (true, _) => (room.as_str(), "muc_log"),
                    (false, true) => (vhost, "offline"),
                    (false, false) => (vhost, "archive"),
                };
                format!(
                    r#"INSERT INTO {into} (host, "user", store, key, "when", "with", type, value)
                       VALUES ('{host}', '{user}', '{store}', gen_random_uuid(), {at}, 'r@x', 'xml', $1)"#
                )
            }
        };
        sqlx::query(AssertSqlSafe(insert)).bind(xml).execute(pool).await?;
        Ok(())
    }

    pub(crate) async fn lab(self) -> Result<Lab> {
        match self {
            Self::Archive(schema) | Self::Spool(schema) => {
                Lab::ejabberd_tables(&EjabberdConfig { schema, ..EjabberdConfig::default() }).await
            }
            Self::Prosody => Lab::database_only().await,
        }
    }

    fn kind(self) -> Kind {
        if self == Self::Prosody { Kind::Prosody } else { Kind::Ejabberd }
    }
}

/// Whose row it is, and when it was stored, in seconds.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    user: &'static str,
    vhost: &'static str,
    at: i64,
    is_room: bool,
    is_queued: bool,
}

impl Place {
    /// One of few, so that rows of several parts differ in nothing but their table and text.
    fn any(random: &mut StdRng) -> Self {
        Self {
            user: USERS.choose(random).expect("there are some"),
            vhost: ["localhost", "other.example"].choose(random).expect("there are some"),
            at: BASE + 10 * random.random_range(0..3),
            is_room: random.random_bool(0.3),
            is_queued: random.random_bool(0.3),
        }
    }

    pub(crate) fn of(user: &'static str, at: i64) -> Self {
        Self { user, vhost: "localhost", at, is_room: false, is_queued: false }
    }
}

fn is_marked(xml: &str) -> bool {
    xml.contains("<ephemeral")
}

/// Deletes or blanks these rows as the eraser does, in one transaction.
async fn erase(
    connection: &mut PgConnection,
    archive: &Archive,
    keys: &[&RowKey],
    delete: bool,
) -> Result<Vec<Erasure>> {
    let mut transaction = connection.begin().await?;
    let blank = |_: &str| "<message><expired xmlns='urn:ephemerd:0'/></message>".to_owned();
    let (queued, archived): (Vec<&RowKey>, Vec<&RowKey>) =
        keys.iter().partition(|it| it.store == Store::Queue);
    let mut erasures =
        archive.blank_queued(&mut transaction, &queued, blank).await.expect("blanked");
    erasures.extend(match delete {
        true => archive.delete(&mut transaction, &archived, Which::Marked).await.expect("deleted"),
        false => {
            archive.blank(&mut transaction, &archived, Which::Marked, blank).await.expect("blanked")
        }
    });
    transaction.commit().await?;
    Ok(erasures)
}

/// The number of the next row, which partitions are laid out by.
async fn next_number(pool: &PgPool, kept: Kept) -> Result<i64> {
    let Table { name, key, .. } = kept.table();
    let next = format!("SELECT nextval('{name}_{key}_seq') + 1");
    Ok(sqlx::query_scalar(AssertSqlSafe(next)).fetch_one(pool).await?)
}

/// One layout: how many rows there were, how many were erased, and how many places occurred in more than one
/// part.
async fn one_layout(
    lab: &Lab,
    kept: Kept,
    (layout, delete): (Layout, bool),
    random: &mut StdRng,
) -> Result<(usize, usize, i64)> {
    let (table, pool) = (kept.table(), lab.database.superuser());
    let name = table.name;
    let case = format!("{kept:?}, {layout:?}, delete {delete}");
    layout.lay_out(&lab.database, name).await?;
    let count = random.random_range(24..40);
    for number in 0..count {
        let into = match (&layout.by, random.random_range(0..=layout.parts.len())) {
            (None, at) if at > 0 => format!("{name}_{}", at - 1),
            _ => name.to_owned(),
        };
        let word = format!("word{number:03}");
        let xml = match random.random_bool(0.5) {
            true => marked(&word, 60),
            false => format!("<message type='chat'><body>{word}</body></message>"),
        };
        kept.insert(pool, &into, Place::any(random), &xml).await?;
    }
    let shared = format!(
        "SELECT count(*) FROM (SELECT FROM {name} GROUP BY ctid HAVING count(DISTINCT tableoid) > 1) AS shared"
    );
    let shared: i64 = sqlx::query_scalar(AssertSqlSafe(shared)).fetch_one(pool).await?;

    let before = Snapshot::take(&lab.database, table).await?;
    let mut connection = PgConnection::connect(&lab.database.daemon_url()).await?;
    let hosts = ["localhost", "conference.localhost"].map(str::to_owned);
    let probed = probe(&mut connection, kept.kind(), &hosts).await.expect("a probe");
    let archive = probed.archive.unwrap_or_else(|| panic!("{case}: {:?}", probed.findings));
    let of_it = |it: &ephemerd::archive::Table| it.name() == name;
    let inspected = archive.tables().into_iter().find(of_it).expect("its table");
    let (searched, all) = ((hosts.as_slice(), Search::MARKED), (0, i64::MAX));
    let found = inspected.candidates(&mut connection, searched, all, (10_000, 1 << 30)).await;
    let mut found = found.expect("candidates");
    found.retain(|row| row.xml.as_deref().is_some_and(is_marked) && random.random_bool(0.6));
    let keys: Vec<&RowKey> = found.iter().map(|row| &row.key).collect();
    let erasures = erase(&mut connection, &archive, &keys, delete).await?;
    let is_done = |it: &Erasure| matches!(it, Erasure::Done | Erasure::Placeholder(_));
    assert!(erasures.iter().all(is_done), "{case}: {erasures:?}");

    let word = |xml: &str| Some(xml.split_once("<body>")?.1.split_once("</body>")?.0.to_owned());
    let going: BTreeSet<String> =
        found.iter().filter_map(|row| word(row.xml.as_deref()?)).collect();
    let after = Snapshot::take(&lab.database, table).await?;
    assert_eq!(before.faults(&after, &going), Vec::<String>::new(), "{case}");
    let stands = after.rows().find(|row| going.iter().any(|word| row.contains(word)));
    assert_eq!(stands, None, "{case}: words stand");
    let deleted = found.iter().filter(|row| delete && row.key.store != Store::Queue).count();
    assert_eq!(after.len() + deleted, before.len(), "{case}");
    connection.close().await?;
    Ok((before.len(), going.len(), shared))
}

/// Whatever the layout: exactly the named rows go, and all others stay byte for byte.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "the seed that repeats a run, and what it tried")]
async fn exactly_the_named_rows_go_whatever_the_layout() -> Result<()> {
    let given = std::env::var("LAB_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = given.unwrap_or_else(|| rand::rng().random());
    eprintln!("layouts: LAB_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let is_heavy = std::env::var("LAB_HEAVY").is_ok_and(|it| it == "1");
    let rounds = if is_heavy { 12 } else { 1 };
    let (mut layouts, mut rows, mut erased, mut shared) = (0, 0, 0, 0);
    for kept in KEPT {
        let lab = kept.lab().await?;
        // A queue's rows are never deleted.
        let modes: &[bool] = if matches!(kept, Kept::Spool(_)) { &[false] } else { &[false, true] };
        for delete in modes.repeat(rounds) {
            let count = kept.layouts(0).len();
            for at in 0..count {
                let next = next_number(lab.database.superuser(), kept).await?;
                let layout = kept.layouts(next).swap_remove(at);
                let (stood, went, places) =
                    one_layout(&lab, kept, (layout, delete), &mut random).await?;
                (rows, erased, shared) = (rows + stood, erased + went, shared + places);
                layouts += 1;
            }
        }
    }
    eprintln!("layouts: {layouts} with {rows} rows, {erased} erased, {shared} shared places");
    assert!(shared > 0 && erased > 0, "nothing was tried");
    saw(
        "partitions and children",
        "every layout (RANGE, LIST, HASH, default partitions, INHERITS) of `archive`, `spool` and `prosodyarchive`, in both schemas and modes, with random rows that have the same place in several parts",
        &format!(
            "{layouts} layouts, {rows} rows: the {erased} that were named went, the others are the same byte for byte"
        ),
    );
    Ok(())
}
