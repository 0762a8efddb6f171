//! The companion protocol (docs/protocol.md): reads notices and answers, writes requests.

use std::{fmt::Write as _, time::Duration};

use quick_xml::escape::escape;
use xmpp_parsers::ns;

use super::outline::{COMPANION, Outline, Part};
use crate::archive::companion::{
    Abilities, Answer, Companion, Event, FileItem, FileState, MOST_ITEMS, Notice, Outcome, Page,
    Reading, Request, Shown, Unanswered, Wanted, is_id, local_part, time,
};
use crate::model::{Occupant, ReadEvidence, Store, Timestamp};

/// Maximum bytes of stanzas in one answer, not counting its first row.
const MOST_BYTES: u32 = 256 << 10;
/// Maximum rest that a module may ask for.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// Maximum owners per answer: each takes a notice or two.
const MOST_RECALLED: u32 = 100;
/// Maximum length of a boot id, a version and the like, in bytes.
const MOST_NAME: usize = 64;

/// Reads a notice from the module of `host`; `None` if it violates the protocol.
pub(super) fn notice(host: &str, outline: &Outline) -> Option<Notice> {
    let boot = outline.attribute("boot").filter(|it| is_name(it))?.to_owned();
    let number = outline.attribute("number")?.parse().ok().filter(|number| *number > 0)?;
    let owner = local_part(outline.attribute("owner")?, host)?;
    let event = if outline.is("drained") {
        Event::Drained(owner.to_owned())
    } else if outline.is("undelivered") {
        Event::Undelivered(owner.to_owned(), ids(outline)?)
    } else if outline.is("delivered") {
        Event::Delivered(owner.to_owned(), ids(outline)?)
    } else if outline.is("read") {
        Event::Read(owner.to_owned(), readings(outline)?)
    } else {
        let is_remembered = outline.is("remembered");
        let store = match is_remembered {
            true => Store::Room,
            false => outline.attribute("store")?.parse().ok()?,
        };
        let id = outline.attribute("id")?;
        let stamp = outline.attribute("stamp")?;
        let copy_of = outline.attribute("copy-of").map(str::to_owned);
        let xml = outline.parts.iter().find_map(|part| part.stanza.clone())?;
        let shown = Shown::new((host, owner), store, (id, stamp), copy_of, xml)?;
        let shown = Box::new(shown.sent_by(outline.attribute("sender")));
        if is_remembered { Event::Remembered(shown) } else { Event::Archived(shown) }
    };
    Some(Notice { host: host.to_owned(), boot, number, event, permit: None })
}

/// The archive ids in a notice.
fn ids(outline: &Outline) -> Option<Vec<String>> {
    let id = |part: &Part| part.attribute("id").filter(|it| is_id(it)).map(str::to_owned);
    let ids: Option<Vec<String>> = outline.parts("item").map(id).collect();
    ids.filter(|ids| (1..=MOST_ITEMS).contains(&ids.len()))
}

/// What was read. Clients write these ids, so an item that cannot be understood is passed over and does not cost the others.
fn readings(outline: &Outline) -> Option<Vec<Reading>> {
    let reading = |part: &Part| {
        let named = |name| part.attribute(name);
        let times = (named("stamp")?, named("upto"));
        let reading = Reading::new(named("by")?, named("chat")?, named("id")?, times)?;
        if named("in") != Some("room") {
            return Some(reading);
        }
        let known = |name| named(name).map(str::to_owned);
        let (nick, jid, id) = (known("occupant"), known("jid"), known("occupant-id"));
        reading.in_room(Occupant { nick, jid, id })
    };
    let items = outline.parts("item").count();
    (1..=MOST_ITEMS).contains(&items).then(|| outline.parts("item").filter_map(reading).collect())
}

/// Reads an answer from the module of `host`.
pub(super) fn answer(
    host: &str,
    request: &Request,
    outline: Option<Outline>,
) -> Result<Answer, Unanswered> {
    let outline = outline.ok_or(Unanswered::Unreadable)?;
    if outline.name == "error" && outline.namespace == ns::COMPONENT {
        return Err(refusal(&outline));
    }
    read(host, request, outline).ok_or(Unanswered::Unreadable)
}

fn refusal(error: &Outline) -> Unanswered {
    let conditions = error.parts.iter().filter(|part| part.namespace == ns::XMPP_STANZAS);
    let mut names = conditions.map(|part| part.name.as_str()).filter(|name| *name != "text");
    match names.next() {
        Some("resource-constraint") => Unanswered::Busy,
        Some("internal-server-error") => Unanswered::StorageFailed,
        Some("item-not-found") => Unanswered::NotFound,
        Some("feature-not-implemented") => Unanswered::Unimplemented,
        Some("forbidden" | "not-allowed" | "not-authorized") => Unanswered::Forbidden,
        Some(
            "service-unavailable"
            | "remote-server-not-found"
            | "remote-server-timeout"
            | "recipient-unavailable",
        ) => Unanswered::Absent,
        _ => Unanswered::Refused,
    }
}

fn read(host: &str, request: &Request, outline: Outline) -> Option<Answer> {
    match request {
        Request::Companion => companion(&outline).map(Answer::Companion),
        Request::Erase { until, .. } => {
            let name = if until.is_some() { "blanked" } else { "erased" };
            let outcome = |part: &Part| Some((part.attribute("id")?.to_owned(), outcome_of(part)?));
            let seconds = outline.attribute("rest").and_then(|it| it.parse().ok()).unwrap_or(0);
            let rest = Duration::from_secs(seconds).min(LONGEST_REST);
            let outcomes = outline.parts("item").filter_map(outcome).collect();
            outline.is(name).then_some(Answer::Erased { outcomes, rest })
        }
        Request::Owners { .. } => {
            let local = |part: &Part| local_part(part.attribute("jid")?, host).map(str::to_owned);
            let found: Option<Vec<String>> = outline.parts("owner").map(local).collect();
            let found = found.filter(|_| outline.is("owners"))?;
            let last = found.last().cloned();
            Some(Answer::Owners(Page { found, last, complete: complete(&outline) }))
        }
        Request::List { owner, store, .. } => {
            let complete = complete(&outline);
            let last = outline.attribute("last").filter(|it| is_id(it)).map(str::to_owned);
            let is_list = outline.is("list");
            let rows = outline.parts.into_iter().filter(|it| it.name == "row");
            let found: Option<Vec<Shown>> =
                rows.map(|row| shown((host, owner), *store, row)).collect();
            // Without the last row's id, the list cannot be continued.
            let found = found.filter(|_| is_list && (complete || last.is_some()))?;
            Some(Answer::Rows(Page { found, last, complete }))
        }
        Request::Recall { .. } => {
            outline.is("recall").then_some(())?;
            if complete(&outline) {
                return Some(Answer::Recalled(None));
            }
            let last = local_part(outline.attribute("last")?, host)?;
            Some(Answer::Recalled(Some(last.to_owned())))
        }
        Request::Scrub { .. } => {
            let count = outline.attribute("count")?.parse().ok()?;
            outline.is("scrubbed").then_some(Answer::Scrubbed(count))
        }
        Request::Remembered => {
            let count = outline.attribute("count")?.parse().ok()?;
            outline.is("remembered").then_some(Answer::Remembered(count))
        }
        Request::Files(_) => {
            let found = outline.parts("file").filter_map(file_state).collect();
            outline.is("files").then_some(Answer::Files(found))
        }
        Request::Unlink(_) => {
            let outcome = |part: &Part| Some((file_item(part)?, outcome_of(part)?));
            let found = outline.parts("file").filter_map(outcome).collect();
            outline.is("unlinked").then_some(Answer::Unlinked(found))
        }
        Request::Members { .. } => {
            outline.is("members").then_some(())?;
            let is_for_members = matches!(outline.attribute("members-only"), Some("true" | "1"));
            if !is_for_members || !complete(&outline) {
                return Some(Answer::Members(None));
            }
            let members: Option<Vec<Occupant>> = outline.parts("member").map(member).collect();
            // A room for members only has at least an owner.
            let members = members.filter(|it| (1..=MOST_ITEMS).contains(&it.len()))?;
            Some(Answer::Members(Some(members)))
        }
    }
}

fn outcome_of(part: &Part) -> Option<Outcome> {
    Some(match part.attribute("outcome")? {
        "done" => Outcome::Done,
        "gone" => Outcome::Gone,
        "other" => Outcome::Other,
        _ => Outcome::Failed,
    })
}

fn file_item(part: &Part) -> Option<FileItem> {
    let known = |name| part.attribute(name).map(str::to_owned);
    Some(FileItem { id: known("id")?, uploader: known("uploader")? })
}

/// What is known of a file; `None` if that cannot be read.
fn file_state(part: &Part) -> Option<(FileItem, FileState)> {
    let state = match part.attribute("state")? {
        "there" => FileState::There(part.attribute("since").and_then(time)?),
        "gone" => FileState::Gone,
        "other" => FileState::Other,
        _ => return None,
    };
    Some((file_item(part)?, state))
}

/// A member, in the answer about a room; `None` if the address is missing, or anything is out of bounds.
fn member(part: &Part) -> Option<Occupant> {
    let known = |name| part.attribute(name).map(str::to_owned);
    let (nick, jid, id) = (known("occupant"), known("jid"), known("occupant-id"));
    Occupant { nick, jid, id }.checked().filter(|it| it.jid.is_some())
}

fn shown(owner: (&str, &str), store: Store, mut row: Part) -> Option<Shown> {
    let xml = row.stanza.take()?;
    let copy_of = row.attribute("copy-of").map(str::to_owned);
    let times = (row.attribute("id")?, row.attribute("stamp")?);
    Some(Shown::new(owner, store, times, copy_of, xml)?.sent_by(row.attribute("sender")))
}

fn companion(outline: &Outline) -> Option<Companion> {
    let name = |attribute: &str| {
        outline.attribute(attribute).filter(|it| is_name(it)).unwrap_or("unknown").to_owned()
    };
    let mut can = Abilities::default();
    for ability in outline.parts("can").filter_map(|part| part.attribute("what")) {
        match ability {
            "erase" => can.erase = true,
            "blank" => can.blank = true,
            "list" => can.list = true,
            "scrub" => can.scrub = true,
            "queue" => can.queue = true,
            "sessions" => can.sessions = true,
            "remember" => can.remember = true,
            "reads" => can.reads = true,
            "room-reads" => can.room_reads = true,
            "members" => can.members = true,
            "files" => can.files = true,
            _ => {}
        }
    }
    outline.is("companion").then_some(())?;
    Some(Companion {
        version: outline.attribute("version")?.parse().ok()?,
        module: name("module"),
        server: name("server"),
        boot: name("boot"),
        number: outline.attribute("number").and_then(|it| it.parse().ok()).unwrap_or(0),
        now: outline.attribute("now").and_then(time),
        can,
        drops_unacknowledged: outline.attribute("resend-on-timeout") == Some("false"),
        halted: matches!(outline.attribute("halted"), Some("true" | "1")),
    })
}

fn complete(outline: &Outline) -> bool {
    matches!(outline.attribute("complete"), Some("true" | "1"))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= MOST_NAME && !text.chars().any(char::is_control)
}

/// Writes a request to the module of `host`, which speaks this version. Where it asks who is there, it says as well what
/// the module shall announce of what was read.
pub(super) fn request(
    jid: &str,
    (host, version): (&str, u32),
    id: &str,
    (request, wanted): (&Request, Wanted),
) -> String {
    let kind = match request {
        Request::Erase { .. } | Request::Scrub { .. } | Request::Unlink(_) => "set",
        Request::Companion
        | Request::Owners { .. }
        | Request::List { .. }
        | Request::Recall { .. }
        | Request::Remembered
        | Request::Members { .. }
        | Request::Files(_) => "get",
    };
    let (jid, host) = (escape(jid), escape(host));
    let mut out = format!("<iq type='{kind}' id='{id}' from='{jid}' to='{host}'>");
    match request {
        Request::Companion => {
            head(&mut out, version, "companion", &[("daemon", env!("CARGO_PKG_VERSION"))]);
            let wanted = [("reads", wanted.reads), ("room-reads", wanted.in_rooms)];
            for (name, kinds) in wanted.iter().filter(|it| it.1 != ReadEvidence::NONE) {
                let _ = write!(out, " {name}='{}'", kinds.names().join(" "));
            }
            out.push_str("/>");
        }
        Request::Erase { owner, store, items, until } => {
            let name = if until.is_some() { "blank" } else { "erase" };
            head(
                &mut out,
                version,
                name,
                &[("owner", &bare(owner, &host)), ("store", store.as_str())],
            );
            if let Some(until) = until {
                let _ = write!(out, " until='{}'", whole_second_after(*until));
            }
            out.push('>');
            for item in items {
                let _ = write!(
                    out,
                    "<item id='{}' stamp='{}'/>",
                    escape(&*item.id),
                    escape(&*item.stamp)
                );
            }
            let _ = write!(out, "</{name}>");
        }
        Request::Owners { store, after } => {
            head(&mut out, version, "owners", &[("store", store.as_str())]);
            if let Some(after) = after {
                let _ = write!(out, " after='{}'", escape(&*bare(after, &host)));
            }
            let _ = write!(out, " max='{MOST_ITEMS}'/>");
        }
        Request::List { owner, store, since, after } => {
            head(
                &mut out,
                version,
                "list",
                &[("owner", &bare(owner, &host)), ("store", store.as_str())],
            );
            if let Some(since) = since {
                let _ = write!(out, " since='{}'", since.format("%Y-%m-%dT%H:%M:%SZ"));
            }
            if let Some(after) = after {
                let _ = write!(out, " after='{}'", escape(&**after));
            }
            let _ = write!(out, " max='{MOST_ITEMS}' max-bytes='{MOST_BYTES}'/>");
        }
        Request::Recall { after } => {
            head(&mut out, version, "recall", &[]);
            if let Some(after) = after {
                let _ = write!(out, " after='{}'", escape(&*bare(after, &host)));
            }
            let _ = write!(out, " max='{MOST_RECALLED}'/>");
        }
        Request::Scrub { owner, ids } => {
            head(&mut out, version, "scrub", &[("owner", &bare(owner, &host))]);
            out.push('>');
            for id in ids {
                let _ = write!(out, "<item id='{}'/>", escape(&**id));
            }
            out.push_str("</scrub>");
        }
        Request::Remembered => {
            head(&mut out, version, "remembered", &[]);
            out.push_str("/>");
        }
        Request::Members { owner } => {
            head(&mut out, version, "members", &[("owner", &bare(owner, &host))]);
            out.push_str("/>");
        }
        Request::Files(items) => files(&mut out, version, "files", items),
        Request::Unlink(items) => files(&mut out, version, "unlink", items),
    }
    out + "</iq>"
}

fn files(out: &mut String, version: u32, name: &str, items: &[FileItem]) {
    head(out, version, name, &[]);
    out.push('>');
    for FileItem { id, uploader } in items {
        let (id, uploader) = (escape(&**id), escape(&**uploader));
        let _ = write!(out, "<file id='{id}' uploader='{uploader}'/>");
    }
    let _ = write!(out, "</{name}>");
}

fn head(out: &mut String, version: u32, name: &str, attributes: &[(&str, &str)]) {
    let _ = write!(out, "<{name} xmlns='{COMPANION}' version='{version}'");
    for (name, value) in attributes {
        let _ = write!(out, " {name}='{}'", escape(*value));
    }
}

fn bare(local: &str, host: &str) -> String {
    format!("{local}@{host}")
}

fn whole_second_after(at: Timestamp) -> impl std::fmt::Display {
    let up = i64::from(at.timestamp_subsec_nanos() > 0);
    let at = Timestamp::from_timestamp(at.timestamp() + up, 0).unwrap_or(at);
    at.format("%Y-%m-%dT%H:%M:%SZ")
}
