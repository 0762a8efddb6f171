//! What a large ledger costs: per erased row and in memory, and while an old snapshot is held open.

use ephemerd_lab::{Database, Result};
use sqlx::{Connection as _, PgConnection};

use crate::data::{Scale, Template, end};
use crate::erase::Erasing;
use crate::progress::Progress;
use crate::report::{Figure, Target};

pub(crate) const fn steps(scale: Scale) -> usize {
    1 + 3 * scale.runs
}

/// Adds cost and memory, with a hundredth of the archive pending and with nearly all of it.
pub(crate) async fn measure(
    template: &Template,
    scale: Scale,
    figures: &mut Vec<Figure>,
    progress: &Progress,
) -> Result<()> {
    let (few, many) = (template.rows / 100, template.rows - template.due);
    progress.step("filling the ledger");
    let (with_few, with_many) =
        (template.with_pending(few).await?, template.with_pending(many).await?);
    let (mut small, mut large, mut old) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.runs {
        progress.step("a small ledger");
        small.push(run(&with_few, false).await?);
        progress.step("a large ledger");
        large.push(run(&with_many, false).await?);
        progress.step("a large ledger under an old snapshot");
        old.push(run(&with_many, true).await?);
    }
    let due = template.due as f64;
    let costs = |runs: &[Erasing]| runs.iter().map(|it| it.cost.seconds / due * 1e6).collect();
    let memory = |runs: &[Erasing]| -> Vec<f64> {
        runs.iter().map(|it| it.peak_bytes as f64 / 1e6).collect()
    };
    let many_in_all = many + template.due;
    let mut add = |what: String, against: String, unit: &str, ours, theirs, target| {
        let (unit, sql) = (unit.to_owned(), String::new());
        figures.push(Figure { what, against, unit, ours, theirs, target, sql });
    };
    let flat = Target::AtMost(1.5, 1.1);
    add(
        format!("cost per erased row, {many_in_all} entries pending"),
        format!("the same with {few} and those due"),
        "µs",
        costs(&large),
        costs(&small),
        flat,
    );
    add(
        "the same under an older snapshot held open".to_owned(),
        "the same without".to_owned(),
        "µs",
        costs(&old),
        costs(&large),
        flat,
    );
    add(
        format!("peak memory, {many_in_all} entries pending"),
        String::new(),
        "MB",
        memory(&large),
        Vec::new(),
        Target::AtMost(40.0, 25.0),
    );
    add(
        "the same".to_owned(),
        format!("with {few} and those due"),
        "MB",
        memory(&large),
        memory(&small),
        Target::AtMost(1.1, 1.05),
    );
    with_few.end().await?;
    with_many.end().await
}

async fn run(template: &Template, under_old_snapshot: bool) -> Result<Erasing> {
    let database = template.copy().await?;
    let snapshot = if under_old_snapshot { Some(old_snapshot(&database).await?) } else { None };
    let erasing = template.erased(&database, "delete").await?;
    drop(snapshot);
    end(database).await?;
    Ok(erasing)
}

/// A transaction that keeps seeing everything as it was, so that dead rows cannot be removed.
pub(crate) async fn old_snapshot(database: &Database) -> Result<PgConnection> {
    let mut connection = PgConnection::connect(&database.superuser_url()).await?;
    sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM ephemerd.control")
        .execute(&mut connection)
        .await?;
    Ok(connection)
}
