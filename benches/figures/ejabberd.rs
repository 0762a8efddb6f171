//! Erasing what is due, compared with ejabberd's own deletion command, on ejabberd's tables.

use std::sync::Arc;

use ephemerd_lab::ejabberd::Ejabberd;
use ephemerd_lab::{
    Database, EjabberdConfig, Lab, LabError, Postgres, Result, Server as _, free_address, http,
};
use tokio::time::Instant;

use crate::MARKED_EVERY;
use crate::data::{PATIENCE, Scale, Tables, Template, end};
use crate::progress::Progress;
use crate::report::{Figure, Target};

/// Every nth row has an expired timer; the first of these rows are two days old, the others an hour.
const FILL: &str = "
INSERT INTO archive (username, timestamp, peer, bare_peer, xml, txt, kind)
SELECT 'user' || nr % 100,
       extract(epoch FROM now())::bigint * 1000000 + nr * 1000
         - CASE WHEN nr <= $1 / $2 THEN 172800 ELSE 3600 END * 1000000::bigint,
       'user' || (nr + 1) % 100 || '@localhost/phone', 'user' || (nr + 1) % 100 || '@localhost',
       '<message xml:lang=''en'' to=''user' || (nr + 1) % 100 || '@localhost'' from=''user' || nr % 100
         || '@localhost/phone'' type=''chat'' id=''' || md5(nr::text) || ''' xmlns=''jabber:client''><body>'
         || words || '</body>'
         || CASE WHEN nr % $2 = 0 THEN '<ephemeral timer=''1'' xmlns=''urn:xmpp:ephemeral:0''/>' ELSE '' END
         || '</message>',
       words, 'chat'
  FROM generate_series(1, $1) AS nr,
       LATERAL (SELECT substr(repeat(md5((nr * 7)::text), 7), 1, 200) AS words) AS body";

/// In all kinds of archive, what is older than a day.
const COMMAND: &str = "/api/delete_old_mam_messages";
const ARGUMENTS: &str = r#"{"type": "all", "days": 1}"#;

pub(crate) const fn steps(scale: Scale) -> usize {
    1 + 2 * scale.runs
}

/// Adds the figure.
pub(crate) async fn measure(
    postgres: &Arc<Postgres>,
    scale: Scale,
    figures: &mut Vec<Figure>,
    progress: &Progress,
) -> Result<()> {
    progress.step("filling ejabberd's archive");
    let template = fill(postgres, scale.rows).await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..scale.runs {
        progress.step("ejabberd's own deletion");
        theirs.push(own_deletion(&template).await?);
        progress.step("ephemerd on ejabberd's archive");
        let database = template.copy().await?;
        let cost = template.erased(&database, "delete").await?.cost;
        ours.push(template.due as f64 / cost.seconds);
        end(database).await?;
    }
    figures.push(Figure {
        what: format!(
            "erasing {} due of {} rows of ejabberd's, delete",
            template.due, template.rows
        ),
        against: "ejabberd's own command: as many of the oldest rows, marked or not".to_owned(),
        unit: "rows/s".to_owned(),
        ours,
        theirs,
        target: Target::None,
        sql: format!("POST {COMMAND}\n{ARGUMENTS}"),
    });
    template.end().await
}

async fn fill(postgres: &Arc<Postgres>, rows: i64) -> Result<Template> {
    let config = EjabberdConfig::default();
    let database = Lab::ejabberd_tables_on(Arc::clone(postgres), &config).await?.database;
    let filling = sqlx::query(FILL).bind(rows).bind(MARKED_EVERY);
    filling.execute(database.superuser()).await?;
    Template::record(database, Tables::Ejabberd, rows, rows / MARKED_EVERY).await
}

/// Rows per second, from the command to its answer.
async fn own_deletion(template: &Template) -> Result<f64> {
    let database = template.copy().await?;
    let commands = free_address()?;
    let config = EjabberdConfig { commands: Some(commands), ..EjabberdConfig::default() };
    let server = Ejabberd::start_on_tables(&config, &database).await?;
    sqlx::query("CHECKPOINT").execute(database.superuser()).await?;
    let started = Instant::now();
    let answer = http::post(commands, COMMAND, ARGUMENTS, PATIENCE).await?;
    let took = started.elapsed();
    let gone = template.rows - standing(&database).await?;
    if answer.status != 200 || gone != template.due {
        let (status, body) = (answer.status, answer.body);
        let complaint = format!("ejabberd deleted {gone} rows and answered {status}: {body}");
        return Err(LabError::new(complaint));
    }
    server.stop().await?;
    end(database).await?;
    Ok(gone as f64 / took.as_secs_f64())
}

async fn standing(database: &Database) -> Result<i64> {
    let count = "SELECT count(*) FROM archive";
    Ok(sqlx::query_scalar(count).fetch_one(database.superuser()).await?)
}
