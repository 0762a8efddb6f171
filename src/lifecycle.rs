//! How the daemon ends: softly, then hard; and who began it.
//!
//! The first SIGTERM or SIGINT, or the end of any task, cancels the soft token: tasks finish what they
//! hold and return. A second signal, or the time-out, cancels the hard token: tasks drop what they
//! hold. Who still runs after that is abandoned, and named. SIGHUP is heard apart and stops nothing.

use std::collections::HashMap;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, Interval, MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

/// From the soft to the hard stop.
const SOFT_STOP: Duration = Duration::from_secs(20);
/// From the hard stop to leaving without whoever still runs.
const HARD_STOP: Duration = Duration::from_secs(5);

/// What a task may fail with.
pub type TaskError = Box<dyn std::error::Error + Send + Sync>;

/// Why the daemon stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitReason {
    /// A signal asked for it, and all tasks ended.
    Signal,
    /// A task returned, failed or panicked while it should have gone on.
    Task(&'static str),
    /// A task cancelled the soft token.
    Asked,
    /// These tasks had to be left behind.
    Abandoned(Vec<&'static str>),
}

impl ExitReason {
    /// Success only for a stop that was asked for from outside and went well.
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
    /// Begins to listen for signals.
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

    /// Cancelled when the daemon is to stop: finish what you hold, then return.
    pub fn soft(&self) -> CancellationToken {
        self.soft.clone()
    }

    /// Cancelled when the daemon must stop now: drop what you hold.
    pub fn hard(&self) -> CancellationToken {
        self.hard.clone()
    }

    /// Starts a task that runs until the soft token is cancelled. Its end before that stops the daemon.
    ///
    /// Its error is logged: like all errors it holds nothing that no log may hold.
    pub fn spawn<F, E>(&mut self, name: &'static str, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<TaskError>,
    {
        let handle = self.tasks.spawn(async move { task.await.map_err(Into::into) });
        self.names.insert(handle.id(), name);
    }

    /// Tells systemd that we are ready, waits for the stop to begin, and sees it through.
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
            tracing::warn!("the time to stop is over");
        }
        self.hard.cancel();
        let _ = timeout(self.hard_stop, self.all_tasks()).await;
        if self.names.is_empty() {
            return reason;
        }
        let mut names: Vec<_> = self.names.into_values().collect();
        names.sort_unstable();
        tracing::error!(?names, "tasks had to be left behind");
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

    /// The next signal or end of a task; feeds the watchdog meanwhile.
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

/// Logs how a task ended and takes it off the list.
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
        // The panic itself is logged by its place; its message may quote what no log may hold.
        Err(_) => tracing::error!(task = name, "panicked"),
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

/// SIGHUP: the configuration is to be read anew. From here on it does not end the process.
pub struct Hangups(Signal);

impl Hangups {
    /// Begins to listen.
    pub fn new() -> io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    /// Waits for the next. Several that came since the last one count as one.
    pub async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending().await
        }
    }
}

/// Tells systemd that the configuration is being read anew, for `systemctl reload` to wait for.
pub fn reload_begins() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the time is not known"),
    }
}

/// Tells systemd that we go on by what was read.
pub fn reload_ends() {
    notify(&[NotifyState::Ready]);
}

/// Does nothing where there is no systemd.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use tokio::sync::{Mutex, oneshot};

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(20);

    /// A signal reaches every lifecycle of the process, so there is only one at a time.
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
            let (told, was_told) = oneshot::channel();
            let soft = lifecycle.soft();
            lifecycle.spawn("other", async move {
                soft.cancelled().await;
                let _ = told.send(());
                Ok::<_, TaskError>(())
            });
            lifecycle.spawn("first", way);
            let reason = lifecycle.run_until_stopped().await;
            assert_eq!(reason, ExitReason::Task("first"));
            assert!(was_told.await.is_ok());
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
