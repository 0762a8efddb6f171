use std::collections::BTreeMap;
use std::ops::Range;

use rxml::error::EndOrError;
use rxml::{Event, Namespace, Options, Parse as _, Parser, WithOptions as _};

use crate::error::Context as _;
use crate::{LabError, Result};

/// Elements nested deeper are skipped: a tree's content is bounded.
const MAX_DEPTH: usize = 256;
const MAX_TOKEN_BYTES: usize = 8 << 20;

/// An XML element.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Element {
    /// The namespace, never a prefix.
    pub namespace: String,
    /// The local name.
    pub name: String,
    /// Attributes by local name; `xml:lang` keeps its prefix.
    pub attributes: BTreeMap<String, String>,
    /// Child elements in document order.
    pub children: Vec<Element>,
    /// The text directly inside, joined.
    pub text: String,
    /// Its position in the parsed text, in bytes.
    pub span: Range<usize>,
}

impl Element {
    /// Reads one element; a root without namespace is of `jabber:client`.
    pub fn parse(xml: &str) -> Result<Self> {
        const ROOT: &str = "<root xmlns='jabber:client'>";
        let document = format!("{ROOT}{xml}</root>");
        let mut bytes = document.as_bytes();
        let (mut parser, mut tree, mut found) = (new_parser(), TreeBuilder::default(), None);
        loop {
            match parser.parse(&mut bytes, true) {
                Ok(Some(event)) => found = tree.feed(event).or(found),
                Ok(None) => break,
                Err(EndOrError::NeedMoreData) => return Err(LabError::new("XML ends too early")),
                Err(EndOrError::Error(error)) => return Err(error).context("reading XML"),
            }
        }
        let mut root = found.ok_or_else(|| LabError::new("no XML element"))?;
        let mut element = root.children.pop().ok_or_else(|| LabError::new("no XML element"))?;
        element.shift(ROOT.len());
        Ok(element)
    }

    /// An attribute without namespace.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }

    /// The first child of this name.
    pub fn child(&self, namespace: &str, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.is(namespace, name))
    }

    /// Whether it has this name.
    pub fn is(&self, namespace: &str, name: &str) -> bool {
        self.namespace == namespace && self.name == name
    }

    /// The text of the first `<body/>` of a message.
    pub fn body(&self) -> Option<&str> {
        let body = |child: &&Self| child.name == "body" && child.namespace == self.namespace;
        self.children.iter().find(body).map(|body| body.text.as_str())
    }

    /// Its stanza error, as an error of the lab.
    pub fn error(&self) -> Option<LabError> {
        if self.attribute("type") != Some("error") {
            return None;
        }
        let error = self.child(&self.namespace, "error");
        let parts = error.map_or(&[] as &[Self], |error| &error.children);
        let is_text = |it: &&Self| it.name == "text";
        let condition = parts.iter().find(|it| !is_text(it)).map(|it| it.name.clone());
        let text = parts.iter().find(is_text).map(|it| it.text.clone());
        Some(LabError::Stanza {
            condition: condition.unwrap_or_else(|| "undefined".to_owned()),
            text: text.unwrap_or_default(),
        })
    }

    fn shift(&mut self, by: usize) {
        self.span = self.span.start.saturating_sub(by)..self.span.end.saturating_sub(by);
        self.children.iter_mut().for_each(|child| child.shift(by));
    }
}

/// Escapes text for use as character data or inside an attribute.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            _ => out.push(c),
        }
    }
    out
}

pub(super) fn new_parser() -> Parser {
    Parser::with_options(Options { max_token_length: MAX_TOKEN_BYTES, ..Options::default() })
}

/// Builds successive elements from a parser's events.
#[derive(Debug, Default)]
pub(super) struct TreeBuilder {
    open: Vec<Element>,
    /// How many open elements are too deep to keep.
    too_deep: usize,
    position: usize,
}

impl TreeBuilder {
    /// No element is open.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty()
    }

    /// Handles an event; returns the outermost element when it closes.
    pub(super) fn feed(&mut self, event: Event) -> Option<Element> {
        let start = if self.is_idle() { 0 } else { self.position };
        self.position = start + event.metrics().len();
        match event {
            Event::StartElement(_, name, attributes) => {
                if self.open.len() >= MAX_DEPTH {
                    self.too_deep += 1;
                    return None;
                }
                let mut element = start_tag(name, &attributes);
                element.span = start..start;
                self.open.push(element);
            }
            Event::Text(_, text) => {
                if let Some(element) = self.open.last_mut().filter(|_| self.too_deep == 0) {
                    element.text.push_str(&text);
                }
            }
            Event::EndElement(_) if self.too_deep > 0 => self.too_deep -= 1,
            Event::EndElement(_) => {
                let mut element = self.open.pop()?;
                element.span.end = self.position;
                match self.open.last_mut() {
                    Some(parent) => parent.children.push(element),
                    None => return Some(element),
                }
            }
            Event::XmlDeclaration(..) => {}
        }
        None
    }
}

pub(super) fn start_tag(name: rxml::QName, attributes: &rxml::AttrMap) -> Element {
    let (namespace, name) = name;
    let named = |(namespace, name): (&Namespace<'_>, &rxml::NcName), value: &String| {
        let prefix = if *namespace == Namespace::XML { "xml:" } else { "" };
        (format!("{prefix}{name}"), value.clone())
    };
    Element {
        namespace: namespace.as_str().to_owned(),
        name: name.to_string(),
        attributes: attributes.iter().map(|(name, value)| named(name, value)).collect(),
        ..Element::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_knows_its_names_its_text_and_its_place() {
        let xml = "<message type='chat' xml:lang='en'><body>a &amp; b</body>\
                   <e:x xmlns:e='urn:e' timer='5'><e:y/></e:x></message>";
        let message = Element::parse(xml).unwrap();
        assert!(message.is("jabber:client", "message"));
        assert_eq!(message.attribute("type"), Some("chat"));
        assert_eq!(message.attribute("xml:lang"), Some("en"));
        assert_eq!(message.body(), Some("a & b"));
        assert_eq!(&xml[message.span.clone()], xml);
        let x = message.child("urn:e", "x").unwrap();
        assert_eq!(&xml[x.span.clone()], "<e:x xmlns:e='urn:e' timer='5'><e:y/></e:x>");
        assert_eq!(&xml[x.children[0].span.clone()], "<e:y/>");
    }

    #[test]
    fn what_nests_too_deep_is_left_out() {
        let xml = format!("{}{}", "<a>".repeat(300), "</a>".repeat(300));
        let mut element = &Element::parse(&xml).unwrap();
        let mut depth = 1;
        while let Some(child) = element.children.first() {
            (element, depth) = (child, depth + 1);
        }
        assert_eq!(depth, MAX_DEPTH - 1);
    }

    #[test]
    fn broken_xml_is_an_error() {
        assert!(Element::parse("<a><b></a>").is_err());
        assert!(Element::parse("<a>").is_err());
        assert!(Element::parse("").is_err());
    }

    #[test]
    fn escaped_text_reads_back() {
        let text = r#"<&>'""#;
        assert_eq!(Element::parse(&format!("<a>{}</a>", escape(text))).unwrap().text, text);
    }
}
