//! From nothing to a message that vanishes, with only what `init` wrote and printed: its block in the configuration
//! of a real server, and its commands for the database as they are.

use std::fs;

use ephemerd_lab::ejabberd::{EjabberdConfig, Schema};
use ephemerd_lab::{Lab, Result, Server};

use crate::operator::{Operator, mode};
use crate::pages::Page;
use crate::walks::{IN_EJABBERD, IN_PROSODY, own_postgres, see_words_go, take_out};

/// What is printed for this step, below its text.
fn step(printed: &str, number: u8) -> &str {
    let (start, end) = (format!("\n{number}. "), format!("\n{}. ", number + 1));
    let (_, text) = printed.split_once(&start).expect("the step is printed");
    let text = text.split(&end).next().expect("a first part");
    text.split_once("\n\n").expect("a text before it").1
}

/// One message in a user's archive and one in a room's, so that the database shows both hosts.
async fn talk<S: Server>(lab: &Lab<S>) -> Result<()> {
    let mut peter = lab.online("peter").await?;
    peter.chat("peter@localhost", "to myself", "").await?;
    peter.wait_for_body("to myself").await?;
    let den = lab.endpoints().room("den");
    peter.join(&den, "Peter").await?;
    peter.groupchat(&den, "to all", "").await?;
    peter.wait_for_body("to all").await?;
    peter.close().await
}

/// Runs `init` beside this server, whose own configuration `apply` changes by the printed block, and follows the
/// steps until a message has vanished.
async fn follow<S: Server>(
    lab: &Lab<S>,
    apply: impl FnOnce(&str) -> Result<()>,
    count: &'static str,
) -> Result<()> {
    take_out(&Page::read("docs/operating.md"), &lab.database).await?;
    talk(lab).await?;
    let operator = Operator::new(lab.endpoints(), &lab.database, S::KIND)?;
    operator.does("install -d -m 750 -g ephemerd /etc/ephemerd").await?;
    let (database, components) = (lab.database.postgres().address(), lab.endpoints().components);
    let name = lab.database.name();
    let command = format!(
        "ephemerd init --database postgres://prosody@{database}/{name} --all-hosts --server {components}"
    );
    let printed = operator.does(&command).await?;

    assert!(
        printed.contains("Hosts in them: conference.localhost (1 row), localhost ("),
        "{printed}"
    );
    assert!(!printed.contains("exists already"), "{printed}");
    let check = step(&printed, 3);
    assert!(
        check.contains("\nproblem  The database cannot be used: connect: SQLSTATE 28P01"),
        "{check}"
    );
    assert!(check.contains("\nproblem  component: the XMPP server refused our secret"), "{check}");
    let [secret, password] = ["component.secret", "database.password"].map(|name| {
        let file = operator.path("etc/ephemerd").join(name);
        assert_eq!(mode(&file), 0o600, "{name}");
        fs::read_to_string(file).expect("it is written").trim().to_owned()
    });
    assert_eq!(mode(&operator.path("etc/ephemerd/ephemerd.toml")), 0o640);
    let block = step(&printed, 2);
    assert_eq!((block.matches(&secret).count(), printed.matches(&secret).count()), (1, 1));
    assert!(!printed.contains(&password), "{printed}");

    apply(block)?;
    lab.server.restart().await?;
    operator.does_typing(step(&printed, 1), &format!("{password}\n{password}\n")).await?;
    let commands = step(&printed, 4).split("\n   ").next().expect("a part");
    let checked = operator.does_typing(commands, "").await?;
    assert!(!checked.contains("problem"), "{checked}");
    // The lab's daemons each have a port of their own.
    operator.does("EPHEMERD__HTTP__LISTEN=$HTTP systemctl start ephemerd").await?;
    see_words_go(lab, count).await?;
    operator.does("systemctl stop ephemerd").await?;
    take_out(&Page::read("docs/operating.md"), &lab.database).await
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_prosody() -> Result<()> {
    let lab = Lab::prosody_on(own_postgres().await?, &Default::default()).await?;
    let apply = |block: &str| {
        let config = fs::read_to_string(lab.server.config_file())?;
        let theirs = config.find("Component \"ephemerd.localhost\"").expect("the lab has ours");
        let others = config.find("Component \"other.localhost\"").expect("the lab has another");
        let whole = [&config[..theirs], &config[others..], "\n", block].concat();
        Ok(fs::write(lab.server.config_file(), whole)?)
    };
    follow(&lab, apply, IN_PROSODY).await
}

async fn beside_ejabberd(schema: Schema) -> Result<()> {
    let config = EjabberdConfig::default().schema(schema);
    let lab = Lab::ejabberd_on(own_postgres().await?, &config).await?;
    let apply = |block: &str| {
        let config = fs::read_to_string(lab.server.config_file())?;
        let port = format!("  - port: {}\n", lab.endpoints().components.port());
        let from = config.find(&port).expect("the lab listens for components");
        let to = config.find("access_rules:").expect("that is its last listener");
        let whole = [&config[..from], block, &config[to..]].concat();
        Ok(fs::write(lab.server.config_file(), whole)?)
    };
    follow(&lab, apply, IN_EJABBERD).await
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_ejabberd_with_the_classic_schema() -> Result<()> {
    beside_ejabberd(Schema::Classic).await
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_ejabberd_with_the_multi_host_schema() -> Result<()> {
    beside_ejabberd(Schema::MultiHost).await
}
