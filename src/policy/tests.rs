use std::{collections::HashSet, time::Duration};

use chrono::{DateTime, TimeDelta};
use proptest::{option, prelude::*, sample::select};

use super::{archived, decide, fingerprint, judge, later};
use crate::model::{
    Because, Conflict, Facts, HintRules, Hints, Judgement, LATEST, LegacyExpiry, Placement,
    QuoteRule, ReadEvidence, Reason, RoomStart, Rules, Stamp, StanzaId, StartRule, Store,
    TimerRules, Timers, Timestamp,
};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Durations from zero to practically for ever, most of them ordinary.
fn length() -> impl Strategy<Value = Duration> {
    prop_oneof![
        8 => (0_u64..10_000_000, select(vec![0, 0, 1, 500_000_000]))
            .prop_map(|(seconds, nanos)| Duration::new(seconds, nanos)),
        1 => any::<u64>().prop_map(Duration::from_secs),
        1 => Just(Duration::MAX),
    ]
}

fn rules() -> impl Strategy<Value = Rules> {
    let starts =
        select(vec![StartRule::Archived, StartRule::Delivered, StartRule::Read, StartRule::Auto]);
    let timers = (length(), option::of(length()), length(), option::of(length()), starts).prop_map(
        |(min, max, negotiation_for, unread_for, start)| {
            let read_evidence = ReadEvidence::default();
            let (once_for, legacy_expiry) = (seconds(60), false);
            TimerRules {
                min,
                max,
                negotiation_for,
                start,
                unread_for,
                read_evidence,
                once_for,
                legacy_expiry,
            }
        },
    );
    let hints = (length(), select(vec![Conflict::Store, Conflict::NoPermanentStore]))
        .prop_map(|(keep_for, conflict)| HintRules { keep_for, conflict });
    (timers, hints).prop_map(|(timers, hints)| Rules { timers, hints, ..Rules::default() })
}

fn facts() -> impl Strategy<Value = Facts> {
    let timers =
        (option::of(1_u32..), 0..3_u32, 0..3_u32).prop_map(|(shortest, zero, invalid)| Timers {
            shortest_seconds: shortest,
            valid: shortest.map_or(0, |it| 1 + it % 3),
            zero,
            invalid,
        });
    let hints = any::<(bool, bool, bool)>().prop_map(|(no_permanent_store, no_store, store)| {
        Hints { no_permanent_store, no_store, store }
    });
    let flag = || prop::bool::weighted(0.2);
    let legacy = (option::weighted(0.3, 1_u32..), option::weighted(0.3, time()), 0..2_u32)
        .prop_map(|(shortest_seconds, earliest, invalid)| LegacyExpiry {
            shortest_seconds,
            earliest,
            invalid,
        });
    (timers, hints, legacy, flag(), flag(), any::<bool>(), flag()).prop_map(
        |(timers, hints, legacy, is_error, wants_out, has_content, once)| Facts {
            once,
            is_error,
            timers,
            hints,
            legacy,
            wants_out,
            has_content,
            ..Facts::default()
        },
    )
}

fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        8 => 0..4_000_000_000_000_000_i64,
        1 => i64::MIN / 100..i64::MAX / 100,
    ]
    .prop_map(|micros| DateTime::from_timestamp_micros(micros).unwrap_or(LATEST))
}

fn placement() -> impl Strategy<Value = Placement> {
    (select(Store::ALL.to_vec()), time(), any::<bool>(), any::<bool>()).prop_map(
        |(store, runs_from, undelivered, received)| Placement {
            store,
            archived_at: runs_from,
            runs_from,
            undelivered,
            received,
            counts_once: !undelivered,
        },
    )
}

/// A row in an archive whose message was delivered.
fn delivered(runs_from: Timestamp) -> Placement {
    let (archived_at, store) = (runs_from, Store::Archive);
    let counts_once = false;
    Placement { store, archived_at, runs_from, undelivered: false, received: false, counts_once }
}

fn message(timer: Option<u32>) -> Facts {
    let timers =
        Timers { shortest_seconds: timer, valid: u32::from(timer.is_some()), ..Timers::default() };
    Facts { timers, has_content: true, ..Facts::default() }
}

/// Earlier or at the same time; what stays counts as the latest.
fn no_later(one: Option<Timestamp>, other: Option<Timestamp>) -> bool {
    match (one, other) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(one), Some(other)) => one <= other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases * 8,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn timers_stay_within_their_bounds(timer in 1_u32.., rules in rules(), from in time()) {
        let verdict = decide(&message(Some(timer)), &delivered(from), &rules).unwrap();
        prop_assert_eq!(verdict.reason, Reason::Timer);
        let max = rules.timers.max.unwrap_or(Duration::MAX);
        prop_assert!(verdict.due_at >= later(from, rules.timers.min.min(max)));
        prop_assert!(verdict.due_at <= later(from, max));
        if (rules.timers.min..=max).contains(&seconds(timer.into())) {
            prop_assert_eq!(verdict.due_at, later(from, seconds(timer.into())));
        }
    }

    #[test]
    fn a_shorter_timer_is_never_due_later(
        facts in facts(), shorter in 1_u32.., placement in placement(), rules in rules()
    ) {
        let Some(timer) = facts.timers.shortest_seconds else { return Ok(()) };
        let timers = Timers { shortest_seconds: Some(shorter.min(timer)), ..facts.timers };
        let due = |facts: &Facts| decide(facts, &placement, &rules).map(|it| it.due_at);
        let with_shorter = Facts { timers, ..facts.clone() };
        prop_assert!(no_later(due(&with_shorter), due(&facts)));
    }

    #[test]
    fn what_was_archived_earlier_is_never_due_later(
        facts in facts(), placement in placement(), other in time(), rules in rules()
    ) {
        let due = |runs_from| {
            let verdict = decide(&facts, &Placement { runs_from, ..placement }, &rules);
            verdict.map(|it| (it.due_at, it.reason))
        };
        let (one, two) = (placement.runs_from.min(other), placement.runs_from.max(other));
        let (one, two) = (due(one), due(two));
        prop_assert_eq!(one.map(|it| it.1), two.map(|it| it.1));
        prop_assert!(no_later(one.map(|it| it.0), two.map(|it| it.0)));
    }

    #[test]
    fn without_a_timer_or_a_hint_nothing_goes(
        facts in facts(), placement in placement(), rules in rules()
    ) {
        let timers = Timers { shortest_seconds: None, valid: 0, ..facts.timers };
        let hints = Hints { store: facts.hints.store, ..Hints::default() };
        let facts = Facts { timers, hints, ..facts };
        prop_assert_eq!(decide(&facts, &placement, &rules), None);
    }

    #[test]
    fn nothing_is_due_before_it_was_archived(
        facts in facts(), placement in placement(), rules in rules()
    ) {
        if let Some(verdict) = decide(&facts, &placement, &rules) {
            prop_assert!(verdict.due_at >= placement.runs_from.min(LATEST));
            prop_assert!(verdict.due_at <= LATEST);
        }
    }

    #[test]
    fn what_nobody_has_had_never_goes_earlier(
        facts in facts(), placement in placement(), rules in rules()
    ) {
        let due = |undelivered| {
            decide(&facts, &Placement { undelivered, ..placement }, &rules).map(|it| it.due_at)
        };
        prop_assert!(no_later(due(false), due(true)));
    }

    #[test]
    fn hints_alone_never_touch_the_queue(
        facts in facts(), placement in placement(), rules in rules()
    ) {
        let timers = Timers { shortest_seconds: None, valid: 0, ..facts.timers };
        let placement = Placement { store: Store::Queue, ..placement };
        let facts = Facts { timers, ..facts };
        prop_assert_eq!(decide(&facts, &placement, &rules), None);
    }

    #[test]
    fn a_copy_in_the_queue_and_its_archive_row_go_together(
        facts in facts(), placement in placement(), rules in rules()
    ) {
        if facts.timers.shortest_seconds.is_none() {
            return Ok(());
        }
        let due = |store| {
            let placement = Placement { store, undelivered: true, received: false, ..placement };
            decide(&facts, &placement, &rules).map(|it| (it.due_at, it.reason))
        };
        prop_assert_eq!(due(Store::Queue), due(Store::Archive));
    }

    /// What is to go once it was read goes no later than by its timer, and only where it counts earlier than that.
    #[test]
    fn once_never_puts_anything_off(
        facts in facts(), placement in placement(), rules in rules()
    ) {
        let due = |once, counts_once| {
            let facts = Facts { once, ..facts.clone() };
            let placement = Placement { counts_once, ..placement };
            decide(&facts, &placement, &rules).map(|it| it.due_at)
        };
        prop_assert_eq!(due(true, false), due(false, true));
        prop_assert!(no_later(due(true, true), due(false, true)));
        prop_assert_eq!(due(true, true).is_some(), due(false, true).is_some());
    }

    /// An expiry counts only if the operator says so, brings forward what goes later, and is never before archiving.
    #[test]
    fn an_expiry_counts_if_it_is_earlier(
        facts in facts(), placement in placement(), mut rules in rules()
    ) {
        let without = Facts { legacy: LegacyExpiry::default(), ..facts.clone() };
        let due = |facts: &Facts, rules: &Rules| {
            decide(facts, &placement, rules).map(|it| (it.due_at, it.reason))
        };
        let own = due(&without, &rules);
        prop_assert_eq!(due(&facts, &rules), own);
        rules.timers.legacy_expiry = true;
        let from = placement.archived_at;
        let after = facts.legacy.shortest_seconds.map(|it| later(from, seconds(it.into())));
        let at = facts.legacy.earliest.map(|it| it.max(from).min(LATEST));
        let expires = after.into_iter().chain(at).min();
        let stays = facts.wants_out || (without.timers.valid == 0 && without.timers.zero > 0 && !facts.has_content);
        let expected = expires.filter(|_| !stays).into_iter().chain(own.map(|it| it.0)).min();
        prop_assert_eq!(due(&facts, &rules).map(|it| it.0), expected);
    }

    #[test]
    fn an_opt_out_stays(facts in facts(), placement in placement(), rules in rules()) {
        let facts = Facts { wants_out: true, ..facts };
        prop_assert_eq!(decide(&facts, &placement, &rules), None);
    }

    #[test]
    fn each_judgement_has_its_reasons(
        facts in facts(), placement in placement(), rules in rules()
    ) {
        let judgement = judge(&facts, &placement, &rules);
        prop_assert!(!judgement.because().is_empty());
        let clauses: HashSet<_> = judgement.because().iter().map(ToString::to_string).collect();
        prop_assert_eq!(clauses.len(), judgement.because().len(), "{}", judgement);
        prop_assert_eq!(judgement.verdict(), decide(&facts, &placement, &rules));
    }

    #[test]
    fn a_row_is_judged_the_same_at_any_later_time(
        stamp in time(), whole_seconds in any::<bool>(), wait in length(), more in length()
    ) {
        let stamp = Stamp { at: stamp.min(LATEST), whole_seconds };
        let now = later(stamp.at, wait);
        prop_assert_eq!(archived(stamp, now), archived(stamp, later(now, more)));
    }

    #[test]
    fn a_timer_never_runs_from_much_later_than_now(
        stamp in time(), whole_seconds in any::<bool>(), now in time()
    ) {
        let from = archived(Stamp { at: stamp, whole_seconds }, now).at;
        let slack = TimeDelta::seconds(i64::from(whole_seconds));
        prop_assert!(from <= now.checked_add_signed(slack).unwrap_or(Timestamp::MAX_UTC));
        prop_assert!(from >= stamp.min(now).min(LATEST));
    }
}

#[test]
fn a_sum_of_times_ends_with_the_year_9999() {
    assert_eq!(later(at("2026-11-22T04:14:00Z"), seconds(60)), at("2026-11-22T04:15:00Z"));
    assert_eq!(later(at("2026-11-22T04:14:00Z"), Duration::MAX), LATEST);
    assert_eq!(later(at("9999-12-31T23:59:59Z"), seconds(1)), LATEST);
    assert_eq!(later(Timestamp::MAX_UTC, seconds(0)), LATEST);
    assert_eq!(later(Timestamp::MIN_UTC, seconds(0)), Timestamp::MIN_UTC);
    assert_eq!(LATEST.to_rfc3339(), "9999-12-31T23:59:59+00:00");
}

#[test]
fn a_stamp_at_the_very_time_of_the_clock_is_not_from_the_future() {
    let now = at("2026-11-22T04:14:00Z");
    let from = |whole_seconds| archived(Stamp { at: now, whole_seconds }, now).at;
    assert_eq!(from(false), now);
    assert_eq!(from(true), at("2026-11-22T04:14:01Z"));
}

#[test]
fn the_same_rules_have_the_same_fingerprint_for_ever() {
    let mut rules = Rules::default();
    let default = "54c2061dcb559a57ca385807012bf59b8d7e22ad5ad823edae60d19ea3d4906f";
    assert_eq!(hex::encode(fingerprint(&rules)), default);
    rules.timers.start = StartRule::Delivered;
    let delivered = "3d52992ea3d27ee0d6b9c1434f54bbc4edb5c4e4ab5afc45fd2ce286eaba20b9";
    assert_eq!(hex::encode(fingerprint(&rules)), delivered);
}

#[test]
fn each_rule_changes_the_fingerprint() {
    let (mut rules, second) = (vec![Rules::default(); 23], seconds(1));
    rules[1].timers.min = second;
    rules[2].timers.max = Some(second);
    rules[3].timers.negotiation_for = second;
    rules[4].hints.keep_for = second;
    rules[5].hints.conflict = Conflict::NoPermanentStore;
    rules[6].timers.unread_for = Some(second);
    rules[7].timers.unread_for = None;
    rules[8].timers.start = StartRule::Archived;
    rules[9].timers.start = StartRule::Read;
    rules[10].timers.start = StartRule::Delivered;
    rules[11].timers.read_evidence.mds = false;
    rules[12].timers.start = StartRule::Read;
    rules[12].timers.read_evidence.replies = false;
    for rule in &mut rules[13..16] {
        rule.rooms.start = RoomStart::FirstReader;
    }
    rules[14].rooms.ignore_readers = vec!["bot@h".to_owned()];
    rules[15].timers.read_evidence.markers = false;
    rules[16].timers.legacy_expiry = true;
    rules[17].timers.once_for = second;
    rules[18].inherit.quotes = QuoteRule::Leave;
    rules[19].inherit.quotes = QuoteRule::Erase;
    rules[20].uploads.urls = vec!["https://h/".to_owned()];
    rules[21].wishes.followed = true;
    rules[22].wishes.followed = true;
    rules[22].wishes.shortest = second;
    let fingerprints: HashSet<_> = rules.iter().map(fingerprint).collect();
    assert_eq!(fingerprints.len(), rules.len());
}

#[test]
fn a_judgement_is_a_sentence() {
    let row = delivered(at("2026-11-22T04:14:00Z"));
    let goes = judge(&message(Some(60)), &row, &Rules::default());
    assert_eq!(goes.to_string(), "goes 2026-11-22 04:15:00 UTC: a timer of 60 s");

    let mut facts = message(None);
    facts.hints.no_store = true;
    facts.is_error = true;
    let stays = judge(&facts, &row, &Rules::default());
    assert_eq!(
        stays.to_string(),
        "stays: hints in an error are ignored; neither a timer nor a hint asks for it to go"
    );
    assert_eq!(stays, Judgement::Stays(vec![Because::HintInError, Because::NothingAsked]));
}

#[test]
fn a_placeholder_and_what_is_no_message_stay_whatever_they_say() {
    let row = delivered(at("2026-11-22T04:14:00Z"));
    let placeholder = Facts { expired_until: Some(LATEST), ..message(Some(60)) };
    let other = Facts { not_a_message: true, ..message(Some(60)) };
    let because = |facts| judge(&facts, &row, &Rules::default()).because().to_vec();
    assert_eq!(because(placeholder), [Because::Placeholder]);
    assert_eq!(because(other), [Because::NotAMessage]);
}

#[test]
fn what_nobody_has_received_waits_with_its_copy_in_the_queue() {
    let id = StanzaId { by: "bob@example.org".to_owned(), id: "1".to_owned() };
    let queued = Facts { last_stanza_id: Some(id), ..message(Some(60)) };
    let unnamed = message(Some(60));
    let hinted = |mut facts: Facts| {
        facts.timers = Timers::default();
        facts.hints.no_store = true;
        facts
    };
    let mut forever = Rules::default();
    forever.timers.unread_for = None;
    let from = at("2026-11-22T04:14:00Z");
    let waits = |facts: &Facts, store, undelivered| {
        let placement =
            Placement { store, archived_at: from, runs_from: from, undelivered, ..delivered(from) };
        let judgement = judge(facts, &placement, &forever);
        assert_eq!(judgement.entry().is_some(), !matches!(judgement, Judgement::Stays(_)));
        matches!(judgement, Judgement::Waits(_))
    };
    assert!(waits(&unnamed, Store::Archive, true));
    assert!(
        waits(&queued, Store::Queue, false) && waits(&hinted(queued.clone()), Store::Queue, false)
    );
    assert!(
        !waits(&unnamed, Store::Queue, false)
            && !waits(&hinted(unnamed.clone()), Store::Queue, false)
    );
    assert!(!waits(&message(None), Store::Archive, true), "it asks for nothing");
    assert!(!waits(&unnamed, Store::Archive, false), "it goes");
}
