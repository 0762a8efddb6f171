//! What comes while the message that it belongs to is just being erased, let stay or moved by somebody else: whoever records
//! it waits until that is decided.

use ephemerd_lab::rows::insert;
use ephemerd_lab::{PATIENCE, Result, eventually};
use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction};

use crate::belonging::{ANN, is_recorded, naming, row, with_message};
use crate::reading_chats::{Chats, EPHEMERAL, Entry};
use crate::support::number;

/// Another transaction has claimed the message, as an eraser does.
pub(crate) async fn claim(chats: &Chats) -> Result<Transaction<'static, Postgres>> {
    chats.add(&[row(chats, ANN, "words", 900, EPHEMERAL)]).await?;
    assert_eq!(chats.entry("bob", "words").await?, Entry::read("archived", 900));
    let mut claimed = chats.pool().begin().await?;
    sqlx::raw_sql("SELECT FROM ephemerd.expiries WHERE archive_id = 'words' FOR UPDATE")
        .execute(&mut *claimed)
        .await?;
    Ok(claimed)
}

/// Somebody corrects it, and the daemon waits for the claim.
async fn correct(chats: &Chats, extra: &str) -> Result<()> {
    insert(chats.pool(), &[row(chats, ANN, "better", 800, &(naming("replace", "words") + extra))])
        .await?;
    eventually("the tail waits", PATIENCE, async || Ok(waits(chats.pool()).await?.then_some(())))
        .await
}

pub(crate) async fn waits(pool: &PgPool) -> Result<bool> {
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '-- keep_up%'";
    Ok(number(pool, waiting).await? > 0)
}

/// What the claim makes of the message, in the end.
pub(crate) async fn end(
    mut claimed: Transaction<'static, Postgres>,
    statements: &str,
) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut *claimed).await?;
    claimed.commit().await?;
    Ok(())
}

pub(crate) const ERASED: &str = "
    INSERT INTO ephemerd.gone (owner_group, names, senders, stamps)
    SELECT hashtext(owner) & 127, ARRAY[name], ARRAY[sender], ARRAY[stamped_at]
      FROM ephemerd.expiries WHERE archive_id = 'words';
    DELETE FROM prosodyarchive WHERE key = 'words';";
pub(crate) const FORGOTTEN: &str = "DELETE FROM ephemerd.expiries WHERE archive_id = 'words';";
const BLANKED: &str = "
    UPDATE ephemerd.expiries SET phase = 'placeholder', name = NULL, sender = NULL, due_at = now() + interval '30 d'
     WHERE archive_id = 'words';";

/// It is erased, one way or the other: what comes meanwhile goes at once, and not when the message would have gone.
#[tokio::test(flavor = "multi_thread")]
async fn while_a_message_is_erased_what_comes_goes_at_once() -> Result<()> {
    let timer = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='172800'/>";
    for (settled, extra) in [(FORGOTTEN, ""), (BLANKED, ""), (FORGOTTEN, timer)] {
        let chats = Chats::start_with(&[("timers.start", "archived")]).await?;
        let claimed = claim(&chats).await?;
        correct(&chats, extra).await?;
        end(claimed, &format!("{ERASED}{settled}")).await?;
        eventually("what came is erased", PATIENCE, async || {
            let words = "SELECT count(*) FROM prosodyarchive WHERE key = 'better' AND value LIKE '%<body>%'";
            Ok((number(chats.pool(), words).await? == 0).then_some(()))
        })
        .await?;
    }
    Ok(())
}

/// Nothing asks for it to go any more: then what came meanwhile stays, or goes by its own timer.
#[tokio::test(flavor = "multi_thread")]
async fn while_a_message_is_let_stay_what_comes_stays() -> Result<()> {
    let chats = Chats::start_with(&[("timers.start", "archived")]).await?;
    let unmarked =
        "UPDATE prosodyarchive SET value = replace(value, 'timer=', 'no=') WHERE key = 'words';";
    let claimed = claim(&chats).await?;
    let timer = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='172800'/>";
    let own = row(&chats, ANN, "own", 700, &(naming("replace", "words") + timer));
    insert(chats.pool(), &[own]).await?;
    correct(&chats, "").await?;
    end(claimed, &format!("{unmarked}{FORGOTTEN}")).await?;
    chats.settle().await?;
    let own = Entry { timer: 172_800, ..Entry::read("archived", 700) };
    assert_eq!(chats.entry("bob", "own").await?, own);
    let put_off = "SELECT count(*) FROM ephemerd.expiries WHERE archive_id = 'own' AND (retry_at IS NOT NULL OR follows IS NOT NULL)";
    assert_eq!(number(chats.pool(), put_off).await?, 0);
    for key in ["words", "better"] {
        assert!(!is_recorded(&chats, key).await?, "{key}");
    }
    Ok(())
}

/// Its timer starts just now: what comes meanwhile goes with it.
#[tokio::test(flavor = "multi_thread")]
async fn while_a_message_moves_what_comes_goes_along() -> Result<()> {
    let chats = Chats::start_with(&[("timers.start", "archived")]).await?;
    let claimed = claim(&chats).await?;
    correct(&chats, "").await?;
    end(
        claimed,
        "UPDATE ephemerd.expiries SET runs_from = runs_from + interval '100 s', due_at = due_at + interval '100 s'
          WHERE archive_id = 'words';",
    )
    .await?;
    chats.settle().await?;
    assert_eq!(chats.entry("bob", "better").await?, with_message(800));
    Ok(())
}
