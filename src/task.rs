//! Names the task that is running, for the log line that a panic leaves.

use std::fmt;

tokio::task_local! {
    static NAME: &'static str;
}

/// Runs a future under a name. Whatever it spawns needs a name of its own.
pub fn named<F: Future>(name: &'static str, work: F) -> impl Future<Output = F::Output> {
    NAME.scope(name, work)
}

/// The same for blocking work, on whichever thread it runs.
pub fn blocking<T>(name: &'static str, work: impl FnOnce() -> T) -> T {
    NAME.sync_scope(name, work)
}

/// The name of the current task.
pub fn current() -> impl fmt::Display {
    NAME.try_with(|name| *name).unwrap_or("unnamed")
}
