//! Every row of the archive from its first sight to its end, seen from outside, many times a second.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ephemerd_lab::Result;
use ephemerd_lab::xmpp::Element;
use sqlx::PgPool;
use tokio::task::JoinHandle;

const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// A look at the table came this much later than what it shows, at the most. The machine may be busy.
pub(crate) const SLACK: f64 = 3.0;

/// One row as it was first and as it became. Times are the database's, in seconds since 1970.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) store: String,
    pub(crate) user: String,
    pub(crate) key: String,
    pub(crate) when: f64,
    /// The stanza at first.
    pub(crate) first: String,
    /// The stanza now.
    pub(crate) value: String,
    /// All other columns.
    rest: String,
    pub(crate) changed_at: Option<f64>,
    pub(crate) gone_at: Option<f64>,
    /// A column other than the stanza's changed, or the stanza changed twice: nobody may do that.
    pub(crate) is_spoilt: bool,
}

impl Seen {
    /// The message's `id`, as the sender gave it.
    pub(crate) fn id(&self) -> String {
        let message = Element::parse(&self.first).expect("what the server stores is XML");
        message.attribute("id").unwrap_or_default().to_owned()
    }

    /// The row is as it was first, byte for byte.
    pub(crate) fn is_untouched(&self) -> bool {
        self.changed_at.is_none() && self.gone_at.is_none() && !self.is_spoilt
    }

    /// How long after the end of its stamp's second its words went.
    pub(crate) fn went_after(&self) -> Option<f64> {
        self.changed_at.or(self.gone_at).map(|at| at - self.when - 1.0)
    }

    /// Its words went so long after the end of its stamp's second: never earlier, hardly later.
    pub(crate) fn went(&self, seconds: f64) -> bool {
        self.went_after().is_some_and(|after| (seconds..seconds + SLACK).contains(&after))
    }

    /// What stands in its place is valid XML, ours, and has no words.
    pub(crate) fn is_blank(&self) -> bool {
        let now = Element::parse(&self.value).expect("a placeholder is XML");
        now.child("urn:ephemerd:0", "expired").is_some() && now.body().is_none()
    }
}

/// The rows that were seen, by `sort_id`.
pub(crate) type Rows = BTreeMap<i64, Seen>;

/// Looks until dropped.
pub(crate) struct Watch {
    rows: Arc<Mutex<Rows>>,
    looking: JoinHandle<()>,
}

impl Watch {
    pub(crate) fn start(pool: &PgPool) -> Self {
        let rows = Arc::new(Mutex::new(Rows::new()));
        let (pool, shared) = (pool.clone(), Arc::clone(&rows));
        let looking = tokio::spawn(async move {
            loop {
                look(&pool, &shared).await.expect("the archive can be read");
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

type Look = (i64, String, String, String, i32, String, String, f64);

async fn look(pool: &PgPool, shared: &Mutex<Rows>) -> Result<()> {
    let found: Vec<Look> = sqlx::query_as(
        r#"SELECT sort_id::bigint, store, "user", key, "when", value,
                  (to_jsonb(t) - 'value')::text, extract(epoch FROM clock_timestamp())::float8
             FROM prosodyarchive t ORDER BY sort_id"#,
    )
    .fetch_all(pool)
    .await?;
    let now = now(pool).await?;
    let mut rows = shared.lock().expect("no look fails");
    let standing: Vec<i64> = found.iter().map(|row| row.0).collect();
    for (sort_id, store, user, key, when, value, rest, at) in found {
        let seen = rows.entry(sort_id).or_insert_with(|| Seen {
            store,
            user,
            key,
            when: f64::from(when),
            first: value.clone(),
            value: value.clone(),
            rest: rest.clone(),
            changed_at: None,
            gone_at: None,
            is_spoilt: false,
        });
        seen.is_spoilt |= seen.rest != rest;
        if seen.value != value {
            seen.is_spoilt |= seen.changed_at.is_some();
            seen.changed_at = Some(at);
            seen.value = value;
        }
    }
    for (sort_id, seen) in rows.iter_mut() {
        if seen.gone_at.is_none() && standing.binary_search(sort_id).is_err() {
            seen.gone_at = Some(now);
        }
    }
    Ok(())
}

/// The database's clock.
pub(crate) async fn now(pool: &PgPool) -> Result<f64> {
    let now = "SELECT extract(epoch FROM clock_timestamp())::float8";
    Ok(sqlx::query_scalar(now).fetch_one(pool).await?)
}
