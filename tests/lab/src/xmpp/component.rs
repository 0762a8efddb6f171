use std::time::Duration;

use sha1::{Digest as _, Sha1};

use super::element::escape;
use super::mailbox::Mailbox;
use super::stream::{Stanza, Stream};
use crate::server::Endpoints;
use crate::wait::PATIENCE;
use crate::{LabError, Result};

/// The namespace of a component's stanzas, in both directions (XEP-0114).
pub const NS_COMPONENT: &str = "jabber:component:accept";

/// A component that says only what it is told to, in the daemon's place. Nothing reads the socket between calls.
pub struct Component {
    mailbox: Mailbox,
    jid: String,
}

impl Component {
    /// Connects as the daemon does: with its JID and secret.
    pub async fn connect(server: &Endpoints) -> Result<Self> {
        Self::connect_as(server, &server.component_jid).await
    }

    /// The same under another of the server's component names, such as `Endpoints::other_component`. All share one secret.
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

    /// Sends this text as it is, whether it is XML or not. A stanza needs `from` and `to`.
    pub async fn send(&mut self, xml: &str) -> Result<()> {
        self.mailbox.stream.send(xml).await
    }

    /// The next stanza, of those that came before or from the server.
    pub async fn receive(&mut self, within: Duration) -> Result<Stanza> {
        self.mailbox.receive(within).await
    }

    /// The first stanza for which this holds; others stay for later calls.
    pub async fn wait_for(
        &mut self,
        what: &str,
        within: Duration,
        holds: impl FnMut(&Stanza) -> bool,
    ) -> Result<Stanza> {
        self.mailbox.wait_for(what, within, holds).await
    }

    /// Takes out of the inbox what this holds for; reads nothing.
    pub fn take(&mut self, holds: impl FnMut(&Stanza) -> bool) -> Vec<Stanza> {
        self.mailbox.take(holds)
    }

    /// Asks (`get` or `set`) this JID from our own and waits for its answer. An error answer is `LabError::Stanza`.
    pub async fn iq(&mut self, kind: &str, to: &str, payload: &str) -> Result<Stanza> {
        let attributes = format!(" from='{}' to='{}'", escape(&self.jid), escape(to));
        self.mailbox.iq(kind, &attributes, payload, Some(to)).await
    }

    /// Waits until this host of the server has worked through all that we sent before, and we hold in our inbox what it
    /// sent us until then: both ways keep their order.
    pub async fn sync(&mut self, host: &str) -> Result<()> {
        self.iq("get", host, "<ping xmlns='urn:xmpp:ping'/>").await.map(drop)
    }

    /// Says goodbye and waits for the server to close.
    pub async fn close(self) -> Result<()> {
        self.mailbox.close().await
    }
}
