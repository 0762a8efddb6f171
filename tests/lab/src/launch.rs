use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::{User, geteuid};

use crate::error::Context as _;
use crate::process::Process;
use crate::{LabError, PATIENCE, Result, scratch};

/// What a program printed and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// The exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// A command line for a server that shall not outlive us.
pub(crate) struct Launch {
    name: &'static str,
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    user: Option<User>,
    end: Signal,
    death: Signal,
}

impl Launch {
    /// `end` is the signal that ends the program cleanly, at `stop` and on drop.
    pub(crate) fn new(name: &'static str, program: impl AsRef<OsStr>, end: Signal) -> Self {
        let program = program.as_ref().to_owned();
        let (args, env) = (Vec::new(), Vec::new());
        Self { name, program, args, env, user: None, end, death: Signal::SIGKILL }
    }

    /// The signal that the program gets when our own process dies: by default SIGKILL, which reaches stopped programs too.
    pub(crate) fn death(mut self, death: Signal) -> Self {
        self.death = death;
        self
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs it as this user where we are root.
    pub(crate) fn user(mut self, user: Option<&User>) -> Self {
        self.user = user.cloned();
        self
    }

    /// Starts it in the background; what it prints is added to `log`.
    pub(crate) fn spawn(self, log: &Path) -> Result<Process> {
        self.spawn_with(Path::new("/dev/null"), log, log)
    }

    /// Starts it in the background with files for what it reads and prints.
    pub(crate) fn spawn_with(self, stdin: &Path, stdout: &Path, stderr: &Path) -> Result<Process> {
        let what = format!("starting {}", self.name);
        let (name, end) = (self.name, self.end);
        let mut command = self.command();
        command.stdin(File::open(stdin).context(what.as_str())?);
        command.stdout(append(stdout).context(what.as_str())?);
        command.stderr(append(stderr).context(what.as_str())?);
        Process::spawn(name, command, end, stderr).context(what)
    }

    /// Runs it to its end, with this text on its standard input.
    pub(crate) async fn output(self, input: &str, within: Duration) -> Result<Output> {
        let folder = scratch::folder("output")?;
        let files = ["stdin", "stdout", "stderr"].map(|name| folder.path().join(name));
        let [stdin, stdout, stderr] = &files;
        fs::write(stdin, input)?;
        let status = self.spawn_with(stdin, stdout, stderr)?.wait(within).await?;
        let read = |file| Ok::<_, std::io::Error>(String::from_utf8_lossy(&fs::read(file)?).into());
        Ok(Output { code: status.code(), stdout: read(stdout)?, stderr: read(stderr)? })
    }

    /// Runs it to its end; an error unless it succeeds.
    pub(crate) async fn run(self) -> Result<()> {
        let name = self.name;
        let output = self.output("", PATIENCE).await?;
        if output.code == Some(0) {
            return Ok(());
        }
        Err(LabError::new(format!("{name} failed ({:?}): {}", output.code, output.stderr.trim())))
    }

    fn command(self) -> Command {
        let mut command = Command::new("setpriv");
        command.arg(format!("--pdeathsig={}", self.death.as_str().trim_start_matches("SIG")));
        if let Some(user) = self.user {
            command.arg(format!("--reuid={}", user.uid)).arg(format!("--regid={}", user.gid));
            command.arg("--init-groups").env("HOME", user.dir).env("USER", user.name);
        }
        let ours = std::env::vars_os().map(|(name, _)| name);
        for name in ours.filter(|it| it.to_string_lossy().starts_with("EPHEMERD")) {
            command.env_remove(name);
        }
        command.arg("--").arg(self.program).args(self.args).envs(self.env);
        // A Ctrl-C at the terminal is for us: we end the others.
        command.current_dir("/").process_group(0);
        command
    }
}

/// The user that a server's package made for it: `None` where we are not root and run it as ourselves.
pub(crate) fn service_user(name: &str, package: &str) -> Result<Option<User>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let user = User::from_name(name).context(format!("looking for the user {name}"))?;
    let missing = || LabError::new(format!("there is no user {name}: apt-get install {package}"));
    user.ok_or_else(missing).map(Some)
}

/// Gives a file or folder to the server's user.
pub(crate) fn give(path: &Path, user: Option<&User>) -> Result<()> {
    let Some(user) = user else { return Ok(()) };
    std::os::unix::fs::chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
        .context("handing a folder to a server's user")
}

fn append(log: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open(log)
}
