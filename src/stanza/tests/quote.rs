//! Cutting quotes, against a slow reference: the generator knows how each character of the body is written, so what must be
//! left is put together anew; minidom reads both stanzas as clients would.

use minidom::Element;
use proptest::{collection::vec, prelude::*, sample::select};

use crate::stanza::{Cut, cut_quote, read};

const REPLY: &str = "<reply xmlns='urn:xmpp:reply:0' to='a@example.org' id='target'/>";

/// What a body is written with: characters, or a CDATA section of them.
#[derive(Debug, Clone)]
enum Part {
    Text(Vec<(String, char)>),
    Cdata(Vec<(String, char)>),
}

/// A reply, in parts.
#[derive(Debug, Clone)]
struct Reply {
    before: String,
    start_tag: &'static str,
    parts: Vec<Part>,
    between: String,
    range: Range,
    after: String,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Range {
    Whole,
    Of(usize, usize),
}

impl Reply {
    fn length(&self) -> usize {
        let length = |part: &Part| match part {
            Part::Text(units) | Part::Cdata(units) => units.len(),
        };
        self.parts.iter().map(length).sum()
    }

    fn range(&self) -> (usize, usize) {
        match self.range {
            Range::Whole => (0, self.length()),
            Range::Of(start, end) => (start, end),
        }
    }

    /// The body without these characters.
    fn body(&self, is_left: impl Fn(usize) -> bool) -> (String, String) {
        let (mut written, mut text, mut at) = (String::new(), String::new(), 0);
        for part in &self.parts {
            let (units, before, after) = match part {
                Part::Text(units) => (units, "", ""),
                Part::Cdata(units) => (units, "<![CDATA[", "]]>"),
            };
            written += before;
            for (spelling, c) in units {
                if is_left(at) {
                    written += spelling;
                    text.push(*c);
                }
                at += 1;
            }
            written += after;
        }
        (written, text)
    }

    fn around(&self, body: &str, fallback: &str) -> String {
        let Self { before, start_tag, between, after, .. } = self;
        format!(
            "<message from='b@h/x'>{before}{start_tag}{body}</body>{between}{fallback}{after}</message>"
        )
    }

    fn fallback(&self) -> String {
        let range = match self.range {
            Range::Whole => String::new(),
            Range::Of(start, end) => format!(" start='{start}' end='{end}'"),
        };
        format!(
            "<fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body{range}/></fallback>"
        )
    }

    fn xml(&self) -> String {
        self.around(&self.body(|_| true).0, &self.fallback())
    }

    /// What must be left of it, or `None` if it must stay as it is.
    fn cut(&self) -> Option<Cut> {
        let (start, end) = self.range();
        if start > end || end > self.length() {
            return None;
        }
        let (written, body) = self.body(|at| at < start || at >= end);
        let xml = self.around(&written, "");
        // Where characters that meet mean something else, nothing is cut.
        let root = tree(&xml)?;
        let read = root.get_child("body", "jabber:client")?;
        let is_text = read.nodes().all(|it| it.as_text().is_some());
        (is_text && read.text() == body).then_some(Cut { xml, body })
    }
}

/// The stanza as a client would read it.
fn tree(xml: &str) -> Option<Element> {
    let wrapped = format!("<w xmlns='jabber:client'>{xml}</w>");
    rxml::Reader::new(wrapped.as_bytes()).read_all(drop).ok()?;
    Element::from_reader(wrapped.as_bytes()).ok()?.children().next().cloned()
}

fn unit() -> impl Strategy<Value = (String, char)> {
    let plain = "ab> \n]ä€👋\u{301}".chars().collect::<Vec<_>>();
    let plain = select(plain).prop_map(|c| (c.to_string(), c));
    let spelled = select(vec![
        ("&gt;", '>'),
        ("&lt;", '<'),
        ("&amp;", '&'),
        ("&quot;", '"'),
        ("&apos;", '\''),
        ("&#13;", '\r'),
        ("&#x1F44B;", '👋'),
        ("&#8364;", '€'),
        ("\r\n", '\n'),
    ]);
    prop_oneof![3 => plain, 2 => spelled.prop_map(|(spelling, c)| (spelling.to_owned(), c))]
}

/// Characters that need no references.
fn literal() -> impl Strategy<Value = (String, char)> {
    let plain = "ab<&> \n]ä👋".chars().collect::<Vec<_>>();
    select(plain).prop_map(|c| (c.to_string(), c))
}

fn part() -> impl Strategy<Value = Part> {
    let safe = |units: &Vec<(String, char)>| {
        !units.iter().map(|it| it.0.as_str()).collect::<String>().contains("]]>")
    };
    prop_oneof![
        3 => vec(unit(), 0..12).prop_filter("]]> is no text", safe).prop_map(Part::Text),
        1 => vec(literal(), 0..6).prop_filter("]]> ends it", safe).prop_map(Part::Cdata),
    ]
}

/// What may be beside body and fallback and does not matter.
fn beside() -> impl Strategy<Value = String> {
    select(vec![
        "",
        "<active xmlns='http://jabber.org/protocol/chatstates'/>",
        "<x xmlns='y'><body>not this one</body><fallback for='urn:xmpp:reply:0'/></x>",
        "<body xmlns='urn:example:other'>nor this</body>",
        "<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>a<p>b</p></body></html>",
        "<fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reactions:0'/>",
        "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='7'/>",
    ])
    .prop_map(str::to_owned)
}

fn reply() -> impl Strategy<Value = Reply> {
    let tags = vec!["<body>", "<body xml:lang='en'>", "<body\n xmlns='jabber:client' >"];
    let parts = vec(part(), 0..5);
    (beside(), select(tags), parts, beside(), beside(), 0..9_usize, 0..40_usize, 0..40_usize)
        .prop_map(|(before, start_tag, parts, between, after, kind, one, other)| {
            let mut reply = Reply {
                before: before + REPLY,
                start_tag,
                parts,
                between,
                after,
                range: Range::Whole,
            };
            let length = reply.length();
            reply.range = match kind {
                0 => Range::Whole,
                // Any range, mostly a wrong one.
                1 | 2 => Range::Of(one, other),
                _ => {
                    let (one, other) = (one % (length + 1), other % (length + 1));
                    Range::Of(one.min(other), one.max(other))
                }
            };
            reply
        })
        .prop_filter("]]> is no text", |it| tree(&it.xml()).is_some())
}

/// The same children, but for this fallback and the body's text.
fn is_same_but_cut(whole: &Element, cut: &Element, body: &str) -> bool {
    let is_quote = |it: &Element| {
        it.is("fallback", "urn:xmpp:fallback:0") && it.attr("for") == Some("urn:xmpp:reply:0")
    };
    let left: Vec<&Element> = whole.children().filter(|it| !is_quote(it)).collect();
    let there: Vec<&Element> = cut.children().collect();
    let is_body = |it: &Element| it.is("body", "jabber:client");
    let without_text = |it: &Element| {
        let mut it = it.clone();
        it.take_nodes();
        it
    };
    left.len() == there.len()
        && left.iter().zip(&there).all(|(left, there)| match is_body(left) {
            true => there.text() == body && without_text(left) == without_text(there),
            false => left == there,
        })
}

proptest! {
    #![proptest_config(super::config())]

    /// Only the quote goes, byte for byte, whatever the body is written with; or nothing does.
    #[test]
    fn only_the_quote_is_cut(reply in reply()) {
        let xml = reply.xml();
        prop_assert!(read(&xml).is_ok(), "the generator makes readable stanzas: {}", xml);
        let cut = cut_quote(&xml);
        prop_assert_eq!(&cut, &reply.cut(), "{}", xml);
        let Some(Cut { xml: cut, body }) = cut else { return Ok(()) };
        prop_assert!(is_same_but_cut(&tree(&xml).unwrap(), &tree(&cut).unwrap(), &body), "{} {}", xml, cut);
        prop_assert_eq!(read(&cut).map(|it| it.quotes), Ok(None));
        prop_assert_eq!(cut_quote(&cut), None, "once");
    }

    /// Whatever is broken in it, cutting does not panic, and what it makes can be read.
    #[test]
    fn what_is_cut_can_be_read(xml in super::generate::mutations(reply().prop_map(|it| it.xml()))) {
        if let Some(cut) = cut_quote(&xml) {
            prop_assert!(read(&xml).is_ok() && read(&cut.xml).is_ok(), "{}", xml);
            prop_assert!(cut.xml.len() < xml.len());
        }
    }
}

fn with(body: &str, rest: &str) -> String {
    format!("<message from='b@h/x'>{REPLY}{body}{rest}</message>")
}

fn quote(range: &str) -> String {
    format!(
        "<fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body{range}/></fallback>"
    )
}

/// The example of XEP-0461, and what its body is after the quote went.
#[test]
fn the_quote_of_the_specification_is_cut() {
    let body = "<body>&gt; Anna wrote:\n&gt; We should bake a cake\nGreat idea!</body>";
    let cut = cut_quote(&with(body, &quote(" start='0' end='38'"))).unwrap();
    assert_eq!(cut, Cut { xml: with("<body>Great idea!</body>", ""), body: "Great idea!".into() });
    let all = cut_quote(&with(body, &quote(""))).unwrap();
    assert_eq!(all, Cut { xml: with("<body></body>", ""), body: String::new() });
    let empty = cut_quote(&with("<body/>", &quote(" start='0' end='0'"))).unwrap();
    assert_eq!(empty.xml, with("<body/>", ""));
}

/// What cannot be told for certain stays.
#[test]
fn in_doubt_nothing_is_cut() {
    let body = "<body>&gt; words\nYes</body>";
    let range = " start='0' end='8'";
    let fine = quote(range);
    assert!(cut_quote(&with(body, &fine)).is_some(), "what the others differ from");
    let doubtful = [
        with(body, ""),
        with(body, &quote(" start='0'")),
        with(body, &quote(" end='8'")),
        with(body, &quote(" start='0' end='12'")),
        with(body, &quote(" start='5' end='4'")),
        with(body, &quote(" start='-0' end='8'")),
        with(body, &quote(" start='+0' end='8'")),
        with(body, &quote(" start='0' end='99999999999999999999999'")),
        with(body, &quote(" start='' end='8'")),
        with(body, &fine.repeat(2)),
        with(body, &fine.replace("<body", "<body start='9' end='9'/><body")),
        with(body, &fine.replace("</fallback>", "<subject/></fallback>")),
        with(body, &fine.replace("</fallback>", "words</fallback>")),
        with(body, &fine.replace(&format!("<body{range}/>"), "")),
        with(body, &fine.replace("urn:xmpp:reply:0", "urn:xmpp:other:0")),
        with(body, &(fine.clone() + &fine.replace("urn:xmpp:reply:0", "urn:xmpp:other:0"))),
        with(&(body.to_owned() + "<body xml:lang='de'>&gt; words\nJa</body>"), &fine),
        with("<body>&gt; words\nYes<b/></body>", &fine),
        with("<x xmlns='y'>&gt; words\nYes</x>", &fine),
        with(body, &(fine.clone() + REPLY)),
        with(body, &fine).replace(REPLY, ""),
        with(body, &fine).replace("<message ", "<presence ").replace("</message", "</presence"),
        with(body, &(fine.clone() + "<encryption xmlns='urn:xmpp:eme:0' namespace='x'/>")),
        with(body, &(fine.clone() + "<encrypted xmlns='eu.siacs.conversations.axolotl'/>")),
        with(body, &(fine.clone() + "<encrypted xmlns='urn:xmpp:omemo:2'/>")),
        with(body, &(fine.clone() + "<openpgp xmlns='urn:xmpp:openpgp:0'/>")),
        with(body, &(fine.clone() + "<x xmlns='jabber:x:encrypted'/>")),
        // What meets would mean something else.
        with("<body>]]a></body>", &quote(" start='2' end='3'")),
        with("<body><![CDATA[]]a>]]></body>", &quote(" start='2' end='3'")),
        with("<body>\ra\nb</body>", &quote(" start='1' end='2'")),
    ];
    for xml in doubtful {
        assert_eq!(cut_quote(&xml), None, "{xml}");
    }
}

/// A stanza of the greatest size that is read, full of references, takes no longer than reading it a few times.
#[test]
fn the_largest_reply_is_cut() {
    let fallback = quote(" start='0' end='400000'");
    let references = "&amp;".repeat(800_000);
    let cut = cut_quote(&with(&format!("<body>{references}</body>"), &fallback)).unwrap();
    assert_eq!(cut.body.len(), 400_000);
    let sections = "<![CDATA[]]>a".repeat(300_000);
    let cut =
        cut_quote(&with(&format!("<body>{sections}</body>"), &quote(" start='0' end='299999'")));
    assert_eq!(cut.unwrap().body, "a");
    let nested = format!("{}{}", "<x>".repeat(500_000), "</x>".repeat(500_000));
    assert_eq!(cut_quote(&with(&format!("<body>{nested}</body>"), &fallback)), None);
}

/// A reply says what it quotes only if it says that it quotes at all, and never what speaks for itself.
#[test]
fn a_reply_names_what_it_quotes() {
    let quotes = |xml: &str| read(xml).unwrap().quotes.map(|it| it.id);
    let fine = with("<body>a</body>", &quote(" start='0' end='1'"));
    assert_eq!(quotes(&fine).as_deref(), Some("target"));
    assert_eq!(quotes(&with("<body>a</body>", "")), None);
    assert_eq!(quotes(&fine.replace(" id='target'", "")), None);
    assert_eq!(quotes(&fine.replace("<message", "<message type='error'")), None);
    assert_eq!(quotes(&fine.replace(REPLY, &format!("{REPLY}<subject>a</subject>"))), None);
    assert_eq!(quotes(&fine.replace(REPLY, &format!("<x xmlns='y'>{REPLY}</x>"))), None);
}
