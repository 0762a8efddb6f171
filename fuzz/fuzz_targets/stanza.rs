//! Whatever bytes are in an archive's row: reading never panics, a blanked stanza is a placeholder, and a
//! verdict is never earlier than its row.
//!
//! It runs on the stable toolchain:
//!
//!     cargo fuzz run stanza --sanitizer none -- -dict=fuzz/stanza.dict -max_total_time=600
#![no_main]

use chrono::DateTime;
use ephemerd::{
    model::{Placement, Rules, Start, StartedBy, Store},
    policy, stanza,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let until = DateTime::UNIX_EPOCH;
    for blank in [stanza::placeholder(&text, until), stanza::blank_queued(&text, until)] {
        let facts = stanza::read(&blank).expect("what is blanked is readable");
        assert_eq!(facts.expired_until, Some(until));
    }
    let Ok(facts) = stanza::read(&text) else { return };
    for store in Store::ALL {
        let (start, archived_at) = (Start { at: until, by: StartedBy::Archived }, until);
        let placement = Placement::of(store, archived_at, start, false);
        let verdict = policy::decide(&facts, &placement, &Rules::default());
        assert!(verdict.is_none_or(|it| it.due_at >= until));
    }
});
