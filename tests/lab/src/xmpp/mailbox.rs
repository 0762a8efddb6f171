use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::stream::{Stanza, Stream};
use crate::wait::{PATIENCE, timed_out};
use crate::{LabError, Result};

/// Maximum stanzas received while waiting for another one; with more, the test is faulty.
const MAX_INBOX: usize = 100_000;

/// A stream, and what was received on it before it was wanted. Nothing reads the socket between calls.
pub struct Mailbox {
    pub(super) stream: Stream,
    inbox: VecDeque<Stanza>,
    next_id: u32,
}

impl Mailbox {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, inbox: VecDeque::new(), next_id: 0 }
    }

    pub(super) async fn send(&mut self, xml: &str) -> Result<()> {
        self.stream.send(xml).await
    }

    /// The next stanza: one received earlier, or from the server.
    pub async fn receive(&mut self, within: Duration) -> Result<Stanza> {
        match self.inbox.pop_front() {
            Some(stanza) => Ok(stanza),
            None => self.stream.receive(within).await,
        }
    }

    /// The first stanza for which this holds; others are kept for later calls.
    pub async fn wait_for(
        &mut self,
        what: &str,
        within: Duration,
        mut holds: impl FnMut(&Stanza) -> bool,
    ) -> Result<Stanza> {
        if let Some(index) = self.inbox.iter().position(&mut holds) {
            return self.inbox.remove(index).ok_or_else(|| LabError::new("the inbox changed"));
        }
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let stanza = match self.stream.receive(left).await {
                Err(LabError::TimedOut { .. }) => return Err(timed_out(what, within)),
                answer => answer?,
            };
            if holds(&stanza) {
                return Ok(stanza);
            }
            if self.inbox.len() >= MAX_INBOX {
                return Err(LabError::new(format!("too many stanzas came before {what}")));
            }
            self.inbox.push_back(stanza);
        }
    }

    /// Removes from the inbox the stanzas for which this holds; reads nothing.
    pub fn take(&mut self, mut holds: impl FnMut(&Stanza) -> bool) -> Vec<Stanza> {
        let (taken, kept) = self.inbox.drain(..).partition(|it| holds(it));
        self.inbox = kept;
        Vec::from(taken)
    }

    /// Sends an iq with these attributes besides `type` and `id`, and waits for the answer: the same id and,
    /// if given, this sender. An error answer is `LabError::Stanza`.
    pub(super) async fn iq(
        &mut self,
        kind: &str,
        attributes: &str,
        payload: &str,
        answers: Option<&str>,
    ) -> Result<Stanza> {
        let id = self.new_id();
        let iq = format!("<iq type='{kind}' id='{id}'{attributes}>{payload}</iq>");
        self.send(&iq).await?;
        let is_answer = |it: &Stanza| {
            let from = it.attribute("from");
            it.name == "iq"
                && matches!(it.attribute("type"), Some("result" | "error"))
                && it.attribute("id") == Some(&id)
                && answers.is_none_or(|who| from == Some(who))
        };
        let answer = self.wait_for("the answer to an iq", PATIENCE, is_answer).await?;
        answer.error().map_or(Ok(answer), Err)
    }

    pub(super) fn new_id(&mut self) -> String {
        self.next_id += 1;
        format!("lab-{}", self.next_id)
    }

    /// Says goodbye and waits for the server to close.
    pub(super) async fn close(mut self) -> Result<()> {
        self.send("</stream:stream>").await?;
        while self.stream.receive(PATIENCE).await.is_ok() {}
        Ok(())
    }
}
