use super::envelope;
use crate::model::{BelongsTo, Bond, RowKey, Store, bare_jid};

/// By what other messages of the same archive may name a message, and whether they are of the same sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The other side of the chat; the room's address.
    pub chat: String,
    /// Who sent it, among those who write in that chat. Empty if it is not known.
    pub sender: String,
    /// The id that the sender gave it.
    pub id: Option<String>,
}

impl Signature {
    /// Of a row of this key, and in a room the sender's real address where the server keeps that beside the message.
    /// `None` if it cannot be read.
    pub fn of(xml: &str, key: &RowKey, beside: Option<&str>) -> Option<Self> {
        let envelope = envelope(xml)?;
        let owner = bare_jid(&key.owner, &key.host);
        let id = envelope.id.clone().filter(|id| !id.is_empty());
        if key.store == Store::Room {
            let known = envelope.sender_in(&owner, beside);
            // Inside the message Prosody archives what occupants wrote themselves: a real address there proves nothing.
            let jid = known.jid.filter(|_| beside.is_some()).map(|it| format!("jid {it}"));
            let occupant = known.id.map(|it| format!("id {it}"));
            // Anybody may take a nickname that is free.
            let sender = jid.or(occupant).unwrap_or_default();
            return Some(Self { chat: owner, sender, id });
        }
        let Some((chat, received)) = envelope.chat(&owner) else {
            return Some(Self { chat: String::new(), sender: String::new(), id: None });
        };
        let sender = if received { "other" } else { "owner" }.to_owned();
        Some(Self { chat, sender, id })
    }

    /// The message may belong to the one that it names: not to itself, and not where its sender counts and is unknown.
    pub fn may_belong(&self, to: &BelongsTo) -> bool {
        let is_itself = self.id.as_ref() == Some(&to.id);
        let is_of_nobody = to.bond.needs_same_sender() && self.sender.is_empty();
        !is_itself && !is_of_nobody
    }

    /// The message of another row in the same archive may be what this one names: it has that id, in this chat, and its
    /// sender is the same, may be, or does not count.
    pub fn may_mean(&self, to: &BelongsTo, other: &Self, row: &RowKey) -> bool {
        let in_room = row.store == Store::Room;
        let is_named = other.id.as_ref() == Some(&to.id) || in_room && row.archive_id == to.id;
        // In rooms senders are known in two ways or not at all, and only in the same way are two told apart.
        let way = |it: &Self| it.sender.split_once(' ').map(|(way, _)| way.to_owned());
        let may_be_same = self.sender == other.sender || in_room && way(self) != way(other);
        is_named && self.chat == other.chat && (may_be_same || !to.bond.needs_same_sender())
    }
}

/// What is named in this store may be an id that a sender gave. In rooms it may always be the room's own, which nobody can
/// forge, and reactions and replies name nothing else; so do attachments, but some clients do as with corrections.
pub fn may_name_senders_id(store: Store, bond: Bond) -> bool {
    store != Store::Room || !matches!(bond, Bond::ReactsTo | Bond::Quotes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn of(store: Store, xml: &str, beside: Option<&str>) -> [String; 3] {
        let (host, owner) = match store {
            Store::Room => ("m", "r"),
            Store::Archive | Store::Queue => ("h", "bob"),
        };
        let key = RowKey {
            store,
            host: host.to_owned(),
            owner: owner.to_owned(),
            archive_id: "7".to_owned(),
            row_number: 7,
            stamped_at: Timestamp::UNIX_EPOCH,
            digest: Vec::new(),
        };
        let Signature { chat, sender, id } = Signature::of(xml, &key, beside).unwrap();
        [chat, sender, id.unwrap_or_default()]
    }

    #[test]
    fn a_user_has_two_senders_in_a_chat() {
        for store in [Store::Archive, Store::Queue] {
            let received = "<message from='Ann@h/x' to='bob@h' id='a'/>";
            assert_eq!(of(store, received, None), ["ann@h", "other", "a"]);
        }
        let sent = "<message from='bob@h/x' to='ann@h/y' id='a'/>";
        assert_eq!(of(Store::Archive, sent, None), ["ann@h", "owner", "a"]);
        let note = "<message from='bob@h/x' to='bob@h' id='a'/>";
        assert_eq!(of(Store::Archive, note, None), ["bob@h", "owner", "a"]);
        assert_eq!(of(Store::Archive, "<message id='a'/>", None), ["", "", ""]);
        assert_eq!(
            of(Store::Archive, "<message from='ann@h' id=''/>", None),
            ["ann@h", "other", ""]
        );
    }

    #[test]
    fn a_rooms_senders_are_known_by_what_they_cannot_forge() {
        let room = |child: &str, beside| {
            of(Store::Room, &format!("<message from='r@m/Ann' id='a'>{child}</message>"), beside)
        };
        let forged = "<x xmlns='http://jabber.org/protocol/muc#user'><item jid='eve@h'/></x>";
        let occupant = "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='o'/>";
        assert_eq!(room("", None), ["r@m", "", "a"]);
        assert_eq!(room(forged, None), ["r@m", "", "a"]);
        assert_eq!(room(occupant, None), ["r@m", "id o", "a"]);
        assert_eq!(room(occupant, Some("ann@h")), ["r@m", "jid ann@h", "a"]);
        assert_eq!(of(Store::Room, "<message from='r@m' id='a'/>", None), ["r@m", "", "a"]);
    }

    #[test]
    fn what_names_itself_or_is_of_nobody_belongs_to_nothing() {
        let signature = |sender: &str| Signature {
            chat: "ann@h".to_owned(),
            sender: sender.to_owned(),
            id: Some("a".to_owned()),
        };
        let to = |bond, id: &str| BelongsTo { bond, id: id.to_owned() };
        assert!(signature("owner").may_belong(&to(Bond::Corrects, "b")));
        assert!(!signature("owner").may_belong(&to(Bond::ReactsTo, "a")));
        assert!(signature("").may_belong(&to(Bond::ReactsTo, "b")));
        assert!(!signature("").may_belong(&to(Bond::AttachedTo, "b")));
    }
}
