//! The `ephemerd` program: parse, dispatch, exit code.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use ephemerd::cli::Cli;
use nix::sys::resource::{Resource, setrlimit};

/// For blocking calls that still run, such as name look-ups, when all else has ended.
const LEFTOVER_TIME: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    // A core dump would hold people's words and our secrets. Without that limit we would run as well.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(help_or_fault) => {
            let _ = help_or_fault.print();
            return ExitCode::from(u8::try_from(help_or_fault.exit_code()).unwrap_or(2));
        }
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(cli.execute());
    runtime.shutdown_timeout(LEFTOVER_TIME);
    code
}
