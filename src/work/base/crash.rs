//! Points at which tests make the daemon die as in a crash, or a task panic: in a debug build, if `LAB_CRASH_AT` or
//! `LAB_PANIC_AT` names one. A release build has none of this, not even the names.

/// Dies here if the environment names this point.
#[cfg(debug_assertions)]
#[expect(clippy::panic, reason = "a test asked for it")]
pub(in crate::work) fn at(point: &str) {
    use std::sync::LazyLock;

    static CRASH: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("LAB_CRASH_AT").ok());
    static PANIC: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("LAB_PANIC_AT").ok());
    if CRASH.as_deref() == Some(point) {
        std::process::abort();
    }
    if PANIC.as_deref() == Some(point) {
        panic!("on purpose: said by peter@localhost");
    }
}

macro_rules! crash_point {
    ($point:literal) => {
        #[cfg(debug_assertions)]
        $crate::work::base::crash::at($point);
    };
}

pub(in crate::work) use crash_point;
