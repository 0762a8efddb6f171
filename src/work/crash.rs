//! Points at which tests let the daemon die as a crash would: in a debug build, when `LAB_CRASH_AT` names
//! one. A release build has none of this, not even the names.

/// Dies here if the environment says so.
#[cfg(debug_assertions)]
pub(super) fn at(point: &str) {
    use std::sync::LazyLock;

    static POINT: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("LAB_CRASH_AT").ok());
    if POINT.as_deref() == Some(point) {
        std::process::abort();
    }
}

macro_rules! crash_point {
    ($point:literal) => {
        #[cfg(debug_assertions)]
        $crate::work::crash::at($point);
    };
}

pub(super) use crash_point;
