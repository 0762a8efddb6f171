//! What the companion modules announce of messages that nobody has received (XEP-0198): in Prosody and in ejabberd,
//! with a component in the daemon's place.

use ephemerd_lab::ejabberd;
use ephemerd_lab::prosody::Storage;
use ephemerd_lab::xmpp::{Client, Component, MamQuery};
use ephemerd_lab::{Lab, PATIENCE, Result, Server};

use crate::companion::{NS, answer};
use crate::hanging::{self, phone};
use crate::remote::timer;

/// Waits until the module announces this, and nothing of it is left unread.
async fn until_told(component: &mut Component, what: &str) -> Result<()> {
    let is_notice =
        |it: &ephemerd_lab::xmpp::Stanza| it.children.iter().any(|child| child.is(NS, what));
    component.wait_for(&format!("<{what}/>"), PATIENCE, is_notice).await.map(drop)
}

/// Of one message so many sessions are remembered, and no more: it may wait although one more has it, but of those that
/// broke off any of the last may be resumed.
async fn sessions_are_bounded<S: Server>(lab: Lab<S>) -> Result<()> {
    const REMEMBERED: usize = 16;
    let mut component = Component::connect(lab.endpoints()).await?;
    let payload = format!("<companion xmlns='{NS}' version='2' daemon='test'/>");
    answer(&mut component, "get", "localhost", &payload).await?;
    let mut peter = lab.online("peter").await?;
    let (rita, _) = phone(&lab, "rita").await?;
    rita.break_off();
    peter.chat("rita@localhost", "words", &timer(3600)).await?;
    until_told(&mut component, "undelivered").await?;
    let mut sessions = Vec::new();
    for at in 0..=REMEMBERED {
        let mut session = Client::login(lab.endpoints(), "rita", &format!("session{at}")).await?;
        let resumption = session.enable_resumption().await?;
        assert_eq!(session.query(&MamQuery::default()).await?.items.len(), 1);
        sessions.push((session, resumption));
    }
    until_told(&mut component, "delivered").await?;
    let _one_more = sessions.pop();
    let mut last = None;
    for (session, mut resumption) in sessions {
        // It is not sent again to one that says it has it.
        session.keep_count(&mut resumption);
        session.break_off();
        last = Some(resumption);
    }
    until_told(&mut component, "undelivered").await?;
    let last = last.expect("there were several");
    let _resumed = Client::resume(lab.endpoints(), "rita", &last).await?;
    until_told(&mut component, "delivered").await
}

#[tokio::test(flavor = "multi_thread")]
async fn prosody_remembers_so_many_sessions() -> Result<()> {
    sessions_are_bounded(hanging::prosody(Storage::Files).await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ejabberd_remembers_so_many_sessions() -> Result<()> {
    sessions_are_bounded(hanging::ejabberd(ejabberd::Storage::Mnesia).await?).await
}
