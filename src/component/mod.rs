//! The component stream (XEP-0114): how the XMPP server sees us.
//!
//! The server relays whatever anybody sends to our name, so everything here is bounded: sizes,
//! depths, waits. The way of a stanza: `stream` receives bytes, `framer` cuts them,
//! `incoming` reads an element, `session` decides who handles it, `outgoing` and `disco`
//! answer. What companion modules tell and are asked (docs/protocol.md) goes through `exchange`, read and
//! written by `outline` and `companion`. `docs/adr/0002-component-stream.md` tells why the stream is our own.

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

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use secrecy::SecretString;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use exchange::{Exchange, Link, exchange};
pub use server::{NotAnAddress, ServerAddress};

use crate::metrics::Metrics;
use crate::model::Finding;
use failure::Failure;
use stream::Stream;

/// At most, before a new attempt while another connection holds our name.
const CONFLICT_WAIT: Duration = Duration::from_secs(5);

/// What the component must know.
#[derive(Clone)]
pub struct Settings {
    /// Our name on the server: a domain.
    pub jid: String,
    /// Where the server listens for components.
    pub server: ServerAddress,
    /// What proves to the server that we are who we say.
    pub secret: SecretString,
    /// How long to wait for what. The default is for everyone but tests.
    pub timing: Timing,
}

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// To connect and shake hands.
    pub open_within: Duration,
    /// For the server to take what we write.
    pub write_within: Duration,
    /// In silence, before we ask whether the server is there.
    pub ask_after: Duration,
    /// For any sign of life once we asked.
    pub give_up_after: Duration,
    /// For the server to close its side of the stream.
    pub close_within: Duration,
    /// At least, before the first new attempt.
    pub retry_first: Duration,
    /// At most, before any new attempt. A session that held so long was a good one.
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

/// Keeps the component connected until `stop`, whatever the server does meanwhile. Notices and requests
/// travel by way of `exchange`.
pub async fn run(
    settings: Settings,
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
pub async fn probe(settings: &Settings) -> Vec<Finding> {
    let finding = match Stream::open(settings).await {
        Ok(stream) => {
            stream.close(None).await;
            Finding::good("component: the XMPP server accepts our name and secret")
        }
        Err(failure) => failure.finding(),
    };
    vec![finding]
}

/// Connects and stays as long as it lasts. Tells why it ended and how long it was connected;
/// nothing if it was told to stop.
async fn attempt(
    settings: &Settings,
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

/// The gauge, which goes down however the session ends.
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

/// How long to wait between attempts, and how loud to be about them.
struct Retries {
    timing: Timing,
    waits: <ExponentialBuilder as BackoffBuilder>::Backoff,
    last: Option<Failure>,
}

impl Retries {
    fn new(timing: Timing) -> Self {
        Self { timing, waits: waits(timing), last: None }
    }

    /// Takes note of a failure, and tells how long to wait.
    fn after(&mut self, failure: Failure, held: Duration) -> Duration {
        let Timing { retry_most, .. } = self.timing;
        if held >= retry_most {
            *self = Self::new(self.timing);
        }
        let wait = self.waits.next().unwrap_or(retry_most).min(retry_most);
        let wait = match failure {
            // Somebody must first correct the secret, and the server logs each attempt.
            Failure::WrongSecret => retry_most,
            // Another daemon led until a moment ago and is about to let go.
            Failure::Conflict => wait.min(CONFLICT_WAIT),
            _ => wait,
        };
        self.tell(&failure, wait);
        self.last = Some(failure);
        wait
    }

    /// Loud once, quiet while nothing changes. Another daemon's connection is nothing wrong.
    fn tell(&self, failure: &Failure, wait: Duration) {
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

/// Growing and random: daemons that lost the same server do not come back in step. The random part
/// is up to as much again.
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

    pub(super) fn settings() -> Settings {
        Settings {
            jid: "c.example".to_owned(),
            server: "127.0.0.1:1".parse().unwrap(),
            secret: "secret".into(),
            timing: Timing::default(),
        }
    }

    fn unreachable() -> Failure {
        Failure::Unreachable(io::ErrorKind::ConnectionRefused)
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

    /// The levels of what is logged about these failures, one after the other.
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
