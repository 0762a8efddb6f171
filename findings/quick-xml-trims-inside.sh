#!/usr/bin/env bash
# quick-xml's trim_text takes spaces out of the middle of a text.
#
# Version: quick-xml 0.42.0.
# Guess: with trim_text(true) the text of `<b> fish &amp; chips </b>`, put together again, is "fish & chips".
# Behaviour: a reference ends a text, so that there are two texts and a reference, and each text is trimmed by itself. The
#   spaces beside every &amp;, &lt; or character reference are lost; around CDATA too.
# Seen:
# | trim_text false: [ fish & chips  or  &lt;ham> ]
# | trim_text true: [fish&chips or &lt;ham>]
. "$(dirname "$0")/lib.sh"

rust 'quick-xml = "=0.42.0"' <<'RUST' | as_described
use quick_xml::{events::Event, Reader};

fn main() {
    for trim in [false, true] {
        let mut reader = Reader::from_str("<b> fish &amp; chips <![CDATA[ or ]]> &#38;lt;ham> </b>");
        reader.config_mut().trim_text(trim);
        let mut all = String::new();
        loop {
            match reader.read_event().unwrap() {
                Event::Text(text) => all += std::str::from_utf8(text.as_bytes()).unwrap(),
                Event::CData(text) => all += std::str::from_utf8(text.as_bytes()).unwrap(),
                Event::GeneralRef(name) => match name.as_bytes() {
                    b"amp" | b"#38" => all.push('&'),
                    other => panic!("{other:?}"),
                },
                Event::Eof => break,
                _ => {}
            }
        }
        println!("trim_text {trim}: [{all}]");
    }
}
RUST
