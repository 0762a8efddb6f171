//! The demo: two people talk through a real Prosody or ejabberd, some of their messages have a timer, and you
//! can watch those disappear from the archives.
//!
//! All servers are private and on loopback. Exit code 0 only if everything that had to go is gone and
//! everything else is unchanged.

mod scene;
mod view;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use ephemerd_lab::{Daemon, EjabberdConfig, Lab, LabError, Result, Server, Words};
use scene::Scene;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};
use view::View;

const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// Which XMPP server plays.
#[derive(Clone, Copy, ValueEnum)]
enum Choice {
    Prosody,
    Ejabberd,
}

/// Shows ephemerd at work beside a private XMPP server.
#[derive(Parser)]
struct Args {
    /// The XMPP server.
    #[arg(long, value_enum, default_value = "prosody")]
    server: Choice,
    /// The ephemerd program.
    #[arg(long)]
    ephemerd: PathBuf,
    /// Leave everything running afterwards, until Ctrl-C.
    #[arg(long)]
    keep: bool,
}

/// What is running at the end of the play.
struct Stage<S> {
    lab: Lab<S>,
    daemon: Daemon,
    _scene: Scene,
    all_is_right: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    match args.server {
        Choice::Prosody => demo(&args, Lab::prosody()).await,
        Choice::Ejabberd => demo(&args, Lab::ejabberd(&EjabberdConfig::default())).await,
    }
}

async fn demo<S: Server>(args: &Args, lab: impl Future<Output = Result<Lab<S>>>) -> ExitCode {
    let mut view = View::new();
    let played = tokio::select! {
        played = play(args, lab, &mut view) => played.map(Some),
        stopped = stop_signal() => stopped.map(|()| None),
    };
    match played {
        Ok(Some(stage)) => finish(args, &view, stage).await,
        Ok(None) => {
            view.line("\nStopped; everything has ended.");
            ExitCode::from(130)
        }
        Err(error) => {
            view.bad(&format!("The demo failed: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn play<S: Server>(
    args: &Args,
    lab: impl Future<Output = Result<Lab<S>>>,
    view: &mut View,
) -> Result<Stage<S>> {
    let binary = std::path::absolute(&args.ephemerd)?;
    view.line("Peter and Rosa talk. Some of their messages carry a timer (XEP-0466); their server");
    view.line("archives everything all the same (XEP-0313), and ephemerd erases what is over.");
    view.line("What was received goes only once it was read. Rosa reads the last message late.\n");

    let started = Instant::now();
    let lab = lab.await?;
    view.step(&format!("PostgreSQL and {}, private, on loopback", S::NAME), started);
    let started = Instant::now();
    let config = lab.daemon_config().set("archive.poll", "250ms").set("timers.start", "read");
    let daemon = Daemon::start(&binary, &config).await?;
    view.step("ephemerd", started);
    let mut scene = Scene::play(&lab, &mut Words::with_seed(rand::random())).await?;
    view.line("\nWhat each of the two finds in the archives, asked four times a second:\n");
    watch(&mut scene, view).await?;

    let verdict = scene.verdict(&lab).await?;
    view.figures(&daemon.figures().await?);
    if verdict.is_good() {
        view.good("What had to go is gone, and everything else is unchanged, byte for byte:");
        view.good("checked by fresh clients and by SELECTs on the server's own tables.");
    } else {
        view.bad(&format!("Something is wrong:\n{verdict}"));
    }
    Ok(Stage { lab, daemon, _scene: scene, all_is_right: verdict.is_good() })
}

/// Stops everything, at once or when the user says so. The exit code is the verdict.
async fn finish<S: Server>(args: &Args, view: &View, stage: Stage<S>) -> ExitCode {
    if args.keep {
        tell(args, view, &stage);
        let _ = stop_signal().await;
    } else {
        view.line("\nNext: ./dev demo --keep leaves all this running to look around in;");
        view.line("      docs/configuration.md has every key, deploy/ what an installation needs.");
    }
    let right = stage.all_is_right;
    drop(stage);
    if right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Polls until everything with a timer is gone, or should have been gone for long.
async fn watch(scene: &mut Scene, view: &mut View) -> Result<()> {
    let last = scene.last_by();
    loop {
        scene.look().await?;
        view.table(scene);
        if scene.all_gone() || Instant::now() > last {
            return Ok(());
        }
        sleep(BETWEEN_LOOKS).await;
    }
}

/// Prints where everything is.
fn tell<S: Server>(args: &Args, view: &View, stage: &Stage<S>) {
    let Stage { lab, daemon, .. } = stage;
    let (at, config) = (lab.endpoints(), daemon.config_file());
    view.line("\nEverything keeps running until Ctrl-C here:");
    view.line(&format!("  metrics   http://{}/metrics and /readyz", daemon.http()));
    view.line(&format!(
        "  ephemerd  {} --config {} --help",
        args.ephemerd.display(),
        config.display()
    ));
    view.line(&format!("  database  psql '{}'", lab.database.superuser_url()));
    view.line(&format!(
        "  XMPP      {} without TLS, peter@localhost and rosa@localhost,",
        at.clients
    ));
    view.line(&format!("            password {}, room {}", at.password, at.room(scene::ROOM)));
    view.line(&format!("  logs      {}", lab.server.log().display()));
}

async fn stop_signal() -> Result<()> {
    let stream = |kind| signal(kind).map_err(LabError::from);
    let (mut interrupt, mut terminate) =
        (stream(SignalKind::interrupt())?, stream(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
