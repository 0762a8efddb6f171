use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::model::{Conflict, HintRules, OfflineRules, Rules, TimerRules};

/// A digest of the rules by which verdicts are made: when it changes, the ledger's due times are
/// stale.
///
/// Each rule is hashed as a line of text under its name in the configuration, so the digest is the
/// same for every version of ephemerd that has the same rules.
pub fn fingerprint(rules: &Rules) -> [u8; 32] {
    let Rules { timers, hints, offline } = rules;
    let TimerRules { min, max, negotiation_for } = timers;
    let HintRules { keep_for, conflict } = hints;
    let OfflineRules { undelivered_for } = offline;
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
        ("offline.undelivered_for", undelivered_for.map_or_else(|| "never".to_owned(), nanos)),
    ];
    let mut digest = Sha256::new();
    for (name, value) in lines {
        digest.update(format!("{name} = {value}\n"));
    }
    digest.finalize().into()
}

fn nanos(length: Duration) -> String {
    length.as_nanos().to_string()
}
