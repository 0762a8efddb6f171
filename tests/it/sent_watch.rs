//! Every row of the archive from its appearance to its end, observed from outside many times a second.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ephemerd_lab::Result;
use ephemerd_lab::xmpp::Element;
use sqlx::PgPool;
use tokio::task::JoinHandle;

const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// Maximum delay of what the daemon does, as far as it was observed. The machine may be busy.
pub(crate) const SLACK: f64 = 6.0;

/// One row as it was first and as it is now. Times are the database's, in seconds since 1970.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) store: String,
    pub(crate) user: String,
    pub(crate) key: String,
    /// The end of what its stamp may mean: Prosody's name whole seconds.
    when: f64,
    /// The stanza at first.
    pub(crate) first: String,
    /// The stanza now.
    pub(crate) value: String,
    /// All other columns.
    rest: String,
    /// When it was last seen with its first stanza, and the look after that, which found another.
    whole_until: f64,
    pub(crate) changed_at: Option<f64>,
    /// When it was last seen, and the look after that, which did not find it.
    there_until: f64,
    pub(crate) gone_at: Option<f64>,
    /// A column other than the stanza's changed, or the stanza changed twice: neither is allowed.
    pub(crate) is_spoilt: bool,
}

impl Seen {
    /// The message's `id`, as the sender gave it.
    pub(crate) fn id(&self) -> String {
        let message = Element::parse(&self.first).expect("what the server stores is XML");
        message.attribute("id").unwrap_or_default().to_owned()
    }

    /// The row is unchanged, byte for byte.
    pub(crate) fn is_untouched(&self) -> bool {
        self.changed_at.is_none() && self.gone_at.is_none() && !self.is_spoilt
    }

    /// How long after its stamp its text went.
    pub(crate) fn went_after(&self) -> Option<f64> {
        self.changed_at.or(self.gone_at).map(|at| at - self.when)
    }

    /// Its text went this long after its stamp: never earlier, hardly later. It went between two looks, which may be far apart on a busy
    /// machine.
    pub(crate) fn went(&self, seconds: f64) -> bool {
        let latest = self.when + seconds + SLACK;
        self.went_after().is_some_and(|after| after >= seconds) && self.whole_until < latest
    }

    /// A placeholder stood there for this long: not less, hardly more. The daemon reckons from the beginning of its transaction, which takes a
    /// while on a busy machine.
    pub(crate) fn stood_blank(&self, seconds: f64) -> bool {
        let (Some(changed), Some(gone)) = (self.changed_at, self.gone_at) else { return false };
        gone - self.whole_until >= seconds - 2.0 && self.there_until - changed < seconds + SLACK
    }

    /// What replaced it is valid XML, ours, and has no text.
    pub(crate) fn is_blank(&self) -> bool {
        let now = Element::parse(&self.value).expect("a placeholder is XML");
        now.child("urn:ephemerd:0", "expired").is_some() && now.body().is_none()
    }
}

/// The rows that were seen, by store, owner and number.
pub(crate) type Rows = BTreeMap<(String, String, i64), Seen>;

/// Store, owner, number, key, stamp, stanza, all other columns, and the time.
type Look = (String, String, i64, String, f64, String, String, f64);

const PROSODY: &str = r#"
    SELECT store, "user", sort_id::bigint, key, "when" + 1::float8, value, (to_jsonb(t) - 'value')::text,
           extract(epoch FROM clock_timestamp())::float8
      FROM prosodyarchive t"#;

/// By Prosody's names for the stores. What was archived has its time in its stanza-id: the queue's own stamp is
/// later, by as long as ejabberd took.
const EJABBERD: &str = "
    SELECT CASE WHEN username LIKE '%@%' THEN 'muc_log' ELSE 'archive' END, split_part(username, '@', 1), id::bigint,
           '', timestamp / 1e6::float8, xml, (to_jsonb(t) - 'xml')::text,
           extract(epoch FROM clock_timestamp())::float8
      FROM archive t
     UNION ALL
    SELECT 'offline', username, seq::bigint, '',
           coalesce(substring(xml FROM '<stanza-id [^>]*id=''([0-9]+)''')::float8 / 1e6,
                    extract(epoch FROM created_at::timestamptz)::float8), xml,
           (to_jsonb(t) - 'xml')::text, extract(epoch FROM clock_timestamp())::float8
      FROM spool t";

/// Observes until dropped.
pub(crate) struct Watch {
    rows: Arc<Mutex<Rows>>,
    looking: JoinHandle<()>,
}

impl Watch {
    pub(crate) fn prosody(pool: &PgPool) -> Self {
        Self::start(pool, PROSODY)
    }

    pub(crate) fn ejabberd(pool: &PgPool) -> Self {
        Self::start(pool, EJABBERD)
    }

    fn start(pool: &PgPool, select: &'static str) -> Self {
        let rows = Arc::new(Mutex::new(Rows::new()));
        let (pool, shared) = (pool.clone(), Arc::clone(&rows));
        let looking = tokio::spawn(async move {
            loop {
                look(&pool, select, &shared).await.expect("the archive can be read");
                tokio::time::sleep(BETWEEN_LOOKS).await;
            }
        });
        Self { rows, looking }
    }

    /// What was seen so far.
    pub(crate) fn rows(&self) -> Rows {
        assert!(!self.looking.is_finished(), "the watch has ended");
        self.rows.lock().expect("no look fails").clone()
    }

    /// The rows of one message in one user's or room's store.
    pub(crate) fn of(&self, store: &str, user: &str, id: &str) -> Vec<Seen> {
        let is_it = |it: &Seen| it.store == store && it.user == user && it.id() == id;
        self.rows().into_values().filter(is_it).collect()
    }

    /// The only row of one message there.
    pub(crate) fn one(&self, store: &str, user: &str, id: &str) -> Seen {
        let mut rows = self.of(store, user, id);
        assert_eq!(rows.len(), 1, "rows of {id} in {user}'s {store}");
        rows.remove(0)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

async fn look(pool: &PgPool, select: &'static str, shared: &Mutex<Rows>) -> Result<()> {
    let found: Vec<Look> = sqlx::query_as(select).fetch_all(pool).await?;
    let now = now(pool).await?;
    let mut rows = shared.lock().expect("no look fails");
    let mut standing = BTreeSet::new();
    for (store, user, number, key, when, value, rest, at) in found {
        let place = (store.clone(), user.clone(), number);
        standing.insert(place.clone());
        let seen = rows.entry(place).or_insert_with(|| Seen {
            store,
            user,
            key,
            when,
            first: value.clone(),
            value: value.clone(),
            rest: rest.clone(),
            whole_until: at,
            changed_at: None,
            there_until: at,
            gone_at: None,
            is_spoilt: false,
        });
        seen.is_spoilt |= seen.rest != rest;
        seen.there_until = at;
        if seen.changed_at.is_none() && seen.value == value {
            seen.whole_until = at;
        }
        if seen.value != value {
            seen.is_spoilt |= seen.changed_at.is_some();
            seen.changed_at = Some(at);
            seen.value = value;
        }
    }
    for (place, seen) in rows.iter_mut() {
        if seen.gone_at.is_none() && !standing.contains(place) {
            seen.gone_at = Some(now);
        }
    }
    Ok(())
}

/// Waits until this time by the database's clock.
pub(crate) async fn wait_until(pool: &PgPool, time: f64) -> Result<()> {
    let left = (time - now(pool).await?).max(0.0);
    tokio::time::sleep(Duration::from_secs_f64(left)).await;
    Ok(())
}

/// Lets this many seconds pass by the database's clock, which the daemon goes by.
pub(crate) async fn let_pass(pool: &PgPool, seconds: f64) -> Result<()> {
    wait_until(pool, now(pool).await? + seconds).await
}

/// The database's clock.
pub(crate) async fn now(pool: &PgPool) -> Result<f64> {
    let now = "SELECT extract(epoch FROM clock_timestamp())::float8";
    Ok(sqlx::query_scalar(now).fetch_one(pool).await?)
}
