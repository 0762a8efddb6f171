//! What all tests of the program share.

use std::path::Path;
use std::time::Duration;

use ephemerd_lab::rows::{ArchiveRow, insert};
use ephemerd_lab::xmpp::Client;
use ephemerd_lab::{Daemon, DaemonConfig, Database, Output, PATIENCE, Result, daemon, eventually};
use sqlx::PgPool;
use tokio::time::Instant;

/// The least that a configuration must have.
pub(crate) const MINIMAL: &str = r#"
[component]
jid = "ephemerd.example.org"
server = "127.0.0.1:5347"
secret = "s3cret-of-component"
[database]
url = "postgres://ephemerd@127.0.0.1/prosody"
[archive]
kind = "prosody"
hosts = ["example.org"]
"#;

/// What the database has refused our daemons, but for locks that others held. Their own count of errors has also what a busy machine does
/// to them, such as a connection that is not made in time.
pub(crate) fn refusals(database: &Database) -> Result<Vec<String>> {
    let ours = format!(" ephemerd@{} ERROR:", database.name());
    let log = database.postgres().log_text()?;
    let refused = log.lines().filter(|line| line.contains(&ours) && !line.contains("lock timeout"));
    Ok(refused.map(str::to_owned).collect())
}

/// Rows that a server refused to erase. What others had locked, and what a module did not answer in time, is tried again, and says no
/// more than that the machine is busy.
pub(crate) const REFUSED: [(&str, &str); 1] = [("cause", "refused")];

/// How far the clocks that stamp messages and the test's own may be apart: ejabberd follows the system's time slowly.
pub(crate) const CLOCKS: Duration = Duration::from_millis(500);

/// The program, as cargo built it for these tests.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ephemerd"))
}

/// Starts `ephemerd run` and waits until it is ready. Behind a module, waits for the end of that second, too: Prosody's stamps
/// may be whole seconds, and what has the one of a first start is history, and held.
pub(crate) async fn start(config: &DaemonConfig) -> Result<Daemon> {
    let daemon = Daemon::start(program(), config).await?;
    if config.is("archive.kind", "component") {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(daemon)
}

/// Waits until the tail has seen all of Prosody's rows for the last time: until then it mends what a test changes.
pub(crate) async fn tail_has_passed(pool: &PgPool) -> Result<()> {
    let beyond = "SELECT count(*) FROM prosodyarchive, ephemerd.cursors WHERE sort_id > position";
    wait_for_number(pool, beyond, 0).await
}

/// Changes the rules, and waits until a sweep by the new ones is over: until then one by the old ones may still record.
pub(crate) async fn reload_rules(
    daemon: &mut Daemon,
    pool: &PgPool,
    config: &DaemonConfig,
) -> Result<()> {
    let completed = async || {
        let rules = "SELECT completed_rules FROM ephemerd.sweeps WHERE completed_at IS NOT NULL AND requested_at IS NULL
                        AND started_at IS NULL";
        Ok(sqlx::query_scalar::<_, Vec<u8>>(rules).fetch_optional(pool).await?)
    };
    let before = eventually("the sweep by the old rules", PATIENCE, completed).await?;
    daemon.reload(config)?;
    eventually("a sweep by the new rules", PATIENCE, async || {
        Ok(completed().await?.filter(|rules| *rules != before))
    })
    .await
    .map(drop)
}

/// Runs a command of the program to its end.
pub(crate) async fn run(config: &DaemonConfig, args: &[&str]) -> Result<Output> {
    daemon::command(program(), config, args).await
}

/// Runs a command that must succeed; returns its output.
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

/// Until [`resume`] nothing is erased, so what a test looks at meanwhile stands, however busy the machine is.
pub(crate) async fn pause(config: &DaemonConfig) -> Result<()> {
    printed(config, &["pause"]).await.map(drop)
}

pub(crate) async fn resume(config: &DaemonConfig) -> Result<()> {
    printed(config, &["resume"]).await.map(drop)
}

/// Now, as Prosody stamps it.
pub(crate) async fn now(pool: &PgPool) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT extract(epoch FROM now())::bigint").fetch_one(pool).await?)
}

/// One number that the superuser queries.
pub(crate) async fn number(pool: &PgPool, query: &'static str) -> Result<i64> {
    Ok(sqlx::query_scalar(query).fetch_one(pool).await?)
}

/// Waits until the superuser's query gives this number.
pub(crate) async fn wait_for_number(pool: &PgPool, query: &'static str, is: i64) -> Result<()> {
    let waiting =
        eventually(query, PATIENCE, async || Ok((number(pool, query).await? == is).then_some(())));
    waiting.await
}

/// A chat message with this body and a timer of this many seconds.
pub(crate) fn marked(body: &str, timer: u32) -> String {
    format!(
        "<message type='chat' to='rosa@localhost' from='peter@localhost/phone'><body>{body}</body>\
         <ephemeral xmlns='urn:xmpp:ephemeral:0' timer='{timer}'/></message>"
    )
}

/// Archives these stanzas now, with their keys, in one transaction.
pub(crate) async fn archive(pool: &PgPool, stanzas: &[(String, String)]) -> Result<Vec<i64>> {
    let now: i64 =
        sqlx::query_scalar("SELECT extract(epoch FROM now())::bigint").fetch_one(pool).await?;
    let rows: Vec<_> = stanzas
        .iter()
        .map(|(key, stanza)| ArchiveRow::archive("peter", key, now, stanza))
        .collect();
    insert(pool, &rows).await
}

/// Archives this many messages with a timer of one second; their bodies and keys begin with `name`.
pub(crate) async fn archive_marked(pool: &PgPool, name: &str, count: usize) -> Result<Vec<i64>> {
    let stanzas: Vec<_> = (0..count)
        .map(|at| (format!("{name}-{at}"), marked(&format!("{name}-{at}."), 1)))
        .collect();
    archive(pool, &stanzas).await
}

/// How many rows of the archive still contain this.
pub(crate) async fn standing(pool: &PgPool, words: &str) -> Result<i64> {
    let count = "SELECT count(*) FROM prosodyarchive WHERE strpos(value, $1) > 0";
    Ok(sqlx::query_scalar(count).bind(words).fetch_one(pool).await?)
}

/// Waits until no row of the archive contains this any more; returns how long that took.
pub(crate) async fn gone(pool: &PgPool, words: &str, within: Duration) -> Result<Duration> {
    let started = Instant::now();
    eventually(&format!("no row says {words}"), within, async || {
        Ok((standing(pool, words).await? == 0).then_some(()))
    })
    .await?;
    Ok(started.elapsed())
}

/// Pings the component through the server, as an ordinary account.
pub(crate) async fn ping(client: &mut Client, component: &str) -> Result<()> {
    client.iq("get", Some(component), "<ping xmlns='urn:xmpp:ping'/>").await.map(drop)
}

/// The same until it answers; returns how long that took.
pub(crate) async fn answered(
    client: &mut Client,
    component: &str,
    within: Duration,
) -> Result<Duration> {
    let started = Instant::now();
    eventually("the component's answer", within, async || {
        // What was sent to a connection that had just died is never answered.
        match tokio::time::timeout(Duration::from_secs(1), ping(client, component)).await {
            Err(_) => Ok(None),
            Ok(Err(error)) if error.condition().is_none() => Err(error),
            Ok(answer) => Ok(answer.ok()),
        }
    })
    .await?;
    Ok(started.elapsed())
}

/// For docs/evidence.md.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// A client shows that everything up to this message was read.
pub(crate) async fn show_read(client: &mut Client, to: &str, id: &str) -> Result<()> {
    show_read_by(client, (to, "chat"), id).await
}

/// The same in a room, where a message is named by its archive id.
pub(crate) async fn show_read_in_room(client: &mut Client, to: &str, id: &str) -> Result<()> {
    show_read_by(client, (to, "groupchat"), id).await
}

async fn show_read_by(client: &mut Client, (to, kind): (&str, &str), id: &str) -> Result<()> {
    let marker = format!(
        "<displayed xmlns='urn:xmpp:chat-markers:0' id='{id}'/><store xmlns='urn:xmpp:hints'/>"
    );
    client.send(&format!("<message to='{to}' type='{kind}' id='read'>{marker}</message>")).await?;
    client.sync().await
}
