//! Stored stanzas with the shapes and sizes found in archives, and two ways to read them.

use ephemerd::stanza;
use xmpp_parsers::{message::Message, minidom::Element, ns::DEFAULT_NS};

/// A stored stanza, for either reader.
pub(crate) struct Stanza {
    /// A short description.
    pub(crate) name: &'static str,
    /// As archives store it.
    pub(crate) stored: String,
    /// The same in the namespace that xmpp-parsers was built for.
    pub(crate) baseline: String,
}

/// A message as archives store it; only the baseline uses the namespace that xmpp-parsers was built for.
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

/// A message encrypted for this many devices.
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

/// Ours.
pub(crate) fn read(xml: &str) -> bool {
    stanza::read(xml).is_ok_and(|facts| facts.timers.shortest_seconds == Some(60))
}

/// xmpp-parsers', via minidom.
pub(crate) fn baseline(xml: &str) -> bool {
    let element = Element::from_reader(xml.as_bytes());
    element.is_ok_and(|it| Message::try_from(it).is_ok())
}

/// The stanzas; the first is the one that must be read five times as fast.
pub(crate) fn all() -> Vec<Stanza> {
    let body = |words: usize| format!("<body>{}</body>", "Meet me at the bridge. ".repeat(words));
    [
        ("body", stored(&format!("{}{COMPANY}{TIMER}", body(2)))),
        ("omemo", omemo(9)),
        ("long", stored(&format!("{}{TIMER}", body(4_500)))),
    ]
    .map(|(name, baseline)| {
        // The baseline reads jabber:component:accept if that feature is on; our reader reads jabber:client.
        let stored = baseline.replace(DEFAULT_NS, "jabber:client");
        Stanza { name, stored, baseline }
    })
    .into()
}
