//! A full sweep, against a plain count with the same predicates.

use ephemerd::archive::marks::NAMESPACES;
use ephemerd_lab::{Daemon, Result};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::time::Instant;

use crate::data::{Scale, Tables, Template, end, program, recording, swept};
use crate::erase::plan;
use crate::progress::Progress;
use crate::report::{Figure, Target};

/// What the sweep's text search looks for, in LIKE as one would write it by hand.
fn count() -> String {
    let [ephemeral, ephemerd, hints] = NAMESPACES;
    let like = |words: &str| format!("value LIKE '%{words}%'");
    let (ephemeral, ephemerd, hints) = (like(ephemeral), like(ephemerd), like(hints));
    let (store, permanent) = (like("no-stor"), like("no-permanent-stor"));
    format!(
        "SELECT count(*) FROM prosodyarchive
  WHERE host = ANY ('{{localhost,conference.localhost}}') AND store IN ('archive', 'muc_log', 'offline')
    AND ({ephemeral} OR {ephemerd} OR ({hints} AND ({store} OR {permanent})))"
    )
}

pub(crate) const fn steps(scale: Scale) -> usize {
    2 * scale.runs
}

/// Adds the figure. The ledger is already filled, so the sweep finds nothing to repair, as on any day but the
/// first.
pub(crate) async fn measure(
    template: &Template,
    scale: Scale,
    figures: &mut Vec<Figure>,
    progress: &Progress,
) -> Result<()> {
    let database = template.copy().await?;
    let daemon = Daemon::start(program(), &recording(Tables::Prosody, &database)?).await?;
    let mut connection = PgConnection::connect(&database.superuser_url()).await?;
    sqlx::query("SET max_parallel_workers_per_gather = 0").execute(&mut connection).await?;
    let rows = template.rows as f64;
    let count = count();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..scale.runs {
        progress.step("sweep: one plain count");
        let started = Instant::now();
        let _: i64 =
            sqlx::query_scalar(AssertSqlSafe(count.clone())).fetch_one(&mut connection).await?;
        theirs.push(rows / started.elapsed().as_secs_f64());
        progress.step("sweep: ephemerd");
        let request = "UPDATE ephemerd.sweeps SET requested_at = now()";
        sqlx::query(request).execute(&mut connection).await?;
        ours.push(rows / swept(Tables::Prosody, &database).await?);
    }
    let sql = format!("{count};\n{}", plan(&mut connection, &count).await?);
    figures.push(Figure {
        what: format!("a full sweep of {} rows, {} marked", template.rows, template.due),
        against: "SELECT count(*), the same conditions in LIKE, one process".to_owned(),
        unit: "rows/s".to_owned(),
        ours,
        theirs,
        target: Target::AtLeast(0.7, 0.9),
        sql,
    });
    daemon.terminate().await?;
    connection.close().await?;
    end(database).await
}
