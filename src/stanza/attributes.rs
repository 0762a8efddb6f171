use std::{borrow::Cow, collections::HashSet, hash::Hash};

use super::{
    Flaw,
    chars::{attribute_value, is_space},
};

/// A name as written: `prefix:local`, or `local` with an empty prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Name<'a> {
    pub(super) prefix: &'a str,
    pub(super) local: &'a str,
}

impl<'a> Name<'a> {
    /// Reads a qualified name (Namespaces in XML 1.0 §4).
    pub(super) fn parse(text: &'a str) -> Result<Self, Flaw> {
        let (prefix, local) = match text.split_once(':') {
            Some((prefix, local)) if is_ncname(prefix) => (prefix, local),
            Some(_) => return Err(Flaw::BadName),
            None => ("", text),
        };
        if is_ncname(local) { Ok(Self { prefix, local }) } else { Err(Flaw::BadName) }
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

/// An attribute; its value is as a client would see it.
#[derive(Debug, Clone)]
pub(super) struct Attribute<'a> {
    pub(super) name: Name<'a>,
    pub(super) value: Cow<'a, str>,
}

/// Splits what stands between a tag's name and its end into attributes. `into` is emptied first: it
/// is reused from tag to tag.
pub(super) fn split<'a>(text: &'a str, into: &mut Vec<Attribute<'a>>) -> Result<(), Flaw> {
    into.clear();
    let mut rest = text;
    loop {
        let start = rest.trim_start_matches(is_space);
        if start.is_empty() {
            break;
        }
        if start.len() == rest.len() {
            return Err(Flaw::Malformed);
        }
        let (name, after) = start.split_once('=').ok_or(Flaw::Malformed)?;
        let name = Name::parse(name.trim_end_matches(is_space))?;
        let after = after.trim_start_matches(is_space);
        let (value, after) = after
            .strip_prefix('\'')
            .and_then(|inner| inner.split_once('\''))
            .or_else(|| after.strip_prefix('"').and_then(|inner| inner.split_once('"')))
            .ok_or(Flaw::Malformed)?;
        into.push(Attribute { name, value: attribute_value(value)? });
        rest = after;
    }
    if has_twins(into.iter().map(|it| it.name)) {
        return Err(Flaw::DuplicateAttribute);
    }
    Ok(())
}

/// Whether two items are equal; linear in their number, for a tag may hold a million attributes.
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
