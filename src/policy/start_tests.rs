use std::time::Duration;

use chrono::TimeDelta;
use proptest::{option, prelude::*};

use super::{archived, delivered, later, read, start, timer_from_reading, unread};
use crate::model::{Facts, LATEST, Rules, Stamp, Start, StartedBy, Timers, Timestamp};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn seen(at: Timestamp) -> Start {
    Start { at, by: StartedBy::Marker }
}

/// The rule in the words of its definition: `min(max(evidence, stamp), stamp + unread_for)`.
fn slowly(shown: &[Timestamp], archived: Timestamp, cap: Option<Duration>) -> Timestamp {
    let mut start = cap.map_or(LATEST, |cap| later(archived, cap));
    for shown in shown {
        let shown = if *shown < archived { archived } else { *shown };
        if shown < start {
            start = shown;
        }
    }
    start
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases * 8,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// For any evidence, in any order and number: never earlier than from archiving, never later than the cap.
    #[test]
    fn reading_starts_a_timer_as_its_definition_says(
        stamp in 0..10_000_i64,
        whole_seconds in any::<bool>(),
        cap in option::of(0..5_000_u64),
        shown in prop::collection::vec(-10_000..20_000_i64, 0..6),
        timer in 1..5_000_u64,
    ) {
        let second = |it: i64| Timestamp::UNIX_EPOCH + TimeDelta::seconds(it);
        let (now, stamp) = (second(30_000), Stamp { at: second(stamp), whole_seconds });
        let cap = cap.map(Duration::from_secs);
        let first = unread(stamp, now, cap);
        let mut begun = first;
        for shown in &shown {
            // Only what still waits can start, and the earliest counts.
            let other = read(seen(second(*shown)), (stamp, now), first);
            begun = if other.at < begun.at { other } else { begun };
        }
        let from = archived(stamp, now).at;
        let shown: Vec<Timestamp> = shown.into_iter().map(second).collect();
        prop_assert_eq!(begun.at, slowly(&shown, from, cap));
        prop_assert_eq!(begun.by.is_read(), begun.at < first.at);
        let timer = Duration::from_secs(timer);
        prop_assert!(later(begun.at, timer) >= later(from, timer), "never earlier than was asked for");
        prop_assert!(later(begun.at, timer) <= cap.map_or(LATEST, |cap| later(later(from, cap), timer)));
    }
}

#[test]
fn a_timer_that_runs_keeps_its_start_and_one_that_waits_does_not() {
    let (stamp, now) = (at("2026-11-22T04:14:00Z"), at("2026-11-22T05:00:00Z"));
    let times = (Stamp { at: stamp, whole_seconds: false }, now);
    let waiting = unread(times.0, now, Some(Duration::from_secs(3_600)));
    let (from, had) = (archived(times.0, now), delivered(at("2026-11-22T04:30:00Z")));
    let marked = seen(at("2026-11-22T04:20:00Z"));
    // Timers that start at archiving or when delivered.
    assert_eq!(start(None, false, times, None), from);
    assert_eq!(start(Some(had), false, times, None), had);
    assert_eq!(start(Some(from), true, times, None), from);
    assert_eq!(start(Some(waiting), false, times, None), from, "it need not wait any more");
    // Timers that start at reading.
    assert_eq!(start(None, false, times, Some(waiting)), waiting);
    assert_eq!(start(Some(from), false, times, Some(waiting)), from, "it runs");
    assert_eq!(start(Some(had), false, times, Some(waiting)), had, "it runs");
    assert_eq!(start(Some(from), true, times, Some(waiting)), waiting, "nobody had it");
    for unread in [None, Some(waiting)] {
        assert_eq!(start(Some(marked), false, times, unread), marked);
        assert_eq!(start(Some(marked), true, times, unread), marked);
    }
}

#[test]
fn only_words_with_a_timer_and_without_a_hint_wait_for_a_reader() {
    let rules = Rules::default();
    let timers = Timers { shortest_seconds: Some(60), valid: 1, ..Timers::default() };
    let words = Facts { timers, has_content: true, ..Facts::default() };
    assert_eq!(timer_from_reading(&words, &rules), Some(Duration::from_secs(60)));
    let mut bounded = Rules::default();
    bounded.timers.max = Some(Duration::from_secs(7));
    assert_eq!(timer_from_reading(&words, &bounded), Some(Duration::from_secs(7)));
    let mut hinted = words.clone();
    hinted.hints.no_store = true;
    let others = [
        Facts { has_content: false, ..words.clone() },
        Facts { timers: Timers::default(), ..words.clone() },
        Facts { is_error: true, ..words.clone() },
        Facts { wants_out: true, ..words.clone() },
        Facts { expired_until: Some(LATEST), ..words.clone() },
        hinted.clone(),
    ];
    for other in others {
        assert_eq!(timer_from_reading(&other, &rules), None, "{other:?}");
    }
    hinted.hints.store = true;
    assert!(timer_from_reading(&hinted, &rules).is_some(), "<store/> beats the hint");
}
