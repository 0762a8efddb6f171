//! Cuts the bytes of an XML stream into its header, its elements and its end.
//!
//! It only distinguishes tags from text; names, attributes and characters are left to the parser. So a stanza
//! of any length or depth costs one pass over its bytes and never more memory than [`MAX_ELEMENT`], and a
//! stanza that the parser cannot read affects nothing else.

use super::failure::NotXml;

/// Maximum bytes kept of a stanza; servers accept half of that from users.
pub(super) const MAX_ELEMENT: usize = 1 << 20;
/// Maximum depth kept of a stanza.
const MAX_DEPTH: u32 = 64;
/// Maximum length of the stream header, including the XML declaration.
const MAX_HEADER: usize = 8 << 10;

/// One part of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// The XML declaration, if any, and the opening tag of the stream.
    Header(Vec<u8>),
    /// A child of the stream: a stanza, or an element about the stream itself.
    Element(Element),
    /// The closing tag of the stream.
    End,
}

/// One child of the stream, as received.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Element {
    /// Its bytes, or as many as are kept.
    pub(super) bytes: Vec<u8>,
    /// It was too long or too deep, so `bytes` is only its beginning.
    pub(super) is_cut: bool,
}

/// The context of the next byte.
#[derive(Debug, Clone, Copy)]
enum At {
    Content,
    /// After `<`.
    Markup,
    StartTag {
        /// The previous byte was a slash: `>` would also close the element.
        after_slash: bool,
    },
    /// In an attribute's value, which ends at this quote.
    Quoted(u8),
    EndTag,
    /// In `<?xml …?>`.
    Declaration,
    /// After `<!` and this many bytes of [`CDATA`].
    CdataStart(usize),
    /// In a CDATA section, after this many closing brackets.
    Cdata(u8),
}

const CDATA: &[u8] = b"[CDATA[";

/// What a byte ends.
#[derive(Debug, Clone, Copy)]
enum Edge {
    None,
    Header,
    Element,
    Stream,
}

/// The state between two bytes.
#[derive(Debug)]
pub(super) struct Framer {
    at: At,
    /// Number of open elements; the stream is the first.
    depth: u32,
    kept: Vec<u8>,
    is_cut: bool,
}

impl Framer {
    pub(super) fn new() -> Self {
        Self { at: At::Content, depth: 0, kept: Vec::new(), is_cut: false }
    }

    /// Takes bytes from `input` until a frame ends; `None` if the frame is not complete yet.
    pub(super) fn cut(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, NotXml> {
        while let Some((byte, rest)) = input.split_first() {
            *input = rest;
            self.keep(*byte);
            match self.step(*byte)? {
                Edge::None => {}
                Edge::Header => return self.header().map(Some),
                Edge::Element => return Ok(Some(Frame::Element(self.take()))),
                Edge::Stream => return Ok(Some(Frame::End)),
            }
        }
        Ok(None)
    }

    fn step(&mut self, byte: u8) -> Result<Edge, NotXml> {
        self.at = match (self.at, byte) {
            (At::Content, b'<') => At::Markup,
            (At::Content, _) if self.depth == 0 && !byte.is_ascii_whitespace() => {
                return Err(NotXml::IllFormed);
            }
            (At::Content, _) => At::Content,

            (At::Markup, b'/') => At::EndTag,
            (At::Markup, b'?') if self.depth == 0 => At::Declaration,
            (At::Markup, b'!') if self.depth > 1 => At::CdataStart(0),
            // Comments, processing instructions and document types: RFC 6120, 11.1.
            (At::Markup, b'?' | b'!') => return Err(NotXml::Restricted),
            (At::Markup, b'<' | b'>') => return Err(NotXml::IllFormed),
            (At::Markup, _) => self.open(),

            (At::StartTag { after_slash }, b'>') => {
                self.at = At::Content;
                return Ok(if after_slash { self.close() } else { self.opened() });
            }
            (At::EndTag, b'>') => {
                self.at = At::Content;
                return Ok(self.close());
            }
            (At::StartTag { .. } | At::Quoted(_) | At::EndTag, b'<') => {
                return Err(NotXml::IllFormed);
            }
            (At::StartTag { .. }, quote @ (b'\'' | b'"')) => At::Quoted(quote),
            (At::StartTag { .. }, _) => At::StartTag { after_slash: byte == b'/' },
            (At::Quoted(quote), _) if byte == quote => At::StartTag { after_slash: false },
            (At::Quoted(quote), _) => At::Quoted(quote),
            (At::EndTag, _) => At::EndTag,

            (At::Declaration, b'>') => At::Content,
            (At::Declaration, _) => At::Declaration,

            (At::CdataStart(read), _) if CDATA.get(read) != Some(&byte) => {
                return Err(NotXml::Restricted);
            }
            (At::CdataStart(read), _) if read + 1 == CDATA.len() => At::Cdata(0),
            (At::CdataStart(read), _) => At::CdataStart(read + 1),
            (At::Cdata(2), b'>') => At::Content,
            (At::Cdata(brackets), b']') => At::Cdata((brackets + 1).min(2)),
            (At::Cdata(_), _) => At::Cdata(0),
        };
        Ok(Edge::None)
    }

    /// Keeps the byte, unless it is between frames or the limit is reached.
    fn keep(&mut self, byte: u8) {
        let is_between = self.depth <= 1 && matches!(self.at, At::Content) && byte != b'<';
        let limit = if self.depth <= 1 { MAX_HEADER } else { MAX_ELEMENT };
        self.is_cut |= !is_between && self.kept.len() == limit;
        if !is_between && !self.is_cut {
            self.kept.push(byte);
        }
    }

    fn open(&mut self) -> At {
        self.depth = self.depth.saturating_add(1);
        self.is_cut |= self.depth > MAX_DEPTH + 1;
        At::StartTag { after_slash: false }
    }

    fn opened(&self) -> Edge {
        if self.depth == 1 { Edge::Header } else { Edge::None }
    }

    fn close(&mut self) -> Edge {
        self.depth = self.depth.saturating_sub(1);
        match self.depth {
            0 => Edge::Stream,
            1 => Edge::Element,
            _ => Edge::None,
        }
    }

    fn header(&mut self) -> Result<Frame, NotXml> {
        let header = self.take();
        if header.is_cut { Err(NotXml::LongHeader) } else { Ok(Frame::Header(header.bytes)) }
    }

    fn take(&mut self) -> Element {
        Element {
            bytes: std::mem::take(&mut self.kept),
            is_cut: std::mem::replace(&mut self.is_cut, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: &str = "<?xml version='1.0'?><stream:stream to='a>b' id=\"it's\">";

    fn frames(bytes: &[u8]) -> Result<Vec<Frame>, NotXml> {
        let (mut framer, mut input) = (Framer::new(), bytes);
        std::iter::from_fn(|| framer.cut(&mut input).transpose()).collect()
    }

    fn whole(text: &str) -> Frame {
        Frame::Element(Element { bytes: text.into(), is_cut: false })
    }

    #[test]
    fn the_stream_is_cut_where_its_children_end() {
        let stanzas = [
            "<iq/>",
            "<a b='/>' c=\">'\"/>",
            "<a><a><b/>x</a></a>",
            "<a><![CDATA[]] >]</a>]]]></a>",
            "<a b='1'\t/>",
            "<a/b='1'></a>",
        ];
        let text = format!("{HEADER}\n{} </stream:stream>", stanzas.join(" \n"));
        let mut expected = vec![Frame::Header(HEADER.into())];
        expected.extend(stanzas.map(whole));
        expected.push(Frame::End);
        assert_eq!(frames(text.as_bytes()), Ok(expected));
    }

    #[test]
    fn what_no_stream_may_carry_is_refused() {
        for (text, why) in [
            ("<!-- -->", NotXml::Restricted),
            ("<!DOCTYPE a>", NotXml::Restricted),
            ("<?php ?>", NotXml::Restricted),
            ("<a><!-- --></a>", NotXml::Restricted),
            ("<a><![CDATX[x]]></a>", NotXml::Restricted),
            ("<>", NotXml::IllFormed),
            ("<<a/>", NotXml::IllFormed),
            ("<a b='<'/>", NotXml::IllFormed),
            ("<a <b/>", NotXml::IllFormed),
            ("<a></a<b>", NotXml::IllFormed),
        ] {
            assert_eq!(frames(format!("{HEADER}{text}").as_bytes()), Err(why), "{text}");
        }
    }

    #[test]
    fn a_long_stanza_is_cut_and_the_next_is_whole() {
        for filler in ["x", "<x/>", "<x>", "<x y='z'/>"] {
            let mut text = format!("{HEADER}<a>{}", filler.repeat(4 * MAX_ELEMENT / filler.len()));
            if filler == "<x>" {
                text.push_str(&"</x>".repeat(4 * MAX_ELEMENT / filler.len()));
            }
            text.push_str("</a><b/>");
            let found = frames(text.as_bytes()).unwrap();
            let [_, Frame::Element(first), second] = &found[..] else { panic!("{filler}") };
            assert!(first.is_cut && first.bytes.len() <= MAX_ELEMENT, "{filler}");
            assert!(first.bytes.capacity() <= MAX_ELEMENT, "{filler}");
            assert_eq!(second, &whole("<b/>"), "{filler}");
        }
    }

    #[test]
    fn a_deep_stanza_is_cut_at_its_depth() {
        let nested = |levels: usize| {
            let text = format!("{HEADER}{}{}", "<a>".repeat(levels), "</a>".repeat(levels));
            let mut found = frames(text.as_bytes()).unwrap();
            let Some(Frame::Element(element)) = found.pop() else { panic!("{levels}") };
            element
        };
        assert!(!nested(64).is_cut);
        assert!(nested(65).is_cut);
        assert!(nested(500).bytes.len() < 300);
    }

    #[test]
    fn a_long_header_is_refused() {
        let text = format!("<stream a='{}'>", "x".repeat(MAX_HEADER));
        assert_eq!(frames(text.as_bytes()), Err(NotXml::LongHeader));
    }

    #[test]
    fn white_space_between_stanzas_is_not_kept() {
        let mut framer = Framer::new();
        let text = format!("{HEADER}{}", " ".repeat(100_000));
        let mut input = text.as_bytes();
        while framer.cut(&mut input).unwrap().is_some() {}
        assert!(framer.kept.is_empty());
    }

    /// Well-formed content, in every spelling that XML allows.
    fn content() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            "[a-z \n>'\"/=\\[!?]{0,8}",
            "(&lt;|&amp;|&#60;|é|\u{10ffff}){0,3}",
            "[a-z<>&/'\"\\[\\]\\]! ]{0,8}"
                .prop_map(|text| format!("<![CDATA[{}]]>", text.replace("]]>", "]] >"))),
            Just("<![CDATA[]]]]>".to_owned()),
            Just("<a/>".to_owned()),
        ];
        leaf.prop_recursive(6, 48, 4, |inner| {
            let tag = ("[a-z]{1,3}", "[ \n\t]{0,2}", "[a-z/>'= ]{0,5}", "[a-z/>\"= ]{0,5}");
            (tag, prop::collection::vec(inner, 0..4)).prop_map(
                |((name, space, one, two), inner)| {
                    let content = inner.concat();
                    format!(
                        "<{name} a=\"{one}\"{space} b{space}='{two}'{space}>{content}</{name}\n>"
                    )
                },
            )
        })
    }

    /// The number of children of the stream according to the parser that reads them.
    fn parsed(bytes: &[u8]) -> Option<usize> {
        let (mut parser, mut rest) = (rxml::Parser::new(), bytes);
        let (mut depth, mut children) = (0, 0);
        loop {
            match rxml::Parse::parse(&mut parser, &mut rest, false) {
                Ok(Some(rxml::Event::StartElement(..))) => depth += 1,
                Ok(Some(rxml::Event::EndElement(_))) => {
                    depth -= 1;
                    children += usize::from(depth == 1);
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(rxml::error::EndOrError::NeedMoreData) => break,
                Err(_) => return None,
            }
        }
        (depth == 1).then_some(children)
    }

    fn framed(bytes: &[u8]) -> Result<usize, NotXml> {
        let frames = frames(bytes)?;
        Ok(frames.iter().filter(|frame| matches!(frame, Frame::Element(_))).count())
    }

    proptest! {
        #[test]
        fn framer_and_parser_agree_where_stanzas_end(stanzas in prop::collection::vec(content(), 0..4)) {
            let text = format!("<s><m>{}</m>", stanzas.join("</m><m>"));
            let stanzas = parsed(text.as_bytes());
            prop_assert!(stanzas.is_some(), "{text}");
            prop_assert_eq!(framed(text.as_bytes()).ok(), stanzas, "{}", text);
        }

        #[test]
        fn whatever_the_parser_accepts_is_framed_alike(soup in "(<a>|</a>|<a/>|<b c='|'>|'/>|<!\\[CDATA\\[|\\]\\]>|[<>/'\"!?\\[\\]= ab]){0,12}") {
            let text = format!("<s><a>{soup}");
            let found = framed(text.as_bytes());
            // Between stanzas, XML allows what XMPP does not.
            if let Some(stanzas) = parsed(text.as_bytes()) && found != Err(NotXml::Restricted) {
                prop_assert_eq!(found, Ok(stanzas), "{}", text);
            }
        }
    }
}
