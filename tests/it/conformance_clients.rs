//! The same holds of what real clients send: the stanzas of `tests/golden` that were captured from them, on every kind of
//! archive. What has a timer goes, in both archives; what has none stays as it is.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use ephemerd_lab::ejabberd::{EjabberdConfig, Schema};
use ephemerd_lab::prosody::Storage;
use ephemerd_lab::xmpp::MamQuery;
use ephemerd_lab::{DaemonConfig, Lab, PATIENCE, Result, Server, eventually};
use sqlx::PgPool;

use crate::remote::{config, mnesia, prosody};
use crate::support::{REFUSED, start};

/// The timer that takes the captured one's place, in seconds: long enough to send everything and to look at it.
const TIMER: u32 = 20;
/// How long after its due time a message may still exist, on a busy machine with rests on files.
const LATEST: Duration = Duration::from_secs(240);

/// One captured stanza.
struct Captured {
    /// Its number among the golden cases.
    number: String,
    /// Its type.
    kind: String,
    /// What is in it.
    inside: String,
    has_timer: bool,
}

impl Captured {
    fn id(&self) -> String {
        format!("real-{}-", self.number)
    }
}

/// The golden cases captured from real clients: their numbers begin with a 2.
fn captured() -> Vec<Captured> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let files = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path());
    let is_captured = |it: &Path| it.file_name().unwrap().to_string_lossy().starts_with('2');
    files.filter(|it| is_captured(it)).map(|it| read(&it)).collect()
}

fn read(path: &Path) -> Captured {
    let text = fs::read_to_string(path).unwrap();
    let stanza = text.split("'''").nth(1).unwrap().trim();
    let (start, rest) = stanza.split_once('>').unwrap();
    let inside = rest.strip_suffix("</message>").unwrap_or_default();
    let kind = start.split_once("type='").map_or("normal", |it| it.1.split('\'').next().unwrap());
    let timer = format!("<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='{TIMER}'/>");
    Captured {
        number: path.file_name().unwrap().to_string_lossy()[..3].to_owned(),
        kind: kind.to_owned(),
        inside: inside.replace("<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='60'/>", &timer),
        has_timer: inside.contains("urn:xmpp:ephemeral:0"),
    }
}

/// How many rows of both archives have each stanza, and not a placeholder in its place.
async fn rows<S: Server>(lab: &Lab<S>, all: &[Captured]) -> Result<BTreeMap<String, usize>> {
    let mut rows = BTreeMap::new();
    for user in ["peter", "rosa"] {
        let items = lab.archive(user, &MamQuery::default()).await?;
        let real: Vec<_> = items.iter().filter(|it| !it.xml.contains("urn:ephemerd:0")).collect();
        for case in all {
            let count = real.iter().filter(|it| it.xml.contains(&case.id())).count();
            *rows.entry(case.number.clone()).or_default() += count;
        }
    }
    Ok(rows)
}

async fn kind<S: Server>(lab: Lab<S>, config: DaemonConfig, name: &str) -> Result<()> {
    let config = config
        .set("archive.poll", "200ms")
        .set("erase.mode", "placeholder")
        .set("log.level", "debug");
    let daemon = start(&config).await?;
    let all = captured();
    let (mut peter, mut rosa) = (lab.online("peter").await?, lab.online("rosa").await?);
    let to = lab.endpoints().jid("rosa");
    for case in &all {
        let Captured { kind, inside, .. } = case;
        let id = case.id();
        peter
            .send(&format!("<message to='{to}' type='{kind}' id='{id}'>{inside}</message>"))
            .await?;
    }
    peter.chat(&to, "the end", "").await?;
    rosa.wait_for_body("the end").await?;
    let with_timers = || all.iter().filter(|it| it.has_timer);
    let before = eventually("what has words is archived twice", PATIENCE, async || {
        let rows = rows(&lab, &all).await?;
        let is_there = |it: &Captured| !it.inside.contains("<body>") || rows[&it.number] == 2;
        Ok(with_timers().all(is_there).then_some(rows))
    })
    .await?;
    assert!(before.values().sum::<usize>() > all.len(), "{name}: {before:?}");
    let what = format!("{name}: what has a timer goes");
    let gone = eventually(&what, LATEST, async || {
        let rows = rows(&lab, &all).await?;
        Ok(with_timers().all(|it| rows[&it.number] == 0).then_some(()))
    });
    if let Err(error) = gone.await {
        let left = left(lab.database.superuser()).await?.join("\n");
        panic!("{error}\n{left}\n{}", daemon.log()?);
    }
    let after = rows(&lab, &all).await?;
    for case in all.iter().filter(|it| !it.has_timer) {
        let number = &case.number;
        assert_eq!(before[number], after[number], "{name}: {number} has no timer");
    }
    let failures = daemon.figures().await?.get("ephemerd_erase_failures_total", &REFUSED);
    assert_eq!(failures, Some(0.0), "{name}");
    Ok(())
}

/// What the ledger still has, for whoever must find out why it did not go.
async fn left(pool: &PgPool) -> Result<Vec<String>> {
    let left = "SELECT format('%s %s %s: %s, due %s, retried %s, attempts %s', id, store, phase, CASE WHEN backlog THEN 'backlog' ELSE 'live' END,
                         due_at - now(), retry_at - now(), attempts)
                  FROM ephemerd.expiries ORDER BY id LIMIT 200";
    Ok(sqlx::query_scalar(left).fetch_all(pool).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_real_clients_send_goes_by_its_timer_and_nothing_else() -> Result<()> {
    let ours = Lab::prosody().await?;
    let theirs = Lab::ejabberd(&EjabberdConfig::default().schema(Schema::MultiHost)).await?;
    let (in_files, in_mnesia) = tokio::try_join!(prosody(Storage::Files), mnesia())?;
    let configs = (ours.daemon_config(), theirs.daemon_config());
    let modules = (config(&in_files), config(&in_mnesia));
    tokio::try_join!(
        kind(ours, configs.0, "prosody"),
        kind(theirs, configs.1, "multihost"),
        kind(in_files, modules.0, "prosody files"),
        kind(in_mnesia, modules.1, "mnesia"),
    )?;
    Ok(())
}
