use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::model::{
    Conflict, HintRules, InheritRules, QuoteRule, ReadEvidence, RoomRules, RoomStart, Rules,
    StartRule, TimerRules,
};

/// A digest of the rules that verdicts depend on: when it changes, the ledger's due times are out of date.
///
/// Each rule is hashed as a line of text under its configuration key, so the digest is the same in every
/// version of ephemerd that has the same rules.
pub fn fingerprint(rules: &Rules) -> [u8; 32] {
    let Rules { timers, hints, rooms, inherit, uploads, wishes } = rules;
    let TimerRules {
        min,
        max,
        negotiation_for,
        start,
        unread_for,
        read_evidence,
        once_for,
        legacy_expiry,
    } = timers;
    let HintRules { keep_for, conflict } = hints;
    let conflict = match conflict {
        Conflict::Store => "store",
        Conflict::NoPermanentStore => "no-permanent-store",
    };
    let lines = [
        ("timers.min", nanos(*min)),
        ("timers.max", max.map_or_else(|| "none".to_owned(), nanos)),
        ("timers.negotiation_for", nanos(*negotiation_for)),
        ("hints.keep_for", nanos(*keep_for)),
        ("hints.conflict", conflict.to_owned()),
        // The name that timers.unread_for had at first.
        ("offline.undelivered_for", unread_for.map_or_else(|| "never".to_owned(), nanos)),
    ];
    let mut digest = Sha256::new();
    let later = starts(*start, *read_evidence).into_iter().chain(of_rooms(rooms, *read_evidence));
    let later = later.chain(inherited(*inherit));
    let once_for = Some(*once_for).filter(|it| *it != TimerRules::ONCE_FOR);
    let later = later.chain(once_for.map(|it| ("timers.once_for", nanos(it))));
    let later = later.chain(legacy_expiry.then(|| ("timers.legacy_expiry", "true".to_owned())));
    let later = later.chain(uploads.is_on().then(|| ("uploads.urls", uploads.urls.join("\0"))));
    let wishes = wishes.followed.then(|| {
        let shortest = nanos(wishes.shortest);
        [("commands.settings", "true".to_owned()), ("commands.shortest_archive_for", shortest)]
    });
    let later = later.chain(wishes.into_iter().flatten());
    for (name, value) in lines.into_iter().chain(later) {
        digest.update(format!("{name} = {value}\n"));
    }
    digest.finalize().into()
}

/// Rules that were added later: no lines as long as they say what used to be the only rule.
fn starts(start: StartRule, evidence: ReadEvidence) -> Vec<(&'static str, String)> {
    let name = match start {
        StartRule::Delivered => return Vec::new(),
        StartRule::Archived => "archived",
        StartRule::Read => "read",
        StartRule::Auto => "auto",
    };
    let mut lines = vec![("timers.start", name.to_owned())];
    if start.looks_for_readers() {
        lines.push(("timers.read_evidence", counting(evidence)));
    }
    lines
}

/// The same for rooms.
fn of_rooms(rooms: &RoomRules, evidence: ReadEvidence) -> Vec<(&'static str, String)> {
    let RoomRules { start, ignore_readers } = rooms;
    let name = match start {
        RoomStart::Archived => return Vec::new(),
        RoomStart::FirstReader => "first_reader",
        RoomStart::Everyone => "everyone",
    };
    vec![
        ("rooms.start", format!("{name} {}", counting(evidence))),
        ("rooms.ignore_readers", ignore_readers.join("\0")),
    ]
}

/// The same for what belongs to a message.
fn inherited(InheritRules { quotes }: InheritRules) -> Option<(&'static str, String)> {
    let name = match quotes {
        QuoteRule::Cut => return None,
        QuoteRule::Leave => "leave",
        QuoteRule::Erase => "erase",
    };
    Some(("inherit.quotes", name.to_owned()))
}

fn counting(evidence: ReadEvidence) -> String {
    let ReadEvidence { mds, markers, replies } = evidence;
    format!("{mds} {markers} {replies}")
}

fn nanos(length: Duration) -> String {
    length.as_nanos().to_string()
}
