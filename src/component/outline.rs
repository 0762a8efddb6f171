//! The outline of a companion protocol payload: its own element, that element's children, and the stanzas
//! inside these, serialised again.

use rxml::{AttrMap, Encoder, Event, Namespace};

/// The namespace of docs/protocol.md.
pub(super) const COMPANION: &str = "urn:ephemerd:companion:0";
const CLIENT: &str = "jabber:client";
/// The only elements allowed between a payload's child and a stanza.
const FORWARD: &str = "urn:xmpp:forward:0";
/// Maximum children of a payload: none of our requests asks for more.
const MOST_PARTS: usize = 1_000;

/// The payload of a stanza.
#[derive(Debug)]
pub(super) struct Outline {
    pub(super) namespace: String,
    pub(super) name: String,
    attributes: AttrMap,
    pub(super) parts: Vec<Part>,
}

/// A child of the payload.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) namespace: String,
    pub(super) name: String,
    attributes: AttrMap,
    /// The first message in it, as a document of its own.
    pub(super) stanza: Option<String>,
}

impl Outline {
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(Namespace::none(), name).map(String::as_str)
    }

    /// Whether it is this element of our protocol.
    pub(super) fn is(&self, name: &str) -> bool {
        self.namespace == COMPANION && self.name == name
    }

    /// The children that are this element of our protocol.
    pub(super) fn parts<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Part> {
        self.parts.iter().filter(move |it| it.namespace == COMPANION && it.name == name)
    }
}

impl Part {
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(Namespace::none(), name).map(String::as_str)
    }

    /// Whether it is an element that may contain a stanza.
    fn shows(&self) -> bool {
        (self.namespace == FORWARD && self.name == "forwarded")
            || (self.namespace == COMPANION && self.name == "row")
    }
}

/// Reads the first child of a stanza that `wanted` accepts by namespace and name, from the events after the
/// stanza's start tag. `None` if there is none, or if the stanza breaks off.
pub(super) fn read(
    mut events: impl Iterator<Item = Event>,
    wanted: impl Fn(&str, &str) -> bool,
) -> Option<Outline> {
    let mut found: Option<Outline> = None;
    let mut reader = Reader::default();
    loop {
        let event = events.next()?;
        let is_start = matches!(event, Event::StartElement(..));
        let is_end = matches!(event, Event::EndElement(_));
        match (reader.depth, event) {
            (0, Event::EndElement(_)) => return found,
            (0, Event::StartElement(_, (namespace, name), attributes)) => {
                reader.inside = found.is_none() && wanted(namespace.as_str(), &name);
                if reader.inside {
                    let (namespace, name) = (namespace.as_str().to_owned(), name.to_string());
                    found = Some(Outline { namespace, name, attributes, parts: Vec::new() });
                }
            }
            (_, event) => {
                if let Some(outline) = found.as_mut().filter(|_| reader.inside) {
                    reader.take(outline, event)?;
                }
            }
        }
        if is_start {
            reader.depth += 1;
        } else if is_end {
            reader.depth -= 1;
        }
    }
}

#[derive(Default)]
struct Reader {
    /// Open elements below the stanza.
    depth: u32,
    /// Inside the payload that is being read.
    inside: bool,
    /// The stanza that is being serialised, and its encoder.
    stanza: Option<(Vec<u8>, Encoder<rxml::writer::SimpleNamespaces>)>,
}

impl Reader {
    fn take(&mut self, outline: &mut Outline, event: Event) -> Option<()> {
        if let Some((text, encoder)) = &mut self.stanza {
            encoder.encode_event(&event, text).ok()?;
            if self.depth == 3 && matches!(event, Event::EndElement(_)) {
                let text = String::from_utf8(self.stanza.take()?.0).ok()?;
                if let Some(part) = outline.parts.last_mut() {
                    part.stanza = Some(text);
                }
            }
            return Some(());
        }
        let Event::StartElement(_, (namespace, name), _) = &event else { return Some(()) };
        let shown = outline.parts.last().is_some_and(|part| part.shows() && part.stanza.is_none());
        if self.depth == 2 && shown && namespace.as_str() == CLIENT && *name == "message" {
            let (mut text, mut encoder) = (Vec::new(), Encoder::new());
            encoder.encode_event(&event, &mut text).ok()?;
            self.stanza = Some((text, encoder));
        } else if self.depth == 1 {
            if outline.parts.len() == MOST_PARTS {
                return None;
            }
            let Event::StartElement(_, (namespace, name), attributes) = event else {
                return Some(());
            };
            let (namespace, name) = (namespace.as_str().to_owned(), name.to_string());
            outline.parts.push(Part { namespace, name, attributes, stanza: None });
        }
        Some(())
    }
}
