//! The program as an operator sees it: help, exit codes, and what goes to which stream.

use std::process::{Command, Output};

use crate::pages::check_table;
use crate::support::MINIMAL;

fn ephemerd(args: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ephemerd"));
    command.env_clear().args(args).envs(environment.iter().copied());
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn configuration() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, MINIMAL).unwrap();
    file
}

/// The commands, and what the program says of each.
fn commands() -> Vec<(String, String)> {
    let help = ephemerd(&["--help"], &[]);
    let list = text(&help.stdout).split_once("\nCommands:\n").unwrap().1;
    let lines = list.lines().take_while(|line| !line.is_empty());
    let split = |line: &str| {
        let (name, about) = line.trim().split_once(' ').unwrap();
        (name.to_owned(), about.trim().to_owned())
    };
    lines.map(split).filter(|(name, _)| name != "help").collect()
}

#[test]
fn the_readme_lists_every_command() {
    let rows: Vec<String> =
        commands().iter().map(|(name, about)| format!("| `{name}` | {about} |")).collect();
    check_table("README.md", "| command | what it does |", &rows);
}

#[test]
fn help_and_version_go_to_stdout() {
    let commands = commands();
    let each = commands.iter().map(|(command, _)| vec![command.as_str(), "--help"]);
    for args in each.chain([vec!["--help"], vec!["config", "-h"], vec!["backlog", "accept", "-h"]])
    {
        let args = &args[..];
        let output = ephemerd(args, &[]);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(text(&output.stdout).contains("Examples:"), "{args:?}");
    }
    let version = ephemerd(&["--version"], &[]);
    assert_eq!(text(&version.stdout), format!("ephemerd {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_use_is_2() {
    for args in [&[][..], &["bogus"], &["run", "--bogus"], &["config", "extra"], &["--config"]] {
        let output = ephemerd(args, &[]);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert_eq!(text(&output.stdout), "", "{args:?}");
        assert_ne!(text(&output.stderr), "", "{args:?}");
    }
}

#[test]
fn a_faulty_configuration_is_3_for_every_command() {
    let file = configuration();
    std::fs::write(&file, MINIMAL.replace("jid", "jud")).unwrap();
    let file = file.path().to_str().unwrap();
    for command in ["run", "migrate", "config", "check", "pause", "status", "explain"] {
        let output = ephemerd(&["--config", file, command], &[]);
        assert_eq!(output.status.code(), Some(3), "{command}");
        let fault = text(&output.stderr);
        let start = format!("error: unknown key component.jud ({file})\nhelp: ");
        assert!(fault.starts_with(&start), "{fault}");
        assert_eq!(text(&output.stdout), "");
    }
}

#[test]
fn the_file_is_chosen_by_option_then_variable() {
    let (good, absent) = (configuration(), "/nonexistent/ephemerd.toml");
    let good = good.path().to_str().unwrap();
    for (args, variable, code) in [
        (&["--config", good, "config"][..], Some(absent), 0),
        (&["config", "--config", absent], Some(good), 3),
        (&["config"], Some(good), 0),
        (&["config"], Some(absent), 3),
    ] {
        let environment: Vec<_> = variable.map(|it| ("EPHEMERD_CONFIG", it)).into_iter().collect();
        let output = ephemerd(args, &environment);
        assert_eq!(output.status.code(), Some(code), "{args:?} {variable:?}");
    }
}

#[test]
fn the_configuration_is_shown_without_secrets() {
    let file = configuration();
    let args = ["--config", file.path().to_str().unwrap(), "config"];
    let environment = [("EPHEMERD__DATABASE__PASSWORD", "s3cret too")];
    let shown = ephemerd(&args, &environment);
    assert!(text(&shown.stdout).contains("\npoll = \"1s\" "));
    assert!(!text(&shown.stdout).contains("s3cret"));
    let json = ephemerd(&[&args[..], &["--json"]].concat(), &environment);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["archive"]["poll"], serde_json::json!({"value": "1s", "origin": "default"}));
    assert_eq!(json["database"]["password"]["value"], "***");
    assert_eq!(json["database"]["password"]["origin"], "EPHEMERD__DATABASE__PASSWORD");
}
