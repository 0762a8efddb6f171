//! docs/install-ejabberd.md as written: its configurations, grants and commands, on a real ejabberd.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use ephemerd_lab::ejabberd::{EjabberdConfig, Schema};
use ephemerd_lab::xmpp::{Component, MamQuery, Stanza};
use ephemerd_lab::{DaemonConfig, Lab, PATIENCE, Result, Server as _, daemon, eventually};

use crate::support::{program, start};

const DOCUMENT: &str = include_str!("../../docs/install-ejabberd.md");

/// The document's blocks in this language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    let mut parts = DOCUMENT.split(fence.as_str());
    parts.next();
    parts.map(|part| part.split("```").next().expect("a part has a start")).collect()
}

/// The document's configuration file, with the lab's addresses and secrets substituted.
fn config(lab: &DaemonConfig) -> DaemonConfig {
    let text = blocks("toml")[0].replace("example.org", "localhost");
    let file: toml::Table = text.parse().expect("TOML");
    let mut config = lab.clone();
    for (section, keys) in &file {
        for (name, value) in keys.as_table().expect("a section") {
            let key = format!("{section}.{name}");
            let value = serde_json::to_value(value).expect("a plain value");
            match key.as_str() {
                "component.server" | "component.secret_file" => {}
                "database.url" => assert_eq!(value, "postgres://ephemerd@127.0.0.1/ejabberd"),
                "database.password_file" => {}
                _ => config = config.set(&key, value),
            }
        }
    }
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_right() -> Result<()> {
    for schema in [Schema::Classic, Schema::MultiHost] {
        let file = Some(blocks("yaml")[0].to_owned());
        let lab =
            Lab::ejabberd(&EjabberdConfig { schema, file, ..EjabberdConfig::default() }).await?;
        let pool = lab.database.superuser();
        sqlx::raw_sql(blocks("sql")[0]).execute(pool).await?;
        assert!(blocks("sh")[0].contains("-f deploy/grants.sql"), "which the lab has run");
        let config = config(&lab.daemon_config());
        for line in blocks("sh")[1].lines() {
            let args: Vec<&str> = line.split(' ').skip(1).collect();
            let output = daemon::command(program(), &config, &args).await?;
            assert_eq!(output.code, Some(0), "{line}: {}", output.stderr);
        }
        let daemon = start(&config).await?;
        let mut peter = lab.online("peter").await?;
        let den = lab.endpoints().room("den");
        peter.join(&den, "Peter").await?;
        let timer = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='1'/>";
        peter.groupchat(&den, "soon gone", timer).await?;
        peter.wait_for_body("soon gone").await?;
        eventually("the room forgets", PATIENCE, async || {
            let items = peter.query_all(&MamQuery::room(&den)).await?;
            Ok(items.is_empty().then_some(()))
        })
        .await?;
        let joined = lab.online("rosa").await?.join(&den, "Rosa").await?;
        assert!(joined.history.is_empty(), "history_size: 0 keeps none in memory");
        daemon
            .wait_for_figure("ephemerd_component_connected", &[], PATIENCE, |it| it == 1.0)
            .await?;
    }
    let grants = include_str!("../../deploy/grants.sql");
    assert!(grants.contains(blocks("sql")[1].trim_end()), "how to take it out");
    Ok(())
}

/// The companion module, built by the document's commands and configured as it says, is loaded and speaks.
#[tokio::test(flavor = "multi_thread")]
async fn the_module_is_built_and_loaded() -> Result<()> {
    let code = tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir()?;
    let library = code.path().display().to_string();
    let build = blocks("sh")[2].replace("/usr/local/lib", &library);
    // The last components of the path are kept: Erlang uses them to tell whose code and files these are.
    let folder = build.split_whitespace().nth(2).expect("install -d FOLDER").to_owned();
    assert!(folder.starts_with(&library), "it is built into a directory of its own");
    assert!(DOCUMENT.contains(&format!("-pa {}", folder.replace(&library, "/usr/local/lib"))));
    let mut shell = Command::new("sh");
    shell.args(["-euc", &build]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let built = shell.output()?;
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let module = blocks("yaml")[1].strip_prefix("modules:\n").expect("under modules");
    let yaml = blocks("yaml")[0].to_owned() + module;
    // ejabberd itself adapts the names in the first block; the module's component is renamed the same way.
    let config =
        EjabberdConfig { file: Some(yaml), code: Some(folder.into()), ..EjabberdConfig::default() };
    let lab = Lab::ejabberd(&config).await?;
    let mut component = Component::connect(lab.endpoints()).await?;
    for host in ["localhost", "conference.localhost"] {
        let ask = "<companion xmlns='urn:ephemerd:companion:0' version='1'/>";
        let answer = component.iq("get", host, ask).await?;
        assert!(answer.xml.contains("<can what='erase'/>"), "{}", answer.xml);
    }
    let mut peter = lab.online("peter").await?;
    let timer = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='1'/>";
    peter.chat("peter@localhost", "words", timer).await?;
    let told = |it: &Stanza| it.name == "message" && it.xml.contains("words");
    component.wait_for("a notice", PATIENCE, told).await?;
    // A directory that Erlang mistakes for ejabberd's own costs it its translations and the web admin's
    // files.
    let log = std::fs::read_to_string(lab.server.log())?;
    let errors: Vec<_> = log.lines().filter(|it| it.contains("[error]")).collect();
    assert!(errors.is_empty(), "{errors:?}");
    Ok(())
}
