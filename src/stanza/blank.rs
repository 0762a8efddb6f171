use std::fmt::Write as _;

use chrono::DateTime;

use super::{
    Unreadable,
    attributes::{self, Attribute, Name},
    chars::{is_allowed, is_space, push_escaped},
    element::{Child, EPHEMERD, JABBER_CLIENT, child},
    xml::{Event, Xml},
};
use crate::model::{LATEST, Timestamp};

/// The placeholder that replaces an archived stanza: `from`, `to` and `type` of its start tag, and the time
/// at which the row goes too.
///
/// Only the start of the `original` is needed; if the start tag cannot be read, the attributes are left out.
/// The result is always valid XML: a single invalid row makes Prosody leave a whole archive query unanswered.
/// The root has an `xmlns` only if the original did, as in the server's own rows. `until` is written in whole
/// seconds, rounded up.
pub fn placeholder(original: &str, until: Timestamp) -> String {
    let kept = root_attributes(original, &["xmlns", "from", "to", "type"]);
    message(&kept, "", until)
}

/// What replaces a stanza in an offline queue: a [`placeholder`] that also keeps the root's `id`, and
/// `<delay/>` and `<stanza-id/>` without any text in them.
///
/// With `use_mam_for_storage`, ejabberd finds everything queued after this stanza by its stamp and id. An
/// unreadable stanza is replaced by a plain placeholder.
pub fn blank_queued(original: &str, until: Timestamp) -> String {
    let kept = root_attributes(original, &["xmlns", "from", "to", "type", "id"]);
    message(&kept, &stamps(original).unwrap_or_default(), until)
}

fn message(attributes: &[Attribute<'_>], stamps: &str, until: Timestamp) -> String {
    let mut out = String::from("<message");
    for Attribute { name, value } in attributes {
        push_attribute(&mut out, name.local, value);
    }
    let _ =
        write!(out, "><expired xmlns='{EPHEMERD}' until='{}'/>{stamps}</message>", rfc3339(until));
    out
}

fn push_attribute(out: &mut String, name: &str, value: &str) {
    let _ = write!(out, " {name}='");
    push_escaped(out, value);
    out.push('\'');
}

/// The addresses in a message's start tag, `from` and `to`, if present and readable.
pub fn parties(start: &str) -> Vec<String> {
    let parties = root_attributes(start, &["from", "to"]);
    parties.into_iter().map(|it| it.value.into_owned()).collect()
}

/// The attributes of the root's start tag that may be kept, in the order of `names`.
fn root_attributes<'a>(original: &'a str, names: &[&str]) -> Vec<Attribute<'a>> {
    let mut all = Vec::new();
    let tag = start_tag(original).unwrap_or_default();
    if attributes::split(tag, &mut all).is_err() {
        return Vec::new();
    }
    let kept = names.iter().filter_map(|local| {
        let wanted = Name { prefix: "", local };
        all.iter().find(|it| it.name == wanted && may_stand(it)).cloned()
    });
    kept.collect()
}

/// Drops an `xmlns` that would make the root something other than a message and hide the placeholder from us.
fn may_stand(attribute: &Attribute<'_>) -> bool {
    attribute.value.chars().all(is_allowed)
        && (attribute.name.local != "xmlns" || attribute.value == JABBER_CLIENT)
}

/// The text between the name `message` and the end of the root's start tag.
fn start_tag(original: &str) -> Option<&str> {
    let tag = original.trim_start_matches(is_space).strip_prefix('<')?;
    let mut quote = None;
    let end = tag.char_indices().find_map(|(at, c)| {
        match (quote, c) {
            (None, '>') => return Some(at),
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
        None
    })?;
    let inner = tag.get(..end)?;
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    let name = inner.split(is_space).next()?;
    let is_message = Name::parse(name).is_ok_and(|it| it.local == "message");
    if is_message { inner.get(name.len()..) } else { None }
}

/// The delays and stanza ids among the direct children, in order, without their text.
fn stamps(original: &str) -> Result<String, Unreadable> {
    let mut xml = Xml::new(original)?;
    let mut out = String::new();
    while let Some(event) = xml.next()? {
        let Event::Start(name) = event else { continue };
        if xml.depth() != 2 {
            continue;
        }
        let namespace = xml.namespace(name)?;
        let kept: &[&str] = match child(namespace, name.local) {
            Child::Delay => &["from", "stamp"],
            Child::StanzaId => &["by", "id"],
            _ => continue,
        };
        let _ = write!(out, "<{} xmlns='{namespace}'", name.local);
        for attribute in kept {
            if let Some(value) = xml.attribute(attribute) {
                push_attribute(&mut out, attribute, value);
            }
        }
        out.push_str("/>");
    }
    Ok(out)
}

/// Whole seconds, rounded up, within the four-digit years of RFC 3339.
fn rfc3339(until: Timestamp) -> String {
    let until = until.clamp(DateTime::UNIX_EPOCH, LATEST);
    let seconds = until.timestamp() + i64::from(until.timestamp_subsec_nanos() > 0);
    let up = DateTime::from_timestamp(seconds, 0).unwrap_or(LATEST);
    up.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}
