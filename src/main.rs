//! The `ephemerd` program: parse, dispatch, exit code.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use ephemerd::cli::Cli;
use nix::sys::resource::{Resource, setrlimit};

/// For blocking calls such as name look-ups that are still running when all else has ended.
const LEFTOVER_TIME: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    // A core dump would contain message text and secrets. If the limit cannot be set, we run anyway.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(help_or_fault) => {
            // A misplaced argument may be a URL with a password in it.
            if help_or_fault.use_stderr() && help_or_fault.to_string().contains("://") {
                let what = "error: an argument was not understood; it is not shown because it contains a URL";
                let _ = writeln!(io::stderr(), "{what}\nhelp: see `ephemerd --help`");
            } else {
                let _ = help_or_fault.print();
            }
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
