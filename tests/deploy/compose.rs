//! The compose files, as far as they can be tested without an engine; with one: tests/compose.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use ephemerd_lab::{Daemon, DaemonConfig, Lab, Result, daemon};

use crate::rules::{program, repository};

/// The minimum number of paths that each names.
const FILES: [(&str, usize); 3] = [
    ("docker-compose.yml", 7),
    ("docker-compose.ejabberd.yml", 7),
    ("docker-compose.daemon.yml", 1),
];

/// What an operator sets in `.env`.
const ENV: [(&str, &str); 4] = [
    ("XMPP_DOMAIN", "example.org"),
    ("ARCHIVE_KIND", "prosody"),
    ("ARCHIVE_DATABASE", "postgres://ephemerd@127.0.0.1/prosody"),
    ("COMPOSE_PROFILES", "monitoring"),
];

fn run(program: &str, args: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(args).envs(ENV).current_dir(repository(""));
    command.output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn printed(program: &str, args: &[&str]) -> String {
    let output = run(program, args);
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {args:?}: {stdout}{stderr}");
    stdout.into_owned()
}

/// Compose accepts the files, the paths in them exist, and the daemon accepts its configuration.
#[tokio::test(flavor = "multi_thread")]
async fn the_files_are_read_and_lead_somewhere() -> Result<()> {
    for (file, least) in FILES {
        let config = printed("docker-compose", &["-f", file, "config"]);
        let mut told = DaemonConfig::empty();
        let mut keys = 0;
        for line in config.lines().filter(|it| it.trim().starts_with("EPHEMERD__")) {
            let (name, value) = line.trim().split_once(": ").expect("a key has a value");
            keys += 1;
            if name.ends_with("_FILE") {
                assert!(value.starts_with("/run/secrets/"), "{file}: {line}");
                let key = name["EPHEMERD__".len()..].replace("__", ".").to_lowercase();
                told = told.set_file(&key, "secret");
            } else {
                told = told.env(name, value.trim_matches('\''));
            }
        }
        assert!(keys > 7, "{file}: the daemon's environment was found");
        let output = daemon::command(program(), &told, &["config"]).await?;
        assert_eq!(output.code, Some(0), "{file}: {}", output.stderr);

        let text = fs::read_to_string(repository(file))?;
        let mounted =
            text.lines().filter_map(|it| it.trim().strip_prefix("- ./")?.split(':').next());
        let built = text.split("dockerfile: ").skip(1).filter_map(|it| it.split(' ').next());
        let paths: Vec<_> = mounted.chain(built).collect();
        assert!(paths.len() >= least, "{file}: {paths:?}");
        for path in paths {
            assert!(repository(path).exists(), "{file} names {path}");
        }
    }
    Ok(())
}

/// What the Dockerfiles copy exists, and the scripts match their shells.
#[test]
fn images_are_made_of_what_is_there() {
    let folder = repository("deploy/compose");
    let files = || fs::read_dir(&folder).unwrap().map(|it| it.unwrap().path());
    let ends = |path: &Path, end: &str| path.extension().is_some_and(|it| it == end);
    let dockerfiles =
        files().filter(|it| ends(it, "Dockerfile")).chain([repository("deploy/Dockerfile")]);
    let mut copied = 0;
    for dockerfile in dockerfiles {
        let text = fs::read_to_string(&dockerfile).unwrap();
        assert!(!text.contains("--chmod"), "{}: only BuildKit knows it", dockerfile.display());
        for line in text.lines().filter(|it| it.starts_with("COPY ") && !it.contains("--from=")) {
            let words: Vec<_> = line.split(' ').skip(1).collect();
            let (_, sources) = words.split_last().unwrap();
            for source in sources {
                assert!(repository(source).exists(), "{}: {line}", dockerfile.display());
                copied += 1;
            }
        }
    }
    assert!(copied > 3);
    for script in files().filter(|it| ends(it, "sh")) {
        printed("bash", &["-n", script.to_str().unwrap()]);
    }
}

/// The image's health check distinguishes a live daemon from a dead one.
#[tokio::test(flavor = "multi_thread")]
async fn health_is_asked_for_without_curl() -> Result<()> {
    let lab = Lab::database_only().await?;
    let daemon = Daemon::start(program(), &DaemonConfig::for_database(&lab.database)?).await?;
    let port = daemon.http().port().to_string();
    let ask = || run("bash", &["deploy/compose/healthy.sh", &port]).status.success();
    assert!(ask());
    daemon.terminate().await?;
    assert!(!ask());
    Ok(())
}
