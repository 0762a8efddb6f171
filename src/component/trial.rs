//! The one message that we send ourselves: a trial, asked for by an operator.

use xmpp_parsers::ns;
use xso::AsXml;

/// What the person reads who receives it.
const WORDS: &str = "This is a trial of ephemerd: this message is to vanish by itself, and nobody needs to answer it.";

/// A message with a timer, to an account of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// The account's bare address.
    pub to: String,
    /// The message's id.
    pub id: String,
    /// The timer (XEP-0466), in seconds.
    pub seconds: u32,
}

impl Trial {
    /// The words, by which the archived message is known.
    pub const fn words() -> &'static str {
        WORDS
    }

    pub(super) fn write(&self, jid: &str) -> Vec<u8> {
        let message = Message {
            from: jid.to_owned(),
            to: self.to.clone(),
            id: self.id.clone(),
            kind: "chat",
            body: WORDS.to_owned(),
            ephemeral: Ephemeral { timer: self.seconds },
        };
        xso::to_vec(&message).unwrap_or_default()
    }
}

/// xmpp-parsers' own type is in the client namespace.
#[derive(AsXml)]
#[xml(namespace = ns::COMPONENT, name = "message")]
struct Message {
    #[xml(attribute)]
    from: String,
    #[xml(attribute)]
    to: String,
    #[xml(attribute)]
    id: String,
    #[xml(attribute = "type")]
    kind: &'static str,
    #[xml(extract(namespace = ns::COMPONENT, name = "body", fields(text(type_ = String))))]
    body: String,
    #[xml(child)]
    ephemeral: Ephemeral,
}

#[derive(AsXml)]
#[xml(namespace = "urn:xmpp:ephemeral:0", name = "ephemeral")]
struct Ephemeral {
    #[xml(attribute)]
    timer: u32,
}

#[cfg(test)]
mod tests {
    use minidom::Element;

    use super::*;

    #[test]
    fn it_has_words_and_a_timer() {
        let trial = Trial { to: "a'b@h.example".into(), id: "try-1".into(), seconds: 7 };
        let text = String::from_utf8(trial.write("c.example")).unwrap();
        let expected = format!(
            "<message xmlns='jabber:component:accept' from='c.example' to=\"a'b@h.example\" id='try-1' type='chat'>\
             <body>{WORDS}</body><ephemeral xmlns='urn:xmpp:ephemeral:0' timer='7'/></message>"
        );
        assert_eq!(text.parse::<Element>().unwrap(), expected.parse::<Element>().unwrap());
    }
}
