//! What all tests of the program share.

use std::path::Path;

use ephemerd_lab::{Daemon, DaemonConfig, Result};

/// The program, as cargo built it for these tests.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ephemerd"))
}

/// Starts `ephemerd run` and waits until it is ready.
pub(crate) async fn start(config: &DaemonConfig) -> Result<Daemon> {
    Daemon::start(program(), config).await
}
