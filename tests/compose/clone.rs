//! A clone of the repository as an operator makes it, under a strict umask, and compose commands in it.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::engine::{Engine, Printed, run};

pub(crate) const DOMAIN: &str = "chat.example";

/// Everything that git tracks, or would with the next commit.
const COPY: &str = "umask 077 && git ls-files -z --cached --others --exclude-standard \
    | tar --null --files-from=- --create | tar --extract --no-same-permissions --no-same-owner --directory \"$1\"";

pub(crate) struct Clone {
    folder: TempDir,
    socket: String,
}

impl Clone {
    pub(crate) fn new(engine: &Engine) -> Self {
        let folder = tempfile::Builder::new().prefix("ephemerd-clone.").tempdir().unwrap();
        let mut copy = Command::new("bash");
        copy.args(["-o", "pipefail", "-c", COPY, "bash"]).arg(folder.path());
        let copied = run(copy.current_dir(env!("CARGO_MANIFEST_DIR")));
        assert!(copied.success, "{}", copied.text);
        Self { folder, socket: engine.socket() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// `.env`, with these in place of the sample's lines.
    pub(crate) fn settle(&self, lines: &[(&str, &str)]) {
        let mut text = fs::read_to_string(self.path().join(".env.example")).unwrap();
        for (name, value) in lines {
            let line = text.lines().find(|it| it.starts_with(&format!("{name}="))).unwrap();
            text = text.replace(line, &format!("{name}={value}"));
        }
        fs::write(self.path().join(".env"), text).unwrap();
    }

    /// Runs a line in a fresh operator's shell. Debian 12's compose and builder stand in for `docker
    /// compose`: newer ones accept what they do.
    pub(crate) fn shell(&self, line: &str) -> Printed {
        let line = format!("umask 077; {}", line.replace("docker compose", "docker-compose"));
        let mut shell = Command::new("sh");
        shell.args(["-c", &line]).current_dir(self.path()).env_clear();
        shell.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", self.path());
        run(shell.env("DOCKER_HOST", &self.socket).env("DOCKER_BUILDKIT", "0"))
    }

    /// The same for a line that must succeed.
    pub(crate) fn works(&self, line: &str) -> String {
        let begun = tokio::time::Instant::now();
        let printed = self.shell(line);
        assert!(printed.success, "{line}: {}", printed.text);
        eprintln!("{:6.1} s  {line}", begun.elapsed().as_secs_f32());
        printed.text
    }
}
