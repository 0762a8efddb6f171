//! What a reply quotes of another message (XEP-0461, XEP-0428), and the reply without it.

use std::ops::Range;

use super::{
    Unreadable,
    attributes::Name,
    chars::referenced,
    element::{Child, FALLBACK, JABBER_CLIENT, REPLY, child},
    xml::{Event, Xml},
};

/// The root element's depth.
const ROOT: usize = 1;
const CDATA: &str = "<![CDATA[";
const CDATA_END: &str = "]]>";

/// A reply without its quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The stanza: the same bytes, but for the quoted part of the body and the `<fallback/>` that named it.
    pub xml: String,
    /// The text of what is left of its body.
    pub body: String,
}

/// The reply without what it quotes. `None` where that cannot be told for certain: the message then stays as it is.
///
/// There must be one `<reply/>`, one `<fallback/>` for it with nothing but one `<body/>` in it, and one `<body/>` of the
/// message, which contains text only. The range counts code points of that text (XEP-0426), after references, CDATA and line
/// ends were resolved; without a range all of the text is the quote, and an empty `<body/>` is left. In encrypted messages
/// the range is about a text that is not here.
pub fn cut_quote(xml: &str) -> Option<Cut> {
    let parts = Parts::of(xml).ok().flatten()?;
    let (written, body) = parts.left(xml)?;
    let Parts { body: at, fallback, .. } = parts;
    let between = |from: usize, to: usize| xml.get(from..to);
    let end = xml.len();
    let cut = if fallback.start >= at.end {
        [
            between(0, at.start)?,
            &written,
            between(at.end, fallback.start)?,
            between(fallback.end, end)?,
        ]
        .concat()
    } else {
        [
            between(0, fallback.start)?,
            between(fallback.end, at.start)?,
            &written,
            between(at.end, end)?,
        ]
        .concat()
    };
    // Where two parts meet they may mean something else than apart, such as "]]" and ">".
    let again = Parts::around(&cut).ok().flatten()?;
    let is_left = units(&cut, &again).map(|it| it.map(|it| it.0)).eq(body.chars().map(Some));
    is_left.then_some(Cut { xml: cut, body })
}

/// Where the parts of a reply are, in bytes.
struct Parts {
    /// What is in its body.
    body: Range<usize>,
    /// The `<fallback/>`.
    fallback: Range<usize>,
    /// The code points of the body that are a quote; `None` means all.
    quote: Option<(usize, usize)>,
}

/// What is found on the way through a message. Of each there must be one.
#[derive(Default)]
struct Found {
    replies: usize,
    bodies: Vec<Range<usize>>,
    fallbacks: Vec<Range<usize>>,
    quotes: Vec<Option<(usize, usize)>>,
    /// Something in it forbids cutting.
    is_odd: bool,
}

/// The message's open child that matters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Body(usize),
    Quote(usize),
    /// A `<fallback/>` for something else.
    OtherFallback,
}

impl Parts {
    fn of(xml: &str) -> Result<Option<Self>, Unreadable> {
        let Found { replies, bodies, fallbacks, quotes, is_odd } = Found::on_the_way(xml)?;
        let one = replies == 1 && !is_odd;
        Ok(match (&*bodies, &*fallbacks, &*quotes) {
            ([body], [fallback], [quote]) if one => {
                Some(Self { body: body.clone(), fallback: fallback.clone(), quote: *quote })
            }
            _ => None,
        })
    }

    /// The body without the quote: as it is written, and what it means.
    fn left(&self, xml: &str) -> Option<(String, String)> {
        let (from, to) = self.quote.unwrap_or((0, usize::MAX));
        let (mut written, mut text) = (String::new(), String::new());
        let (mut done, mut count) = (self.body.start, 0);
        for unit in units(xml, &self.body) {
            let (c, at) = unit?;
            if (from..to).contains(&count) {
                // Each goes by itself: between two there may be the end of a CDATA section.
                written.push_str(xml.get(done..at.start)?);
                done = at.end;
            } else {
                text.push(c);
            }
            count += 1;
        }
        written.push_str(xml.get(done..self.body.end)?);
        let is_inside = from <= to && (self.quote.is_none() || to <= count);
        is_inside.then_some((written, text))
    }

    /// The body of a reply that was cut.
    fn around(xml: &str) -> Result<Option<Range<usize>>, Unreadable> {
        let Found { replies, bodies, fallbacks, is_odd, .. } = Found::on_the_way(xml)?;
        let is_cut = replies == 1 && !is_odd && fallbacks.is_empty();
        Ok(<[_; 1]>::try_from(bodies).ok().filter(|_| is_cut).map(|[body]| body))
    }
}

impl Found {
    fn on_the_way(text: &str) -> Result<Self, Unreadable> {
        let mut xml = Xml::new(text)?;
        let (mut found, mut open) = (Self::default(), None);
        while let Some(event) = xml.next()? {
            let token = xml.token();
            match event {
                Event::Start(name) => match xml.depth() {
                    ROOT => found.is_odd |= !is(&xml, name, JABBER_CLIENT, "message")?,
                    2 => open = found.child(&xml, name, token)?,
                    _ => found.grandchild(&xml, name, open)?,
                },
                Event::End if xml.depth() == ROOT => match open.take() {
                    Some(Open::Body(start)) => found.bodies.push(start..token.start.max(start)),
                    Some(Open::Quote(start)) => found.fallbacks.push(start..token.end),
                    Some(Open::OtherFallback) | None => {}
                },
                // Text beside the range is not what the specification has there.
                Event::Words => found.is_odd |= matches!(open, Some(Open::Quote(_))),
                Event::End => {}
            }
        }
        Ok(found)
    }

    fn child(
        &mut self,
        xml: &Xml<'_>,
        name: Name<'_>,
        token: Range<usize>,
    ) -> Result<Option<Open>, Unreadable> {
        let namespace = xml.namespace(name)?;
        Ok(match (namespace, name.local) {
            (JABBER_CLIENT, "body") => Some(Open::Body(token.end)),
            (FALLBACK, "fallback") if xml.attribute("for") == Some(REPLY) => {
                Some(Open::Quote(token.start))
            }
            (FALLBACK, "fallback") => Some(Open::OtherFallback),
            (REPLY, "reply") => {
                self.replies += 1;
                None
            }
            (namespace, name) => {
                self.is_odd |= is_encryption(namespace, name);
                None
            }
        })
    }

    fn grandchild(
        &mut self,
        xml: &Xml<'_>,
        name: Name<'_>,
        open: Option<Open>,
    ) -> Result<(), Unreadable> {
        match open {
            // Text has no elements in it.
            Some(Open::Body(_)) => self.is_odd = true,
            Some(Open::Quote(_)) if xml.depth() == 3 && is(xml, name, FALLBACK, "body")? => {
                let (start, end) = (xml.attribute("start"), xml.attribute("end"));
                let range = |start, end| Some((number(start)?, number(end)?));
                match (start, end) {
                    (None, None) => self.quotes.push(None),
                    (Some(start), Some(end)) => match range(start, end) {
                        Some(range) => self.quotes.push(Some(range)),
                        None => self.is_odd = true,
                    },
                    _ => self.is_odd = true,
                }
            }
            Some(Open::Quote(_)) => self.is_odd = true,
            // Its range would be about another text afterwards.
            Some(Open::OtherFallback) => self.is_odd |= name.local == "body",
            None => {}
        }
        Ok(())
    }
}

fn is(xml: &Xml<'_>, name: Name<'_>, namespace: &str, local: &str) -> Result<bool, Unreadable> {
    Ok(name.local == local && xml.namespace(name)? == namespace)
}

/// The message's words are in this element, and its body is for clients that cannot read them.
fn is_encryption(namespace: &str, name: &str) -> bool {
    match namespace {
        "urn:xmpp:eme:0" => name == "encryption",
        "jabber:x:encrypted" => name == "x",
        _ => matches!(child(namespace, name), Child::Encrypted | Child::Sealed),
    }
}

/// A position in a text: digits only.
fn number(text: &str) -> Option<usize> {
    let is_plain = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    if is_plain { text.parse().ok() } else { None }
}

/// The characters that this part of a stanza means, and where each is written. It contains text, references and CDATA; `None`
/// if it does not.
fn units(xml: &str, part: &Range<usize>) -> impl Iterator<Item = Option<(char, Range<usize>)>> {
    let (mut at, end, mut is_cdata) = (part.start, part.end, false);
    std::iter::from_fn(move || {
        let rest = loop {
            let rest = xml.get(at..end).filter(|it| !it.is_empty())?;
            let marker = if is_cdata { CDATA_END } else { CDATA };
            let Some(after) = rest.strip_prefix(marker) else { break rest };
            (at, is_cdata) = (end - after.len(), !is_cdata);
        };
        let unit = unit(rest, is_cdata).map(|(c, length)| (c, at..at + length));
        at = unit.as_ref().map_or(end, |it| it.1.end);
        Some(unit)
    })
}

/// The first character that this text means, and how many bytes it is written with.
fn unit(text: &str, is_cdata: bool) -> Option<(char, usize)> {
    match text.chars().next()? {
        '&' if !is_cdata => {
            let name = text.get(1..)?.split_once(';')?.0;
            Some((referenced(name).ok()?, name.len() + 2))
        }
        '<' if !is_cdata => None,
        // Line ends are normalised (XML 1.0 §2.11).
        '\r' => Some(('\n', if text.starts_with("\r\n") { 2 } else { 1 })),
        other => Some((other, other.len_utf8())),
    }
}
