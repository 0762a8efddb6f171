//! The file of an export. Until it is complete there are two others beside it: what was written so far, and how far that
//! reaches.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cli::Failure;
use crate::model::{Address, bare_jid};
use crate::ops::{ExportCounts, ExportPlace};

/// How far what was written reaches.
#[derive(Serialize, Deserialize)]
struct State {
    owner: String,
    bytes: u64,
    scope: usize,
    after: Option<(i64, i64)>,
    messages: i64,
    erased: i64,
    unreadable: i64,
}

/// A file that is not complete yet.
pub(super) struct Interrupted {
    path: PathBuf,
    part: PathBuf,
    state: PathBuf,
    owner: String,
    file: File,
    bytes: u64,
    place: ExportPlace,
}

impl Interrupted {
    /// A new one.
    pub(super) fn create(path: &Path, owner: &Address) -> Result<Self, Failure> {
        refuse_existing(path)?;
        let part = beside(path, ".part");
        let file = new(&part).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Failure::Other(format!(
                "{} is there: an export to this file was interrupted, or is under way\n\
                 help: go on with --resume, or remove it",
                part.display()
            )),
            _ => failed(&part, &error),
        })?;
        keep_to_ourselves(&file, &part)?;
        let state = beside(path, ".part.state");
        let owner = bare_jid(&owner.local, &owner.host);
        let (path, place) = (path.to_owned(), ExportPlace::default());
        let mut this = Self { path, part, state, owner, file, bytes: 0, place };
        this.remember()?;
        Ok(this)
    }

    /// One that was interrupted. What was written after its last complete part is written again.
    pub(super) fn resume(path: &Path, owner: &Address) -> Result<Self, Failure> {
        refuse_existing(path)?;
        let (part, state) = (beside(path, ".part"), beside(path, ".part.state"));
        let opened = OpenOptions::new().write(true).open(&part);
        let locked = opened.as_ref().ok().map(|file| keep_to_ourselves(file, &part));
        locked.transpose()?;
        let text = fs::read_to_string(&state).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failure::Other(format!(
                "there is nothing to resume: {} is missing\nhelp: begin without --resume",
                state.display()
            )),
            _ => failed(&state, &error),
        })?;
        let owner = bare_jid(&owner.local, &owner.host);
        let (bytes, place) = read_state(&text, &owner).map_err(|why| {
            Failure::Other(format!(
                "{} {why}\nhelp: name the owner of that export, or remove both files beside it",
                state.display()
            ))
        })?;
        let opened = opened.and_then(|mut file| {
            if file.metadata()?.len() < bytes {
                return Err(io::Error::other("it is shorter than it was"));
            }
            file.set_len(bytes)?;
            file.seek(SeekFrom::End(0))?;
            Ok(file)
        });
        let file = opened.map_err(|error| failed(&part, &error))?;
        Ok(Self { path: path.to_owned(), part, state, owner, file, bytes, place })
    }

    /// Where it goes on.
    pub(super) const fn place(&self) -> ExportPlace {
        self.place
    }

    /// Writes the next part, and remembers that.
    pub(super) fn write(&mut self, text: &str, place: ExportPlace) -> Result<(), Failure> {
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|error| failed(&self.part, &error))?;
        self.bytes += text.len() as u64;
        self.place = place;
        self.remember()
    }

    fn remember(&mut self) -> Result<(), Failure> {
        let ExportPlace { scope, after, counts } = self.place;
        let ExportCounts { messages, erased, unreadable } = counts;
        let owner = self.owner.clone();
        let state = State { owner, bytes: self.bytes, scope, after, messages, erased, unreadable };
        let state = serde_json::to_vec(&state).unwrap_or_default();
        let next = beside(&self.state, ".new");
        let _ = fs::remove_file(&next);
        let written = new(&next)
            .and_then(|mut file| file.write_all(&state))
            .and_then(|()| fs::rename(&next, &self.state));
        written.map_err(|error| failed(&self.state, &error))
    }

    /// Gives it its name.
    pub(super) fn finish(self) -> Result<(), Failure> {
        // A name that somebody has taken meanwhile is not replaced.
        fs::hard_link(&self.part, &self.path).map_err(|error| failed(&self.path, &error))?;
        let removed = fs::remove_file(&self.part).and_then(|()| fs::remove_file(&self.state));
        removed.map_err(|error| failed(&self.part, &error))
    }
}

fn new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Two that go on with the same file would write into what the other one has completed. Some file systems have no locks.
fn keep_to_ourselves(file: &File, part: &Path) -> Result<(), Failure> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Failure::Other(format!(
            "{}: another export is writing to it\nhelp: wait until that has ended, or name another file",
            part.display()
        ))),
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

fn refuse_existing(path: &Path) -> Result<(), Failure> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(path, &error)),
        Ok(_) => Err(Failure::Other(format!(
            "{} exists, and is not overwritten\nhelp: name another file, or remove it",
            path.display()
        ))),
    }
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::Other(format!(
        "{}: {error}\nhelp: name a file in a folder that you may write to",
        path.display()
    ))
}

fn read_state(text: &str, owner: &str) -> Result<(u64, ExportPlace), &'static str> {
    let state: State = serde_json::from_str(text).map_err(|_| "cannot be read")?;
    if state.owner != owner {
        return Err("is about another owner");
    }
    let State { bytes, scope, after, messages, erased, unreadable, .. } = state;
    let counts = ExportCounts { messages, erased, unreadable };
    Ok((bytes, ExportPlace { scope, after, counts }))
}
