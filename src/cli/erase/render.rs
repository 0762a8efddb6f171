//! How `erase` prints what it counted and what became of it.

use serde_json::{Value, json};

use super::super::show;
use crate::app::Followed;
use crate::ledger::{Request, RequestEvent};
use crate::model::{Address, Timestamp, bare_jid};
use crate::ops::Erasable;

/// What would go, and what stands in the way.
pub(super) fn counted(counted: &Erasable, owner: &Address, with: Option<&str>) -> String {
    let range = range(owner, with, counted.before);
    if counted.messages() == 0 {
        return format!("There is nothing to erase {range}.\n");
    }
    let lines = counted.stores.iter().map(|(store, it)| {
        let time = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), show::time);
        let (oldest, newest) = it.span.unzip();
        vec![store.to_string(), show::count(it.rows), time(oldest), time(newest)]
    });
    let table = show::table(&["store", "messages", "oldest", "newest"], 1..2, lines.collect());
    let holds = match counted.holds {
        0 => String::new(),
        1 => "1 hold concerns this owner: what it covers stays until it ends.\n".to_owned(),
        many => format!(
            "{} holds concern this owner: what they cover stays until they end.\n",
            show::count(many)
        ),
    };
    format!("To be erased {range}:\n\n{table}\n{holds}")
}

fn range(owner: &Address, with: Option<&str>, before: Timestamp) -> String {
    let with = with.map(|it| format!(" with {it}")).unwrap_or_default();
    let (owner, before) = (bare_jid(&owner.local, &owner.host), show::time(before));
    format!("of {owner}{with}, archived before {before}")
}

/// What became of a request.
pub(super) fn followed(id: i64, followed: Followed) -> String {
    match followed {
        Followed::Done(erased) => format!("{} erased.\n", show::counted(erased, "message")),
        Followed::Withdrawn(erased) => format!(
            "Request {id} was withdrawn after {} had been erased.\n",
            show::counted(erased, "message")
        ),
        Followed::Left { erased, on_hold, failed } => {
            let mut text = format!("{} erased.\n", show::counted(erased, "message"));
            if on_hold > 0 {
                let kept = show::counted(on_hold, "message");
                text += &format!(
                    "{kept} on hold: request {id} stands, and they go when no hold keeps them.\n"
                );
            }
            if failed > 0 {
                let kept = show::counted(failed, "message");
                text += &format!(
                    "{kept} could not be erased, as the daemon's log says: request {id} stands, and they are tried again.\n"
                );
            }
            text
        }
    }
}

/// The same for programs; `None` where nobody waited.
pub(super) fn json_erased(
    id: Option<i64>,
    counted: &Erasable,
    followed: Option<Followed>,
) -> Value {
    let stores = counted.stores.iter().map(|(store, it)| {
        let span = it.span.map(|(oldest, newest)| [oldest, newest].map(show::json_time));
        let [oldest, newest] = span.unwrap_or_default();
        json!({"store": store.as_str(), "messages": it.rows, "oldest": oldest, "newest": newest})
    });
    let (erased, on_hold, failed) = match followed {
        None => (None, None, None),
        Some(Followed::Done(erased) | Followed::Withdrawn(erased)) => {
            (Some(erased), Some(0), Some(0))
        }
        Some(Followed::Left { erased, on_hold, failed }) => {
            (Some(erased), Some(on_hold), Some(failed))
        }
    };
    json!({
        "request": id,
        "before": show::json_time(counted.before),
        "counted": stores.collect::<Vec<_>>(),
        "holds": counted.holds,
        "done": followed.map(|it| matches!(it, Followed::Done(_))),
        "erased": erased,
        "on_hold": on_hold,
        "failed": failed,
    })
}

/// The requests that stand.
pub(super) fn list(requests: &[Request]) -> String {
    if requests.is_empty() {
        return "No request stands.\n".to_owned();
    }
    let line = |it: &Request| {
        vec![
            it.id.to_string(),
            bare_jid(&it.what.owner.local, &it.what.owner.host),
            it.what.with.clone().unwrap_or_default(),
            show::time(it.what.before),
            show::count(it.erased),
            show::count(it.on_hold),
            show::count(it.failed),
            show::time(it.asked_at),
            it.what.by.clone(),
        ]
    };
    let header =
        ["request", "owner", "with", "before", "erased", "on hold", "failed", "asked at", "by"];
    show::table(&header, 4..7, requests.iter().map(line).collect())
}

/// The same for programs.
pub(super) fn json(requests: &[Request]) -> Value {
    let request = |it: &Request| {
        json!({
            "request": it.id,
            "owner": bare_jid(&it.what.owner.local, &it.what.owner.host),
            "with": it.what.with,
            "before": show::json_time(it.what.before),
            "begun": it.has_begun,
            "erased": it.erased,
            "on_hold": it.on_hold,
            "failed": it.failed,
            "asked_at": show::json_time(it.asked_at),
            "by": it.what.by,
        })
    };
    json!({"requests": requests.iter().map(request).collect::<Vec<_>>()})
}

/// Who asked for what, and how it ended.
pub(super) fn log(log: &[RequestEvent]) -> String {
    if log.is_empty() {
        return "Nobody has asked for anything.\n".to_owned();
    }
    let line = |it: &RequestEvent| {
        vec![
            show::time(it.at),
            it.request.to_string(),
            it.event.clone(),
            it.by.clone(),
            bare_jid(&it.owner.local, &it.owner.host),
            it.with.clone().unwrap_or_default(),
            show::time(it.before),
            show::count(it.erased),
        ]
    };
    let header = ["at", "request", "event", "by", "owner", "with", "before", "erased"];
    show::table(&header, 7..8, log.iter().map(line).collect())
}

/// The same for programs.
pub(super) fn json_log(log: &[RequestEvent]) -> Value {
    let event = |it: &RequestEvent| {
        json!({
            "at": show::json_time(it.at),
            "request": it.request,
            "event": it.event,
            "by": it.by,
            "role": it.role,
            "owner": bare_jid(&it.owner.local, &it.owner.host),
            "with": it.with,
            "before": show::json_time(it.before),
            "erased": it.erased,
        })
    };
    json!({"log": log.iter().map(event).collect::<Vec<_>>()})
}
