//! What the archive has of one owner, as XEP-0227 writes it, part by part.

use chrono::SecondsFormat;
use quick_xml::escape::escape;
use sqlx::PgConnection;

use crate::{
    archive::{Archive, Reach, Row, Scope, Table},
    database::Result,
    model::{Address, LATEST, Stamp, Store},
    stanza,
};

/// Rows of one part, and bytes of their stanzas.
const LIMITS: (i64, i64) = (500, 4 * 1024 * 1024);

/// What was written so far, and what was left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExportCounts {
    /// Messages and whatever else is archived.
    pub messages: i64,
    /// Placeholders: their text is gone.
    pub erased: i64,
    /// Rows that are too long or not XML as a server stores it.
    pub unreadable: i64,
}

impl ExportCounts {
    /// All rows that were read.
    pub const fn rows(&self) -> i64 {
        self.messages + self.erased + self.unreadable
    }
}

/// The position when all is written, whatever stores there are.
const END: usize = usize::MAX;

/// Where an export has come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExportPlace {
    /// The position of the store, or `usize::MAX` when all is written.
    pub scope: usize,
    /// The last row of it, in its table's own units; `None` before the first.
    pub after: Option<(i64, i64)>,
    /// What was written until then.
    pub counts: ExportCounts,
}

/// The export of one owner.
pub struct Export {
    owner: Address,
    scopes: Vec<(Table, Scope)>,
    place: ExportPlace,
}

impl Export {
    /// Begins at a place where an earlier one was interrupted, or at the beginning.
    pub async fn begin(
        connection: &mut PgConnection,
        archive: &Archive,
        owner: &Address,
        place: ExportPlace,
    ) -> Result<Self> {
        let of = (owner.host.as_str(), owner.local.as_str());
        let all = Reach { upto: LATEST, queued_upto: i64::MAX };
        let mut scopes = archive.scopes_of(connection, of, None, all).await?;
        // What is queued comes first in the document, and of that there is always the same. Stable, or an export that goes
        // on later would go on elsewhere.
        scopes.sort_by_key(|(_, scope)| scope.store != Store::Queue);
        Ok(Self { owner: owner.clone(), scopes, place })
    }

    /// Where it has come to.
    pub const fn place(&self) -> ExportPlace {
        self.place
    }

    /// The next part of the document; `None` after the last.
    pub async fn part(&mut self, connection: &mut PgConnection) -> Result<Option<String>> {
        let ExportPlace { scope: at, after, .. } = self.place;
        if at == END {
            return Ok(None);
        }
        let store = |at: usize| self.scopes.get(at).map(|it| it.1.store == Store::Queue);
        let (is_first, is_last) =
            (at == 0 || store(at) != store(at - 1), store(at) != store(at + 1));
        let Some((table, scope)) = self.scopes.get_mut(at) else {
            // The last store, or after a pause it is gone: the archives of a destroyed room.
            (self.place.scope, self.place.after) = (END, None);
            return Ok(Some(Section { is_queue: false }.end().to_owned() + FOOT));
        };
        let section = Section { is_queue: scope.store == Store::Queue };
        let mut text = String::new();
        if after.is_none() {
            if at == 0 {
                text += &head(&self.owner);
            }
            if is_first {
                text += section.start();
            }
        }
        scope.after = after.unwrap_or((i64::MIN, i64::MIN));
        let rows = table.page(connection, scope, LIMITS).await?;
        for row in &rows {
            section.write(row, &mut text, &mut self.place.counts);
        }
        self.place.after = Some(scope.after);
        if rows.is_empty() {
            if is_last && section.is_queue {
                text += section.end();
            }
            (self.place.scope, self.place.after) = (at + 1, None);
        }
        Ok(Some(text))
    }
}

fn head(owner: &Address) -> String {
    format!(
        "<?xml version='1.0' encoding='UTF-8'?>\n<server-data xmlns='urn:xmpp:pie:0'>\n<host jid='{}'>\n<user name='{}'>\n",
        escape(&owner.host),
        escape(&owner.local)
    )
}

const FOOT: &str = "</user>\n</host>\n</server-data>\n";

/// What is queued, or archived.
#[derive(Debug, Clone, Copy)]
struct Section {
    is_queue: bool,
}

impl Section {
    const fn start(self) -> &'static str {
        match self.is_queue {
            true => "<offline-messages>\n",
            false => "<archive xmlns='urn:xmpp:pie:0#mam'>\n",
        }
    }

    const fn end(self) -> &'static str {
        if self.is_queue { "</offline-messages>\n" } else { "</archive>\n" }
    }

    fn write(self, row: &Row, text: &mut String, counts: &mut ExportCounts) {
        let xml = row.xml.as_deref();
        let is_erased = xml.map(|xml| stanza::read(xml).map(|it| it.expired_until.is_some()));
        match (xml, is_erased) {
            (_, Some(Ok(true))) => counts.erased += 1,
            (Some(xml), Some(Ok(false))) => match self.item(row, xml) {
                Ok(item) => {
                    *text += &item;
                    counts.messages += 1;
                }
                Err(_) => counts.unreadable += 1,
            },
            _ => counts.unreadable += 1,
        }
    }

    fn item(self, row: &Row, xml: &str) -> std::result::Result<String, stanza::Unreadable> {
        let stamp = stamp(row.stamp);
        if self.is_queue {
            let host = escape(&row.key.host);
            let delay = format!("<delay xmlns='urn:xmpp:delay' from='{host}' stamp='{stamp}'/>");
            return Ok(stanza::portable(xml, Some(&delay))? + "\n");
        }
        Ok(format!(
            "<result xmlns='urn:xmpp:mam:2' id='{}'><forwarded xmlns='urn:xmpp:forward:0'>\
             <delay xmlns='urn:xmpp:delay' stamp='{stamp}'/>{}</forwarded></result>\n",
            escape(&row.key.archive_id),
            stanza::portable(xml, None)?
        ))
    }
}

/// A time as XEP-0082 writes it, as exact as it is stored.
fn stamp(stamp: Stamp) -> String {
    let exact = if stamp.whole_seconds { SecondsFormat::Secs } else { SecondsFormat::Micros };
    stamp.at.to_rfc3339_opts(exact, true)
}
