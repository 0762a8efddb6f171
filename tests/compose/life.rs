//! An operator's ordinary life with either server.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ephemerd_lab::{Result, eventually};

use crate::clone::{Clone, DOMAIN};
use crate::engine::{Engine, run};
use crate::files;
use crate::people::{PASSWORD, WITHIN, bodies, login, talk};

/// What differs between the servers.
struct Kind {
    server: &'static str,
    file: &'static str,
    /// Creates an account with a password.
    register: fn(&str) -> String,
}

const PROSODY: Kind = Kind {
    server: "prosody",
    file: "docker-compose.yml",
    register: |user| format!("prosodyctl register {user} {DOMAIN} {PASSWORD}"),
};

const EJABBERD: Kind = Kind {
    server: "ejabberd",
    file: "docker-compose.ejabberd.yml",
    register: |user| format!("ejabberdctl register {user} {DOMAIN} {PASSWORD}"),
};

/// An installation that works.
struct Installed {
    engine: Engine,
    clone: Clone,
    kind: Kind,
    certificate: String,
}

/// From the engine's first start to the first message. The first start is made to fail half way, once.
fn install(kind: Kind) -> Installed {
    let engine = Engine::start();
    let mut images = Command::new("tests/compose/images.sh");
    images.arg(env!("CARGO_BIN_EXE_ephemerd")).env("DOCKER_HOST", engine.socket());
    let made = run(images.current_dir(env!("CARGO_MANIFEST_DIR")));
    assert!(made.success, "{}", made.text);
    let clone = Clone::new(&engine);
    files::a_domain_is_asked_for(&clone);
    files::secrets_stay_out(&clone);
    clone.settle(&[("XMPP_DOMAIN", DOMAIN), ("COMPOSE_FILE", kind.file)]);
    clone.works("sh deploy/compose/secrets.sh");
    clone.works("docker compose build");

    // A secret that the containers cannot read, as after a manual copy.
    let secret = clone.path().join("deploy/secrets/xmpp-database");
    run(Command::new("chmod").arg("600").arg(&secret));
    assert!(!clone.shell("docker compose up -d").success, "a role without its password");
    clone.works("sh deploy/compose/secrets.sh");
    clone.works("docker compose up -d");

    for user in ["alice", "bob"] {
        clone.works(&format!("docker compose exec -T {} {}", kind.server, (kind.register)(user)));
    }
    let file = format!("/var/lib/{}/certs/{DOMAIN}.crt", kind.server);
    let shown = clone.works(&format!("docker compose exec -T {} cat {file}", kind.server));
    let certificate = clone.path().join("shown.crt");
    fs::write(&certificate, shown).unwrap();
    Installed { engine, clone, kind, certificate: certificate.display().to_string() }
}

impl Installed {
    fn containers(&self) -> [&'static str; 5] {
        ["postgres", self.kind.server, "ephemerd", "prometheus", "grafana"]
    }

    fn id(&self, service: &str) -> String {
        self.clone.shell(&format!("docker compose ps -q {service}")).text.trim().to_owned()
    }

    fn inspect(&self, service: &str, what: &str) -> String {
        self.engine.docker(&["inspect", "--format", what, &self.id(service)]).text.trim().to_owned()
    }

    /// Everything is healthy, and a message vanishes.
    async fn works(&self, after: &str) -> Result<()> {
        let begun = tokio::time::Instant::now();
        for service in self.containers() {
            eventually(&format!("{service} to be healthy after {after}"), WITHIN, async || {
                let health = self.inspect(service, "{{.State.Status}} {{.State.Health.Status}}");
                tokio::time::sleep(Duration::from_millis(200)).await;
                Ok((health == "running healthy").then_some(()))
            })
            .await?;
        }
        talk(&self.engine, &self.certificate, after).await?;
        eprintln!("{:6.1} s  works after {after}", begun.elapsed().as_secs_f32());
        Ok(())
    }

    fn curl(&self, url: &str) -> String {
        run(self.engine.inside("curl").args(["-s", "-m", "5", url])).text
    }

    /// Prometheus scrapes the daemon and has our rules.
    async fn is_scraped(&self) -> Result<()> {
        let query = "http://127.0.0.1:9090/api/v1/query?query=up%7Bjob%3D%22ephemerd%22%7D%3D%3D1";
        eventually("Prometheus to scrape the daemon", WITHIN, async || {
            tokio::time::sleep(Duration::from_millis(200)).await;
            Ok(self.curl(query).contains("ephemerd:10466").then_some(()))
        })
        .await?;
        let rules = self.curl("http://127.0.0.1:9090/api/v1/rules");
        assert!(rules.contains("EphemerdOverdue"), "{rules}");
        Ok(())
    }

    /// Health checks leave no line in the server's log.
    async fn looking_is_silent(&self) -> Result<()> {
        let lines = || self.engine.docker(&["logs", &self.id(self.kind.server)]).text;
        let looked = || self.inspect(self.kind.server, "{{(index .State.Health.Log 0).Start}}");
        // The engine keeps the last five checks: once the oldest is a different one, it has checked.
        let (before, first) = (lines(), looked());
        eventually("the engine to look again", WITHIN, async || {
            tokio::time::sleep(Duration::from_millis(200)).await;
            Ok((looked() != first).then_some(()))
        })
        .await?;
        let after = lines();
        assert_eq!(after.lines().count(), before.lines().count(), "{after}");
        Ok(())
    }

    /// `restart` stops each cleanly and starts it again.
    async fn each_is_restarted(&self) -> Result<()> {
        for service in self.containers() {
            self.clone.works(&format!("docker compose stop {service}"));
            // The two without a signal handler are ended by the stand-ins' missing init process.
            if service != "grafana" {
                assert_eq!(self.inspect_stopped(service), "0", "{service} ends cleanly");
            }
            self.clone.works(&format!("docker compose start {service}"));
            self.works(&format!("a restart of {service}")).await?;
        }
        Ok(())
    }

    fn inspect_stopped(&self, service: &str) -> String {
        let name = format!("name={service}_1");
        let id = self.engine.docker(&["ps", "-aq", "--filter", &name]).text;
        self.engine
            .docker(&["inspect", "--format", "{{.State.ExitCode}}", id.trim()])
            .text
            .trim()
            .to_owned()
    }

    async fn each_is_killed(&self) -> Result<()> {
        for service in self.containers() {
            let started = self.inspect(service, "{{.State.StartedAt}}");
            self.engine.kill(&self.id(service));
            eventually(&format!("{service} to come back"), WITHIN, async || {
                tokio::time::sleep(Duration::from_millis(200)).await;
                Ok((self.inspect(service, "{{.State.StartedAt}}") != started).then_some(()))
            })
            .await?;
            self.works(&format!("SIGKILL to {service}")).await?;
        }
        Ok(())
    }

    /// What falls due while everything is down goes once it is up again; everything else is still there.
    async fn down_and_up(&self) -> Result<()> {
        let mut alice = login(&self.engine, &self.certificate, "alice").await?;
        let timer = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='60'/>";
        // She is online to receive it: the timer of a message that waits for somebody would not run.
        alice.send_presence().await?;
        alice.chat(&format!("alice@{DOMAIN}"), "due while down", timer).await?;
        alice.wait_for_body("due while down").await?;
        assert!(bodies(&mut alice).await?.contains(&"due while down".to_owned()));
        drop(alice);
        let due = tokio::time::Instant::now() + Duration::from_secs(60);
        self.clone.works("docker compose down");
        tokio::time::sleep_until(due).await;
        self.clone.works("docker compose up -d");
        self.works("down and up").await?;
        let left = bodies(&mut login(&self.engine, &self.certificate, "alice").await?).await?;
        assert!(!left.contains(&"due while down".to_owned()), "{left:?}");
        assert!(left.contains(&"the first start stays".to_owned()), "{left:?}");
        Ok(())
    }

    /// The page's two commands: everything is as it was at the backup, including accounts.
    async fn backup_and_restore(&self) -> Result<()> {
        let page = fs::read_to_string(self.clone.path().join("docs/install-compose.md"))?;
        let line = |part: &str| {
            let line = page.lines().find(|it| it.contains(part)).expect("a command of the page");
            line.replace("prosody", self.kind.server)
        };
        self.clone.works(&line("pg_dump "));
        let mut alice = login(&self.engine, &self.certificate, "alice").await?;
        alice.chat(&format!("alice@{DOMAIN}"), "after the backup", "").await?;
        alice.sync().await?;
        drop(alice);
        self.clone.works(&line("pg_restore "));
        self.works("a restore").await?;
        let left = bodies(&mut login(&self.engine, &self.certificate, "alice").await?).await?;
        assert!(!left.contains(&"after the backup".to_owned()), "{left:?}");
        assert!(left.contains(&"the first start stays".to_owned()), "{left:?}");
        Ok(())
    }
}

async fn live(kind: Kind) -> Result<()> {
    let mut it = install(kind);
    it.works("the first start").await?;
    files::every_service_is_held_down(&it.engine, &it.clone);
    files::only_these_ports_are_open(&it.engine);
    it.is_scraped().await?;
    it.looking_is_silent().await?;
    it.each_is_restarted().await?;
    it.each_is_killed().await?;
    it.engine.restart();
    it.works("a restart of the engine").await?;
    it.engine.power_cut();
    it.works("a power cut").await?;
    it.down_and_up().await?;
    it.backup_and_restore().await?;
    daemon_alone(&it)
}

/// The third file: it starts and reports itself healthy, even with nothing to connect to.
fn daemon_alone(it: &Installed) -> Result<()> {
    it.clone.works("docker compose down");
    it.clone.settle(&[("XMPP_DOMAIN", DOMAIN), ("COMPOSE_FILE", "docker-compose.daemon.yml")]);
    it.clone.works("docker compose up -d --build");
    let health = || it.inspect("ephemerd", "{{.State.Health.Status}}");
    let deadline = tokio::time::Instant::now() + WITHIN;
    while health() != "healthy" {
        assert!(tokio::time::Instant::now() < deadline, "{}", health());
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(it.curl("http://127.0.0.1:10466/readyz").contains("database"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn prosody_lives() -> Result<()> {
    live(PROSODY).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ejabberd_lives() -> Result<()> {
    live(EJABBERD).await
}

/// What the scripts are written in, they are.
#[test]
fn scripts_are_of_their_shells() {
    for script in ["tests/compose/images.sh", "tests/compose/stand-ins/postgres.sh"] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
        assert!(run(Command::new("bash").arg("-n").arg(file)).success, "{script}");
    }
}
