//! Nothing that the laboratory starts outlives it.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use ephemerd_lab::{
    Lab, PATIENCE, Postgres, PostgresConfig, Prosody, ProsodyConfig, Result, Server as _,
    eventually,
};

/// Set in the process that is killed: there the test starts servers, says which, and waits to be killed.
const VICTIM: &str = "LAB_TEST_VICTIM";

/// The servers' processes and folders, as paths that exist as long as they do.
async fn traces(lab: &Lab<Prosody>) -> Vec<PathBuf> {
    let postgres = lab.database.postgres();
    let pids = [lab.server.pid().await.unwrap(), postgres.pid().await.unwrap()];
    let mut traces = Vec::from(pids.map(|pid| PathBuf::from(format!("/proc/{pid}/exe"))));
    traces.extend([lab.server.data(), postgres.log()]);
    traces
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_lab_leaves_nothing() -> Result<()> {
    let postgres = Arc::new(Postgres::start(PostgresConfig::default()).await?);
    let lab = Lab::prosody_on(postgres, &ProsodyConfig::default()).await?;
    let traces = traces(&lab).await;
    assert!(traces.iter().all(|it| it.exists()), "{traces:?}");
    drop(lab);
    assert!(!traces.iter().any(|it| it.exists()), "{traces:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_leaves_nothing() -> Result<()> {
    if let Some(file) = std::env::var_os(VICTIM) {
        let lab = Lab::prosody().await?;
        let lines =
            traces(&lab).await.iter().map(|it| format!("{}\n", it.display())).collect::<String>();
        std::fs::write(file, lines)?;
        std::future::pending::<()>().await;
    }
    let folder = tempfile::TempDir::new()?;
    let file = folder.path().join("traces");
    let mut victim = Command::new(std::env::current_exe()?)
        .args(["--exact", "processes::a_killed_process_leaves_nothing"])
        .env(VICTIM, &file)
        .stdout(Stdio::null())
        .spawn()?;
    // Two servers start there, beside those of other tests.
    let traces = eventually("the victim's servers", 3 * PATIENCE, async || {
        let lines = std::fs::read_to_string(&file).unwrap_or_default();
        let traces: Vec<_> = lines.lines().map(PathBuf::from).collect();
        Ok((traces.len() == 4).then_some(traces))
    })
    .await?;
    assert!(traces.iter().all(|it| it.exists()), "{traces:?}");
    victim.kill()?;
    victim.wait()?;
    eventually("the end of the victim's servers", PATIENCE, async || {
        Ok((!traces.iter().any(|it| it.exists())).then_some(()))
    })
    .await
}
