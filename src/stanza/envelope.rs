//! Who sent a message to whom, under which id, and which messages it shows to have been read.

use super::{
    Unreadable,
    attributes::Name,
    element::{JABBER_CLIENT, MUC_USER, PUBSUB_EVENT, REACTIONS, REPLY, STANZA_ID},
    reader::stanza_id,
    xml::{Event, Xml},
};
use crate::model::{Occupant, RowKey, StanzaId, bare_jid};

const MARKERS: &str = "urn:xmpp:chat-markers:0";
const OCCUPANT_ID: &str = "urn:xmpp:occupant-id:0";
const RECEIPTS: &str = "urn:xmpp:receipts";
const MDS: &str = "urn:xmpp:mds:displayed:0";

/// Maximum number of a stanza's references to others that count.
const MOST_REFERENCES: usize = 8;

/// A message without its words: who sent it to whom, under which id, and which messages it shows to have been read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Envelope {
    /// The sender's address, as the server stamped it.
    pub from: Option<String>,
    /// The recipient's address.
    pub to: Option<String>,
    /// The sender's own id.
    pub id: Option<String>,
    /// `type='error'`.
    pub is_error: bool,
    /// It belongs to a room: one occupant wrote to another.
    pub is_of_room: bool,
    /// It wraps another message, as MUC/Sub does.
    pub is_wrapper: bool,
    /// The room's id of the sender (XEP-0421).
    pub occupant_id: Option<String>,
    /// The sender's real address, where the room added it for its archive; else what the sender wrote, if anything.
    pub real: Option<String>,
    /// The messages that it shows to have been read.
    pub shows: Vec<Shows>,
    /// The message that it shows to have been received (XEP-0184, XEP-0333), by its sender's id.
    pub receipt: Option<String>,
}

/// A message that another one shows to have been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shows {
    /// It was displayed, and everything before it in that chat (XEP-0333).
    Displayed(String),
    /// It was replied or reacted to (XEP-0461, XEP-0444).
    Answered(String),
}

impl Envelope {
    /// The other side of the chat in this user's archive, and whether the user received the message; `None` if it
    /// does not say.
    ///
    /// That is a bare address, except for what one occupant of a room wrote to another.
    pub fn chat(&self, owner: &str) -> Option<(String, bool)> {
        let from = self.from.as_deref()?;
        let received = bare(from) != owner;
        let other = if received { from } else { self.to.as_deref()? };
        let chat = if self.is_of_room { other.to_owned() } else { bare(other) };
        Some((chat, received))
    }

    /// The other side of the chat, if this user received the message itself. What a subscriber of a room (MUC/Sub) has
    /// read is shown to the room, not in this user's archive.
    pub fn received_by(&self, owner: &str) -> Option<String> {
        let (chat, received) = self.chat(owner)?;
        (received && !self.is_wrapper).then_some(chat)
    }

    /// What a message that this user sent to somebody else shows to have been read, and in which chat.
    pub fn shown_by(self, owner: &str) -> Option<(String, Vec<Shows>)> {
        let (chat, received) = self.chat(owner).filter(|_| !self.is_error)?;
        (!received && chat != owner).then_some((chat, self.shows))
    }

    /// The message that this user received from somebody else, as this one from the user shows: the chat, and its sender's id.
    pub fn received_as(self, owner: &str) -> Option<(String, String)> {
        let (chat, received) = self.chat(owner).filter(|_| !self.is_error)?;
        self.receipt.filter(|_| !received && chat != owner).map(|id| (chat, id))
    }

    /// By what the sender of a message in this room's archive is known; `beside` is the real bare address where the
    /// server keeps that beside the message.
    pub fn sender_in(&self, room: &str, beside: Option<&str>) -> Occupant {
        let (from, is_of_room) = (self.from.as_deref().unwrap_or_default(), self.is_from(room));
        let is_nick = is_of_room && from.contains('/');
        // ejabberd hands out messages with real addresses too.
        let real = beside.or(self.real.as_deref()).or(Some(from).filter(|_| !is_of_room));
        Occupant {
            nick: is_nick.then(|| from.to_owned()),
            jid: real.map(bare).filter(|it| !it.is_empty() && it != room),
            id: self.occupant_id.clone(),
        }
    }

    fn is_from(&self, room: &str) -> bool {
        self.from.as_deref().is_some_and(|from| bare(from) == room)
    }
}

/// An address without its resource.
fn bare(jid: &str) -> String {
    jid.split('/').next().unwrap_or_default().to_lowercase()
}

/// The bare address of the other side of the chat in this user's archive, by the start of the message; a room's, where
/// one occupant wrote to another. `None` where it does not say.
pub fn other_side(text: &str, owner: &str) -> Option<String> {
    let mut xml = Xml::new(text).ok()?;
    let Some(Event::Start(_)) = xml.next().ok()? else { return None };
    let from = bare(xml.attribute("from")?);
    let side = if from == owner { bare(xml.attribute("to").unwrap_or(owner)) } else { from };
    (!side.is_empty()).then_some(side)
}

/// The owner of this row in a user's archive received the message itself from somebody else.
pub fn is_received(text: &str, key: &RowKey) -> bool {
    let owner = bare_jid(&key.owner, &key.host);
    envelope(text).is_some_and(|it| it.received_by(&owner).is_some())
}

/// Reads a message's envelope; `None` where it is no message or cannot be read.
pub fn envelope(text: &str) -> Option<Envelope> {
    read_envelope(text).ok().flatten()
}

fn read_envelope(text: &str) -> Result<Option<Envelope>, Unreadable> {
    let mut xml = Xml::new(text)?;
    let (mut envelope, mut is_in_x) = (Envelope::default(), false);
    while let Some(event) = xml.next()? {
        let Event::Start(name) = event else { continue };
        let namespace = xml.namespace(name)?;
        match xml.depth() {
            1 if (namespace, name.local) != (JABBER_CLIENT, "message") => return Ok(None),
            1 => {
                let attribute = |local| xml.attribute(local).map(str::to_owned);
                envelope.from = attribute("from");
                envelope.to = attribute("to");
                envelope.id = attribute("id");
                envelope.is_error = xml.attribute("type") == Some("error");
            }
            2 => {
                is_in_x = (namespace, name.local) == (MUC_USER, "x");
                child(&mut envelope, &xml, (namespace, name));
            }
            // The room's own comes last. Where Prosody's room hides addresses it adds none, and archives what somebody sent.
            3 if is_in_x && (namespace, name.local) == (MUC_USER, "item") => {
                envelope.real = xml.attribute("jid").map(str::to_owned).or(envelope.real);
            }
            _ => {}
        }
    }
    Ok(Some(envelope))
}

fn child(envelope: &mut Envelope, xml: &Xml<'_>, (namespace, name): (&str, Name<'_>)) {
    envelope.is_of_room |= (namespace, name.local) == (MUC_USER, "x");
    envelope.is_wrapper |= (namespace, name.local) == (PUBSUB_EVENT, "event");
    if (namespace, name.local) == (OCCUPANT_ID, "occupant-id") {
        envelope.occupant_id = xml.attribute("id").map(str::to_owned);
    }
    let named = || xml.attribute("id").filter(|id| !id.is_empty()).map(str::to_owned);
    let shows = match (namespace, name.local) {
        (MARKERS, "displayed") => named().map(Shows::Displayed),
        (REPLY, "reply") | (REACTIONS, "reactions") => named().map(Shows::Answered),
        _ => None,
    };
    if let (RECEIPTS | MARKERS, "received") = (namespace, name.local) {
        envelope.receipt = envelope.receipt.take().or_else(named);
    }
    envelope.shows.extend(shows.filter(|_| envelope.shows.len() < MOST_REFERENCES));
}

/// What an item of message displayed synchronization names (XEP-0490).
pub fn displayed_item(text: &str) -> Option<StanzaId> {
    read_item(text).ok().flatten()
}

fn read_item(text: &str) -> Result<Option<StanzaId>, Unreadable> {
    let mut xml = Xml::new(text)?;
    let (mut inside, mut found) = (None, None);
    while let Some(event) = xml.next()? {
        let Event::Start(name) = event else { continue };
        let namespace = xml.namespace(name)?;
        let depth = xml.depth();
        match (namespace, name.local) {
            (MDS, "displayed") if inside.is_none() && depth <= 2 => inside = Some(depth),
            (STANZA_ID, "stanza-id") if inside.is_some_and(|at| depth == at + 1) => {
                found = found.or_else(|| stanza_id(&xml));
            }
            _ => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shows(children: &str) -> Vec<Shows> {
        let xml = format!("<message from='bob@h/1' to='ann@h'>{children}</message>");
        envelope(&xml).unwrap().shows
    }

    #[test]
    fn markers_replies_and_reactions_name_what_was_read() {
        let (displayed, answered) =
            (|id: &str| Shows::Displayed(id.into()), |id: &str| Shows::Answered(id.into()));
        assert_eq!(shows("<displayed xmlns='urn:xmpp:chat-markers:0' id='a'/>"), [displayed("a")]);
        assert_eq!(
            shows("<m:displayed xmlns:m='urn:xmpp:chat-markers:0' id='a'/>"),
            [displayed("a")]
        );
        assert_eq!(shows("<reply xmlns='urn:xmpp:reply:0' id='a' to='ann@h'/>"), [answered("a")]);
        assert_eq!(shows("<reactions xmlns='urn:xmpp:reactions:0' id='a'/>"), [answered("a")]);
        let others = [
            "<received xmlns='urn:xmpp:chat-markers:0' id='a'/>",
            "<received xmlns='urn:xmpp:receipts' id='a'/>",
            "<displayed xmlns='urn:xmpp:chat-markers:0'/>",
            "<displayed xmlns='urn:xmpp:chat-markers:0' id=''/>",
            "<displayed id='a'/>",
            "<x xmlns='y'><displayed xmlns='urn:xmpp:chat-markers:0' id='a'/></x>",
        ];
        for other in others {
            assert_eq!(shows(other), [], "{other}");
        }
    }

    #[test]
    fn a_receipt_names_what_its_sender_received() {
        let received = |from: &str, to: &str, child: &str| {
            let xml = format!("<message from='{from}' to='{to}'>{child}</message>");
            envelope(&xml).unwrap().received_as("bob@h")
        };
        let one = |chat: &str| Some((chat.to_owned(), "a".to_owned()));
        let receipt = "<received xmlns='urn:xmpp:receipts' id='a'/>";
        assert_eq!(received("bob@h/1", "ann@h/2", receipt), one("ann@h"));
        let marker = "<received xmlns='urn:xmpp:chat-markers:0' id='a'/>";
        assert_eq!(received("bob@h/1", "ann@h", marker), one("ann@h"));
        assert_eq!(received("ann@h/2", "bob@h", receipt), None, "somebody else's");
        assert_eq!(received("bob@h/1", "bob@h", receipt), None, "to oneself");
        let others = [
            "<received xmlns='urn:xmpp:receipts' id=''/>",
            "<received xmlns='urn:xmpp:receipts'/>",
            "<request xmlns='urn:xmpp:receipts' id='a'/>",
            "<received id='a'/>",
            "<x xmlns='y'><received xmlns='urn:xmpp:receipts' id='a'/></x>",
        ];
        for other in others {
            assert_eq!(received("bob@h/1", "ann@h", other), None, "{other}");
        }
    }

    #[test]
    fn of_many_references_only_the_first_count() {
        let many = "<displayed xmlns='urn:xmpp:chat-markers:0' id='a'/>";
        assert_eq!(shows(&many.repeat(MOST_REFERENCES)).len(), MOST_REFERENCES);
        assert_eq!(shows(&many.repeat(MOST_REFERENCES + 1)).len(), MOST_REFERENCES);
    }

    #[test]
    fn a_chat_is_with_the_other_side() {
        let of = |xml: &str| envelope(xml).unwrap().chat("bob@h");
        let chat = |jid: &str, received| Some((jid.to_owned(), received));
        assert_eq!(of("<message from='ann@h/x' to='bob@h'/>"), chat("ann@h", true));
        assert_eq!(of("<message from='bob@h/x' to='ann@h/x'/>"), chat("ann@h", false));
        assert_eq!(of("<message from='bob@h/x' to='bob@h'/>"), chat("bob@h", false));
        assert_eq!(of("<message to='ann@h'/>"), None);
        let x = "<x xmlns='http://jabber.org/protocol/muc#user'/>";
        assert_eq!(
            of(&format!("<message from='r@m/Ann' to='bob@h'>{x}</message>")),
            chat("r@m/Ann", true)
        );
        assert_eq!(envelope("<presence from='ann@h'/>"), None);
        assert_eq!(envelope("<message"), None);
    }

    #[test]
    fn an_occupant_is_known_by_what_the_room_says() {
        let known = |of: &str, beside: Option<&str>| {
            let Occupant { nick, jid, id } = envelope(of).unwrap().sender_in("r@m", beside);
            [nick, jid, id].map(Option::unwrap_or_default)
        };
        let from = "<message from='r@m/Ann'";
        assert_eq!(known(&format!("{from}/>"), None), ["r@m/Ann", "", ""]);
        assert_eq!(known(&format!("{from}/>"), Some("ann@h")), ["r@m/Ann", "ann@h", ""]);
        let item = "<x xmlns='http://jabber.org/protocol/muc#user'><item jid='Ann@h/x'/></x>";
        let id = "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='7'/>";
        assert_eq!(known(&format!("{from}>{id}{item}</message>"), None), ["r@m/Ann", "ann@h", "7"]);
        assert_eq!(known("<message from='Ann@h/x'/>", None), ["", "ann@h", ""]);
        assert_eq!(known("<message from='r@m'/>", Some("r@m")), ["", "", ""]);
        assert_eq!(known("<message/>", None), ["", "", ""]);
    }

    #[test]
    fn the_other_side_is_a_bare_address() {
        let of = |xml: &str| other_side(xml, "bob@h");
        let side = |jid: &str| Some(jid.to_owned());
        assert_eq!(of("<message from='Ann@h/x' to='bob@h'><a/></message>"), side("ann@h"));
        assert_eq!(of("<message from='bob@h/x' to='ann@h/x'/>"), side("ann@h"));
        assert_eq!(of("<message from='bob@h/x'/>"), side("bob@h"), "a note to self");
        assert_eq!(of("<message from='r@m/Ann' to='bob@h/x'/>"), side("r@m"));
        assert_eq!(of("<message to='ann@h'/>"), None);
        assert_eq!(of("<message from=''/>"), None);
        assert_eq!(of("words"), None);
    }

    #[test]
    fn an_item_names_an_archived_message() {
        let id = "<stanza-id xmlns='urn:xmpp:sid:0' by='bob@h' id='7'/>";
        let displayed = format!("<displayed xmlns='urn:xmpp:mds:displayed:0'>{id}</displayed>");
        let named = Some(StanzaId { by: "bob@h".into(), id: "7".into() });
        assert_eq!(displayed_item(&displayed), named);
        assert_eq!(displayed_item(&format!("<item id='ann@h'>{displayed}</item>")), named);
        assert_eq!(displayed_item(&format!("<a><b>{displayed}</b></a>")), None);
        assert_eq!(displayed_item(id), None);
        assert_eq!(displayed_item("<displayed xmlns='urn:xmpp:mds:displayed:0'/>"), None);
    }
}
