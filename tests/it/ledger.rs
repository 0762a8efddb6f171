//! docs/ledger.md lists what the ledger has.

use std::collections::BTreeSet;

use ephemerd_lab::{DaemonConfig, Lab, Result};

use crate::pages::Page;
use crate::support::run;

/// The names in code at the beginning of a table's rows below this heading: `host`, `owner` | …
fn listed(text: &str, heading: &str) -> BTreeSet<String> {
    let section = text.split_once(&format!("\n## {heading}\n")).expect("the section").1;
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let first = rows.filter_map(|line| line.trim_start_matches("| ").split(" | ").next());
    first.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_has_every_column() -> Result<()> {
    let lab = Lab::database_only().await?;
    let migrated = run(&DaemonConfig::for_database(&lab.database)?, &["migrate"]).await?;
    assert_eq!(migrated.code, Some(0), "{}", migrated.stderr);
    let text = Page::read("docs/ledger.md").text;
    let columns: Vec<String> = sqlx::query_scalar(
        "SELECT column_name::text FROM information_schema.columns
          WHERE table_schema = 'ephemerd' AND table_name = 'expiries' ORDER BY 1",
    )
    .fetch_all(lab.database.superuser())
    .await?;
    let columns: BTreeSet<String> = columns.into_iter().collect();
    assert_eq!(listed(&text, "The columns of `ephemerd.expiries`"), columns);
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT table_name::text FROM information_schema.tables
          WHERE table_schema = 'ephemerd' AND table_name NOT IN ('expiries', '_sqlx_migrations') ORDER BY 1",
    )
    .fetch_all(lab.database.superuser())
    .await?;
    assert_eq!(listed(&text, "The other tables"), tables.into_iter().collect());
    Ok(())
}
