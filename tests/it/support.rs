//! What all tests of the program share.

use std::path::Path;

use ephemerd_lab::{Daemon, DaemonConfig, Output, Result, daemon};

/// The program, as cargo built it for these tests.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ephemerd"))
}

/// Starts `ephemerd run` and waits until it is ready.
pub(crate) async fn start(config: &DaemonConfig) -> Result<Daemon> {
    Daemon::start(program(), config).await
}

/// Runs another command of the program to its end.
pub(crate) async fn command(config: &DaemonConfig, args: &[&str]) -> Result<Output> {
    daemon::command(program(), config, args).await
}
