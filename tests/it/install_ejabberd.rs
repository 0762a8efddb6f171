//! docs/install-ejabberd.md as written: its configurations, grants and commands, on a real ejabberd.

use ephemerd_lab::ejabberd::{EjabberdConfig, Schema};
use ephemerd_lab::xmpp::MamQuery;
use ephemerd_lab::{DaemonConfig, Lab, PATIENCE, Result, daemon, eventually};

use crate::support::{program, start};

const DOCUMENT: &str = include_str!("../../docs/install-ejabberd.md");

/// The document's blocks in this language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    let mut parts = DOCUMENT.split(fence.as_str());
    parts.next();
    parts.map(|part| part.split("```").next().expect("a part has a start")).collect()
}

/// The document's configuration file, with the addresses and secrets of the lab in their place.
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
