use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::model::{Conflict, HintRules, ReadEvidence, Rules, StartRule, TimerRules};

/// A digest of the rules that verdicts depend on: when it changes, the ledger's due times are out of date.
///
/// Each rule is hashed as a line of text under its configuration key, so the digest is the same in every
/// version of ephemerd that has the same rules.
pub fn fingerprint(rules: &Rules) -> [u8; 32] {
    let Rules { timers, hints } = rules;
    let TimerRules { min, max, negotiation_for, start, unread_for, read_evidence } = timers;
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
    for (name, value) in lines.into_iter().chain(starts(*start, *read_evidence)) {
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
    let ReadEvidence { mds, markers, replies } = evidence;
    let mut lines = vec![("timers.start", name.to_owned())];
    if start.looks_for_readers() {
        lines.push(("timers.read_evidence", format!("{mds} {markers} {replies}")));
    }
    lines
}

fn nanos(length: Duration) -> String {
    length.as_nanos().to_string()
}
