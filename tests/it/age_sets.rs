//! By random rules and holds, exactly those rows go that a slow model names, on every kind and in every layout.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use ephemerd_lab::layouts::Layout;
use ephemerd_lab::{DaemonConfig, Lab, PATIENCE, Result, Words, eventually};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::age_rows::{Kind, Left, Put, Standing, on_every_kind};
use crate::holds::hold;
use crate::support::{now, number, printed, start};

/// Rounds on each kind.
const ROUNDS: u64 = 17;
pub(crate) const HOUR: i64 = 3_600;
/// Rows are whole hours old, limits and the bounds of holds are in between: the time that a test takes changes nothing.
pub(crate) const HALF: i64 = 1_800;
/// The oldest row, in hours.
pub(crate) const OLDEST: i64 = 240;

/// Host and local part of everybody, by the store that they have.
pub(crate) const OWNERS: [(&str, &str, &str); 7] = [
    ("archive", "localhost", "peter"),
    ("archive", "localhost", "otto"),
    ("archive", "localhost", "rosa"),
    ("room", "conference.localhost", "den"),
    ("room", "conference.localhost", "attic"),
    ("queue", "localhost", "otto"),
    ("queue", "localhost", "karl"),
];
pub(crate) const PEERS: [&str; 3] =
    ["rosa@localhost", "eva@example.org", "den@conference.example.org"];

/// What the operator wrote, as the model sees it: limits in seconds by name and store.
#[derive(Debug, Default)]
struct Written {
    /// `""` is everybody; `None` is never.
    limits: BTreeMap<(String, &'static str), Option<i64>>,
}

#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) arguments: Vec<String>,
    /// Empty where anything goes.
    host: String,
    owner: String,
    peer: String,
    /// In seconds before now: only rows at most so old, and older than that.
    since: Option<i64>,
    before: Option<i64>,
}

fn any_limit(random: &mut StdRng) -> Option<i64> {
    random.random_bool(0.8).then(|| random.random_range(0..OLDEST) * HOUR + HALF)
}

fn text(limit: Option<i64>) -> String {
    limit.map_or("never".to_owned(), |it| format!("{it}s"))
}

const KEYS: [(&str, &str); 3] =
    [("archive", "archive_for"), ("room", "rooms_for"), ("queue", "queue_for")];

fn write_rules(random: &mut StdRng, config: DaemonConfig) -> (DaemonConfig, Written) {
    let mut written = Written::default();
    let mut config = config;
    for (store, key) in KEYS {
        if random.random_bool(0.6) {
            let limit = any_limit(random);
            config = config.set(&format!("retention.{key}"), text(limit));
            written.limits.insert((String::new(), store), limit);
        }
    }
    let mut rules: Vec<Value> = Vec::new();
    let mut rule = |random: &mut StdRng, whose: &str, name: &str, stores: &[&'static str]| {
        let mut value = json!({ whose: [name] });
        for store in stores {
            let must = stores.len() == 1 || value.as_object().is_some_and(|it| it.len() == 1);
            if must || random.random_bool(0.5) {
                let limit = any_limit(random);
                let key = KEYS.iter().find(|it| it.0 == *store).unwrap().1;
                value[key] = text(limit).into();
                written.limits.insert((name.to_owned(), store), limit);
            }
        }
        rules.push(value);
    };
    for host in ["localhost", "conference.localhost"] {
        if random.random_bool(0.4) {
            rule(random, "hosts", host, &["archive", "room", "queue"]);
        }
    }
    for user in ["peter", "otto", "karl"] {
        if random.random_bool(0.4) {
            rule(random, "users", &format!("{user}@localhost"), &["archive", "queue"]);
        }
    }
    if random.random_bool(0.4) {
        rule(random, "rooms", "den@conference.localhost", &["room"]);
    }
    rules.shuffle(random);
    let rules = Value::Array(rules).to_string();
    (config.env("EPHEMERD__RETENTION__RULE", &rules), written)
}

pub(crate) fn any_hold(random: &mut StdRng, now: i64) -> Hold {
    let (_, host, owner) = *OWNERS.choose(random).unwrap();
    let address = format!("{owner}@{host}");
    let is_room = host.starts_with("conference");
    let none = String::new;
    let (mut arguments, host, owner, peer) = match random.random_range(0..10) {
        0 => (vec!["--all".to_owned()], none(), none(), none()),
        1 | 2 => (vec!["--host".to_owned(), host.to_owned()], host.to_owned(), none(), none()),
        _ if is_room => {
            (vec!["--room".to_owned(), address], host.to_owned(), owner.to_owned(), none())
        }
        3..6 => (vec!["--user".to_owned(), address], host.to_owned(), owner.to_owned(), none()),
        _ => {
            let peer = (*PEERS.choose(random).unwrap()).to_owned();
            let arguments = vec!["--user".to_owned(), address, "--with".to_owned(), peer.clone()];
            (arguments, host.to_owned(), owner.to_owned(), peer)
        }
    };
    let mut bounds = [random.random_range(0..OLDEST), random.random_range(0..OLDEST)];
    bounds.sort_unstable();
    let [newer, older] = bounds.map(|it| it * HOUR + HALF);
    let since = random.random_bool(0.5).then_some(older);
    let before = (random.random_bool(0.5) && older > newer).then_some(newer);
    for (name, bound) in [("--from", since), ("--to", before)] {
        if let Some(bound) = bound {
            let at = DateTime::<Utc>::from_timestamp(now - bound, 0).unwrap();
            arguments.extend([name.to_owned(), at.to_rfc3339_opts(SecondsFormat::Secs, true)]);
        }
    }
    Hold { arguments, host, owner, peer, since, before }
}

pub(crate) fn any_rows(random: &mut StdRng, kind: Kind) -> Vec<Put> {
    let mut rows = Vec::new();
    let mut owners = OWNERS.to_vec();
    // On a host that is not listed nothing is touched.
    if kind != Kind::Classic {
        owners.push(("archive", "unlisted.localhost", "peter"));
    }
    for (store, host, owner) in owners {
        for _ in 0..random.random_range(0..12) {
            rows.push(Put {
                store,
                host: host.to_owned(),
                owner: owner.to_owned(),
                peer: (*PEERS.choose(random).unwrap()).to_owned(),
                name: format!("row{}", rows.len()),
                age: random.random_range(0..OLDEST) * HOUR,
                is_marked: random.random_bool(0.3),
                is_encrypted: false,
            });
        }
    }
    rows.shuffle(random);
    rows
}

impl Written {
    /// The row is too old.
    fn is_old(&self, row: &Put) -> bool {
        let names = [format!("{}@{}", row.owner, row.host), row.host.clone(), String::new()];
        let said = names.into_iter().find_map(|name| self.limits.get(&(name, row.store)));
        let is_listed = row.host != "unlisted.localhost";
        is_listed && said.is_some_and(|limit| limit.is_some_and(|limit| row.age > limit))
    }
}

/// One of the holds keeps the row.
pub(crate) fn is_held(row: &Put, holds: &[Hold]) -> bool {
    holds.iter().any(|hold| {
        let fits = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
        // In rooms there is no other side.
        let is_chat = fits(&hold.peer, &row.peer) && (hold.peer.is_empty() || row.store != "room");
        fits(&hold.host, &row.host)
            && fits(&hold.owner, &row.owner)
            && is_chat
            && hold.since.is_none_or(|since| row.age <= since)
            && hold.before.is_none_or(|before| row.age > before)
    })
}

/// The slow model: looks at each row by itself. `is_to_go` says which rows are to go, but for holds.
pub(crate) fn model(
    kind: Kind,
    rows: &[Put],
    is_to_go: impl Fn(&Put) -> bool,
    holds: &[Hold],
) -> Standing {
    let mut standing = Standing::new();
    for (at, row) in rows.iter().enumerate() {
        let is_after = |(other_at, other): (usize, &Put)| {
            let is_same =
                other.store == row.store && other.owner == row.owner && other.host == row.host;
            let is_later = match kind {
                // In the order of archiving.
                Kind::Prosody => other_at > at,
                // In the order of stamps, which are those of the ages.
                Kind::Classic | Kind::MultiHost => (-other.age, other_at) > (-row.age, at),
            };
            is_same && is_later
        };
        let is_newest = row.store != "queue" && !rows.iter().enumerate().any(is_after);
        let left = || (row.store.to_owned(), format!("{}@{}", row.owner, row.host));
        if !is_to_go(row) || is_held(row, holds) {
            standing.entry(left()).or_default().names.push(row.name.clone());
        } else if is_newest || (row.store == "queue" && kind != Kind::Prosody) {
            standing.entry(left()).or_default().blank += 1;
        }
    }
    for Left { names, .. } in standing.values_mut() {
        names.sort_unstable();
    }
    standing
}

/// The tables in a random layout, and empty; ephemerd's tables too.
pub(crate) async fn lay_out(random: &mut StdRng, kind: Kind, lab: &Lab) -> Result<()> {
    for table in kind.tables() {
        let by = match (*table, kind) {
            ("prosodyarchive", _) => "HASH (\"user\")",
            (_, Kind::MultiHost) => "HASH (server_host, username)",
            _ => "HASH (username)",
        };
        let hashed = |rest| format!("FOR VALUES WITH (MODULUS 3, REMAINDER {rest})");
        let parts = [hashed(0), hashed(1), hashed(2)];
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let layout = match random.random_range(0..2) {
            0 => Layout::plain(),
            _ => Layout::partitions(by, &parts),
        };
        layout.lay_out(&lab.database, table).await?;
    }
    let clear = "TRUNCATE ephemerd.expiries, ephemerd.cursors, ephemerd.sweeps, ephemerd.holds, ephemerd.age_walks, ephemerd.retention, ephemerd.requests";
    sqlx::query(clear).execute(lab.database.superuser()).await?;
    Ok(())
}

/// Everything is recorded, and no sweep is due while rows go: one that had just read a row would record it again.
pub(crate) async fn inspected(base: &DaemonConfig, pool: &PgPool) -> Result<()> {
    let daemon = start(&base.clone().set("erase.backlog", "erase")).await?;
    let swept = "SELECT count(*) FROM ephemerd.sweeps";
    let open = "SELECT count(*) FROM ephemerd.sweeps
                 WHERE completed_at IS NULL OR requested_at IS NOT NULL OR started_at IS NOT NULL";
    eventually("the first sweep to end", PATIENCE, async || {
        Ok((number(pool, swept).await? > 0 && number(pool, open).await? == 0).then_some(()))
    })
    .await?;
    assert!(daemon.terminate().await?.success());
    Ok(())
}

async fn walked(kind: Kind, pool: &PgPool) -> Result<()> {
    let finished = "SELECT count(*) FROM ephemerd.age_walks WHERE finished_at IS NOT NULL";
    let all = kind.tables().len() as i64;
    let waiting = eventually("the walks to end", PATIENCE, async || {
        Ok((number(pool, finished).await? == all).then_some(()))
    });
    waiting.await
}

async fn rounds(kind: Kind, seed: u64) -> Result<()> {
    let lab = kind.lab().await?;
    let pool = lab.database.superuser();
    let base = kind.config(&lab)?.set("retention.confirm_above", 1_000_000);
    printed(&base, &["migrate"]).await?;
    for round in 0..ROUNDS {
        let seed = seed.wrapping_add(round);
        let random = &mut StdRng::seed_from_u64(seed);
        lay_out(random, kind, &lab).await?;
        let rows = any_rows(random, kind);
        kind.put(pool, &rows).await?;
        inspected(&base, pool).await?;
        let now = now(pool).await?;
        let mut holds = Vec::new();
        for _ in 0..random.random_range(0..4) {
            let placed = any_hold(random, now);
            hold(&base, &placed.arguments.iter().map(String::as_str).collect::<Vec<_>>()).await?;
            holds.push(placed);
        }
        let mode = ["placeholder", "delete"].choose(random).unwrap();
        let config =
            base.clone().set("erase.mode", *mode).set("erase.batch", random.random_range(1..20));
        let (config, written) = write_rules(random, config);
        let expected = model(kind, &rows, |it| written.is_old(it), &holds);
        let case = || format!("{kind:?}, seed {seed}: {written:?} {holds:?} {rows:#?}");
        let daemon = start(&config).await?;
        if written.limits.values().any(Option::is_some) {
            walked(kind, pool).await?;
        } else {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(kind.standing(pool).await?, expected, "{}", case());
        assert!(daemon.terminate().await?.success());
        let stand: std::collections::BTreeSet<&String> =
            expected.values().flat_map(|it| &it.names).collect();
        let entries = rows.iter().filter(|it| {
            it.is_marked && it.host != "unlisted.localhost" && stand.contains(&it.name)
        });
        let recorded = "SELECT count(*) FROM ephemerd.expiries WHERE phase = 'pending'";
        assert_eq!(number(pool, recorded).await?, entries.count() as i64, "{}", case());
    }
    Ok(())
}

/// The seed is printed with a failure, and `AGE_SEED` repeats it.
#[tokio::test(flavor = "multi_thread")]
async fn exactly_what_a_slow_model_names_goes() -> Result<()> {
    let seed = std::env::var("AGE_SEED").ok().and_then(|it| it.parse().ok());
    let seed = seed.unwrap_or_else(|| Words::random().seed());
    on_every_kind(|kind| rounds(kind, seed)).await
}
