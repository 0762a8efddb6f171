use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::sync::Mutex;

use crate::launch::Launch;
use crate::process::Process;
use crate::{LabError, Result, eventually};

/// The place of a server's process, which is empty while the server is down.
#[derive(Default)]
pub struct Slot(Mutex<Option<Process>>);

impl Slot {
    /// Starts this program and waits until it is ready; does nothing if one runs already. What it prints is added
    /// to `log`.
    pub(crate) async fn fill(
        &self,
        launch: Launch,
        log: &Path,
        within: Duration,
        mut is_ready: impl AsyncFnMut() -> bool,
    ) -> Result<()> {
        let mut slot = self.0.lock().await;
        if slot.as_ref().is_some_and(|running| running.ended().is_none()) {
            return Ok(());
        }
        let process = launch.spawn(log)?;
        let ready = async || match process.ended() {
            Some(_) => Err(process.complain("ended at its start")),
            None => Ok(is_ready().await.then_some(())),
        };
        let answer = eventually("its first answer", within, ready).await;
        answer.map_err(|error| process.complain(&error.to_string()))?;
        *slot = Some(process);
        Ok(())
    }

    /// Empties the slot; the process keeps running.
    pub(crate) async fn take(&self) -> Option<Process> {
        self.0.lock().await.take()
    }

    /// The process id, while it runs.
    pub(crate) async fn pid(&self) -> Option<i32> {
        self.0.lock().await.as_ref().map(Process::pid)
    }

    /// Ends it cleanly.
    pub(crate) async fn stop(&self) -> Result<()> {
        let Some(process) = self.take().await else { return Ok(()) };
        process.stop().await.map(drop)
    }

    /// Ends it by force.
    pub(crate) async fn kill(&self) -> Result<()> {
        let Some(process) = self.take().await else { return Ok(()) };
        process.kill().await.map(drop)
    }

    /// Sends a signal, for example SIGSTOP and SIGCONT.
    pub(crate) async fn signal(&self, signal: Signal) -> Result<()> {
        let slot = self.0.lock().await;
        slot.as_ref().ok_or_else(|| LabError::new("the server is not running"))?.signal(signal)
    }
}
