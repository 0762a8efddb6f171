use std::time::Duration;

use super::later;
use crate::model::{
    Because, Conflict, Facts, HintRules, Judgement, LATEST, LegacyExpiry, Placement, Reason, Rules,
    StartRule, Store, TimerRules, Timers, Timestamp, Verdict,
};

/// Decides what happens to a stanza, and why.
pub fn judge(facts: &Facts, placement: &Placement, rules: &Rules) -> Judgement {
    if let Some(because) = untouchable(facts) {
        return Judgement::Stays(vec![because]);
    }
    let mut because = Vec::new();
    let timer = timer(&facts.timers, &rules.timers, &mut because);
    let timer = match facts.once {
        true => once(timer, facts, placement, &rules.timers, &mut because),
        false => timer,
    };
    let hint = hint(facts, &rules.hints, &mut because);
    let asked = match timer {
        Some(timer) if !facts.has_content => {
            let stays = rules.timers.negotiation_for.max(timer);
            because.push(Because::Negotiation(stays));
            because.extend(hint.map(|_| Because::HintInNegotiation));
            Asked { timer: Some((stays, Reason::Negotiation)), hint: None }
        }
        timer => Asked { timer: timer.map(|it| (it, Reason::Timer)), hint },
    };
    let undelivered = placement.undelivered || placement.store == Store::Queue;
    let found = if undelivered && !placement.received {
        asked.undelivered(placement.store, &rules.timers, &mut because)
    } else {
        let hint = asked.hint.filter(|_| placement.store != Store::Queue);
        Asked { hint, ..asked }.delivered(&mut because)
    };
    let found = found.map(|(after, reason)| (later(placement.runs_from, after), reason));
    let waits = found.is_none() && waits(&because, facts, placement.store);
    let expires_at = match rules.timers.legacy_expiry {
        true => expires_at(&facts.legacy, placement, &mut because),
        false => None,
    };
    match earlier(found, waits, expires_at, &mut because) {
        Some((due_at, reason)) => Judgement::Goes(Verdict { due_at, reason, because }),
        None if waits => Judgement::Waits(because),
        None => Judgement::Stays(because),
    }
}

/// When it expires by older specifications: that counts from archiving, whether or not anybody received or read it.
fn expires_at(
    legacy: &LegacyExpiry,
    placement: &Placement,
    because: &mut Vec<Because>,
) -> Option<Timestamp> {
    if legacy.is_some() {
        because.retain(|it| *it != Because::NothingAsked);
    }
    if legacy.invalid > 0 {
        because.push(Because::InvalidExpiries(legacy.invalid));
    }
    let (archived_at, seconds) = (placement.archived_at, legacy.shortest_seconds);
    because.extend(seconds.map(Because::ExpiresAfter));
    because.extend(legacy.earliest.map(|at| Because::ExpiresAt(at.min(LATEST))));
    let after = seconds.map(|it| later(archived_at, Duration::from_secs(it.into())));
    let at = legacy.earliest.map(|at| at.max(archived_at).min(LATEST));
    after.into_iter().chain(at).min()
}

/// The earlier of what was found and an expiry. What nobody has received keeps that reason: when somebody receives it, its
/// timer starts.
fn earlier(
    found: Option<(Timestamp, Reason)>,
    waits: bool,
    expires_at: Option<Timestamp>,
    because: &mut Vec<Because>,
) -> Option<(Timestamp, Reason)> {
    let Some(at) = expires_at else { return found };
    let (due_at, reason) = match found {
        None if waits => (LATEST, Reason::Undelivered),
        None => return Some((at, Reason::Legacy)),
        Some(found) => found,
    };
    if at < due_at {
        because.push(Because::ExpiryDecides);
        let is_undelivered = reason == Reason::Undelivered;
        return Some((at, if is_undelivered { reason } else { Reason::Legacy }));
    }
    because.push(Because::ExpiryIsLater);
    found
}

/// How many timers, and times of expiry if these count, cannot be read.
pub const fn invalid(facts: &Facts, rules: &Rules) -> u32 {
    let expiries = if rules.timers.legacy_expiry { facts.legacy.invalid } else { 0 };
    facts.timers.invalid.saturating_add(expiries)
}

/// The timer of a message, if the message waits to be read under these `rules`: it has words, a timer, and no hint
/// that counts, because such a hint asks that nothing be kept at all.
pub fn timer_from_reading(facts: &Facts, rules: &Rules) -> Option<Duration> {
    let mut because = Vec::new();
    let waits = untouchable(facts).is_none()
        && !facts.is_error
        && facts.has_content
        && hint(facts, &rules.hints, &mut because).is_none();
    let timer = timer(&facts.timers, &rules.timers, &mut because).filter(|_| waits)?;
    Some(if facts.once { at_once(timer, &rules.timers) } else { timer })
}

/// How long a timer is that starts when the message was read, which is to go once it was.
fn at_once(timer: Duration, rules: &TimerRules) -> Duration {
    timer.min(rules.once_for.max(rules.min))
}

/// The timer of a message that is to go once it was read: until then its own. A negotiation is for devices that are away, and
/// stays.
fn once(
    timer: Option<Duration>,
    facts: &Facts,
    placement: &Placement,
    rules: &TimerRules,
    because: &mut Vec<Because>,
) -> Option<Duration> {
    let Some(timer) = timer else {
        because.push(Because::OnceWithoutTimer);
        return None;
    };
    if !facts.has_content || !placement.counts_once {
        because.extend(facts.has_content.then_some(Because::OnceUnread));
        return Some(timer);
    }
    let at_once = at_once(timer, rules);
    because.extend((at_once < timer).then_some(Because::Once(at_once)));
    Some(at_once)
}

/// Neither has a verdict of its own, and the ledger must record both: the undelivered message, and its copy
/// in the queue.
fn waits(because: &[Because], facts: &Facts, store: Store) -> bool {
    let waits = matches!(because.last(), Some(Because::UndeliveredStays | Because::HintInQueue));
    waits && (store != Store::Queue || facts.last_stanza_id.is_some())
}

/// Why a stanza is kept no matter what else is in it.
pub(super) const fn untouchable(facts: &Facts) -> Option<Because> {
    let timers = &facts.timers;
    let switches_off = timers.valid == 0 && timers.zero > 0 && !facts.has_content;
    if facts.not_a_message {
        Some(Because::NotAMessage)
    } else if facts.expired_until.is_some() {
        Some(Because::Placeholder)
    } else if facts.wants_out {
        Some(Because::OptOut)
    } else if switches_off {
        Some(Because::SwitchesOff)
    } else {
        None
    }
}

/// The timer that is used, within the operator's bounds. If the bounds contradict each other, `max` wins.
fn timer(timers: &Timers, rules: &TimerRules, because: &mut Vec<Because>) -> Option<Duration> {
    if timers.invalid > 0 {
        because.push(Because::InvalidTimers(timers.invalid));
    }
    let zero = (timers.zero > 0).then_some(timers.zero);
    let Some(seconds) = timers.shortest_seconds else {
        because.extend(zero.map(Because::ZeroTimers));
        return None;
    };
    because.extend(zero.map(Because::ZeroIgnored));
    because.push(Because::Timer { seconds, of: timers.valid });
    let mut timer = Duration::from_secs(u64::from(seconds));
    if timer < rules.min {
        timer = rules.min;
        because.push(Because::RaisedTo(timer));
    }
    if let Some(max) = rules.max.filter(|&max| max < timer) {
        timer = max;
        because.push(Because::LoweredTo(timer));
    }
    Some(timer)
}

/// How long an archived copy is kept, if a valid hint asks for none to be stored.
fn hint(facts: &Facts, rules: &HintRules, because: &mut Vec<Because>) -> Option<Duration> {
    let hints = facts.hints;
    if !hints.no_permanent_store && !hints.no_store {
        return None;
    }
    if facts.is_error {
        because.push(Because::HintInError);
        return None;
    }
    match (hints.store, rules.conflict) {
        (true, Conflict::Store) => {
            because.push(Because::StoreBeatsHint);
            return None;
        }
        (true, Conflict::NoPermanentStore) => because.push(Because::HintBeatsStore),
        (false, _) => {}
    }
    Some(rules.keep_for)
}

/// What a stanza asks for: how long after archiving it goes.
struct Asked {
    timer: Option<(Duration, Reason)>,
    hint: Option<Duration>,
}

type Candidate = Option<(Duration, Reason)>;

impl Asked {
    /// The earlier of timer and hint.
    fn delivered(self, because: &mut Vec<Because>) -> Candidate {
        because.extend(self.hint.map(Because::Hint));
        match (self.timer, self.hint) {
            (Some((timer, _)), Some(hint)) if hint < timer => {
                because.push(Because::HintDecides);
                Some((hint, Reason::Hint))
            }
            (Some(timer), Some(_)) => {
                because.push(Because::TimerDecides);
                Some(timer)
            }
            (Some(timer), None) => Some(timer),
            (None, Some(hint)) => Some((hint, Reason::Hint)),
            (None, None) => {
                because.push(Because::NothingAsked);
                None
            }
        }
    }

    /// Nobody has received the message: it waits, and both copies go together. Hints leave the queue alone,
    /// and while the text is there, the archive row goes no earlier: for a client that reads the archive
    /// first, the archive is the queue.
    fn undelivered(
        self,
        store: Store,
        rules: &TimerRules,
        because: &mut Vec<Because>,
    ) -> Candidate {
        let after = match (self.timer, self.hint) {
            (Some(timer), hint) => {
                because.extend(hint.map(|_| Because::HintWaits));
                if rules.start == StartRule::Archived {
                    return Some(timer);
                }
                timer.0
            }
            (None, Some(_)) if store == Store::Queue => {
                because.push(Because::HintInQueue);
                return None;
            }
            (None, Some(hint)) => {
                because.push(Because::Hint(hint));
                hint
            }
            (None, None) => {
                because.push(Because::NothingAsked);
                return None;
            }
        };
        let Some(wait) = rules.unread_for else {
            because.push(Because::UndeliveredStays);
            return None;
        };
        because.push(Because::Undelivered(wait));
        Some((after.saturating_add(wait), Reason::Undelivered))
    }
}
