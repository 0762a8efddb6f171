use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::{LabError, Result};

/// The laboratory's timeout for anything that should happen at once: much longer than a busy machine needs, and half of the minute after
/// which a daemon notices what it was not told.
pub const PATIENCE: Duration = Duration::from_secs(30);

const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// Repeats a question until it has an answer, for at most `within`. An error from `ask` ends the wait.
pub async fn eventually<T>(
    what: &str,
    within: Duration,
    mut ask: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        let last = Instant::now() >= deadline;
        // One attempt may take as long as the whole wait, so that a hanging answer is bounded as well.
        let answer = timeout(within.max(BETWEEN_TRIES), ask()).await.unwrap_or(Ok(None))?;
        if let Some(answer) = answer {
            return Ok(answer);
        }
        if last {
            return Err(timed_out(what, within));
        }
        sleep(BETWEEN_TRIES).await;
    }
}

pub(crate) fn timed_out(what: &str, after: Duration) -> LabError {
    LabError::TimedOut { what: what.to_owned(), after }
}
