//! The daemon under test: the `ephemerd` program, given by its path, run with a configuration file as an
//! operator would.

mod config;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

pub use config::DaemonConfig;

use crate::figures::Figures;
use crate::http::{self, Response};
use crate::launch::{Launch, Output};
use crate::process::Process;
use crate::usage::Usage;
use crate::wait::PATIENCE;
use crate::{LabError, Result, eventually, free_address, scratch};

/// A running `ephemerd run`, ended when dropped.
pub struct Daemon {
    process: Process,
    binary: PathBuf,
    http: SocketAddr,
    config: DaemonConfig,
    folder: TempDir,
}

impl Daemon {
    /// Starts `ephemerd run` and waits until `/readyz` says so.
    pub async fn start(binary: &Path, config: &DaemonConfig) -> Result<Self> {
        let daemon = Self::spawn(binary, config)?;
        daemon.wait_ready(PATIENCE).await?;
        Ok(daemon)
    }

    /// Starts `ephemerd run` and waits for nothing.
    pub fn spawn(binary: &Path, config: &DaemonConfig) -> Result<Self> {
        let folder = scratch::folder("daemon")?;
        let (config, http) = with_address(config)?;
        config.write(folder.path())?;
        let process =
            launch(binary, &config, folder.path(), &["run"]).spawn(&folder.path().join("log"))?;
        Ok(Self { process, binary: binary.to_owned(), http, config, folder })
    }

    /// Waits until `/readyz` answers 200; fails as soon as the daemon has ended.
    pub async fn wait_ready(&self, within: Duration) -> Result<()> {
        let ready = async || {
            if self.process.ended().is_some() {
                return Err(self.process.complain("ended before it was ready"));
            }
            let answer = http::get(self.http, "/readyz").await.ok();
            Ok(answer.filter(|it| it.status == 200).map(drop))
        };
        let waited = eventually("/readyz to say 200", within, ready).await;
        waited.map_err(|error| self.process.complain(&error.to_string()))
    }

    /// The address of its HTTP pages.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// The resources that it has used so far.
    pub fn usage(&self) -> Result<Usage> {
        Usage::of(self.pid())
    }

    /// Its configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("ephemerd.toml")
    }

    /// What it has printed so far.
    pub fn log(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(self.process.log())?).into_owned())
    }

    /// Fetches one of its pages.
    pub async fn get(&self, path: &str) -> Result<Response> {
        http::get(self.http, path).await
    }

    /// Reads `/metrics`.
    pub async fn figures(&self) -> Result<Figures> {
        Figures::parse(&self.get("/metrics").await?.body)
    }

    /// Waits until this holds for a figure of `/metrics`, the sum over all samples with these labels.
    pub async fn wait_for_figure(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        within: Duration,
        holds: impl Fn(f64) -> bool,
    ) -> Result<f64> {
        eventually(&format!("{name} {labels:?}"), within, async || {
            let figures = self.figures().await?;
            let missing = || LabError::new(format!("/metrics has no {name} {labels:?}"));
            Ok(Some(figures.get(name, labels).ok_or_else(missing)?).filter(|value| holds(*value)))
        })
        .await
    }

    /// Waits until a figure of `/metrics` is this: what is committed is counted a moment later.
    pub async fn counts(&self, name: &str, labels: &[(&str, &str)], is: f64) -> Result<()> {
        let mut last = None;
        eventually(&format!("{name} {labels:?} is {is}"), PATIENCE, async || {
            last = self.figures().await?.get(name, labels);
            Ok((last == Some(is)).then_some(()))
        })
        .await
        .map_err(|error| LabError::new(format!("{error}; it is {last:?}")))
    }

    /// Sends a signal, for example SIGSTOP and SIGCONT.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Changes its configuration, except for the address of its pages, and sends SIGHUP. Does not wait.
    pub fn reload(&mut self, config: &DaemonConfig) -> Result<()> {
        self.config = config.clone().set("http.listen", self.http.to_string());
        self.config.write(self.folder.path())?;
        self.signal(Signal::SIGHUP)
    }

    /// Waits for its end.
    pub async fn wait(&self, within: Duration) -> Result<ExitStatus> {
        self.process.wait(within).await
    }

    /// SIGTERM, and waits for the end.
    pub async fn terminate(&self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(PATIENCE).await
    }

    /// SIGKILL, and waits for the end.
    pub async fn kill(&self) -> Result<ExitStatus> {
        self.process.kill().await
    }

    /// Starts it again after it has ended, with the same files and address; the log is continued.
    pub async fn resume(&mut self) -> Result<()> {
        if self.process.ended().is_none() {
            return Ok(());
        }
        let log = self.process.log().to_owned();
        self.process =
            launch(&self.binary, &self.config, self.folder.path(), &["run"]).spawn(&log)?;
        self.wait_ready(PATIENCE).await
    }
}

/// Runs another command of the program to its end, for example `["migrate"]`, with this configuration.
pub async fn command(binary: &Path, config: &DaemonConfig, args: &[&str]) -> Result<Output> {
    command_with_input(binary, config, args, "").await
}

/// The same with this text on its standard input.
pub async fn command_with_input(
    binary: &Path,
    config: &DaemonConfig,
    args: &[&str],
    input: &str,
) -> Result<Output> {
    let folder = scratch::folder("command")?;
    let (config, _) = with_address(config)?;
    config.write(folder.path())?;
    launch(binary, &config, folder.path(), args).output(input, PATIENCE).await
}

fn launch(binary: &Path, config: &DaemonConfig, folder: &Path, args: &[&str]) -> Launch {
    let mut launch = Launch::new("ephemerd", binary, Signal::SIGTERM)
        .args(["--config".as_ref(), folder.join("ephemerd.toml").as_os_str()])
        .args(args);
    for (name, value) in &config.env {
        launch = launch.env(name, value);
    }
    launch
}

/// Gives the pages a free address, unless the test chose one.
fn with_address(config: &DaemonConfig) -> Result<(DaemonConfig, SocketAddr)> {
    let chosen = config.get("http.listen").and_then(|it| it.as_str()?.parse().ok());
    let address = chosen.map_or_else(free_address, Ok)?;
    Ok((config.clone().set("http.listen", address.to_string()), address))
}
