//! What users wish for their own archives: it only ever shortens.

use std::time::Duration;

use crate::model::{Facts, Limit, Rules, Store, Timestamp, Wish, WishRules};

/// How long messages stay in the archive by this wish; `None` if it says nothing of that, or is not followed. An operator who
/// allows nothing as short any more makes it longer.
pub fn wished(wish: Wish, rules: WishRules) -> Option<Duration> {
    allowed(wish.archive_for, rules)
}

/// The timer of encrypted messages by this wish, in the same way.
pub fn wished_timer(wish: Wish, rules: WishRules) -> Option<Duration> {
    allowed(wish.encrypted_for, rules)
}

fn allowed(time: Option<Duration>, rules: WishRules) -> Option<Duration> {
    time.filter(|_| rules.followed).map(|it| it.max(rules.shortest))
}

/// What a wish says of a message that was archived then: that those from then on go once they were read, and which timers
/// encrypted ones have, each from then on. The last one counts. Where nobody looks for readers, nothing goes once it was read, and
/// what its owner sent does not either.
pub fn timers_wished(
    once_since: Option<Timestamp>,
    encrypted: &[(Duration, Timestamp)],
    (archived_at, rules): (Timestamp, &Rules),
) -> TimersWished {
    let may_be_once = rules.wishes.followed && rules.looks_for_readers_in(Store::Archive);
    let timer = encrypted.iter().rfind(|it| it.1 <= archived_at).map(|it| it.0);
    TimersWished {
        once: may_be_once && once_since.is_some_and(|since| since <= archived_at),
        encrypted_for: allowed(timer, rules.wishes),
    }
}

/// The shorter of what the operator's policy and a wish say.
pub fn shorter(limit: Limit, wished: Option<Duration>) -> Limit {
    match (limit, wished) {
        (Limit::After(age), Some(wished)) => Limit::After(age.min(wished)),
        (Limit::Never, Some(wished)) => Limit::After(wished),
        (limit, None) => limit,
    }
}

/// What was archived before this moment, or exactly then, is older than its owner wishes.
pub fn wished_cutoff(wished: Duration, now: Timestamp) -> Timestamp {
    let wished = chrono::TimeDelta::from_std(wished).ok();
    wished.and_then(|it| now.checked_sub_signed(it)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// What owners wish for the timers of messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimersWished {
    /// Those with a timer go once they were read.
    pub once: bool,
    /// The timer of encrypted ones without a visible one.
    pub encrypted_for: Option<Duration>,
}

impl TimersWished {
    /// Both together: the shorter timer counts.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let timers = self.encrypted_for.into_iter().chain(other.encrypted_for);
        Self { once: self.once || other.once, encrypted_for: timers.min() }
    }

    /// A message has a timer that its owner may want to go once it was read.
    pub const fn may_be_once(facts: &Facts) -> bool {
        facts.timers.valid > 0 && !facts.once
    }

    /// A message is encrypted and has no timer that is to be seen; one of zero says that there is none.
    pub const fn may_be_timed(facts: &Facts) -> bool {
        facts.encrypted && facts.timers.valid == 0 && facts.timers.zero == 0
    }

    /// What a message says whose owner wishes this: the same as if its sender had asked for it.
    pub fn applied(self, mut facts: Facts) -> Facts {
        facts.once |= self.once && Self::may_be_once(&facts);
        if let Some(timer) = self.encrypted_for.filter(|_| Self::may_be_timed(&facts)) {
            facts.timers.valid = 1;
            facts.timers.shortest_seconds =
                Some(u32::try_from(timer.as_secs()).unwrap_or(u32::MAX));
        }
        facts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timers;

    const DAY: Duration = Duration::from_secs(86_400);
    const RULES: WishRules = WishRules { followed: true, shortest: DAY };

    /// A wish counts as long as the operator lets users wish, and is never shorter than what they may.
    #[test]
    fn a_wish_is_followed_within_bounds() {
        let wish = |archive_for| Wish { archive_for, encrypted_for: archive_for, once: true };
        assert_eq!(wished(wish(Some(DAY * 7)), RULES), Some(DAY * 7));
        assert_eq!(wished(wish(Some(DAY / 2)), RULES), Some(DAY));
        assert_eq!(wished(wish(None), RULES), None);
        assert_eq!(wished_timer(wish(Some(DAY / 2)), RULES), Some(DAY));
        assert_eq!(wished(wish(Some(DAY)), WishRules { followed: false, ..RULES }), None);
    }

    /// Nobody's wish makes an archive keep anything for longer.
    #[test]
    fn a_wish_only_shortens() {
        let week = Limit::After(DAY * 7);
        assert_eq!(shorter(week, Some(DAY)), Limit::After(DAY));
        assert_eq!(shorter(week, Some(DAY * 30)), week);
        assert_eq!(shorter(week, None), week);
        assert_eq!(shorter(Limit::Never, Some(DAY)), Limit::After(DAY));
        assert_eq!(shorter(Limit::Never, None), Limit::Never);
    }

    /// Only what has a timer goes once it was read; what its sender asked for stays asked for.
    #[test]
    fn a_wish_for_once_is_about_timers() {
        let once = TimersWished { once: true, encrypted_for: None };
        let facts = |valid, once| {
            let timers = Timers { valid, zero: 1, ..Timers::default() };
            Facts { timers, once, ..Facts::default() }
        };
        assert_eq!(once.applied(facts(1, false)), facts(1, true));
        assert_eq!(once.applied(facts(0, false)), facts(0, false));
        assert_eq!(once.applied(facts(0, true)), facts(0, true));
        assert_eq!(TimersWished::default().applied(facts(1, false)), facts(1, false));
    }

    /// An encrypted message gets the timer, unless it says itself which one it has, or that it has none; and it does not go
    /// once it was read by a wish for what has a timer.
    #[test]
    fn a_wish_for_encrypted_messages_is_about_hidden_timers() {
        let wished = |days| TimersWished { once: true, encrypted_for: Some(DAY * days) };
        let facts = |encrypted, valid, zero| {
            let shortest_seconds = (valid > 0).then_some(86_400);
            let timers = Timers { shortest_seconds, valid, zero, invalid: 0 };
            Facts { encrypted, timers, ..Facts::default() }
        };
        let both = wished(1).and(wished(7)).and(TimersWished::default());
        assert_eq!(both.encrypted_for, Some(DAY));
        assert_eq!(both.applied(facts(true, 0, 0)), facts(true, 1, 0));
        assert_eq!(both.applied(facts(true, 0, 1)), facts(true, 0, 1));
        assert_eq!(both.applied(facts(false, 0, 0)), facts(false, 0, 0));
        let own = Facts { once: true, ..facts(true, 1, 0) };
        assert_eq!(wished(7).applied(facts(true, 1, 0)), own);
        let long = TimersWished { once: false, encrypted_for: Some(Duration::MAX) };
        assert_eq!(long.applied(facts(true, 0, 0)).timers.shortest_seconds, Some(u32::MAX));
    }

    #[test]
    fn a_cutoff_is_that_long_ago() {
        let now = Timestamp::UNIX_EPOCH + DAY * 100;
        assert_eq!(wished_cutoff(DAY, now), now - DAY);
        assert_eq!(wished_cutoff(Duration::MAX, now), Timestamp::UNIX_EPOCH);
    }
}
