use super::client::Client;
use super::element::escape;
use crate::server::Endpoints;
use crate::wait::PATIENCE;
use crate::{LabError, Result};

const NS_SM: &str = "urn:xmpp:sm:3";

/// What is needed to resume a session whose connection broke (XEP-0198).
#[derive(Debug, Clone)]
pub struct Resumption {
    id: String,
    /// Stanzas received before it was enabled.
    base: u32,
    /// What was acknowledged last.
    handled: u32,
}

impl Client {
    /// Enables resumption for this session. It acknowledges nothing by itself.
    pub async fn enable_resumption(&mut self) -> Result<Resumption> {
        let answer = self.enable(" resume='true'").await?;
        let id = answer.attribute("id");
        let id = id.ok_or_else(|| LabError::new(format!("no resumption: {}", answer.xml)))?;
        Ok(Resumption { id: id.to_owned(), base: self.stanzas(), handled: 0 })
    }

    /// Enables acknowledgements for this session, which cannot be resumed. It acknowledges nothing.
    pub async fn enable_acknowledgements(&mut self) -> Result<()> {
        self.enable("").await.map(drop)
    }

    async fn enable(&mut self, attributes: &str) -> Result<super::Stanza> {
        self.send(&format!("<enable xmlns='{NS_SM}'{attributes}/>")).await?;
        let is_answer = |it: &super::Stanza| it.namespace == NS_SM && it.name != "r";
        let answer = self.wait_for("stream management", PATIENCE, is_answer).await?;
        match answer.name == "enabled" {
            true => Ok(answer),
            false => Err(LabError::new(format!("no stream management: {}", answer.xml))),
        }
    }

    /// Acknowledges everything received, and waits until the server has processed that.
    pub async fn acknowledge(&mut self, resumption: &mut Resumption) -> Result<()> {
        self.keep_count(resumption);
        let handled = resumption.handled;
        self.send(&format!("<a xmlns='{NS_SM}' h='{handled}'/>")).await?;
        self.sync().await
    }

    /// Counts everything received, which the server hears of only when the session is resumed.
    pub fn keep_count(&self, resumption: &mut Resumption) {
        resumption.handled = self.stanzas() - resumption.base;
    }

    /// Drops the connection silently, as if it broke. The server waits for the session to be resumed.
    pub fn break_off(self) {}

    /// Resumes a session of this user as if nothing had been received that was neither acknowledged nor counted:
    /// all of that is sent again.
    pub async fn resume(server: &Endpoints, user: &str, session: &Resumption) -> Result<Self> {
        let mut client = Self::authenticate(server, user).await?;
        let (id, handled) = (escape(&session.id), session.handled);
        let resume = format!("<resume xmlns='{NS_SM}' previd='{id}' h='{handled}'/>");
        client.send(&resume).await?;
        let is_answer = |it: &super::Stanza| it.namespace == NS_SM && it.name != "r";
        let answer = client.wait_for("a resumed session", PATIENCE, is_answer).await?;
        match answer.name == "resumed" {
            true => Ok(client),
            false => Err(LabError::new(format!("not resumed: {}", answer.xml))),
        }
    }
}
