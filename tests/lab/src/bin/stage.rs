//! An XMPP server, its database and the daemon for programs that are not written in Rust: it says in JSON where they are,
//! and then obeys the lines of its standard input until that ends. `tests/clients` runs real clients on it.
//!
//! | line | does |
//! |---|---|
//! | `register NAME` | creates an account with the password that all accounts share |
//! | `set KEY JSON` | changes the daemon's configuration, from the next `start` on |
//! | `stop`, `start` | ends and starts the daemon |
//! | `restart` | stops the server and starts it again |
//!
//! Each is answered by a line: `ok`, or what went wrong.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use ephemerd_lab::{
    Daemon, DaemonConfig, EjabberdConfig, Lab, LabError, ProsodyConfig, Result, Server,
};
use tokio::sync::mpsc;

/// What clients of today need beyond what the tests do: message displayed synchronization, bookmarks in both places, avatars.
const PUBSUB: &str = "  mod_caps: {}
  mod_private: {}
  mod_pubsub:
    plugins: [flat, pep]
  mod_vcard: {}
";

#[derive(Clone, Copy, ValueEnum)]
enum Choice {
    Prosody,
    Ejabberd,
}

/// Runs an XMPP server, its database and ephemerd until standard input ends.
#[derive(Parser)]
struct Args {
    /// The XMPP server; `LAB_RELEASE` says of which Debian.
    #[arg(long, value_enum)]
    server: Choice,
    /// The ephemerd program.
    #[arg(long)]
    ephemerd: PathBuf,
}

struct Stage<S> {
    daemon: Option<Daemon>,
    config: DaemonConfig,
    ephemerd: PathBuf,
    lab: Lab<S>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let run = match args.server {
        Choice::Prosody => {
            let modules = ["bookmarks", "vcard_legacy", "vcard4"].map(str::to_owned).to_vec();
            run(
                &args,
                Lab::prosody_with(&ProsodyConfig {
                    modules,
                    companion: true,
                    ..Default::default()
                }),
            )
            .await
        }
        Choice::Ejabberd => {
            let config =
                EjabberdConfig { modules: vec![PUBSUB], companion: true, ..Default::default() };
            run(&args, Lab::ejabberd(&config)).await
        }
    };
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run<S: Server>(args: &Args, lab: impl Future<Output = Result<Lab<S>>>) -> Result<()> {
    let lab = lab.await?;
    let config = lab.daemon_config().set("archive.poll", "250ms");
    let ephemerd = std::path::absolute(&args.ephemerd)?;
    let mut stage = Stage { daemon: None, config, ephemerd, lab };
    writeln!(io::stdout(), "{}", stage.places())?;
    // A thread of its own, because reading standard input blocks.
    let (sender, mut lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        io::stdin().lines().map_while(io::Result::ok).try_for_each(|it| sender.blocking_send(it))
    });
    while let Some(line) = lines.recv().await {
        let answer = match stage.obey(&line).await {
            Ok(()) => "ok".to_owned(),
            Err(error) => error.to_string().replace('\n', " "),
        };
        writeln!(io::stdout(), "{answer}")?;
    }
    Ok(())
}

impl<S: Server> Stage<S> {
    fn places(&self) -> serde_json::Value {
        let at = self.lab.endpoints();
        serde_json::json!({
            "clients": at.clients,
            "components": at.components,
            "component": at.other_component,
            "secret": at.component_secret,
            "domain": at.domain,
            "rooms": at.rooms,
            "password": at.password,
            "database": self.lab.database.superuser_url(),
            "log": self.lab.server.log(),
        })
    }

    async fn obey(&mut self, line: &str) -> Result<()> {
        let mut words = line.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("register"), Some(name), None) => self.lab.server.register(name).await,
            (Some("set"), Some(key), Some(value)) => {
                let value: serde_json::Value = serde_json::from_str(value)
                    .map_err(|error| LabError::new(format!("{value}: {error}")))?;
                self.config = self.config.clone().set(key, value);
                Ok(())
            }
            (Some("start"), None, None) => {
                self.daemon = Some(Daemon::start(&self.ephemerd, &self.config).await?);
                Ok(())
            }
            (Some("stop"), None, None) => match self.daemon.take() {
                Some(daemon) => daemon.terminate().await.map(drop),
                None => Ok(()),
            },
            (Some("restart"), None, None) => self.lab.server.restart().await,
            _ => Err(LabError::new(format!("not understood: {line}"))),
        }
    }
}
