//! The component stream (XEP-0114): our connection to the XMPP server.
//!
//! The server relays anything that anybody sends to our address, so everything here is bounded: sizes,
//! depths, waits. A stanza's path: `stream` receives bytes, `framer` cuts them, `incoming` reads an element,
//! `session` decides who handles it, `outgoing` and `disco` answer. Notices from and requests to companion
//! modules (docs/protocol.md) go through `exchange`, read and written by `outline` and `companion`. Users' commands are
//! in `commands`.
//! `docs/adr/0002-component-stream.md` says why we have our own stream.

mod commands;
mod companion;
mod disco;
mod exchange;
mod failure;
mod framer;
mod incoming;
mod outgoing;
mod outline;
mod server;
mod session;
mod stream;
mod trial;

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use secrecy::SecretString;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use commands::{
    Answer, Chosen, CommandSettings, Commands, Erasing, MOST_COUNTED, Question, Wanted, Wished,
    Wishing, commands,
};
pub use exchange::{Exchange, Link, exchange};
pub use server::{NotAnAddress, ServerAddress};
pub use trial::Trial;

use crate::metrics::Metrics;
use crate::model::Finding;
use failure::Failure;
use stream::Stream;

/// Maximum wait before a retry while another connection uses our name.
const CONFLICT_WAIT: Duration = Duration::from_secs(5);

/// The component's settings.
#[derive(Clone)]
pub struct ComponentSettings {
    /// Our name on the server: a domain.
    pub jid: String,
    /// Where the server listens for components.
    pub server: ServerAddress,
    /// Proves our identity to the server.
    pub secret: SecretString,
    /// Timeouts and intervals. Only tests change the default.
    pub timing: Timing,
}

/// Timeouts and intervals.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// To connect and complete the handshake.
    pub open_within: Duration,
    /// For the server to accept what we write.
    pub write_within: Duration,
    /// Of silence, before we ping the server.
    pub ask_after: Duration,
    /// For any sign of life after a ping.
    pub give_up_after: Duration,
    /// For the server to close its side of the stream.
    pub close_within: Duration,
    /// Minimum wait before the first retry.
    pub retry_first: Duration,
    /// Maximum wait before any retry. A session that lasted this long counts as a good one.
    pub retry_most: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            open_within: Duration::from_secs(10),
            write_within: Duration::from_secs(10),
            ask_after: Duration::from_secs(60),
            give_up_after: Duration::from_secs(20),
            close_within: Duration::from_secs(2),
            retry_first: Duration::from_secs(1),
            retry_most: Duration::from_secs(60),
        }
    }
}

/// Keeps the component connected until `stop`, whatever the server does. Notices and requests go through
/// `exchange`.
pub async fn run(
    settings: ComponentSettings,
    exchange: Exchange,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let mut retries = Retries::new(settings.timing);
    while let Some((failure, held)) = attempt(&settings, &exchange, &metrics, &stop).await {
        let wait = retries.after(failure, held);
        if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            return;
        }
    }
}

/// One handshake, for `check`; bounded in time.
pub async fn probe(settings: &ComponentSettings) -> Vec<Finding> {
    let finding = match Stream::open(settings).await {
        Ok(stream) => {
            stream.close(None).await;
            Finding::good("component: the XMPP server accepts our name and secret")
        }
        Err(failure) => failure.finding(),
    };
    vec![finding]
}

/// Runs one connection. Returns why it ended and how long it lasted; `None` if it was asked to stop.
async fn attempt(
    settings: &ComponentSettings,
    exchange: &Exchange,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> Option<(Failure, Duration)> {
    let mut stream = match stop.run_until_cancelled(Stream::open(settings)).await? {
        Ok(stream) => stream,
        Err(failure) => return Some((failure, Duration::ZERO)),
    };
    tracing::info!("the component is connected");
    let since = Instant::now();
    let connected = Connected::new(metrics);
    let ended = stop.run_until_cancelled(session::hold(&mut stream, settings, exchange)).await;
    drop(connected);
    stream.close(ended.as_ref()).await;
    if ended.is_some() {
        metrics.component_reconnects.inc();
    }
    ended.map(|failure| (failure, since.elapsed()))
}

/// Sets the gauge, and resets it however the session ends.
struct Connected<'a>(&'a Metrics);

impl<'a> Connected<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        metrics.component_connected.set(1);
        Self(metrics)
    }
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.component_connected.set(0);
    }
}

/// The waits between attempts, and how loudly to log them.
struct Retries {
    timing: Timing,
    waits: <ExponentialBuilder as BackoffBuilder>::Backoff,
    last: Option<Failure>,
}

impl Retries {
    fn new(timing: Timing) -> Self {
        Self { timing, waits: waits(timing), last: None }
    }

    /// Records a failure, and returns how long to wait.
    fn after(&mut self, failure: Failure, held: Duration) -> Duration {
        let Timing { retry_most, .. } = self.timing;
        if held >= retry_most {
            *self = Self::new(self.timing);
        }
        let wait = self.waits.next().unwrap_or(retry_most).min(retry_most);
        let wait = match failure {
            // The operator must correct the secret first, and the server logs each attempt.
            Failure::WrongSecret => retry_most,
            // Another daemon was leading until a moment ago and is about to disconnect.
            Failure::Conflict => wait.min(CONFLICT_WAIT),
            _ => wait,
        };
        self.log(&failure, wait);
        self.last = Some(failure);
        wait
    }

    /// Logs once, and quietly while nothing changes. Another daemon's connection is not an error.
    fn log(&self, failure: &Failure, wait: Duration) {
        let wait_seconds = wait.as_secs_f32();
        let remedy = failure.remedy();
        if self.last.as_ref() == Some(failure) || *failure == Failure::Conflict {
            tracing::debug!(wait_seconds, "component: {failure}");
        } else if failure.needs_the_operator() {
            tracing::error!(wait_seconds, remedy, "component: {failure}");
        } else {
            tracing::warn!(wait_seconds, remedy, "component: {failure}");
        }
    }
}

/// Exponential with jitter: daemons that lost the same server do not reconnect in step. The random part is up
/// to as much again.
fn waits(timing: Timing) -> <ExponentialBuilder as BackoffBuilder>::Backoff {
    ExponentialBuilder::new()
        .with_min_delay(timing.retry_first)
        .with_max_delay(timing.retry_most / 2)
        .without_max_times()
        .with_jitter()
        .with_jitter_seed(rand::random())
        .build()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    pub(super) fn settings() -> ComponentSettings {
        ComponentSettings {
            jid: "c.example".to_owned(),
            server: "127.0.0.1:1".parse().unwrap(),
            secret: "secret".into(),
            timing: Timing::default(),
        }
    }

    fn unreachable() -> Failure {
        Failure::Unreachable("connection refused".to_owned())
    }

    #[test]
    fn waits_grow_at_random_and_stay_bounded() {
        let waits = || {
            let mut retries = Retries::new(Timing::default());
            (0..50).map(|_| retries.after(unreachable(), Duration::ZERO)).collect::<Vec<_>>()
        };
        let (one, other) = (waits(), waits());
        assert_ne!(one, other);
        assert!((1.0..2.0).contains(&one[0].as_secs_f32()), "{one:?}");
        assert!((4.0..8.0).contains(&one[2].as_secs_f32()), "{one:?}");
        assert!(one[10..].iter().all(|wait| (MINUTE / 2..=MINUTE).contains(wait)), "{one:?}");
    }

    #[test]
    fn only_a_session_that_held_starts_the_waits_anew() {
        let mut retries = Retries::new(Timing::default());
        for _ in 0..10 {
            retries.after(Failure::Closed, MINUTE / 2);
        }
        assert!(retries.after(Failure::Closed, MINUTE / 2) >= MINUTE / 2);
        assert!(retries.after(Failure::Closed, MINUTE) < Duration::from_secs(2));
    }

    #[test]
    fn a_wrong_secret_is_tried_slowly_from_the_first() {
        let mut retries = Retries::new(Timing::default());
        assert_eq!(retries.after(Failure::WrongSecret, Duration::ZERO), MINUTE);
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The log levels for these failures, in order.
    fn levels(failures: &[Failure]) -> Vec<String> {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .without_time()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let mut retries = Retries::new(Timing::default());
            for failure in failures {
                retries.after(failure.clone(), Duration::ZERO);
            }
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
    }

    #[test]
    fn a_failure_is_loud_once_and_a_conflict_never() {
        let (wrong, conflict) = (Failure::WrongSecret, Failure::Conflict);
        let failures =
            [wrong.clone(), wrong.clone(), unreachable(), unreachable(), wrong, conflict];
        assert_eq!(levels(&failures), ["ERROR", "DEBUG", "WARN", "DEBUG", "ERROR", "DEBUG"]);
    }
}
