use std::ops::{Deref, DerefMut};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::element::escape;
use super::mailbox::Mailbox;
use super::stream::{Stanza, Stream};
use crate::server::Endpoints;
use crate::wait::PATIENCE;
use crate::{LabError, Result};

/// The namespace of a client's stanzas, in both directions.
pub(crate) const NS_CLIENT: &str = "jabber:client";
const NS_SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const NS_BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
const NS_MUC: &str = "http://jabber.org/protocol/muc";
const NS_MUC_USER: &str = "http://jabber.org/protocol/muc#user";
const NS_MUC_OWNER: &str = "http://jabber.org/protocol/muc#owner";

/// An XMPP client that sends only what it is told to: a [`Mailbox`] that has logged in.
pub struct Client {
    mailbox: Mailbox,
    jid: String,
}

/// What a room sent on joining.
#[derive(Debug)]
pub struct Joined {
    /// One's own presence, with the status codes.
    pub presence: Stanza,
    /// The recent messages that the room replayed.
    pub history: Vec<Stanza>,
}

impl Client {
    /// Connects, logs in (SASL PLAIN) and binds this resource. It sends no presence, so the server hands out no offline messages.
    pub async fn login(server: &Endpoints, user: &str, resource: &str) -> Result<Self> {
        let mut client = Self::authenticate(server, user).await?;
        let resource = escape(resource);
        let bind = format!("<bind xmlns='{NS_BIND}'><resource>{resource}</resource></bind>");
        let bound = client.iq("set", None, &bind).await?;
        let jid = bound.child(NS_BIND, "bind").and_then(|bind| bind.child(NS_BIND, "jid"));
        client.jid = jid.ok_or_else(|| LabError::new("no JID was bound"))?.text.clone();
        Ok(client)
    }

    /// Connects and logs in; no resource is bound yet.
    pub(super) async fn authenticate(server: &Endpoints, user: &str) -> Result<Self> {
        let domain = &server.domain;
        let mut stream = Stream::open(server.clients, NS_CLIENT, domain, PATIENCE).await?;
        stream.receive(PATIENCE).await?; // features
        let plain = STANDARD.encode(format!("\0{user}\0{}", server.password));
        stream.send(&format!("<auth xmlns='{NS_SASL}' mechanism='PLAIN'>{plain}</auth>")).await?;
        let answer = stream.receive(PATIENCE).await?;
        if !answer.is(NS_SASL, "success") {
            return Err(LabError::new(format!("login as {user}: {}", answer.xml)));
        }
        stream.restart(NS_CLIENT, domain, PATIENCE).await?;
        stream.receive(PATIENCE).await?; // features
        Ok(Self { mailbox: Mailbox::new(stream), jid: String::new() })
    }

    /// The full JID.
    pub fn jid(&self) -> &str {
        &self.jid
    }

    /// The bare JID.
    pub fn bare_jid(&self) -> &str {
        self.jid.split('/').next().unwrap_or(&self.jid)
    }

    /// Sends this text as it is, whether it is XML or not.
    pub async fn send(&mut self, xml: &str) -> Result<()> {
        self.mailbox.send(xml).await
    }

    /// Becomes available: the server hands out offline messages and delivers new ones.
    pub async fn send_presence(&mut self) -> Result<()> {
        self.send("<presence/>").await
    }

    /// Sends a message of type `chat` with a body and then `extra`, for example a timer.
    pub async fn chat(&mut self, to: &str, body: &str, extra: &str) -> Result<()> {
        self.message(to, "chat", body, extra).await
    }

    /// The same to a room.
    pub async fn groupchat(&mut self, room: &str, body: &str, extra: &str) -> Result<()> {
        self.message(room, "groupchat", body, extra).await
    }

    async fn message(&mut self, to: &str, kind: &str, body: &str, extra: &str) -> Result<()> {
        let (id, to, body) = (self.new_id(), escape(to), escape(body));
        self.send(&format!(
            "<message to='{to}' type='{kind}' id='{id}'><body>{body}</body>{extra}</message>"
        ))
        .await
    }

    /// Waits for a message with this body.
    pub async fn wait_for_body(&mut self, body: &str) -> Result<Stanza> {
        let what = format!("the message {body:?}");
        self.wait_for(&what, PATIENCE, |it| it.name == "message" && it.body() == Some(body)).await
    }

    /// Sends a request (`get` or `set`) and waits for the answer. An error answer is `LabError::Stanza`.
    pub async fn iq(&mut self, kind: &str, to: Option<&str>, payload: &str) -> Result<Stanza> {
        let to = to.map(|to| format!(" to='{}'", escape(to))).unwrap_or_default();
        self.mailbox.iq(kind, &to, payload, None).await
    }

    /// Waits until the server has processed everything sent before: it handles a client's stanzas in order.
    pub async fn sync(&mut self) -> Result<()> {
        self.iq("get", None, "<ping xmlns='urn:xmpp:ping'/>").await.map(drop)
    }

    /// Joins a room, and creates it with defaults if it is new (an instant room, XEP-0045, 10.1.2).
    pub async fn join(&mut self, room: &str, nick: &str) -> Result<Joined> {
        let (to, me) = (escape(room), format!("{room}/{nick}"));
        let presence = format!("<presence to='{}'><x xmlns='{NS_MUC}'/></presence>", escape(&me));
        self.send(&presence).await?;
        let from_room = |it: &Stanza| it.attribute("from").is_some_and(|it| it.starts_with(room));
        let is_own = |it: &Stanza| {
            it.name == "presence"
                && from_room(it)
                && (status(it, "110") || it.attribute("type") == Some("error"))
        };
        let presence = self.wait_for("presence in a room", PATIENCE, is_own).await?;
        if let Some(error) = presence.error() {
            return Err(error);
        }
        if status(&presence, "201") {
            let form = format!(
                "<query xmlns='{NS_MUC_OWNER}'><x xmlns='jabber:x:data' type='submit'/></query>"
            );
            self.iq("set", Some(&to), &form).await?;
        }
        let is_subject = |it: &Stanza| from_room(it) && it.child(NS_CLIENT, "subject").is_some();
        self.wait_for("a room's subject", PATIENCE, is_subject).await?;
        let history = self.take(|it| it.name == "message" && from_room(it));
        Ok(Joined { presence, history })
    }

    /// How many stanzas were received.
    pub(super) fn stanzas(&self) -> u32 {
        self.mailbox.stream.stanzas()
    }

    /// Says goodbye and waits for the server to close.
    pub async fn close(self) -> Result<()> {
        self.mailbox.close().await
    }
}

impl Deref for Client {
    type Target = Mailbox;

    fn deref(&self) -> &Mailbox {
        &self.mailbox
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut Mailbox {
        &mut self.mailbox
    }
}

fn status(presence: &Stanza, code: &str) -> bool {
    let x = presence.child(NS_MUC_USER, "x");
    let is_code = |it: &super::Element| it.name == "status" && it.attribute("code") == Some(code);
    x.is_some_and(|x| x.children.iter().any(is_code))
}
