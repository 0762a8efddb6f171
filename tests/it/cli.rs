//! The program as an operator meets it: help, exit codes, and what goes where.

use std::process::{Command, Output};

const CONFIG: &str = r#"
[component]
jid = "ephemerd.example.org"
server = "127.0.0.1:5347"
secret = "s3cret"
[database]
url = "postgres://ephemerd@127.0.0.1/prosody"
[archive]
kind = "prosody"
hosts = ["example.org"]
"#;

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
    std::fs::write(&file, CONFIG).unwrap();
    file
}

#[test]
fn help_and_version_go_to_stdout() {
    for args in [&["--help"][..], &["run", "--help"], &["migrate", "--help"], &["config", "-h"]] {
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
    std::fs::write(&file, CONFIG.replace("jid", "jud")).unwrap();
    let file = file.path().to_str().unwrap();
    for command in ["run", "migrate", "config"] {
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
