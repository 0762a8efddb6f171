//! The documents' commands, run as written by an operator who knows only what they say.

use std::fs;
use std::sync::Arc;

use ephemerd_lab::ejabberd::EjabberdConfig;
use ephemerd_lab::xmpp::Stanza;
use ephemerd_lab::{
    Database, Lab, PATIENCE, Postgres, PostgresConfig, Prosody, Result, Server, eventually,
    free_address,
};
use sqlx::AssertSqlSafe;

use crate::operator::{Operator, mode};
use crate::pages::{Page, pages, root};
use crate::support::number;

const TIMER: &str = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='2'/>";

/// Uninstalls ephemerd from the lab's database as docs/NAME says, so that it can be installed as the document
/// says.
pub(crate) async fn take_out(page: &Page, database: &Database) -> Result<()> {
    let blocks = page.blocks_in(&["sql"]);
    let sql = blocks
        .iter()
        .find(|it| it.text.contains("DROP SCHEMA ephemerd"))
        .expect("how to take it out");
    sqlx::raw_sql(AssertSqlSafe(sql.text.clone())).execute(database.superuser()).await?;
    let left = "SELECT count(*) FROM pg_roles WHERE rolname = 'ephemerd'";
    assert_eq!(number(database.superuser(), left).await?, 0);
    Ok(())
}

/// Sends a message with a timer, and waits until the archive no longer has its text.
pub(crate) async fn see_words_go<S: Server>(lab: &Lab<S>, count: &'static str) -> Result<()> {
    let mut peter = lab.online("peter").await?;
    let mut rosa = lab.online("rosa").await?;
    peter.chat("rosa@localhost", "soon gone", TIMER).await?;
    rosa.wait_for_body("soon gone").await?;
    eventually("the words go", PATIENCE, async || {
        Ok((number(lab.database.superuser(), count).await? == 0).then_some(()))
    })
    .await
}

pub(crate) const IN_PROSODY: &str =
    "SELECT count(*) FROM prosodyarchive WHERE value LIKE '%soon gone%'";
pub(crate) const IN_EJABBERD: &str = "SELECT count(*) FROM archive WHERE xml LIKE '%soon gone%'";

pub(crate) async fn own_postgres() -> Result<Arc<Postgres>> {
    Ok(Arc::new(Postgres::start(PostgresConfig::default()).await?))
}

/// docs/install-prosody.md from first line to last: Prosody's settings, the database, files, first day,
/// service.
#[tokio::test(flavor = "multi_thread")]
async fn beside_prosody_as_written() -> Result<()> {
    let page = Page::read("docs/install-prosody.md");
    let lab = Lab::prosody_on(own_postgres().await?, &Default::default()).await?;
    take_out(&page, &lab.database).await?;
    let operator = Operator::new(lab.endpoints(), &lab.database, "prosody")?;

    // Prosody's settings, among those that the lab needs to reach it at all.
    let lua = page.blocks_in(&["lua"]);
    let config = fs::read_to_string(lab.server.config_file())?;
    let secret = &lab.endpoints().component_secret;
    let (postgres, database) = (lab.database.postgres(), lab.database.name());
    let sql = format!(
        "database = {database:?}, username = \"prosody\", password = {:?}, port = {}",
        postgres.password(),
        postgres.address().port()
    );
    let storage = operator
        .here(&lua[0].text)
        .replace("storage = \"sql\"", "default_storage = \"sql\"")
        .replace("database = \"prosody\", username = \"prosody\", password = \"…\"", &sql)
        .replace("-- …", "\"roster\"; \"saslauth\"; \"disco\"; \"ping\"; \"cron\"; \"posix\";");
    assert!(
        storage.contains(postgres.password()) && storage.contains("default_storage"),
        "{storage}"
    );
    let component = operator
        .here(&lua[1].text)
        .replace("component_secret = \"…\"", &format!("component_secret = {secret:?}"));
    let at = config.find("VirtualHost").expect("the lab has a host");
    let theirs =
        config.find("Component \"ephemerd.localhost\"").expect("the lab has our component");
    let others = config.find("Component \"other.localhost\"").expect("the lab has another");
    let whole =
        [&config[..at], &storage, &config[at..theirs], &component, &config[others..]].concat();
    fs::write(lab.server.config_file(), whole)?;
    lab.server.restart().await?;

    for block in page.blocks_in(&["sh"]) {
        let printed = operator.does(&block.text).await?;
        if block.text.contains("deploy/ephemerd.toml") {
            operator.fills_in(secret)?;
        }
        if block.text.contains("/readyz") {
            assert!(printed.contains("\"ready\":true"), "{printed}");
        }
    }
    assert_eq!(mode(&operator.path("etc/ephemerd")), 0o750);
    assert_eq!(mode(&operator.path("etc/ephemerd/component.secret")), 0o640);
    assert!(operator.path("etc/systemd/system/ephemerd.service").exists());
    see_words_go(&lab, IN_PROSODY).await?;

    // The module, whose files the last block installed.
    let config = fs::read_to_string(lab.server.config_file())?;
    let at = config.find("VirtualHost").expect("the page leaves the host there");
    let (globals, hosts) = (operator.here(&lua[2].text), operator.here(&lua[3].text));
    fs::write(lab.server.config_file(), [&config[..at], &globals, &config[at..], &hosts].concat())?;
    lab.server.restart().await?;
    let log = fs::read_to_string(lab.server.log())?;
    let complaints: Vec<_> =
        log.lines().filter(|it| it.contains("mod_ephemerd") || it.contains("\terror\t")).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
    see_module_told(&lab).await?;
    // Its upload component needs HTTP.
    let port = format!("http_ports = {{ {} }}", free_address()?.port());
    let config = fs::read_to_string(lab.server.config_file())?;
    let config = config.replace("; \"http\" }", " }").replace("http_ports = {}", &port);
    fs::write(lab.server.config_file(), config + &operator.here(&lua[4].text))?;
    lab.server.restart().await?;
    let mut peter = lab.online("peter").await?;
    let mut refused = peter
        .iq("get", Some("upload.localhost"), "<files xmlns='urn:ephemerd:companion:0'/>")
        .await
        .err();
    let answer = refused.take().and_then(|it| it.condition().map(str::to_owned));
    assert_eq!(
        answer.as_deref(),
        Some("forbidden"),
        "the module is there, and answers its component alone"
    );
    operator.does("systemctl stop ephemerd").await?;
    take_out(&page, &lab.database).await
}

/// A room does not replay erased messages to people who join: only the module can do that.
async fn see_module_told(lab: &Lab<Prosody>) -> Result<()> {
    let den = lab.endpoints().room("den");
    let mut peter = lab.online("peter").await?;
    peter.join(&den, "Peter").await?;
    peter.groupchat(&den, "soon gone", TIMER).await?;
    peter.wait_for_body("soon gone").await?;
    eventually("the room's memory forgets", PATIENCE, async || {
        let joined = lab.online("rosa").await?.join(&den, "Rosa").await?;
        let said = |it: &Stanza| it.body() == Some("soon gone");
        Ok((!joined.history.iter().any(said)).then_some(()))
    })
    .await
}

/// The README's quick start, line by line.
async fn quick_start<S: Server>(lab: &Lab<S>, server: &str) -> Result<Operator> {
    let page = Page::read("README.md");
    take_out(&Page::read("docs/operating.md"), &lab.database).await?;
    let operator = Operator::new(lab.endpoints(), &lab.database, server)?;
    let blocks = page.blocks_in(&["sh"]);
    let blocks = blocks.iter().filter(|it| !it.text.contains("./dev"));
    for block in blocks {
        // The one thing that it leaves to users of ejabberd.
        let text = block.text.replace("-d prosody", &format!("-d {server}"));
        operator.does(&text).await?;
        if text.contains("deploy/ephemerd.toml") {
            operator.fills_in(&lab.endpoints().component_secret)?;
            let file = operator.path("etc/ephemerd/ephemerd.toml");
            let kind = format!("kind = {server:?}");
            let url = lab.database.url_without_password();
            let text = fs::read_to_string(&file)?.replace("kind = \"prosody\"", &kind);
            let text = text.replace("postgres://ephemerd@127.0.0.1/prosody", &url);
            fs::write(file, text)?;
        }
    }
    Ok(operator)
}

#[tokio::test(flavor = "multi_thread")]
async fn quick_start_beside_ejabberd() -> Result<()> {
    let lab = Lab::ejabberd_on(own_postgres().await?, &EjabberdConfig::default()).await?;
    let _operator = quick_start(&lab, "ejabberd").await?;
    see_words_go(&lab, IN_EJABBERD).await
}

/// The same with Prosody; and with the daemon left running, each command of the pages for when something is
/// wrong.
#[tokio::test(flavor = "multi_thread")]
async fn quick_start_beside_prosody_and_every_command_of_the_runbook() -> Result<()> {
    let lab = Lab::prosody_on(own_postgres().await?, &Default::default()).await?;
    let operator = quick_start(&lab, "prosody").await?;
    see_words_go(&lab, IN_PROSODY).await?;
    let package = Page::read("docs/install-package.md").blocks_in(&["sh"]);
    for block in package.iter().filter(|it| !it.text.contains("./dev")) {
        operator.does(&block.text).await?;
        operator.fills_in_secrets(&lab.endpoints().component_secret)?;
    }
    let rules = root().join("deploy/prometheus/ephemerd.rules.yml");
    fs::copy(rules, operator.path("ephemerd.rules.yml"))?;
    for page in pages().iter().filter(|it| ANY_ORDER.contains(&it.name.as_str())) {
        for block in page.blocks_in(&["sh"]) {
            operator.does(&block.text).await?;
        }
        for block in page.blocks_in(&["sql"]) {
            sqlx::raw_sql(AssertSqlSafe(block.text)).execute(lab.database.superuser()).await?;
        }
    }
    Ok(())
}

/// Pages whose commands are run one after the other while a daemon is running.
pub(crate) const ANY_ORDER: [&str; 3] = ["docs/metrics.md", "docs/privacy.md", "docs/runbook.md"];
