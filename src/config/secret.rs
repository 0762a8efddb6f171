//! Secrets: inline or in a file, never printed.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use super::sources::read_text;

/// What is printed instead of a secret.
pub(super) const HIDDEN: &str = "***";

/// A secret of more bytes than this must be some other file.
const MAX_SECRET_BYTES: u64 = 4096;

/// Reads a secret from a file, without the trailing newline that editors add.
pub(super) fn read(file: &Path) -> io::Result<SecretString> {
    let text = read_text(file, MAX_SECRET_BYTES)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).into())
}

/// Whether both are equal, or both missing.
pub(super) fn is_alike(one: Option<&SecretString>, other: Option<&SecretString>) -> bool {
    one.map(ExposeSecret::expose_secret) == other.map(ExposeSecret::expose_secret)
}

/// Whether a file is world-readable.
pub(super) fn is_readable_by_all(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|it| it.permissions().mode() & 0o004 != 0)
}
