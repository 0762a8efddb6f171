//! Timers in rooms that start at reading: how long it takes from the marker that counts until the timer runs, beside a
//! real Prosody, whose module knows who the members are.

use std::sync::Arc;
use std::time::Duration;

use ephemerd_lab::xmpp::{Client, escape};
use ephemerd_lab::{
    Daemon, Lab, Postgres, Prosody, ProsodyConfig, Result, Server as _, eventually,
};
use sqlx::PgPool;
use tokio::time::interval;

use crate::data::{PATIENCE, Scale, end, program};
use crate::progress::Progress;
use crate::report::{Figure, Target};

const POLL_MS: f64 = 500.0;

/// In members-only rooms of three: Peter speaks, Rosa has read all of it before, and Mia's markers are measured.
const ROOMS: usize = 5;
const MESSAGES: usize = 40;
const EVERY: Duration = Duration::from_millis(100);
const MARKERS_AT_ONCE: usize = 2;

/// PostgreSQL knows when the transactions were committed that wrote the marker and that started the timer.
const DELAY_MS: &str = r#"
    WITH markers AS MATERIALIZED (
        SELECT substring(value FROM '<displayed[^>]* id=''([^'']+)''') AS id, pg_xact_commit_timestamp(xmin) AS at
          FROM prosodyarchive WHERE store = 'muc_log' AND value LIKE '%/mia%' AND value LIKE '%<displayed%')
    SELECT (percentile_cont(0.99) WITHIN GROUP (
              ORDER BY extract(epoch FROM pg_xact_commit_timestamp(e.xmin) - m.at)) * 1000)::float8,
           count(*)
      FROM ephemerd.expiries AS e JOIN markers AS m ON m.id = e.archive_id
     WHERE e.started_by = 'marker'"#;

pub(crate) const fn steps(scale: Scale) -> usize {
    2 * scale.runs
}

/// Adds both figures.
pub(crate) async fn measure(
    postgres: &Arc<Postgres>,
    scale: Scale,
    figures: &mut Vec<Figure>,
    progress: &Progress,
) -> Result<()> {
    for (rule, who) in [("first_reader", "first reader"), ("everyone", "last member")] {
        let mut ours = Vec::new();
        for _ in 0..scale.runs {
            progress.step("from a marker in a room to a running timer");
            ours.push(p99_ms(postgres, rule).await?);
        }
        let what = format!(
            "{who}'s marker in a room → timer started at 20 markers/s, p99, with archive.poll = 500 ms"
        );
        let target = Target::AtMost(POLL_MS + 100.0, POLL_MS + 50.0);
        figures.push(Figure::alone(what, "ms", ours, target));
    }
    Ok(())
}

async fn p99_ms(postgres: &Arc<Postgres>, rule: &str) -> Result<f64> {
    let config = ProsodyConfig { log_level: "error".to_owned(), ..ProsodyConfig::default() };
    let lab = Lab::prosody_on(Arc::clone(postgres), &config.with_companion()).await?;
    let pool = lab.database.superuser();
    let config = lab
        .daemon_config()
        .set("erase.backlog", "erase")
        .set("rooms.start", rule)
        .set("archive.poll", format!("{POLL_MS}ms"));
    let daemon = Daemon::start(program(), &config).await?;
    let rooms: Vec<String> =
        (0..ROOMS).map(|nr| lab.endpoints().room(&format!("den{nr}"))).collect();
    let mut people = People::gather(&lab, &rooms).await?;
    let all = ROOMS * MESSAGES;
    people.peter_speaks(&rooms).await?;
    counted(pool, "phase = 'pending' AND started_by = 'unread'", all).await?;
    if rule == "everyone" {
        people.rosa_reads(pool, &rooms).await?;
        counted(pool, "judged AND cardinality(readers) > 0", all).await?;
    }
    people.mia_reads(pool, &rooms).await?;
    counted(pool, "started_by = 'marker'", all).await?;
    let (delay, measured): (f64, i64) = sqlx::query_as(DELAY_MS).fetch_one(pool).await?;
    assert_eq!(measured, i64::try_from(all).unwrap_or(0), "each message has its marker");
    daemon.terminate().await?;
    let Lab { server, database } = lab;
    server.stop().await?;
    end(database).await?;
    Ok(delay)
}

struct People {
    peter: Client,
    rosa: Client,
    mia: Client,
}

impl People {
    async fn gather(lab: &Lab<Prosody>, rooms: &[String]) -> Result<Self> {
        let (peter, rosa) = (lab.online("peter").await?, lab.online("rosa").await?);
        let mut all = Self { peter, rosa, mia: lab.online("mia").await? };
        for room in rooms {
            all.peter.join(room, "peter").await?;
            all.peter.configure(room, &[("muc#roomconfig_membersonly", "1")]).await?;
            for (client, nick) in [(&mut all.rosa, "rosa"), (&mut all.mia, "mia")] {
                all.peter.affiliate(room, client.bare_jid(), "member").await?;
                client.join(room, nick).await?;
            }
        }
        Ok(all)
    }

    async fn peter_speaks(&mut self, rooms: &[String]) -> Result<()> {
        let timer = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='3600'/>";
        for nr in 0..MESSAGES {
            for room in rooms {
                self.peter.groupchat(room, &format!("words {nr}"), timer).await?;
            }
            self.hear().await?;
        }
        Ok(())
    }

    async fn rosa_reads(&mut self, pool: &PgPool, rooms: &[String]) -> Result<()> {
        for room in rooms {
            if let Some(newest) = said(pool, room).await?.last() {
                show(&mut self.rosa, room, newest).await?;
            }
        }
        self.hear().await
    }

    /// One message after the other, in turn in each room.
    async fn mia_reads(&mut self, pool: &PgPool, rooms: &[String]) -> Result<()> {
        let mut markers = Vec::new();
        for room in rooms {
            let ids = said(pool, room).await?.into_iter().enumerate();
            markers.extend(ids.map(|(nr, id)| (nr, room, id)));
        }
        markers.sort_by_key(|it| it.0);
        let mut clock = interval(EVERY);
        for part in markers.chunks(MARKERS_AT_ONCE) {
            clock.tick().await;
            for (_, room, id) in part {
                show(&mut self.mia, room, id).await?;
            }
            self.hear().await?;
        }
        Ok(())
    }

    /// Everyone has got what was sent, and keeps none of it.
    async fn hear(&mut self) -> Result<()> {
        for client in [&mut self.peter, &mut self.rosa, &mut self.mia] {
            client.sync().await?;
            client.take(|_| true);
        }
        Ok(())
    }
}

async fn show(client: &mut Client, room: &str, id: &str) -> Result<()> {
    let displayed = format!("<displayed xmlns='urn:xmpp:chat-markers:0' id='{id}'/>");
    client
        .send(&format!("<message to='{}' type='groupchat'>{displayed}</message>", escape(room)))
        .await
}

/// The ids of what was said in a room, in order.
async fn said(pool: &PgPool, room: &str) -> Result<Vec<String>> {
    let said = r#"SELECT key FROM prosodyarchive
                   WHERE store = 'muc_log' AND "user" = split_part($1, '@', 1) AND value LIKE '%<ephemeral%'
                   ORDER BY sort_id"#;
    Ok(sqlx::query_scalar(said).bind(room).fetch_all(pool).await?)
}

/// Waits until so many entries of rooms are like that.
async fn counted(pool: &PgPool, like: &str, entries: usize) -> Result<()> {
    let count = format!("SELECT count(*) FROM ephemerd.expiries WHERE store = 'room' AND {like}");
    eventually(like, PATIENCE, async || {
        let counted: i64 =
            sqlx::query_scalar(sqlx::AssertSqlSafe(count.as_str())).fetch_one(pool).await?;
        Ok((counted == i64::try_from(entries).unwrap_or(0)).then_some(()))
    })
    .await
}
