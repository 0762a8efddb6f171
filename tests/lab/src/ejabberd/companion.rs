use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::sync::Mutex;

use super::LIBRARIES;
use crate::launch::Launch;
use crate::{LabError, Release, Result, scratch};

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/ejabberd");
const ERLANG_LIBRARIES: &str = "/usr/lib/erlang/lib";
const BUILD_WITHIN: Duration = Duration::from_secs(120);

/// Compiles the companion module as docs/install-ejabberd.md says, once for each release in this process; returns the folder.
pub(super) async fn build(release: &Release) -> Result<PathBuf> {
    static BUILT: Mutex<BTreeMap<Release, TempDir>> = Mutex::const_new(BTreeMap::new());
    let mut built = BUILT.lock().await;
    if let Some(folder) = built.get(release) {
        return Ok(folder.path().to_owned());
    }
    let folder = compile(release).await?;
    let path = folder.path().to_owned();
    built.insert(release.clone(), folder);
    Ok(path)
}

/// Runs this text with the module and ejabberd's code, and without an ejabberd; returns what it prints.
pub async fn evaluate(text: &str) -> Result<String> {
    let release = Release::default();
    let done = Launch::new("erl", "erl", Signal::SIGTERM)
        .of(&release)
        .env("ERL_LIBS", LIBRARIES)
        .args([Path::new("-noshell"), Path::new("-pa"), &build(&release).await?])
        .args(["-eval", &format!("{text}, halt(0).")])
        .output("", BUILD_WITHIN)
        .await?;
    match done.code {
        Some(0) => Ok(done.stdout),
        _ => Err(LabError::new(format!("erl: {}{}", done.stdout, done.stderr))),
    }
}

/// Each release has an Erlang of its own; any warning of a compiler is an error.
async fn compile(release: &Release) -> Result<TempDir> {
    let output = scratch::folder("companion")?;
    let ejabberd = release.folders(LIBRARIES, "ejabberd-")?;
    let mut includes: Vec<_> = ejabberd.iter().map(|it| it.join("include")).collect();
    let others = release.folders(ERLANG_LIBRARIES, "p1_")?;
    includes.extend(others.iter().map(|it| it.join("include")));
    let built = Launch::new("erlc", "erlc", Signal::SIGTERM)
        .of(release)
        .args(["-Werror", "-o"])
        .args([output.path()])
        .args(includes.iter().flat_map(|include| [Path::new("-I"), include]))
        .args(ejabberd.iter().flat_map(|it| [PathBuf::from("-pa"), it.join("ebin")]))
        .args(copy_sources(output.path())?)
        .output("", BUILD_WITHIN)
        .await?;
    match built.code {
        Some(0) => Ok(output),
        _ => Err(LabError::new(format!("erlc: {}{}", built.stdout, built.stderr))),
    }
}

/// Where a compiler of another release finds them.
fn copy_sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut copies = Vec::new();
    for entry in fs::read_dir(SOURCES)? {
        let source = entry?.path();
        if source.extension().is_some_and(|it| it == "erl") {
            let copy = folder.join(source.file_name().unwrap_or_default());
            fs::copy(&source, &copy)?;
            copies.push(copy);
        }
    }
    Ok(copies)
}
