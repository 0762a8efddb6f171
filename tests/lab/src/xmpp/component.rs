use std::ops::{Deref, DerefMut};

use sha1::{Digest as _, Sha1};

use super::element::escape;
use super::mailbox::Mailbox;
use super::stream::{Stanza, Stream};
use crate::server::Endpoints;
use crate::wait::PATIENCE;
use crate::{LabError, Result};

/// The namespace of a component's stanzas, in both directions (XEP-0114).
pub const NS_COMPONENT: &str = "jabber:component:accept";

/// A component in the daemon's place that sends only what it is told to: a [`Mailbox`] whose stanzas need `from` and
/// `to`.
pub struct Component {
    mailbox: Mailbox,
    jid: String,
}

impl Component {
    /// Connects as the daemon does: with its JID and secret.
    pub async fn connect(server: &Endpoints) -> Result<Self> {
        Self::connect_as(server, &server.component_jid).await
    }

    /// The same under another of the server's component names, such as `Endpoints::other_component`. They
    /// share one secret.
    pub async fn connect_as(server: &Endpoints, jid: &str) -> Result<Self> {
        let mut stream = Stream::open(server.components, NS_COMPONENT, jid, PATIENCE).await?;
        let proof = Sha1::digest(format!("{}{}", stream.id(), server.component_secret));
        stream.send(&format!("<handshake>{}</handshake>", hex::encode(proof))).await?;
        let answer = stream.receive(PATIENCE).await?;
        if !answer.is(NS_COMPONENT, "handshake") {
            return Err(LabError::new(format!("handshake as {jid}: {}", answer.xml)));
        }
        Ok(Self { mailbox: Mailbox::new(stream), jid: jid.to_owned() })
    }

    /// Its JID, a domain.
    pub fn jid(&self) -> &str {
        &self.jid
    }

    /// Sends this text as it is, whether it is XML or not.
    pub async fn send(&mut self, xml: &str) -> Result<()> {
        self.mailbox.send(xml).await
    }

    /// Sends a request (`get` or `set`) to this JID from our own and waits for its answer. An error answer is
    /// `LabError::Stanza`.
    pub async fn iq(&mut self, kind: &str, to: &str, payload: &str) -> Result<Stanza> {
        let attributes = format!(" from='{}' to='{}'", escape(&self.jid), escape(to));
        self.mailbox.iq(kind, &attributes, payload, Some(to)).await
    }

    /// Waits until this host of the server has processed everything that we sent before, and our inbox has
    /// what it sent us until then: both directions keep their order.
    pub async fn sync(&mut self, host: &str) -> Result<()> {
        self.iq("get", host, "<ping xmlns='urn:xmpp:ping'/>").await.map(drop)
    }

    /// Says goodbye and waits for the server to close.
    pub async fn close(self) -> Result<()> {
        self.mailbox.close().await
    }
}

impl Deref for Component {
    type Target = Mailbox;

    fn deref(&self) -> &Mailbox {
        &self.mailbox
    }
}

impl DerefMut for Component {
    fn deref_mut(&mut self) -> &mut Mailbox {
        &mut self.mailbox
    }
}
