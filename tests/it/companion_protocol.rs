//! The companion protocol as the daemon speaks it, against a server played by the test: who is trusted, what
//! is requested, and which answers are accepted.

use ephemerd::archive::companion::{
    Answer, Event, Item, Notice, Outcome, Request, Requests as _, Unanswered,
};
use ephemerd::model::Store;
use tokio::time::timeout;

use crate::component_stand_in::{DEADLINE, HOST, JID, Peer, Running};
use crate::reliability::saw;

const NS: &str = "urn:ephemerd:companion:0";
const MESSAGE: &str = "<message xmlns='jabber:client' type='chat' from='a@b/c'><body>words &lt; &amp;</body>\
                       <ephemeral xmlns='urn:xmpp:ephemeral:0' timer='60'/></message>";

fn archived(attributes: &str) -> String {
    format!(
        "<archived xmlns='{NS}' boot='b' number='1' store='archive' id='1' stamp='2026-11-22T03:34:18Z' {attributes}>\
         <forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='2026-11-22T03:34:18Z'/>{MESSAGE}\
         </forwarded></archived>"
    )
}

async fn next(running: &mut Running) -> Notice {
    timeout(DEADLINE, running.notices.recv()).await.expect("a notice comes").unwrap()
}

#[tokio::test]
async fn a_notice_is_read_as_it_was_sent() {
    let (mut running, _server, mut peer) = Running::connected().await;
    let notice = archived("owner='bob@example.org' copy-of='2' new='attribute'");
    peer.ask(format!(
        "<message from='{HOST}' to='{JID}' type='headline'><other xmlns='o'/>{notice}</message>"
    ))
    .await;
    let drained = format!("<drained xmlns='{NS}' boot='b' number='2' owner='bob@example.org'/>");
    peer.ask(format!("<message from='{HOST}' to='{JID}' type='headline'>{drained}</message>"))
        .await;
    let first = next(&mut running).await;
    let Event::Archived(shown) = first.event else { panic!("{first:?}") };
    assert_eq!((first.host.as_str(), first.boot.as_str(), first.number), (HOST, "b", 1));
    let key = &shown.row.key;
    assert_eq!(
        (key.host.as_str(), key.owner.as_str(), key.archive_id.as_str()),
        (HOST, "bob", "1")
    );
    assert_eq!(shown.copy_of.as_deref(), Some("2"));
    // The stanza is a document of its own again, with the same content.
    let xml: minidom::Element = shown.row.xml.as_deref().unwrap().parse().unwrap();
    assert_eq!(xml, MESSAGE.parse().unwrap());
    let second = next(&mut running).await;
    assert!(matches!(&second.event, Event::Drained(owner) if owner == "bob"), "{second:?}");
    assert_eq!((running.metrics.notices_refused.get(), running.metrics.notices_lost.get()), (0, 0));
}

/// Any sender but the exact bare domain of a listed host, which must also be the owner's.
#[tokio::test]
async fn nobody_else_is_believed() {
    let (mut running, _server, mut peer) = Running::connected().await;
    let bob = archived("owner='bob@example.org'");
    let forged = [
        (format!("from='eve@{HOST}/r'"), &bob),
        (format!("from='eve@{HOST}'"), &bob),
        (format!("from='{HOST}/r'"), &bob),
        ("from='other.component.example'".to_owned(), &bob),
        ("from='other.example'".to_owned(), &bob),
        ("from='EXAMPLE.org'".to_owned(), &bob),
        (String::new(), &bob),
        ("from='other.example'".to_owned(), &archived("owner='bob@other.example'")),
        (format!("from='{HOST}'"), &archived("owner='bob@other.example'")),
        (format!("from='{HOST}'"), &archived("owner='bob@x@other.example'")),
        (format!("from='{HOST}'"), &archived("")),
    ];
    for (from, notice) in &forged {
        peer.ask(format!("<message {from} to='{JID}' type='headline'>{notice}</message>")).await;
    }
    peer.ask(format!("<message from='{HOST}' to='x@{JID}' type='headline'>{bob}</message>")).await;
    assert_eq!(running.metrics.notices_refused.get(), forged.len() as u64 + 1);
    assert!(running.notices.try_recv().is_err(), "none of them was taken");
}

fn undelivered(items: &str) -> String {
    format!(
        "<undelivered xmlns='{NS}' boot='b' number='1' owner='bob@example.org'>{items}</undelivered>"
    )
}

#[tokio::test]
async fn what_nobody_has_had_is_read() {
    let (mut running, _server, mut peer) = Running::connected().await;
    let ids: Vec<String> = (1..=500).map(|id| id.to_string()).collect();
    let items: String = ids.iter().map(|id| format!("<item id='{id}'/>")).collect();
    let notice = undelivered(&items);
    peer.ask(format!("<message from='{HOST}' to='{JID}' type='headline'>{notice}</message>")).await;
    let Event::Undelivered(owner, told) = next(&mut running).await.event else {
        panic!("{notice:.200}")
    };
    assert_eq!((owner.as_str(), told), ("bob", ids));
    let notice = undelivered("<item id='a&amp;b'/>").replace("undelivered", "delivered");
    peer.ask(format!("<message from='{HOST}' to='{JID}' type='headline'>{notice}</message>")).await;
    let Event::Delivered(owner, told) = next(&mut running).await.event else { panic!("{notice}") };
    assert_eq!((owner.as_str(), told), ("bob", vec!["a&b".to_owned()]));
}

/// Of all message types only a headline: above all not a bounce, which quotes what somebody else wrote.
#[tokio::test]
async fn no_other_type_of_message_is_believed() {
    let (mut running, _server, mut peer) = Running::connected().await;
    let bob = archived("owner='bob@example.org'");
    let drained = format!("<drained xmlns='{NS}' boot='b' number='2' owner='bob@example.org'/>");
    let error = "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";
    let remembered = bob.replace("archived", "remembered").replace(" store='archive'", "");
    let undelivered = undelivered("<item id='a'/>");
    let delivered = undelivered.replace("undelivered", "delivered");
    let notices = [bob.clone(), drained.clone(), remembered, undelivered, delivered];
    let kinds = [
        "",
        "type='normal'",
        "type='chat'",
        "type='groupchat'",
        "type='error'",
        "type='Headline'",
        "type='wibble'",
        "type=''",
    ];
    for kind in kinds {
        let beside = [format!("{bob}{error}"), format!("{error}{drained}")];
        for notice in notices.iter().chain(&beside) {
            let before = running.metrics.notices_refused.get();
            peer.ask(format!("<message from='{HOST}' to='{JID}' {kind}>{notice}</message>")).await;
            assert!(running.notices.try_recv().is_err(), "{kind}: {notice}");
            assert_eq!(running.metrics.notices_refused.get(), before + 1, "{kind}: {notice}");
        }
    }
    assert_eq!(running.metrics.notices_lost.get(), 0);
    for notice in notices {
        peer.ask(format!("<message from='{HOST}' to='{JID}' type='headline'>{notice}</message>"))
            .await;
        next(&mut running).await;
    }
    saw(
        "a bounce that contains a notice",
        "notices of each kind in a message of each type, with and without an error beside them",
        "all but `headline` are refused and counted; nothing is recorded",
    );
}

/// What violates the protocol is lost, and what follows it is read.
#[tokio::test]
async fn what_cannot_be_read_is_counted() {
    let (mut running, _server, mut peer) = Running::connected().await;
    let bob = archived("owner='bob@example.org'");
    let broken = [
        bob.replace("number='1'", "number='0'"),
        bob.replace("number='1'", "number='x'"),
        bob.replace("boot='b'", "boot=''"),
        bob.replace("boot='b'", &format!("boot='{}'", "b".repeat(65))),
        bob.replace("store='archive'", "store='attic'"),
        bob.replace(" id='1'", " id=''"),
        bob.replace(" id='1'", &format!(" id='{}'", "1".repeat(257))),
        bob.replace("Z' owner", "' owner"),
        bob.replace("bob@", "@"),
        bob.replace("xmlns='jabber:client' ", "xmlns='jabber:server' "),
        format!("<archived xmlns='{NS}' owner='bob@example.org'/>"),
        undelivered(""),
        undelivered("<item/>"),
        undelivered("<item id=''/>"),
        undelivered(&format!("<item id='{}'/>", "1".repeat(257))),
        undelivered(&(1..=501).map(|id| format!("<item id='{id}'/>")).collect::<String>()),
    ];
    for notice in &broken {
        peer.ask(format!("<message from='{HOST}' to='{JID}' type='headline'>{notice}</message>"))
            .await;
    }
    assert_eq!(running.metrics.notices_lost.get(), broken.len() as u64);
    assert!(running.notices.try_recv().is_err());
    peer.ask(format!("<message from='{HOST}' to='{JID}' type='headline'>{bob}</message>")).await;
    assert_eq!(next(&mut running).await.number, 1);
}

#[tokio::test]
async fn notices_that_wait_are_bounded_in_number_and_bytes() {
    let (mut running, _server, mut peer) = Running::connected().await;
    let bob = archived("owner='bob@example.org'");
    for _ in 0..20 {
        let many = format!("<message from='{HOST}' to='{JID}' type='headline'>{bob}</message>")
            .repeat(100);
        peer.ask(many).await;
    }
    assert_eq!(running.metrics.notices_lost.get(), 1_000);
    while running.notices.try_recv().is_ok() {}
    let long = bob.replace("words", &"w".repeat(100_000));
    for _ in 0..100 {
        peer.ask(format!("<message from='{HOST}' to='{JID}' type='headline'>{long}</message>"))
            .await;
    }
    let lost = running.metrics.notices_lost.get() - 1_000;
    assert!((58..=62).contains(&lost), "{lost} of 100 notices of 100 KB do not fit into 4 MiB");
}

/// Sends a request once connected.
fn asked(
    running: &Running,
    request: Request,
) -> impl Future<Output = Result<Answer, Unanswered>> + use<> {
    let link = running.link.clone();
    async move {
        link.connection().wait_for(Option::is_some).await.unwrap();
        link.ask(HOST, request).await
    }
}

/// Sends a request, lets the peer answer it, and returns both.
async fn exchanged(
    running: &Running,
    peer: &mut Peer,
    request: Request,
    answers: impl FnOnce(&str) -> String,
) -> (String, Result<Answer, Unanswered>) {
    let asking = tokio::spawn(asked(running, request));
    let sent = peer.until("</iq>").await;
    let id = sent.split("id='").nth(1).and_then(|rest| rest.split('\'').next()).unwrap().to_owned();
    peer.send(answers(&id)).await;
    (sent, timeout(DEADLINE, asking).await.expect("an answer").unwrap())
}

fn result(id: &str, payload: &str) -> String {
    format!("<iq type='result' id='{id}' from='{HOST}' to='{JID}'>{payload}</iq>")
}

fn erase() -> Request {
    let item = |id: &str| Item { id: id.to_owned(), stamp: "2026-11-22T03:34:18Z".to_owned() };
    let items = vec![item("a"), item("b'&<")];
    Request::Erase { owner: "bob".to_owned(), store: Store::Room, items, until: None }
}

#[tokio::test]
async fn an_answer_counts_by_its_id_and_its_sender() {
    let (running, _server, mut peer) = Running::connected().await;
    let payload = format!(
        "<erased xmlns='{NS}' owner='bob@example.org' store='room'><item id='a' outcome='done'/>\
         <item id='b&apos;&amp;&lt;' outcome='gone'/></erased>"
    );
    let (sent, answer) = exchanged(&running, &mut peer, erase(), |id| {
        let forged = result(id, &payload.replace("done", "failed"));
        [
            forged.replace("from='example.org'", "from='eve@example.org/r'"),
            forged.replace("from='example.org'", "from='other.example'"),
            forged.replace(id, "another"),
            result(id, &payload),
        ]
        .concat()
    })
    .await;
    let sent: minidom::Element = sent.replace("<iq ", "<iq xmlns='i' ").parse().unwrap();
    assert_eq!(
        (sent.attr("to"), sent.attr("from"), sent.attr("type")),
        (Some(HOST), Some(JID), Some("set"))
    );
    let erase = sent.get_child("erase", NS).unwrap();
    assert_eq!((erase.attr("owner"), erase.attr("version")), (Some("bob@example.org"), Some("2")));
    let ids: Vec<_> = erase.children().filter_map(|it| it.attr("id")).collect();
    assert_eq!(ids, ["a", "b'&<"]);
    let Ok(Answer::Erased { outcomes, .. }) = answer else { panic!("{answer:?}") };
    assert_eq!(outcomes, [("a".to_owned(), Outcome::Done), ("b'&<".to_owned(), Outcome::Gone)]);
}

#[tokio::test]
async fn an_older_module_is_asked_in_its_own_version() {
    let (running, _server, mut peer) = Running::connected().await;
    for (speaks, asked_in) in [("1", "1"), ("2", "2"), ("3", "2")] {
        let payload = format!("<companion xmlns='{NS}' version='{speaks}' boot='b' number='0'/>");
        let (sent, answer) =
            exchanged(&running, &mut peer, Request::Companion, |id| result(id, &payload)).await;
        assert!(sent.contains("version='2'") && answer.is_ok(), "{sent} {answer:?}");
        let (sent, _) = exchanged(&running, &mut peer, erase(), |id| result(id, "")).await;
        assert!(sent.contains(&format!("version='{asked_in}'")), "{sent}");
    }
}

#[tokio::test]
async fn a_module_tells_again_page_by_page() {
    let (running, _server, mut peer) = Running::connected().await;
    for (answer, expected) in [
        ("last='bob@example.org'", Some(Some("bob"))),
        ("last='bob@example.org' complete='true'", Some(None)),
        ("complete='true'", Some(None)),
        ("", None),
        ("last='bob@other.example'", None),
    ] {
        let request = Request::Recall { after: Some("al&ice".to_owned()) };
        let payload = format!("<recall xmlns='{NS}' {answer}/>");
        let (sent, answered) =
            exchanged(&running, &mut peer, request, |id| result(id, &payload)).await;
        assert!(sent.contains("after='al&amp;ice@example.org' max='100'"), "{sent}");
        match (answered, expected) {
            (Ok(Answer::Recalled(last)), Some(expected)) => assert_eq!(last.as_deref(), expected),
            (Err(Unanswered::Unreadable), None) => {}
            other => panic!("{payload}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn errors_tell_what_to_do() {
    let (running, _server, mut peer) = Running::connected().await;
    for (condition, expected) in [
        ("resource-constraint", Unanswered::Busy),
        ("internal-server-error", Unanswered::StorageFailed),
        ("item-not-found", Unanswered::NotFound),
        ("feature-not-implemented", Unanswered::Unimplemented),
        ("forbidden", Unanswered::Forbidden),
        ("service-unavailable", Unanswered::Absent),
        ("bad-request", Unanswered::Refused),
    ] {
        let (_, answer) = exchanged(&running, &mut peer, erase(), |id| {
            format!(
                "<iq type='error' id='{id}' from='{HOST}' to='{JID}'><erase xmlns='{NS}'/><error type='wait'>\
                 <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
                 <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>no</text></error></iq>"
            )
        })
        .await;
        assert_eq!(answer.unwrap_err(), expected, "{condition}");
    }
    for payload in ["", "<blanked xmlns='urn:ephemerd:companion:0'/>", "<erased xmlns='another'/>"]
    {
        let (_, answer) = exchanged(&running, &mut peer, erase(), |id| result(id, payload)).await;
        assert_eq!(answer.unwrap_err(), Unanswered::Unreadable, "{payload}");
    }
}

#[tokio::test]
async fn a_list_is_read_with_its_stanzas() {
    let (running, _server, mut peer) = Running::connected().await;
    let request =
        Request::List { owner: "bob".to_owned(), store: Store::Archive, since: None, after: None };
    let payload = format!(
        "<list xmlns='{NS}' owner='bob@example.org' store='archive' last='9'>\
         <row id='1' stamp='2026-11-22T03:34:18.5Z'>{MESSAGE}</row>\
         <row id='2' stamp='2026-11-22T03:34:19Z' reduced='true'>{MESSAGE}</row></list>"
    );
    let (_, answer) =
        exchanged(&running, &mut peer, request.clone(), |id| result(id, &payload)).await;
    let Ok(Answer::Rows(page)) = answer else { panic!("{answer:?}") };
    assert_eq!((page.found.len(), page.last.as_deref(), page.complete), (2, Some("9"), false));
    for shown in &page.found {
        let xml: minidom::Element = shown.row.xml.as_deref().unwrap().parse().unwrap();
        assert_eq!(xml, MESSAGE.parse().unwrap());
    }
    // Without the last id the list cannot be continued.
    let endless = payload.replace(" last='9'", "");
    let (_, answer) = exchanged(&running, &mut peer, request, |id| result(id, &endless)).await;
    assert_eq!(answer.unwrap_err(), Unanswered::Unreadable);
}

#[tokio::test]
async fn a_requester_learns_when_the_connection_ends() {
    let (running, _server, mut peer) = Running::connected().await;
    let asking = tokio::spawn(asked(&running, erase()));
    peer.until("</iq>").await;
    drop(peer);
    let answer = timeout(DEADLINE, asking).await.expect("an answer").unwrap();
    assert_eq!(answer.unwrap_err(), Unanswered::Disconnected);
}
