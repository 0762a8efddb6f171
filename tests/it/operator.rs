//! An operator who follows a document, on a private machine: the servers are the lab's, the folders are below
//! a temporary one, and anything that would change this machine is replaced by a few lines of shell.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use ephemerd_lab::{Database, Endpoints, Result, free_address};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::pages::root;
use crate::support::program;

/// Programs that would change this machine, or that not every machine has, and their replacements.
const STAND_INS: [(&str, &str); 9] = [
    ("useradd", "[ \"${!#}\" = ephemerd ]"),
    ("systemd-sysusers", "true"),
    ("cargo", "[ \"$*\" = 'build --release' ] && [ -x target/release/ephemerd ]"),
    ("sudo", "exec \"$@\""),
    ("su", "[ \"$1 $2\" = 'postgres -c' ] && exec bash -c \"$3\""),
    ("ss", "true"),
    ("journalctl", "cat \"$PLACE/log\" 2>/dev/null || true"),
    ("ephemerd", "exec \"$PLACE/target/release/ephemerd\" \"$@\""),
    ("systemctl", SYSTEMCTL),
];

/// As with `Type=notify`: a start is over when the daemon is ready.
const SYSTEMCTL: &str = r#"
stop() { kill -TERM "$(cat "$PLACE/pid")"; while kill -0 "$(cat "$PLACE/pid")" 2>/dev/null; do sleep 0.1; done; rm "$PLACE/pid"; }
start() {
    [ -e "$PLACE/pid" ] && return
    setsid "$PLACE/target/release/ephemerd" run </dev/null >>"$PLACE/log" 2>&1 &
    echo $! >"$PLACE/pid"
    curl -s -o /dev/null --fail --retry 120 --retry-delay 1 --retry-all-errors "http://$HTTP/readyz"
}
case "$1" in
    enable | start) start ;;
    disable | stop) stop ;;
    restart) stop; start ;;
    reload) kill -HUP "$(cat "$PLACE/pid")" ;;
    status | daemon-reload) ;;
    *) exit 1 ;;
esac"#;

pub(crate) struct Operator {
    folder: tempfile::TempDir,
    database: Database,
    /// What the documents write, and its replacement here.
    places: Vec<(String, String)>,
    http: String,
}

impl Operator {
    /// With this XMPP server, whose database the documents call `prosody` or `ejabberd`.
    pub(crate) fn new(at: &Endpoints, database: &Database, server: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let here = folder.path().display().to_string();
        let http = free_address()?.to_string();
        let postgres = database.postgres().address();
        let port = at.components.port();
        let places = [
            ("/etc/ephemerd", format!("{here}/etc/ephemerd")),
            ("/etc/systemd/system", format!("{here}/etc/systemd/system")),
            ("/usr/bin/", format!("{here}/usr/bin/")),
            ("/usr/local/lib/prosody", format!("{here}/usr/local/lib/prosody")),
            (" -g ephemerd", String::new()),
            (" -o ephemerd", String::new()),
            (&format!("-d {server}"), format!("-d {}", database.name())),
            (&format!("127.0.0.1/{server}"), format!("{postgres}/{}", database.name())),
            ("#listen = \"127.0.0.1:10466\"", format!("listen = \"{http}\"")),
            ("127.0.0.1:10466", http.clone()),
            ("127.0.0.1:5347", at.components.to_string()),
            (":5347", format!(":{port}")),
            ("example.org", at.domain.clone()),
        ];
        let places = places.map(|(from, to)| (from.to_owned(), to)).into();
        for below in ["bin", "etc/systemd/system", "target/release", "usr/bin"] {
            fs::create_dir_all(folder.path().join(below))?;
        }
        // Prosody, which runs as its own user, reads its modules there.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        symlink(program(), folder.path().join("target/release/ephemerd"))?;
        symlink(root().join("deploy"), folder.path().join("deploy"))?;
        for (name, does) in STAND_INS {
            let file = folder.path().join("bin").join(name);
            fs::write(&file, format!("#!/bin/bash\n{does}\n"))?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        }
        Ok(Self { folder, database: database.clone(), places, http })
    }

    /// Applies the replacements to a document's text.
    pub(crate) fn here(&self, text: &str) -> String {
        let replace = |text: String, (from, to): &(String, String)| text.replace(from, to);
        self.places.iter().fold(text.to_owned(), replace)
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// Fills in what the document leaves to the operator: names in the configuration, and secrets.
    pub(crate) fn fills_in(&self, secret: &str) -> Result<()> {
        let file = self.path("etc/ephemerd/ephemerd.toml");
        fs::write(&file, self.here(&fs::read_to_string(&file)?))?;
        self.fills_in_secrets(secret)
    }

    pub(crate) fn fills_in_secrets(&self, secret: &str) -> Result<()> {
        let secrets = [
            ("component.secret", secret),
            ("database.password", self.database.postgres().password()),
        ];
        for (name, secret) in secrets {
            let file = self.path("etc/ephemerd").join(name);
            assert!(file.exists(), "the document makes {name}");
            fs::write(file, secret)?;
        }
        Ok(())
    }

    /// Runs a block of commands as written; returns the output. Each must succeed.
    pub(crate) async fn does(&self, script: &str) -> Result<String> {
        let password = self.database.postgres().password();
        self.does_typing(&self.here(script), &format!("{password}\n{password}\n")).await
    }

    /// The same for a script that is of this place already, and types this at whatever asks.
    pub(crate) async fn does_typing(&self, script: &str, typed: &str) -> Result<String> {
        let place = self.folder.path();
        let postgres = self.database.postgres();
        // Without a terminal, so that psql takes the new password from its input.
        let mut command = Command::new("setsid");
        command
            .args(["--wait", "bash", "-euo", "pipefail", "-c", script])
            .env_clear()
            .env(
                "PATH",
                format!("{}/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", place.display()),
            )
            .env("HOME", place)
            .env("LC_ALL", "C.UTF-8")
            .env("PLACE", place)
            .env("HTTP", &self.http)
            .env("EPHEMERD_CONFIG", place.join("etc/ephemerd/ephemerd.toml"))
            .env("PGHOST", postgres.address().ip().to_string())
            .env("PGPORT", postgres.address().port().to_string())
            .env("PGUSER", "postgres")
            .env("PGPASSWORD", postgres.password())
            .current_dir(place)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let mut input = child.stdin.take().expect("it is piped");
        // Most commands read nothing and have ended by now.
        let _ = input.write_all(typed.as_bytes()).await;
        drop(input);
        let output = child.wait_with_output().await?;
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{script}\n{out}\n{err}\n{}", self.log());
        Ok(out.into_owned())
    }

    /// The output of the daemon that `systemctl` started.
    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let pid = fs::read_to_string(self.path("pid")).unwrap_or_default();
        if let Ok(pid) = pid.trim().parse() {
            let _ = kill(pid);
        }
    }
}

fn kill(pid: i32) -> std::io::Result<std::process::ExitStatus> {
    std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status()
}

/// The mode of a file that the document installs.
pub(crate) fn mode(file: &Path) -> u32 {
    fs::metadata(file)
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
        .permissions()
        .mode()
        & 0o777
}
