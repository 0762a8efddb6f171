//! Nothing that a user can send costs more than linear time: no recursion, no quadratic search, no panic.

use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::generate::{mutations, stanza};
use crate::stanza::{Flaw, MAX_BYTES, blank_queued, placeholder, read};

const TIMER: &str = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='60'/>";

/// Long enough that a quadratic search takes minutes, short enough for an unoptimised build.
const LONG: usize = MAX_BYTES / 8;

/// As many repetitions as fit beside this many other bytes.
fn full_of(part: &str, others: usize) -> String {
    part.repeat((LONG - others) / part.len())
}

/// On a stack too small for one call per level.
#[test]
fn a_deep_stanza_goes_on_time() {
    let read_it = || {
        let (down, up) = ("<a>".repeat(500), "</a>".repeat(500));
        let facts = read(&format!("<message>{down}{up}{TIMER}</message>")).unwrap();
        assert_eq!((facts.timers.shortest_seconds, facts.has_content), (Some(60), true));
    };
    let small = std::thread::Builder::new().stack_size(48 << 10);
    small.spawn(read_it).unwrap().join().unwrap();
}

#[test]
fn a_long_body_goes_on_time() {
    let body = "Words, w\u{f6}rds. ".repeat(80_000);
    let facts = read(&format!("<message><body>{body}</body>{TIMER}</message>")).unwrap();
    assert_eq!((facts.timers.shortest_seconds, facts.has_content), (Some(60), true));
}

#[test]
fn a_stanza_may_be_as_long_as_the_limit_and_no_longer() {
    let mut xml = format!("<message>{TIMER}</message>");
    xml.push_str(&" ".repeat(MAX_BYTES - xml.len()));
    assert!(read(&xml).is_ok());
    xml.push(' ');
    assert_eq!(read(&xml).unwrap_err().flaw, Flaw::TooLong);
}

/// Half a megabyte of each thing that slows down careless parsers.
#[test]
fn no_long_stanza_takes_long() {
    let numbered = |form: fn(usize) -> String, others: usize| {
        let mut out = String::new();
        for part in (0..).map(form) {
            if out.len() + part.len() + others > LONG {
                break;
            }
            out.push_str(&part);
        }
        out
    };
    let nested = |start: &str, end: &str| {
        let deep = start.repeat(200) + &end.repeat(200);
        format!("<message>{}</message>", full_of(&deep, 100))
    };
    let prefixes = numbered(|it| format!(" xmlns:p{it}='u'"), LONG / 2);
    let uses = numbered(|it| format!("<p{it}:a/>"), LONG * 3 / 4);
    let stanzas = [
        nested("<a>", "</a>"),
        nested("<a xmlns='b'>", "</a>"),
        nested("<p:a xmlns:p='b'>", "</p:a>"),
        format!("<message{}/>", numbered(|it| format!(" a{it}=''"), 100)),
        format!("<message xmlns:p='u'{}/>", numbered(|it| format!(" p:a{it}=''"), 100)),
        format!("<message{prefixes}>{uses}</message>"),
        format!("<message>{}</message>", full_of("&lt;", 100)),
        format!("<message a='{}'/>", full_of("&lt;", 100)),
        format!("<message a='{}'/>", full_of("&", 100)),
        format!("<message>{}</message>", full_of("<![CDATA[]]>", 100)),
        format!("<message>{}</message>", full_of(TIMER, 100)),
        format!("<message>{}</message>", full_of("<a/>", 100)),
        format!("<message>{}", full_of("<![CDATA[", 100)),
        format!("<message>{}", full_of("]]", 100)),
        format!("<message>{}", full_of("<!", 100)),
        format!("<!DOCTYPE {}", full_of("<!ENTITY a '", 100)),
        format!("<!DOCTYPE a [{}", full_of("<?", 100)),
        full_of("<a ", 0),
        full_of("<a '", 0),
        full_of("&", 0),
        format!("<message a='{}", full_of("\r\n\t", 100)),
        format!("<message>{}\u{fffe}", full_of("\u{fffd}", 100)),
    ];
    for xml in &stanzas {
        let start = Instant::now();
        let _ = read(xml);
        let took = start.elapsed();
        let begin: String = xml.chars().take(40).collect();
        assert!(took < Duration::from_secs(15), "{begin}…: {took:?}");
    }
}

proptest! {
    #![proptest_config(super::config())]

    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _ = read(&text);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_piece_of_a_stanza_makes_it_panic(
        xml in mutations(stanza()), at in any::<prop::sample::Index>()
    ) {
        let chars: Vec<char> = xml.chars().collect();
        let (head, tail) = chars.split_at(at.index(chars.len() + 1));
        for piece in [head, tail] {
            let piece: String = piece.iter().collect();
            let _ = read(&piece);
            let until = chrono::DateTime::UNIX_EPOCH;
            prop_assert!(read(&placeholder(&piece, until)).unwrap().expired_until.is_some());
            prop_assert!(read(&blank_queued(&piece, until)).unwrap().expired_until.is_some());
        }
    }
}
