use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tokio::sync::watch;

use crate::error::Context as _;
use crate::wait::timed_out;
use crate::{LabError, Result};

const LAST_WORDS_LINES: usize = 15;
/// Who is ended by force loses what was not written yet, so this is longer than any of them takes on a busy machine.
const END_WITHIN: Duration = Duration::from_secs(30);
/// Nobody reads what a dropped one writes.
const DROPPED_WITHIN: Duration = Duration::from_secs(10);

/// A running program, ended by its pid when the value is dropped and when our own process dies.
pub struct Process {
    name: &'static str,
    pid: Pid,
    end: Signal,
    log: PathBuf,
    state: Arc<State>,
}

struct State {
    /// Locked while signalling and while reaping, so that no signal reaches a pid that is no longer ours.
    ended: Mutex<Option<ExitStatus>>,
    changed: Condvar,
    news: watch::Sender<bool>,
}

impl State {
    fn ended(&self) -> MutexGuard<'_, Option<ExitStatus>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    pub(crate) fn spawn(
        name: &'static str,
        command: Command,
        end: Signal,
        log: &Path,
    ) -> std::io::Result<Self> {
        let child = spawn_from_lasting_thread(command)?;
        let pid = Pid::from_raw(child.id().cast_signed());
        let (news, _) = watch::channel(false);
        let state = Arc::new(State { ended: Mutex::new(None), changed: Condvar::new(), news });
        let reaper = Arc::clone(&state);
        thread::Builder::new().name(format!("{name} {pid}")).spawn(move || reap(child, &reaper))?;
        Ok(Self { name, pid, end, log: log.to_owned(), state })
    }

    /// The process id.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Where the program's output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<ExitStatus> {
        *self.state.ended()
    }

    /// Sends a signal; an error if the program has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let ended = self.state.ended();
        if let Some(status) = *ended {
            return Err(LabError::new(format!("{} has ended already ({status})", self.name)));
        }
        kill(self.pid, signal).context(format!("signalling {}", self.name))
    }

    /// Waits for the end.
    pub async fn wait(&self, within: Duration) -> Result<ExitStatus> {
        let mut news = self.state.news.subscribe();
        let ended = tokio::time::timeout(within, news.wait_for(|ended| *ended)).await.is_ok();
        let status = self.ended().filter(|_| ended);
        status.ok_or_else(|| timed_out(&format!("the end of {}", self.name), within))
    }

    /// Stops it cleanly, or by force if that takes too long. It is no error if it has ended already.
    pub async fn stop(&self) -> Result<ExitStatus> {
        if self.ended().is_none() {
            let _ = self.signal(self.end);
            let _ = self.signal(Signal::SIGCONT); // a stopped program would not get the first signal
        }
        if let Ok(status) = self.wait(END_WITHIN).await {
            return Ok(status);
        }
        self.kill().await
    }

    /// Ends it by force.
    pub async fn kill(&self) -> Result<ExitStatus> {
        let _ = self.signal(Signal::SIGKILL);
        self.wait(END_WITHIN).await
    }

    /// An error that quotes the end of the program's log.
    pub(crate) fn complain(&self, what: &str) -> LabError {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().rev().take(LAST_WORDS_LINES).collect();
        let lines: String = lines.iter().rev().map(|line| format!("\n  {line}")).collect();
        let status = self.ended().map_or_else(String::new, |status| format!(" ({status})"));
        LabError::new(format!("{}: {what}{status}{lines}", self.name))
    }

    fn wait_here(&self, within: Duration) -> bool {
        let ended = self.state.ended();
        let changed = &self.state.changed;
        let waited = changed.wait_timeout_while(ended, within, |ended| ended.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.is_some()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_some() {
            return;
        }
        let _ = self.signal(self.end);
        let _ = self.signal(Signal::SIGCONT);
        if !self.wait_here(DROPPED_WITHIN) {
            let _ = self.signal(Signal::SIGKILL);
            self.wait_here(DROPPED_WITHIN);
        }
    }
}

fn reap(mut child: Child, state: &State) {
    let pid = Pid::from_raw(child.id().cast_signed());
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    // Leaves the dead process unreaped, so that its pid cannot be reused before we hold the lock.
    while waitid(Id::Pid(pid), flags) == Err(nix::Error::EINTR) {}
    let mut ended = state.ended();
    *ended = Some(child.wait().unwrap_or_else(|_| ExitStatus::from_raw(-1)));
    drop(ended);
    state.changed.notify_all();
    state.news.send_replace(true);
}

type Order = (Command, mpsc::SyncSender<std::io::Result<Child>>);

static SPAWNER: Mutex<Option<mpsc::Sender<Order>>> = Mutex::new(None);

/// Linux sends the death signal when the *thread* that spawned a child ends, and the threads of a test and of
/// its runtime end before a shared server should. So a single thread, which lives as long as the process,
/// spawns everything.
fn spawn_from_lasting_thread(command: Command) -> std::io::Result<Child> {
    let gone = || std::io::Error::other("the spawning thread has ended");
    let (reply, answer) = mpsc::sync_channel(1);
    let mut spawner = SPAWNER.lock().unwrap_or_else(PoisonError::into_inner);
    if spawner.is_none() {
        let (orders, inbox) = mpsc::channel::<Order>();
        thread::Builder::new().name("spawner".to_owned()).spawn(move || {
            for (mut command, reply) in inbox {
                let _ = reply.send(command.spawn());
            }
        })?;
        *spawner = Some(orders);
    }
    let orders = spawner.as_ref().ok_or_else(gone)?;
    orders.send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}
