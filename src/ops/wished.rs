//! What users wish of a row, and what goes by a wish: counted in the archive itself.

use std::time::Duration;

use sqlx::PgConnection;

use crate::{
    archive::{Archive, Reach, Row, ScopeAge},
    database::{self, Result},
    ledger::{self, StandingWish, TimerWish},
    model::{Rules, Store, Timestamp},
    policy::{self, TimersWished},
};

/// What goes by a wish.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GoingByWish {
    /// Messages that are older than that already, but for placeholders. What is on hold is counted, too.
    pub messages: i64,
    /// When the first of all goes, if none does yet; `None` if there is no message.
    pub first: Option<Timestamp>,
}

/// Counts what goes of a user's archive (host and local part), of all chats or of one with this bare address, if messages stay
/// so long at most; no further than `most`.
pub async fn going_by_wish(
    connection: &mut PgConnection,
    archive: &Archive,
    whose: ((&str, &str), Option<&str>),
    wished: Option<Duration>,
    most: i64,
) -> Result<GoingByWish> {
    let Some(wished) = wished else { return Ok(GoingByWish::default()) };
    let now = database::now(connection).await?;
    let cutoff = policy::wished_cutoff(wished, now);
    let messages = in_archive(connection, archive, whose, (cutoff, most)).await?.rows;
    let first = match messages {
        // The oldest one is counted alone.
        0 => in_archive(connection, archive, whose, (now, 1)).await?.span.map(|it| it.0),
        _ => None,
    };
    Ok(GoingByWish { messages, first: first.map(|it| policy::later(it, wished)) })
}

/// The oldest messages of a user's archive that were archived until then, at most so many.
async fn in_archive(
    connection: &mut PgConnection,
    archive: &Archive,
    (account, with): ((&str, &str), Option<&str>),
    (upto, most): (Timestamp, i64),
) -> Result<ScopeAge> {
    let reach = Reach { upto, queued_upto: 0 };
    for (table, scope) in archive.scopes_of(connection, account, with, reach).await? {
        if scope.store == Store::Archive {
            let ages = table.ages(connection, &[scope], most).await?;
            return Ok(ages.into_iter().next().unwrap_or_default());
        }
    }
    Ok(ScopeAge::default())
}

/// What an owner wishes, as long as that is followed.
pub(super) struct Wishes<'a> {
    rules: &'a Rules,
    standing: Vec<StandingWish>,
    timers: Vec<TimerWish>,
}

impl<'a> Wishes<'a> {
    pub(super) async fn of(
        connection: &mut PgConnection,
        owner: (&str, &str),
        rules: &'a Rules,
    ) -> Result<Self> {
        let (mut standing, mut timers) = (Vec::new(), Vec::new());
        if rules.wishes.followed {
            standing = ledger::wishes_of_owner(connection, owner).await?;
            timers = ledger::timer_wishes(connection, &[owner]).await?;
        }
        Ok(Self { rules, standing, timers })
    }

    /// How long the owner wishes that this row stays at most.
    pub(super) fn archive_for(&self, row: &Row) -> Option<Duration> {
        let in_archive = self.standing.iter().filter(|_| row.key.store == Store::Archive);
        let about = in_archive.filter(|it| is_of_chat(row, it.with.as_deref()));
        about.filter_map(|it| policy::wished(it.wish, self.rules.wishes)).min()
    }

    /// What the owner wishes for the timer of this row.
    pub(super) fn timers(&self, row: &Row) -> TimersWished {
        let in_chat = |it: &&TimerWish| is_of_chat(row, it.with.as_deref());
        let wishes = self.timers.iter().filter(|_| row.key.store != Store::Room).filter(in_chat);
        let placed = (row.stamp.at, self.rules);
        let wished = wishes.map(|it| policy::timers_wished(it.once_since, &it.encrypted, placed));
        wished.fold(TimersWished::default(), TimersWished::and)
    }
}

fn is_of_chat(row: &Row, chat: Option<&str>) -> bool {
    chat.is_none_or(|chat| row.other_side().as_deref() == Some(chat))
}
