//! What belongs to a message goes with it.

use super::judge::untouchable;
use crate::model::{Because, Facts, Inheritance, Judgement, Reason, Timestamp, Verdict};

/// What becomes of a stanza that was judged by itself and belongs to another message: it goes with that one, unless it goes
/// earlier by itself. It goes no earlier than it was archived.
///
/// One that nobody has received keeps that reason: when somebody receives it, its own timer starts.
pub fn inherit(
    own: Judgement,
    facts: &Facts,
    inherited: Inheritance,
    archived_at: Timestamp,
) -> Judgement {
    if untouchable(facts).is_some() {
        return own;
    }
    let due_at = inherited.due_at.max(archived_at);
    let goes = |reason, mut because: Vec<Because>| {
        because.push(Because::GoesWith(inherited.bond));
        Judgement::Goes(Verdict { due_at, reason, because })
    };
    match own {
        Judgement::Goes(own) if own.due_at <= due_at => Judgement::Goes(own),
        Judgement::Goes(Verdict { reason: Reason::Undelivered, because, .. })
        | Judgement::Waits(because) => goes(Reason::Undelivered, because),
        Judgement::Goes(Verdict { because, .. }) | Judgement::Stays(because) => {
            goes(Reason::Inherited, because)
        }
    }
}
