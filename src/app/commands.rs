//! Answers users' questions about their own account, one after the other, from the ledger.

use std::{sync::Arc, time::Duration};

use sqlx::{PgConnection, PgPool};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    archive::Archive,
    component::{Answer, Chosen, Erasing, MOST_COUNTED, Question, Wanted, Wished, Wishing},
    config::stored_address,
    database::{Error, Named, Result, in_time},
    ledger::{self, NewRequest, Pause},
    metrics::Metrics,
    model::{Address, Wish},
    ops, policy,
    work::age::AgeSettings,
};

/// Maximum time for one answer.
const LIMIT: Duration = Duration::from_secs(5);

/// Who has asked, in the log of requests.
const USER: &str = "user";

/// What answers are made of: the archive is `None` if only a companion module reaches it.
type Sources = (PgPool, watch::Receiver<AgeSettings>, Option<Archive>);

/// Answers until stopped. Without the database there is no answer, and whoever asked is told so.
pub(super) async fn answer(
    (pool, settings, archive): Sources,
    mut questions: mpsc::Receiver<Question>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let mut logged = false;
    while let Some(Some(question)) = stop.run_until_cancelled(questions.recv()).await {
        if question.is_void() {
            continue;
        }
        let settings = settings.borrow().clone();
        let looked_up = look_up(&pool, &question, (&settings, archive.as_ref()));
        let Some(answer) = stop.run_until_cancelled(looked_up).await else { return };
        if let Err(error) = &answer {
            metrics.database_errors.inc();
            if !std::mem::replace(&mut logged, true) {
                warn!(%error, "a user's question cannot be answered");
            }
        } else {
            logged = false;
        }
        question.answer(answer.ok());
    }
    stop.cancelled().await;
}

async fn look_up(
    pool: &PgPool,
    question: &Question,
    (settings, archive): (&AgeSettings, Option<&Archive>),
) -> Result<Answer> {
    let account = (question.host.as_str(), question.owner.as_str());
    in_time("command", LIMIT, async {
        let mut connection = pool.acquire().await.named("command_connect")?;
        let connection = &mut *connection;
        match (&question.wanted, archive) {
            (Wanted::Kept, _) => {
                let (rules, policy) = ((&settings.retention, settings.wishes), settings.policy());
                let kept = ops::kept(connection, account, rules, &policy).await?;
                Ok(Answer::Kept(kept))
            }
            (Wanted::Erasable(chosen), Some(archive)) => {
                erase(connection, archive, (account, chosen), false).await.map(Answer::Erasing)
            }
            (Wanted::Erase(chosen), Some(archive)) => {
                erase(connection, archive, (account, chosen), true).await.map(Answer::Erasing)
            }
            (Wanted::Wish(wishing), Some(archive)) => {
                let by = (archive, settings);
                wish(connection, by, (account, wishing), false).await.map(Answer::Wished)
            }
            (Wanted::SetWish(wishing), Some(archive)) => {
                let by = (archive, settings);
                wish(connection, by, (account, wishing), true).await.map(Answer::Wished)
            }
            (_, None) => Err(Error::unexpected("command", "the archive is out of reach")),
        }
    })
    .await
}

/// Counts what would go, and if it is `confirmed`, asks for that to be erased. What is on hold is counted too, so that
/// nobody learns of it.
async fn erase(
    connection: &mut PgConnection,
    archive: &Archive,
    ((host, owner), chosen): ((&str, &str), &Chosen),
    confirmed: bool,
) -> Result<Erasing> {
    let with = chosen.with.as_deref().map(stored_address);
    let whom = ((host, owner), with.as_deref());
    let counted = ops::erasable(connection, archive, whom, chosen.before(), MOST_COUNTED).await?;
    let messages = counted.messages();
    if confirmed && messages > 0 {
        let owner = Address { host: host.to_owned(), local: owner.to_owned() };
        let (before, queued_upto) = (counted.before, counted.queued_upto);
        let new = NewRequest { owner, with, before, queued_upto, by: USER.to_owned() };
        let asked = ledger::ask_to_erase(connection, &new).await?;
        asked.ok_or_else(|| Error::unexpected("ask_to_erase", "too many requests stand"))?;
    }
    let paused = ledger::paused(connection).await? != Pause::None;
    Ok(Erasing { messages, paused })
}

/// Looks up what is wished after a change and what that means, and if it is `confirmed`, sets it.
async fn wish(
    connection: &mut PgConnection,
    (archive, settings): (&Archive, &AgeSettings),
    (account, wishing): ((&str, &str), &Wishing),
    confirmed: bool,
) -> Result<Wished> {
    let with = wishing.with.as_deref().map(stored_address);
    let with = with.as_deref();
    let wish = ledger::wish_of(connection, account, with).await?.changed(wishing.change);
    let in_all = match with {
        Some(_) => ledger::wish_of(connection, account, None).await?,
        None => Wish::default(),
    };
    let wished = policy::wished(wish, settings.wishes);
    let going =
        ops::going_by_wish(connection, archive, (account, with), wished, MOST_COUNTED).await?;
    if confirmed && !ledger::set_wish(connection, account, with, wish).await? {
        return Err(Error::unexpected("set_wish", "too many wishes stand"));
    }
    let paused = ledger::paused(connection).await? != Pause::None;
    Ok(Wished {
        wish,
        in_all: policy::wished(in_all, settings.wishes),
        messages: going.messages,
        first: going.first,
        paused,
    })
}
