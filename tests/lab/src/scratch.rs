use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Mutex;

use tempfile::TempDir;

use crate::Result;
use crate::error::Context as _;

/// Everything that one of our processes writes is in one folder, and a shell on the other end of a pipe
/// removes that folder when this process has ended, however it ended: no destructor runs at SIGKILL or for a
/// static.
struct Scratch {
    root: PathBuf,
    _pipe: ChildStdin,
}

static SCRATCH: Mutex<Option<Scratch>> = Mutex::new(None);

/// Servers take a moment to end after us, longer on a busy machine, and may still write meanwhile, so it retries.
const JANITOR: &str = r#"cat; for try in $(seq 100); do rm -rf -- "$1" && exit; sleep 0.2; done"#;

/// A new folder with this name, which others may enter; removed when the value is dropped or the process has
/// ended.
pub(crate) fn folder(name: &str) -> Result<TempDir> {
    let root = root().context("making a temporary folder")?;
    let folder = tempfile::Builder::new().prefix(name).tempdir_in(root)?;
    // Servers run as their own users, so they must be able to reach their files below.
    open(folder.path())?;
    Ok(folder)
}

/// Where all of that lies.
pub(crate) fn root() -> std::io::Result<PathBuf> {
    let mut scratch = SCRATCH.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(scratch) = &*scratch {
        return Ok(scratch.root.clone());
    }
    let root = tempfile::Builder::new().prefix("ephemerd-lab.").tempdir()?.keep();
    open(&root)?;
    let mut janitor = Command::new("sh")
        .args(["-c", JANITOR, "sh"])
        .arg(&root)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0) // a Ctrl-C at the terminal must not reach it
        .spawn()?;
    let pipe = janitor.stdin.take().ok_or_else(|| std::io::Error::other("no pipe"))?;
    *scratch = Some(Scratch { root: root.clone(), _pipe: pipe });
    Ok(root)
}

fn open(folder: &Path) -> std::io::Result<()> {
    fs::set_permissions(folder, Permissions::from_mode(0o755))
}
