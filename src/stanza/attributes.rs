use std::{borrow::Cow, collections::HashSet, hash::Hash};

use super::{
    Flaw,
    chars::{attribute_value, is_space},
};

/// A name as written: `prefix:local`, or `local` with an empty prefix. Compares the local part first, as it
/// differs most often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Name<'a> {
    pub(super) local: &'a str,
    pub(super) prefix: &'a str,
}

impl<'a> Name<'a> {
    /// Reads a qualified name (Namespaces in XML 1.0 §4).
    pub(super) fn parse(text: &'a str) -> Result<Self, Flaw> {
        let (prefix, local) = match text.bytes().position(|b| b == b':') {
            Some(0) => return Err(Flaw::BadName),
            Some(colon) => (text.split_at(colon).0, text.split_at(colon + 1).1),
            None => ("", text),
        };
        let is_valid = is_ncname(local) && (prefix.is_empty() || is_ncname(prefix));
        if is_valid { Ok(Self { prefix, local }) } else { Err(Flaw::BadName) }
    }
}

fn is_ncname(name: &str) -> bool {
    if !name.is_ascii() {
        return <&rxml::NcNameStr>::try_from(name).is_ok();
    }
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}

/// An attribute, its value as a client would see it.
#[derive(Debug, Clone)]
pub(super) struct Attribute<'a> {
    pub(super) name: Name<'a>,
    pub(super) value: Cow<'a, str>,
}

/// Splits the text between a tag's name and its end into attributes. Clears `into` first; it is reused
/// between tags.
pub(super) fn split<'a>(text: &'a str, into: &mut Vec<Attribute<'a>>) -> Result<(), Flaw> {
    into.clear();
    let mut rest = text;
    loop {
        let start = trim_start(rest);
        if start.is_empty() {
            break;
        }
        if start.len() == rest.len() {
            return Err(Flaw::Malformed);
        }
        let equals = start.bytes().position(|b| b == b'=').ok_or(Flaw::Malformed)?;
        let name = Name::parse(start.split_at(equals).0.trim_end_matches(is_space))?;
        let (value, after) = quoted(trim_start(start.split_at(equals + 1).1))?;
        into.push(Attribute { name, value });
        rest = after;
    }
    if has_twins(into.iter().map(|it| it.name)) {
        return Err(Flaw::DuplicateAttribute);
    }
    Ok(())
}

fn trim_start(text: &str) -> &str {
    let start = text.bytes().position(|b| !is_space(b.into()));
    text.split_at(start.unwrap_or(text.len())).1
}

/// A quoted value, and what follows it.
fn quoted(text: &str) -> Result<(Cow<'_, str>, &str), Flaw> {
    let (quote, inner) = match text.as_bytes().first() {
        Some(&quote @ (b'\'' | b'"')) => (quote, text.split_at(1).1),
        _ => return Err(Flaw::Malformed),
    };
    let end = inner.bytes().position(|b| b == quote).ok_or(Flaw::Malformed)?;
    let (raw, after) = inner.split_at(end);
    Ok((attribute_value(raw)?, after.split_at(1).1))
}

/// Whether two items are equal, in linear time: a tag may have a million attributes.
pub(super) fn has_twins<T: Eq + Hash>(items: impl Iterator<Item = T> + Clone) -> bool {
    const FEW: usize = 16;
    if items.clone().nth(FEW).is_some() {
        let mut seen = HashSet::new();
        return !items.into_iter().all(|it| seen.insert(it));
    }
    let mut rest = items;
    while let Some(item) = rest.next() {
        if rest.clone().any(|other| other == item) {
            return true;
        }
    }
    false
}
