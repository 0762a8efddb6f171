use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::LIBRARIES;
use crate::launch::Launch;
use crate::{LabError, Result, scratch};

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/ejabberd");
const ERLANG_LIBRARIES: &str = "/usr/lib/erlang/lib";
const BUILD_WITHIN: Duration = Duration::from_secs(120);

/// Compiles the companion module as docs/install-ejabberd.md says, once in this process; gives the folder.
pub(super) async fn build() -> Result<PathBuf> {
    static BUILT: OnceCell<TempDir> = OnceCell::const_new();
    let built = BUILT.get_or_try_init(async || compile().await).await?;
    Ok(built.path().to_owned())
}

async fn compile() -> Result<TempDir> {
    let output = scratch::folder("companion")?;
    let ejabberd = folders(LIBRARIES, "ejabberd-")?;
    let mut includes: Vec<_> = ejabberd.iter().map(|it| it.join("include")).collect();
    includes.extend(folders(ERLANG_LIBRARIES, "p1_")?.iter().map(|it| it.join("include")));
    let mut sources: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(SOURCES)? {
        let path = entry?.path();
        sources.extend((path.extension().is_some_and(|it| it == "erl")).then_some(path));
    }
    let built = Launch::new("erlc", "erlc", Signal::SIGTERM)
        .args(["-Werror", "-o"])
        .args([output.path()])
        .args(includes.iter().flat_map(|include| [Path::new("-I"), include]))
        .args(ejabberd.iter().flat_map(|it| [PathBuf::from("-pa"), it.join("ebin")]))
        .args(sources)
        .output("", BUILD_WITHIN)
        .await?;
    match built.code {
        Some(0) => Ok(output),
        _ => Err(LabError::new(format!("erlc: {}{}", built.stdout, built.stderr))),
    }
}

fn folders(root: &str, prefix: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        found.extend(name.starts_with(prefix).then_some(path.clone()));
    }
    Ok(found)
}
