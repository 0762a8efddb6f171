//! The bounds of users' commands: sessions, requests, questions to the ledger; and the switch.

use chrono::TimeDelta;
use ephemerd::component::{Answer, CommandSettings};
use ephemerd::metrics::{CommandNode, CommandOutcome};
use ephemerd::words::{Language, Message, say};
use ephemerd_lab::eventually;

use crate::adhoc_talk::{
    COMMANDS, KEPT, PETER, POLICY, Talk, command, form, identified, kept, refusal, reply, settings,
    value, which, words,
};
use crate::component_stand_in::{DEADLINE, JID, elements};

/// A session belongs to the client that began it, ends after ten minutes, and a fifth ends the user's first.
#[tokio::test]
async fn a_session_has_one_owner_and_an_end() {
    let mut talk = Talk::begin(settings()).await;
    let id = talk.session().await;
    let go_on = |id: &str| command(KEPT, &format!("sessionid='{id}' action='next'"), "");
    for from in ["peter@example.org/laptop", "eve@example.org/phone"] {
        let answer = talk.ask(&format!("type='set' from='{from}'"), &go_on(&id)).await;
        let expected = ("modify", "bad-request", Some("bad-sessionid"));
        let (kind, condition, fault) = refusal(&answer);
        assert_eq!((kind.as_str(), condition.as_str(), fault.as_deref()), expected, "{from}");
    }
    talk.wait(TimeDelta::minutes(10));
    let now = talk.now();
    let shown = talk.look(&go_on(&id), Some(kept(now))).await;
    assert_eq!(reply(&shown).attr("status"), Some("executing"), "it waited");
    talk.wait(TimeDelta::minutes(10) + TimeDelta::seconds(1));
    let (kind, condition, fault) = refusal(&talk.say(&go_on(&id)).await);
    assert_eq!((kind.as_str(), condition.as_str()), ("cancel", "not-allowed"));
    assert_eq!(fault.as_deref(), Some("session-expired"));

    let first = talk.session().await;
    let mut others = Vec::new();
    for _ in 0..4 {
        others.push(talk.session().await);
    }
    assert_eq!(refusal(&talk.say(&go_on(&first)).await).2.as_deref(), Some("bad-sessionid"));
    let now = talk.now();
    assert_eq!(
        form(&talk.look(&go_on(&others[0]), Some(kept(now))).await).attr("type"),
        Some("result")
    );
}

/// Each user has a number of requests for each minute, whatever they ask for; it is the operator's.
#[tokio::test]
async fn one_request_too_many_is_refused() {
    let mut talk = Talk::begin(CommandSettings { per_minute: 3, ..settings() }).await;
    let execute = command(KEPT, "", "");
    for payload in [execute.clone(), command("unknown", "", ""), execute.clone()] {
        talk.say(&payload).await;
    }
    let head = "type='set' from='peter@example.org/laptop' xml:lang='fr'";
    let refused = talk.ask(head, &execute).await;
    assert_eq!(refusal(&refused), ("wait".to_owned(), "policy-violation".to_owned(), None));
    let expected = (say(Language::French, Message::ErrorLimited, &[]), "fr".to_owned());
    assert_eq!(words(&refused), expected);
    assert_eq!(talk.counted(CommandNode::Kept, CommandOutcome::Limited), 1);
    reply(&talk.ask("type='set' from='rosa@example.org/r'", &execute).await);
    talk.settings.send_modify(|it| it.per_minute = 5);
    reply(&talk.say(&execute).await);
    assert_eq!(refusal(&talk.say(&execute).await).1, "policy-violation");
    talk.wait(TimeDelta::minutes(1));
    reply(&talk.say(&execute).await);
}

/// Sixteen questions wait for the ledger. The next is refused at once, and everything else is answered as ever.
#[tokio::test]
async fn the_stream_never_waits_for_the_ledger() {
    let mut talk = Talk::begin(settings()).await;
    let ask = |number: usize| {
        let from = format!("user-{number}@example.org/r");
        let command = command(POLICY, "", "");
        format!("<iq type='set' id='{number}' to='{JID}' from='{from}'>{command}</iq>")
    };
    let many: String = (0..17).map(ask).collect();
    let refused = elements(&talk.peer.ask(many).await);
    assert_eq!(refused.len(), 1, "sixteen wait");
    assert_eq!(refused[0].attr("id"), Some("16"));
    assert_eq!(refusal(&refused[0]), ("wait".to_owned(), "resource-constraint".to_owned(), None));
    assert_eq!(talk.counted(CommandNode::Policy, CommandOutcome::Busy), 1);
    for number in 0..16 {
        let question = talk.question().await;
        assert_eq!(question.owner, format!("user-{number}"), "in order");
        question.answer((number > 0).then(|| Answer::Kept(kept(talk.now()))));
        let answer = elements(&talk.peer.until("</iq>").await).remove(0);
        assert_eq!(answer.attr("id").map(str::to_owned), Some(number.to_string()));
        match number {
            // The database is down.
            0 => assert_eq!(refusal(&answer).1, "internal-server-error"),
            _ => assert_eq!(reply(&answer).attr("status"), Some("completed")),
        }
    }
    assert_eq!(talk.counted(CommandNode::Policy, CommandOutcome::Failed), 1);
    assert_eq!(talk.counted(CommandNode::Policy, CommandOutcome::Completed), 15);
}

/// The longest id is answered, and one that is longer is not kept.
#[tokio::test]
async fn a_request_has_an_id_of_bounded_length() {
    let mut talk = Talk::begin(settings()).await;
    let policy = command(POLICY, "", "");
    for (length, fits) in [(1024, true), (1025, false)] {
        let id = "x".repeat(length);
        let iq = format!("<iq type='set' id='{id}' to='{JID}' from='{PETER}'>{policy}</iq>");
        talk.peer.send(iq).await;
        if fits {
            let now = talk.now();
            talk.question().await.answer(Some(Answer::Kept(kept(now))));
        }
        let answer = elements(&talk.peer.until("</iq>").await).remove(0);
        assert_eq!(answer.attr("id"), Some(id.as_str()));
        match fits {
            true => assert_eq!(reply(&answer).attr("status"), Some("completed")),
            false => assert_eq!(refusal(&answer).1, "bad-request"),
        }
    }
}

/// Too much to look at is said, and answered all the same.
#[tokio::test]
async fn somebody_with_too_many_messages_is_told_so() {
    let mut talk = Talk::begin(settings()).await;
    let id = talk.session().await;
    let now = talk.now();
    let too_many = ephemerd::ops::Kept { entries: None, ..kept(now) };
    let command = command(KEPT, &format!("sessionid='{id}'"), &which("both"));
    let done = talk.look(&command, Some(too_many)).await;
    let said = value(form(&done), "too-many").unwrap();
    assert!(said.starts_with("More than 20000 messages are recorded here"), "{said}");
    assert_eq!(value(form(&done), "archive-going"), None);
}

/// Nobody is served before their host has said itself that it is none for rooms.
#[tokio::test]
async fn a_host_must_say_what_it_is() {
    let (mut talk, requests) = Talk::connected(settings()).await;
    let (id, host) = requests[0].clone();
    let policy = command(POLICY, "", "");
    for forged in
        [identified(&id, "eve@other.example/r", "server"), identified("1", &host, "server")]
    {
        talk.peer.send(forged).await;
        let expected = ("wait".to_owned(), "resource-constraint".to_owned(), None);
        assert_eq!(refusal(&talk.say(&policy).await), expected);
    }
    // What is no description is no service for rooms.
    talk.peer.send(format!("<iq type='error' id='{id}' from='{host}' to='{JID}'/>")).await;
    let now = talk.now();
    assert_eq!(reply(&talk.look(&policy, Some(kept(now))).await).attr("status"), Some("completed"));
}

#[tokio::test]
async fn switched_off_there_are_no_commands() {
    let mut talk = Talk::begin(CommandSettings { enabled: false, ..settings() }).await;
    let answer = talk.say(&command(POLICY, "", "")).await;
    assert_eq!(refusal(&answer).1, "service-unavailable");
    let get = format!("type='get' from='{PETER}'");
    let items =
        format!("<query xmlns='http://jabber.org/protocol/disco#items' node='{COMMANDS}'/>");
    assert_eq!(refusal(&talk.ask(&get, &items).await).1, "item-not-found");
    let info = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
    assert!(!String::from(&talk.ask(&get, info).await).contains(COMMANDS));
    // A reload switches them on.
    talk.settings.send_modify(|it| it.enabled = true);
    reply(&talk.say(&command(KEPT, "", "")).await);
    assert!(String::from(&talk.ask(&get, info).await).contains(COMMANDS));
}

/// Whoever asked is not answered in another stream, and the ledger is not asked in vain.
#[tokio::test]
async fn answers_under_way_end_with_the_stream() {
    let mut talk = Talk::begin(settings()).await;
    let request = command(POLICY, "", "");
    talk.peer.send(format!("<iq type='set' id='1' to='{JID}' from='{PETER}'>{request}</iq>")).await;
    let question = talk.question().await;
    assert!(!question.is_void());
    talk.peer.send("</stream:stream>").await;
    talk.peer.rest().await;
    let ended = async || Ok(question.is_void().then_some(()));
    eventually("the answer is given up", DEADLINE, ended).await.unwrap();
}
