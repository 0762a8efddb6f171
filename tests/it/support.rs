//! What all tests of the program share.

use std::path::Path;

use ephemerd_lab::{Daemon, DaemonConfig, Output, PATIENCE, Result, daemon, eventually};
use sqlx::PgPool;

/// The program, as cargo built it for these tests.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ephemerd"))
}

/// Starts `ephemerd run` and waits until it is ready.
pub(crate) async fn start(config: &DaemonConfig) -> Result<Daemon> {
    Daemon::start(program(), config).await
}

/// Runs a command of the program to its end.
pub(crate) async fn run(config: &DaemonConfig, args: &[&str]) -> Result<Output> {
    daemon::command(program(), config, args).await
}

/// Runs a command that must succeed; gives what it printed.
pub(crate) async fn printed(config: &DaemonConfig, args: &[&str]) -> Result<String> {
    let output = run(config, args).await?;
    assert_eq!(output.code, Some(0), "{args:?}: {}{}", output.stdout, output.stderr);
    Ok(output.stdout)
}

/// The same with `--json`.
pub(crate) async fn told(config: &DaemonConfig, args: &[&str]) -> Result<serde_json::Value> {
    let text = printed(config, &[args, &["--json"]].concat()).await?;
    Ok(serde_json::from_str(&text).expect("--json prints JSON"))
}

/// A chat message that asks to go so many seconds after archiving.
pub(crate) fn ephemeral(word: &str, seconds: u32) -> String {
    format!(
        "<message type='chat' to='rosa@localhost' from='peter@localhost/phone'><body>{word}</body>\
         <ephemeral xmlns='urn:xmpp:ephemeral:0' timer='{seconds}'/></message>"
    )
}

/// Now, as Prosody stamps it.
pub(crate) async fn now(pool: &PgPool) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT extract(epoch FROM now())::bigint").fetch_one(pool).await?)
}

/// One number that the superuser asks for.
pub(crate) async fn number(pool: &PgPool, query: &'static str) -> Result<i64> {
    Ok(sqlx::query_scalar(query).fetch_one(pool).await?)
}

/// Waits until the superuser's query gives this number.
pub(crate) async fn wait_for_number(pool: &PgPool, query: &'static str, is: i64) -> Result<()> {
    let waiting =
        eventually(query, PATIENCE, async || Ok((number(pool, query).await? == is).then_some(())));
    waiting.await
}
