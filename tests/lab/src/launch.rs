use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::User;

use crate::error::Context as _;
use crate::process::Process;
use crate::{LabError, PATIENCE, Release, Result, scratch};

/// A program's output and exit.
#[derive(Debug, Clone)]
pub struct Output {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// A command line for a server that must not outlive us.
pub(crate) struct Launch {
    name: &'static str,
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    user: Option<User>,
    release: Release,
    end: Signal,
    death: Signal,
}

impl Launch {
    /// `end` is the signal that stops the program cleanly, at `stop` and on drop.
    pub(crate) fn new(name: &'static str, program: impl AsRef<OsStr>, end: Signal) -> Self {
        let program = program.as_ref().to_owned();
        let (args, env) = (Vec::new(), Vec::new());
        let (user, release) = (None, Release::installed());
        Self { name, program, args, env, user, release, end, death: Signal::SIGKILL }
    }

    /// The signal that the program gets when our own process dies: by default SIGKILL, which also ends
    /// stopped programs.
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

    /// Runs it as this user if we are root.
    pub(crate) fn user(mut self, user: Option<&User>) -> Self {
        self.user = user.cloned();
        self
    }

    /// Runs the program of this release; all paths are as they are there.
    pub(crate) fn of(mut self, release: &Release) -> Self {
        self.release = release.clone();
        self
    }

    /// Starts it in the background; what it prints is added to `log`.
    pub(crate) fn spawn(self, log: &Path) -> Result<Process> {
        self.spawn_with(Path::new("/dev/null"), log, log)
    }

    /// Starts it in the background with files for its input and output.
    pub(crate) fn spawn_with(self, stdin: &Path, stdout: &Path, stderr: &Path) -> Result<Process> {
        let what = format!("starting {}", self.name);
        let (name, end) = (self.name, self.end);
        let mut command = self.command()?;
        command.stdin(File::open(stdin).context(what.as_str())?);
        command.stdout(append(stdout).context(what.as_str())?);
        command.stderr(append(stderr).context(what.as_str())?);
        Process::spawn(name, command, end, stderr).context(what)
    }

    /// Runs it to its end, with this text on standard input.
    pub(crate) async fn output(self, input: &str, within: Duration) -> Result<Output> {
        let folder = scratch::folder("output")?;
        let files = ["stdin", "stdout", "stderr"].map(|name| folder.path().join(name));
        let [stdin, stdout, stderr] = &files;
        fs::write(stdin, input)?;
        let status = self.spawn_with(stdin, stdout, stderr)?.wait(within).await?;
        let read = |file| Ok::<_, std::io::Error>(String::from_utf8_lossy(&fs::read(file)?).into());
        Ok(Output { code: status.code(), stdout: read(stdout)?, stderr: read(stderr)? })
    }

    /// Runs it to its end; fails unless it succeeds.
    pub(crate) async fn run(self) -> Result<()> {
        self.run_on("").await
    }

    /// The same with this text on its standard input.
    pub(crate) async fn run_on(self, input: &str) -> Result<()> {
        let name = self.name;
        let output = self.output(input, PATIENCE).await?;
        if output.code == Some(0) {
            return Ok(());
        }
        Err(LabError::new(format!("{name} failed ({:?}): {}", output.code, output.stderr.trim())))
    }

    fn command(self) -> Result<Command> {
        // After the command that enters another release: the kernel forgets the death signal when the user changes.
        let mut line = self.release.entrance()?;
        line.push("setpriv".into());
        line.push(format!("--pdeathsig={}", self.death.as_str().trim_start_matches("SIG")).into());
        if let Some(user) = &self.user {
            line.extend(
                [format!("--reuid={}", user.uid), format!("--regid={}", user.gid)].map(Into::into),
            );
            line.push("--init-groups".into());
        }
        line.extend(["--".into(), self.program]);
        let mut line = line.into_iter();
        let mut command = Command::new(line.next().unwrap_or_default());
        command.args(line).args(self.args);
        if let Some(user) = self.user {
            command.env("HOME", user.dir).env("USER", user.name);
        }
        let ours = std::env::vars_os().map(|(name, _)| name);
        for name in ours.filter(|it| it.to_string_lossy().starts_with("EPHEMERD")) {
            command.env_remove(name);
        }
        // A Ctrl-C at the terminal is for us: we end the others.
        command.envs(self.env).current_dir("/").process_group(0);
        Ok(command)
    }
}

/// Gives a file or folder to the server's user.
pub(crate) fn give(path: &Path, user: Option<&User>) -> Result<()> {
    let Some(user) = user else { return Ok(()) };
    std::os::unix::fs::chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
        .context("handing a folder to a server's user")
}

/// Gives it all that is in a folder too: another release's user has another number.
pub(crate) fn give_all(path: &Path, user: Option<&User>) -> Result<()> {
    give(path, user)?;
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path)? {
            give_all(&entry?.path(), user)?;
        }
    }
    Ok(())
}

fn append(log: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open(log)
}
