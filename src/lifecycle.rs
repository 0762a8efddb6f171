//! How the daemon stops: gracefully, then hard.
//!
//! The first SIGTERM or SIGINT, or the end of any task, cancels the soft token: tasks finish what they are
//! doing and return. A second signal, or the timeout, cancels the hard token: tasks drop what they are doing.
//! Any task still running after that is abandoned, and named in the log. SIGHUP is handled separately and
//! stops nothing.

use std::collections::HashMap;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::ExitCode;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, Interval, MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

use crate::task;

/// Time between the soft and the hard stop.
const SOFT_STOP: Duration = Duration::from_secs(20);
/// Time between the hard stop and exiting without the tasks that are still running.
const HARD_STOP: Duration = Duration::from_secs(5);

/// The error that a task may return.
pub type TaskError = Box<dyn std::error::Error + Send + Sync>;

/// Why the daemon stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitReason {
    /// A signal asked for it, and all tasks ended.
    Signal,
    /// A task returned, failed or panicked when it should have kept running.
    Task(&'static str),
    /// A task cancelled the soft token.
    Asked,
    /// These tasks were abandoned.
    Abandoned(Vec<&'static str>),
}

impl ExitReason {
    /// Success only if the stop was requested from outside and went well.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Signal => ExitCode::SUCCESS,
            Self::Task(_) | Self::Asked | Self::Abandoned(_) => ExitCode::FAILURE,
        }
    }
}

/// The daemon's tasks, and the tokens that stop them.
pub struct Lifecycle {
    soft: CancellationToken,
    hard: CancellationToken,
    tasks: JoinSet<Result<(), TaskError>>,
    names: HashMap<Id, &'static str>,
    terminate: Signal,
    interrupt: Signal,
    watchdog: Option<Interval>,
    soft_stop: Duration,
    hard_stop: Duration,
}

enum Event {
    Signal,
    TaskEnded(&'static str),
}

impl Lifecycle {
    /// Starts listening for signals.
    pub fn new() -> io::Result<Self> {
        Self::with_time_outs(SOFT_STOP, HARD_STOP)
    }

    fn with_time_outs(soft_stop: Duration, hard_stop: Duration) -> io::Result<Self> {
        let hard = CancellationToken::new();
        Ok(Self {
            soft: hard.child_token(),
            hard,
            tasks: JoinSet::new(),
            names: HashMap::new(),
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            watchdog: sd_notify::watchdog_enabled().map(watchdog_interval),
            soft_stop,
            hard_stop,
        })
    }

    /// Cancelled when the daemon is to stop: finish what you are doing, then return.
    pub fn soft(&self) -> CancellationToken {
        self.soft.clone()
    }

    /// Cancelled when the daemon must stop now: drop what you are doing.
    pub fn hard(&self) -> CancellationToken {
        self.hard.clone()
    }

    /// Starts a task that runs until the soft token is cancelled. If it ends earlier, the daemon stops.
    ///
    /// Its error is logged; like all errors, it contains nothing that may not be logged.
    pub fn spawn<F, E>(&mut self, name: &'static str, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<TaskError>,
    {
        let task = async move { task.await.map_err(Into::into) };
        let handle = self.tasks.spawn(task::named(name, task));
        self.names.insert(handle.id(), name);
    }

    /// Tells systemd that we are ready, waits for a reason to stop, and stops.
    pub async fn run_until_stopped(mut self) -> ExitReason {
        notify(&[NotifyState::Ready]);
        let soft = self.soft.clone();
        let reason = tokio::select! {
            event = self.event() => match event {
                Event::Signal => ExitReason::Signal,
                Event::TaskEnded(name) => ExitReason::Task(name),
            },
            () = soft.cancelled() => ExitReason::Asked,
        };
        tracing::info!(?reason, "stopping");
        notify(&[NotifyState::Stopping]);
        self.soft.cancel();
        if timeout(self.soft_stop, self.tasks_or_signal()).await.is_err() {
            tracing::warn!("tasks did not stop in time");
        }
        self.hard.cancel();
        let _ = timeout(self.hard_stop, self.all_tasks()).await;
        if self.names.is_empty() {
            return reason;
        }
        let mut names: Vec<_> = self.names.into_values().collect();
        names.sort_unstable();
        tracing::error!(?names, "abandoned tasks that did not stop");
        ExitReason::Abandoned(names)
    }

    async fn all_tasks(&mut self) {
        while !self.tasks.is_empty() {
            self.event().await;
        }
    }

    async fn tasks_or_signal(&mut self) {
        while !self.tasks.is_empty() {
            if let Event::Signal = self.event().await {
                tracing::warn!("a second signal: stopping now");
                return;
            }
        }
    }

    /// The next signal or end of a task. Feeds the watchdog meanwhile.
    async fn event(&mut self) -> Event {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Event::Signal,
                _ = self.interrupt.recv() => return Event::Signal,
                Some(ended) = self.tasks.join_next_with_id() => {
                    return Event::TaskEnded(forget(&mut self.names, ended));
                }
                () = tick(&mut self.watchdog) => notify(&[NotifyState::Watchdog]),
            }
        }
    }
}

/// Logs how a task ended and removes it from the list.
fn forget(
    names: &mut HashMap<Id, &'static str>,
    ended: Result<(Id, Result<(), TaskError>), JoinError>,
) -> &'static str {
    let id = match &ended {
        Ok((id, _)) => *id,
        Err(error) => error.id(),
    };
    let name = names.remove(&id).unwrap_or("unknown");
    match ended {
        Ok((_, Ok(()))) => tracing::debug!(task = name, "ended"),
        Ok((_, Err(error))) => tracing::error!(task = name, %error, "failed"),
        // The panic hook has logged the task and the place; the message may quote what may not be logged.
        Err(_) => tracing::debug!(task = name, "panicked"),
    }
    name
}

/// Half the time that systemd allows, as sd_watchdog_enabled(3) advises.
fn watchdog_interval(allowed: Duration) -> Interval {
    let half = (allowed / 2).max(Duration::from_millis(1));
    let mut interval = tokio::time::interval_at(Instant::now() + half, half);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

async fn tick(watchdog: &mut Option<Interval>) {
    match watchdog {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// SIGHUP: reload the configuration. Once this exists, SIGHUP no longer ends the process.
pub struct Hangups(Signal);

impl Hangups {
    /// Starts listening.
    pub fn new() -> io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    /// Waits for the next one. Any that arrived since the last call count as one.
    pub async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending().await
        }
    }
}

/// Tells systemd that a reload has begun, so that `systemctl reload` waits for it.
pub fn reload_begins() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "cannot read the monotonic clock"),
    }
}

/// Tells systemd that the reload has finished.
pub fn reload_ends() {
    notify(&[NotifyState::Ready]);
}

/// Does nothing without systemd.
fn notify(states: &[NotifyState<'_>]) {
    let socket = std::env::var_os("NOTIFY_SOCKET");
    let notified = match socket.as_ref().and_then(|it| it.as_bytes().strip_prefix(b"@")) {
        Some(name) => notify_abstract(name, states),
        None => sd_notify::notify(states),
    };
    if let Err(error) = notified {
        tracing::warn!(%error, "cannot notify systemd");
    }
}

/// For sockets in the abstract namespace, which the sd_notify crate takes for paths.
fn notify_abstract(name: &[u8], states: &[NotifyState<'_>]) -> io::Result<()> {
    let text: String = states.iter().map(|state| format!("{state}\n")).collect();
    let to = SocketAddr::from_abstract_name(name)?;
    UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &to).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use tokio::sync::{Mutex, oneshot};

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(20);

    /// A signal reaches every lifecycle in the process, so only one may exist at a time.
    static ALONE: Mutex<()> = Mutex::const_new(());

    fn send(signal: &str) {
        let pid = std::process::id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    async fn polite(stop: CancellationToken) -> Result<(), TaskError> {
        stop.cancelled().await;
        Ok(())
    }

    #[tokio::test]
    async fn a_signal_stops_softly() {
        let _alone = ALONE.lock().await;
        for signal in ["-TERM", "-INT"] {
            let mut lifecycle = Lifecycle::with_time_outs(LONG, LONG).unwrap();
            let hard = lifecycle.hard();
            lifecycle.spawn("polite", polite(lifecycle.soft()));
            send(signal);
            assert_eq!(lifecycle.run_until_stopped().await, ExitReason::Signal);
            assert!(hard.is_cancelled());
        }
    }

    #[tokio::test]
    async fn a_second_signal_stops_hard() {
        let _alone = ALONE.lock().await;
        let mut lifecycle = Lifecycle::with_time_outs(LONG, LONG).unwrap();
        let (soft, hard) = (lifecycle.soft(), lifecycle.hard());
        lifecycle.spawn("slow", async move {
            soft.cancelled().await;
            send("-TERM");
            hard.cancelled().await;
            Ok::<_, TaskError>(())
        });
        send("-TERM");
        assert_eq!(lifecycle.run_until_stopped().await, ExitReason::Signal);
    }

    #[tokio::test]
    async fn the_soft_stop_ends_in_a_hard_one() {
        let _alone = ALONE.lock().await;
        let mut lifecycle = Lifecycle::with_time_outs(SHORT, LONG).unwrap();
        lifecycle.spawn("slow", polite(lifecycle.hard()));
        send("-TERM");
        assert_eq!(lifecycle.run_until_stopped().await, ExitReason::Signal);
    }

    type Way = std::pin::Pin<Box<dyn Future<Output = Result<(), TaskError>> + Send>>;

    #[tokio::test]
    async fn the_end_of_a_task_stops_all_and_is_a_failure() {
        let _alone = ALONE.lock().await;
        let fail = async { Err(TaskError::from("no")) };
        let panic = async { panic!("on purpose") };
        let end = async { Ok(()) };
        let ways: [Way; 3] = [Box::pin(fail), Box::pin(panic), Box::pin(end)];
        for way in ways {
            let mut lifecycle = Lifecycle::with_time_outs(LONG, LONG).unwrap();
            let (sender, receiver) = oneshot::channel();
            let soft = lifecycle.soft();
            lifecycle.spawn("other", async move {
                soft.cancelled().await;
                let _ = sender.send(());
                Ok::<_, TaskError>(())
            });
            lifecycle.spawn("first", way);
            let reason = lifecycle.run_until_stopped().await;
            assert_eq!(reason, ExitReason::Task("first"));
            assert!(receiver.await.is_ok());
        }
    }

    #[tokio::test]
    async fn who_ignores_both_stops_is_named() {
        let _alone = ALONE.lock().await;
        let mut lifecycle = Lifecycle::with_time_outs(SHORT, SHORT).unwrap();
        lifecycle.spawn("deaf", std::future::pending::<Result<(), TaskError>>());
        lifecycle.soft().cancel();
        assert_eq!(lifecycle.run_until_stopped().await, ExitReason::Abandoned(vec!["deaf"]));
    }
}
