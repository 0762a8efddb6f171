use std::ops::Range;

use quick_xml::{Reader, errors::Error, errors::SyntaxError, events::Event as Token};

use super::{
    Flaw, MAX_BYTES, Unreadable,
    attributes::{self, Attribute, Name},
    chars::{first_forbidden, is_blank, is_space, referenced},
    scope::Scope,
};

/// What the strict reader finds next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event<'a> {
    /// Start of an element; see [`Xml::namespace`] and [`Xml::attribute`] for details.
    Start(Name<'a>),
    /// End of the innermost open element.
    End,
    /// Text that is more than white space.
    Words,
}

/// A reader for one XML document that accepts only namespace-well-formed XML as RFC 6120 §11 allows it.
///
/// quick-xml splits tokens and matches end tags; names, attributes, references, namespaces and structure are
/// checked here.
pub(super) struct Xml<'a> {
    text: &'a str,
    tokens: Reader<&'a [u8]>,
    scope: Scope<'a>,
    attributes: Vec<Attribute<'a>>,
    /// Number of open elements.
    depth: usize,
    /// The last start tag was an empty-element tag: its end event comes next.
    empty: bool,
    root_seen: bool,
    /// Where the current token starts.
    at_byte: usize,
}

impl<'a> Xml<'a> {
    pub(super) fn new(text: &'a str) -> Result<Self, Unreadable> {
        if text.len() > MAX_BYTES {
            return Err(Unreadable { flaw: Flaw::TooLong, at_byte: MAX_BYTES });
        }
        if let Some(at_byte) = first_forbidden(text) {
            return Err(Unreadable { flaw: Flaw::ForbiddenCharacter, at_byte });
        }
        if !text.trim_start_matches(is_space).starts_with('<') {
            return Err(Unreadable { flaw: Flaw::NotXml, at_byte: 0 });
        }
        Ok(Self {
            text,
            tokens: Reader::from_str(text),
            scope: Scope::default(),
            attributes: Vec::with_capacity(8),
            depth: 0,
            empty: false,
            root_seen: false,
            at_byte: 0,
        })
    }

    /// Where the token of the last event is in the text. An empty-element tag is both a start and an end.
    pub(super) fn token(&self) -> Range<usize> {
        self.at_byte..self.position()
    }

    /// Open elements: 1 after the root's [`Event::Start`], 0 after its end.
    pub(super) const fn depth(&self) -> usize {
        self.depth
    }

    /// The namespace of the element that has just started.
    pub(super) fn namespace(&self, of: Name<'a>) -> Result<&str, Unreadable> {
        self.scope.of(of).map_err(|flaw| self.flawed(flaw))
    }

    /// An attribute of the element that has just started, by its unprefixed name.
    pub(super) fn attribute(&self, local: &str) -> Option<&str> {
        let wanted = Name { prefix: "", local };
        self.attributes.iter().find(|it| it.name == wanted).map(|it| it.value.as_ref())
    }

    /// The current token as it is written: of text, a part of it, or a reference.
    pub(super) fn written(&self) -> &'a str {
        self.text.get(self.at_byte..self.position()).unwrap_or_default()
    }

    /// The next event; `None` after a complete document.
    pub(super) fn next(&mut self) -> Result<Option<Event<'a>>, Unreadable> {
        self.step().map_err(|flaw| self.flawed(flaw))
    }

    const fn flawed(&self, flaw: Flaw) -> Unreadable {
        Unreadable { flaw, at_byte: self.at_byte }
    }

    fn step(&mut self) -> Result<Option<Event<'a>>, Flaw> {
        if std::mem::take(&mut self.empty) {
            return Ok(Some(self.end()));
        }
        loop {
            self.at_byte = self.position();
            let token = self.tokens.read_event().map_err(|error| flaw(&error))?;
            match token {
                Token::Start(_) => return self.start(false).map(Some),
                Token::Empty(_) => return self.start(true).map(Some),
                Token::End(_) => return Ok(Some(self.end())),
                Token::Text(text) => {
                    if text.contains('>') && text.contains("]]>") {
                        return Err(Flaw::Malformed);
                    }
                    if !is_blank(&text) {
                        return self.words().map(Some);
                    }
                }
                Token::CData(_) if self.depth == 0 => return Err(self.outside()),
                Token::CData(text) => {
                    if !is_blank(&text) {
                        return self.words().map(Some);
                    }
                }
                Token::GeneralRef(name) => {
                    let c = referenced(&name)?;
                    if self.depth == 0 || !is_space(c) {
                        return self.words().map(Some);
                    }
                }
                Token::Eof if self.depth > 0 || !self.root_seen => return Err(Flaw::CutOff),
                Token::Eof => return Ok(None),
                Token::DocType(_) => return Err(Flaw::Doctype),
                Token::Comment(_) => return Err(Flaw::Comment),
                Token::PI(_) | Token::Decl(_) => return Err(Flaw::ProcessingInstruction),
            }
        }
    }

    fn start(&mut self, empty: bool) -> Result<Event<'a>, Flaw> {
        if self.depth == 0 && self.root_seen {
            return Err(Flaw::TrailingGarbage);
        }
        let tag = self.text.get(self.at_byte..self.position()).unwrap_or_default();
        let inner = tag.strip_prefix('<').and_then(|it| it.strip_suffix('>'));
        let inner = if empty { inner.and_then(|it| it.strip_suffix('/')) } else { inner };
        let name = inner.and_then(|it| it.split(is_space).next());
        let (Some(inner), Some(name)) = (inner, name) else { return Err(Flaw::Malformed) };

        self.root_seen = true;
        self.depth += 1;
        self.empty = empty;
        let attributes = inner.split_at(name.len()).1;
        let name = Name::parse(name)?;
        attributes::split(attributes, &mut self.attributes)?;
        self.scope.enter(self.depth, &self.attributes)?;
        self.scope.of(name)?;
        Ok(Event::Start(name))
    }

    fn end(&mut self) -> Event<'a> {
        self.scope.leave(self.depth);
        self.depth = self.depth.saturating_sub(1);
        Event::End
    }

    const fn words(&self) -> Result<Event<'a>, Flaw> {
        if self.depth == 0 { Err(self.outside()) } else { Ok(Event::Words) }
    }

    const fn outside(&self) -> Flaw {
        if self.root_seen { Flaw::TrailingGarbage } else { Flaw::NotXml }
    }

    fn position(&self) -> usize {
        usize::try_from(self.tokens.buffer_position()).unwrap_or(usize::MAX)
    }
}

const fn flaw(error: &Error) -> Flaw {
    use quick_xml::errors::IllFormedError::{MismatchedEndTag, UnmatchedEndTag};
    match error {
        Error::Syntax(SyntaxError::InvalidBangMarkup) => Flaw::Malformed,
        Error::Syntax(_) => Flaw::CutOff,
        Error::IllFormed(MismatchedEndTag { .. } | UnmatchedEndTag(_)) => Flaw::MismatchedTag,
        _ => Flaw::Malformed,
    }
}
