//! Writes the package's manual pages and shell completions, generated from the command line's definition. A
//! separate program, so that ephemerd itself does not need the generators.
//!
//! `cargo run --package ephemerd-assets -- FOLDER`

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use clap::CommandFactory as _;
use clap_complete::{Shell, generate_to};
use ephemerd::cli::Cli;

fn main() -> Result<(), Box<dyn Error>> {
    let folder: PathBuf = std::env::args_os().nth(1).ok_or("no folder was named")?.into();
    let (manual, completions) = (folder.join("man"), folder.join("completions"));
    fs::create_dir_all(&manual)?;
    fs::create_dir_all(&completions)?;
    clap_mangen::generate_to(Cli::command(), manual)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut Cli::command(), "ephemerd", &completions)?;
    }
    Ok(())
}
