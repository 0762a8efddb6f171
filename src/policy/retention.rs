//! Retention by age: which rule wins for whom, and since when a row is too old.

use std::{collections::HashMap, time::Duration};

use chrono::TimeDelta;
use sha2::{Digest as _, Sha256};

use crate::model::{Limit, Limits, RetentionRules, Store, Timestamp, Whose, bare_jid};

/// The retention rules, prepared for looking up whose apply.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Retention {
    rules: RetentionRules,
    /// The rule that has this name: a host's, or a bare address.
    by_name: HashMap<String, usize>,
}

/// The limit that applies, and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// How long the messages are kept.
    pub limit: Limit,
    /// The rule that says so, by its position; `None` for what applies to everybody.
    pub rule: Option<usize>,
}

impl Retention {
    /// Prepares these rules.
    pub fn new(rules: RetentionRules) -> Self {
        let names = rules.rules.iter().enumerate();
        let by_name = names
            .flat_map(|(at, rule)| rule.names.iter().map(move |name| (name.clone(), at)))
            .collect();
        Self { rules, by_name }
    }

    /// The rules as they were written.
    pub const fn rules(&self) -> &RetentionRules {
        &self.rules
    }

    /// The limit for an owner's messages in this store. What a rule for the account says replaces what one for its host
    /// says, and that replaces what is said for everybody; each store is decided for itself.
    pub fn applied(&self, store: Store, host: &str, owner: &str) -> Applied {
        let said = |name: &str| {
            let at = *self.by_name.get(name)?;
            let limit = self.rules.rules.get(at)?.limits.of(store)?;
            Some(Applied { limit, rule: Some(at) })
        };
        let everyone =
            Applied { limit: self.rules.everyone.of(store).unwrap_or_default(), rule: None };
        said(&bare_jid(owner, host)).or_else(|| said(host)).unwrap_or(everyone)
    }

    /// What was archived before this moment, or exactly then, is too old. `None` if its age does not matter.
    pub fn cutoff(
        &self,
        store: Store,
        (host, owner): (&str, &str),
        now: Timestamp,
    ) -> Option<Timestamp> {
        match self.applied(store, host, owner).limit {
            Limit::Never => None,
            Limit::After(age) => {
                let age = TimeDelta::from_std(age).ok()?;
                Some(now.checked_sub_signed(age).unwrap_or(Timestamp::UNIX_EPOCH))
            }
        }
    }

    /// The shortest time that anything is kept; `None` if nothing goes by its age.
    pub fn shortest(&self) -> Option<Duration> {
        let limits = self.rules.rules.iter().map(|it| it.limits);
        let limits = std::iter::once(self.rules.everyone).chain(limits);
        let ages = limits.flat_map(|it| Store::ALL.into_iter().filter_map(move |of| it.of(of)));
        let ages = ages.filter_map(|limit| match limit {
            Limit::Never => None,
            Limit::After(age) => Some(age),
        });
        ages.min()
    }

    /// The longest time that anything in these stores is kept on these hosts; `None` if something is kept whatever its age.
    pub fn longest(&self, stores: &[Store], hosts: &[String]) -> Option<Duration> {
        let of_hosts = hosts.iter().map(|host| (host.as_str(), None));
        let of_accounts = self.rules.rules.iter().filter(|it| it.whose != Whose::Hosts);
        let of_accounts = of_accounts.map(|it| ("", Some(it.limits)));
        let whose: Vec<_> = of_hosts.chain(of_accounts).collect();
        let limits = whose.iter().flat_map(|(host, limits)| {
            stores.iter().filter_map(|store| match limits {
                Some(limits) => limits.of(*store),
                None => Some(self.applied(*store, host, "").limit),
            })
        });
        let ages = limits.map(|limit| match limit {
            Limit::Never => None,
            Limit::After(age) => Some(age),
        });
        ages.collect::<Option<Vec<Duration>>>()?.into_iter().max()
    }

    /// A digest of what the rules say and of what has to happen before they are followed: when it changes, the policy is
    /// a new one. Reasons do not count. It is the same in every version of ephemerd that has the same rules.
    pub fn fingerprint(&self, grace: Duration, confirm_above: u32) -> [u8; 32] {
        let mut lines = vec![
            format!("grace {}", grace.as_nanos()),
            format!("confirm_above {confirm_above}"),
            format!("everyone {}", written(&self.rules.everyone)),
        ];
        let mut rules: Vec<String> = (self.rules.rules.iter())
            .flat_map(|rule| {
                let limits = written(&rule.limits);
                rule.names.iter().map(move |name| format!("{name} {limits}"))
            })
            .collect();
        rules.sort_unstable();
        lines.append(&mut rules);
        let mut digest = Sha256::new();
        for line in lines {
            digest.update(format!("{line}\n"));
        }
        digest.finalize().into()
    }
}

fn written(limits: &Limits) -> String {
    let limit = |store| match limits.of(store) {
        None => "-".to_owned(),
        Some(Limit::Never) => "never".to_owned(),
        Some(Limit::After(age)) => age.as_nanos().to_string(),
    };
    Store::ALL.map(limit).join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RetentionRule;

    const DAY: Duration = Duration::from_secs(86_400);

    fn rule(whose: Whose, name: &str, limits: Limits) -> RetentionRule {
        RetentionRule { whose, names: vec![name.to_owned()], limits, reason: None }
    }

    fn days(days: u32) -> Option<Limit> {
        Some(Limit::After(DAY * days))
    }

    fn retention() -> Retention {
        Retention::new(RetentionRules {
            everyone: Limits { archive: days(365), room: days(90), queue: None },
            rules: vec![
                rule(
                    Whose::Hosts,
                    "b.example",
                    Limits { archive: days(30), queue: days(7), ..Limits::default() },
                ),
                rule(
                    Whose::Users,
                    "eva@b.example",
                    Limits { archive: Some(Limit::Never), ..Limits::default() },
                ),
                rule(
                    Whose::Rooms,
                    "den@rooms.example",
                    Limits { room: days(1), ..Limits::default() },
                ),
            ],
        })
    }

    /// The account's rule wins over its host's, the host's over everybody's, for each store on its own.
    #[test]
    fn the_nearest_rule_wins() {
        let retention = retention();
        for (store, host, owner, limit, rule) in [
            (Store::Archive, "a.example", "eva", days(365), None),
            (Store::Archive, "b.example", "otto", days(30), Some(0)),
            (Store::Archive, "b.example", "eva", Some(Limit::Never), Some(1)),
            // The account's rule says nothing about queues.
            (Store::Queue, "b.example", "eva", days(7), Some(0)),
            (Store::Queue, "a.example", "eva", Some(Limit::Never), None),
            (Store::Room, "rooms.example", "den", days(1), Some(2)),
            (Store::Room, "rooms.example", "attic", days(90), None),
            // A host's name is not an account's.
            (Store::Room, "example", "den@rooms", days(90), None),
        ] {
            let applied = retention.applied(store, host, owner);
            assert_eq!(
                (Some(applied.limit), applied.rule),
                (limit, rule),
                "{store} {owner}@{host}"
            );
        }
        assert_eq!(retention.shortest(), Some(DAY));
        let longest = |stores: &[Store], hosts: &[&str]| {
            let hosts: Vec<String> = hosts.iter().map(|it| (*it).to_owned()).collect();
            retention.longest(stores, &hosts)
        };
        assert_eq!(longest(&[Store::Room], &["a.example", "b.example"]), Some(DAY * 90));
        assert_eq!(longest(&[Store::Queue], &["b.example"]), Some(DAY * 7));
        assert_eq!(longest(&[Store::Room, Store::Queue], &["a.example"]), None);
        // Eva's archive is kept for ever.
        assert_eq!(longest(&[Store::Archive], &["b.example"]), None);
        assert_eq!(Retention::default().shortest(), None);
    }

    #[test]
    fn a_cutoff_is_that_long_ago() {
        let now = Timestamp::UNIX_EPOCH + DAY * 1000;
        let cutoff = |owner| retention().cutoff(Store::Archive, ("b.example", owner), now);
        assert_eq!(cutoff("otto"), Some(Timestamp::UNIX_EPOCH + DAY * 970));
        assert_eq!(cutoff("eva"), None);
    }

    /// What is said in another order, or for another reason, is the same policy; any other time is not.
    #[test]
    fn a_policy_is_what_it_says() {
        let (one, mut rules) = (retention(), retention().rules.clone());
        rules.rules.reverse();
        rules.rules[0].reason = Some("court".to_owned());
        let print = |it: &Retention| it.fingerprint(DAY, 10);
        assert_eq!(print(&one), print(&Retention::new(rules.clone())));
        assert_ne!(print(&one), one.fingerprint(DAY * 2, 10));
        assert_ne!(print(&one), one.fingerprint(DAY, 11));
        rules.everyone.archive = days(364);
        assert_ne!(print(&one), print(&Retention::new(rules)));
    }
}
