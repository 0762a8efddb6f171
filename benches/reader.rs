//! Reading stored stanzas, against minidom and xmpp-parsers' `Message` on the same ones.
//!
//! `cargo bench --bench reader`; the first size is the one that the reader has to read five times as fast.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use ephemerd::stanza;
use xmpp_parsers::{message::Message, minidom::Element, ns::DEFAULT_NS};

/// A message as archives hold it; the baseline only takes the namespace that xmpp-parsers was built
/// for.
fn stored(inner: &str) -> String {
    format!(
        "<message xml:lang='en' to='bob@example.org' from='alice@example.org/phone.Jw3X' type='chat' \
         id='c7f1d2aa-18f7-4c58-9bd4-3f6f4c1de2a1' xmlns='{DEFAULT_NS}'>{inner}</message>"
    )
}

const COMPANY: &str = "<markable xmlns='urn:xmpp:chat-markers:0'/>\
                       <origin-id xmlns='urn:xmpp:sid:0' id='c7f1d2aa-18f7-4c58-9bd4-3f6f4c1de2a1'/>\
                       <request xmlns='urn:xmpp:receipts'/>";
const TIMER: &str = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='60'/>";

/// A message encrypted for so many devices.
fn omemo(devices: usize) -> String {
    let key = |device: usize| {
        let key = "MwohBfRqBm2atnT3fQ0sW6Y4n8bLZrVtXcQeUuIiOoPpAaSsDdFfGgHhJjKkLlZz";
        format!("<key rid='{}'>{key}{key}</key>", 31_415 + device)
    };
    let keys: String = (0..devices).map(key).collect();
    stored(&format!(
        "<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='27183'>{keys}\
         <iv>ZmFrZWl2MTIz</iv></header><payload>c2VjcmV0IHdvcmRz</payload></encrypted>\
         <encryption xmlns='urn:xmpp:eme:0' name='OMEMO' namespace='eu.siacs.conversations.axolotl'/>\
         <store xmlns='urn:xmpp:hints'/>{COMPANY}{TIMER}"
    ))
}

fn read(xml: &str) -> bool {
    stanza::read(xml).is_ok_and(|facts| facts.timers.shortest_seconds == Some(60))
}

fn baseline(xml: &str) -> bool {
    let element = Element::from_reader(xml.as_bytes());
    element.is_ok_and(|it| Message::try_from(it).is_ok())
}

#[expect(clippy::print_stderr, reason = "the sizes belong to the figures")]
fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let body = |words: usize| format!("<body>{}</body>", "Meet me at the bridge. ".repeat(words));
    let stanzas = [
        ("body", stored(&format!("{}{COMPANY}{TIMER}", body(2)))),
        ("omemo", omemo(9)),
        ("long", stored(&format!("{}{TIMER}", body(4_500)))),
    ];
    let mut group = criterion.benchmark_group("reader");
    for (name, xml) in &stanzas {
        eprintln!("{name}: {} bytes", xml.len());
        // What the baseline reads is jabber:component:accept where that feature is on; to the reader it is jabber:client.
        let stored = xml.replace(DEFAULT_NS, "jabber:client");
        assert!(read(&stored) && baseline(xml), "{name}: both read it");
        group.throughput(Throughput::Bytes(xml.len() as u64));
        group.bench_with_input(BenchmarkId::new("ephemerd", name), &stored, |bencher, xml| {
            bencher.iter(|| read(black_box(xml)));
        });
        group.bench_with_input(BenchmarkId::new("minidom", name), xml, |bencher, xml| {
            bencher.iter(|| baseline(black_box(xml)));
        });
    }
    group.finish();
    criterion.final_summary();
}
