//! Whether any row still names an uploaded file: asked right before the file goes, of what the tail has not seen with that
//! file in mind.

use sqlx::PgConnection;

use super::{Archive, MAX_STANZA_BYTES, Order, Row, Search, Table, ejabberd, prosody};
use crate::{
    database::Result,
    model::{Timestamp, contains},
};

/// Rows that one statement looks through, …
const STEP_ROWS: i64 = 1_000;
/// … and how many, and how many bytes of stanzas, one look takes at most.
const MOST_ROWS: i64 = 20_000;
const MOST_BYTES: i64 = 16 * 1024 * 1024;
/// Maximum number of rows that name a file and are looked at. More are too many to tell.
const MOST_FOUND: i64 = 100;

/// Rows of a table: numbers above the first and up to the last, stamped since then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Not this number, but those above it.
    pub above: i64,
    /// Up to this number.
    pub upto: i64,
    /// Older rows are not looked at.
    pub since: Timestamp,
}

/// What names a file.
#[derive(Debug)]
pub enum Namers {
    /// These rows, and no others; none is good news.
    These(Vec<Row>),
    /// Rows that are none of ours to erase: another store's, or another host's.
    Others,
    /// There was too much to look through.
    Unclear,
}

/// What one step back through a table found.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Rows looked at.
    pub rows: i64,
    /// Bytes of their stanzas.
    pub bytes: i64,
    /// The number and the stamp of the last of them.
    pub lowest: Option<(i64, Timestamp)>,
    /// How many of them contain the words.
    pub found: i64,
}

impl Archive {
    /// What contains these words in a range of the table that holds archives.
    pub async fn naming(
        &self,
        connection: &mut PgConnection,
        (hosts, place): (&[String], &str),
        range: Range,
    ) -> Result<Namers> {
        let (mut upto, mut found) = (range.upto, 0);
        let (mut rows, mut bytes) = (0, 0);
        while upto > range.above {
            if rows >= MOST_ROWS || bytes >= MOST_BYTES {
                return Ok(Namers::Unclear);
            }
            let span = (range.above, upto);
            let step = match self {
                Self::Prosody => prosody::look_back(connection, place, span, STEP_ROWS).await?,
                Self::Ejabberd(schema) => {
                    ejabberd::look_back(connection, schema, place, span, STEP_ROWS).await?
                }
            };
            (rows, bytes, found) = (rows + step.rows, bytes + step.bytes, found + step.found);
            let Some((lowest, stamp)) = step.lowest else { break };
            upto = lowest - 1;
            if stamp < range.since {
                break;
            }
        }
        if found == 0 {
            return Ok(Namers::These(Vec::new()));
        }
        let span = (upto.max(range.above), range.upto);
        if found > MOST_FOUND {
            return Ok(Namers::Unclear);
        }
        let rows = named_in(connection, &self.archive_table(), (hosts, place), span).await?;
        let is_all = i64::try_from(rows.len()).is_ok_and(|it| it >= found);
        Ok(if is_all { Namers::These(rows) } else { Namers::Others })
    }

    /// The same in offline queues that have a table of their own, which has no order to search by: all of it.
    pub async fn naming_in_queues(
        &self,
        connection: &mut PgConnection,
        (hosts, place): (&[String], &str),
    ) -> Result<Namers> {
        let mut all = Vec::new();
        for table in self.tables().into_iter().filter(|it| it.order() == Order::Unordered) {
            let newest = table.horizon(connection).await?.newest;
            all.extend(named_in(connection, &table, (hosts, place), (i64::MIN, newest)).await?);
        }
        let is_all = i64::try_from(all.len()).is_ok_and(|it| it < MOST_FOUND);
        Ok(if is_all { Namers::These(all) } else { Namers::Unclear })
    }
}

async fn named_in(
    connection: &mut PgConnection,
    table: &Table,
    (hosts, place): (&[String], &str),
    span: (i64, i64),
) -> Result<Vec<Row>> {
    let patterns = [contains(place)];
    let limits = (MOST_FOUND, i64::from(MAX_STANZA_BYTES) * 4);
    table.candidates(connection, (hosts, Search::naming(&patterns)), span, limits).await
}
