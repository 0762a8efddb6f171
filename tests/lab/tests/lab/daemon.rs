//! How the laboratory runs a program. Here the program is a shell script; the daemon's own tests run the real
//! one.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use ephemerd_lab::{Daemon, DaemonConfig, Lab, PATIENCE, Result, Signal, daemon, eventually};
use tempfile::TempDir;

fn script(text: &str) -> Result<(TempDir, PathBuf)> {
    let folder = TempDir::new()?;
    let path = folder.path().join("program");
    fs::write(&path, format!("#!/bin/sh\n{text}\n"))?;
    fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    Ok((folder, path))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_gets_its_configuration_and_input_and_gives_its_output() -> Result<()> {
    let lab = Lab::database_only().await?;
    let config = DaemonConfig::for_database(&lab.database)?
        .set("erase.mode", "delete")
        .env("EPHEMERD__LOG__LEVEL", "debug");
    let (_folder, program) = script(
        "echo \"$1 $3 $EPHEMERD__LOG__LEVEL\"; cat \"$2\" -; cat \"$(dirname \"$2\")\"/component.secret_file >&2; exit 3",
    )?;
    let output = daemon::command_with_input(&program, &config, &["check"], "the input").await?;
    assert_eq!(output.code, Some(3));
    assert_eq!(output.stderr, "nobody asks");
    let mut lines = output.stdout.lines();
    assert_eq!(lines.next(), Some("--config check debug"));
    assert_eq!(lines.next_back(), Some("the input"));
    let toml: Vec<_> = lines.collect();
    assert!(toml.contains(&"mode = \"delete\""), "{toml:?}");
    assert!(toml.contains(&"hosts = [\"localhost\",\"conference.localhost\"]"), "{toml:?}");
    assert!(toml.iter().any(|it| it.starts_with("url = \"postgres://ephemerd@127.0.0.1:")));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_ends_too_early_is_told_with_what_it_said() -> Result<()> {
    let (_folder, program) = script("echo so long; exit 3")?;
    let error = Daemon::start(&program, &DaemonConfig::empty()).await.err().unwrap().to_string();
    assert!(error.contains("so long") && error.contains("exit status: 3"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_can_be_signalled_waited_for_and_dropped() -> Result<()> {
    let (_folder, program) =
        script("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done")?;
    let daemon = Daemon::spawn(&program, &DaemonConfig::empty())?;
    let up = async || Ok(daemon.log()?.contains("up").then_some(()));
    eventually("the script", PATIENCE, up).await?;
    assert!(daemon.wait_ready(Duration::from_millis(50)).await.is_err());
    daemon.signal(Signal::SIGSTOP)?;
    assert!(daemon.wait(Duration::from_millis(50)).await.is_err());
    daemon.signal(Signal::SIGCONT)?;
    assert_eq!(daemon.terminate().await?.code(), Some(0));
    assert!(daemon.log()?.ends_with("bye\n"));
    assert!(daemon.signal(Signal::SIGTERM).is_err());

    let daemon = Daemon::spawn(&program, &DaemonConfig::empty())?;
    daemon.signal(Signal::SIGSTOP)?;
    let process = PathBuf::from(format!("/proc/{}", daemon.pid()));
    assert!(process.exists());
    drop(daemon);
    assert!(!process.exists());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_daemon_has_no_exit_code() -> Result<()> {
    let (_folder, program) = script("exec sleep 100")?;
    let daemon = Daemon::spawn(&program, &DaemonConfig::empty())?;
    assert_eq!(daemon.kill().await?.code(), None);
    Ok(())
}
