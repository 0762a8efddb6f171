//! What a hostile account can send, through a server that relays everything: nothing closes the stream, every
//! readable request is answered once, and memory stays bounded.

use crate::component_stand_in::{JID, Peer, Running};

const MIB: usize = 1 << 20;

/// An `<iq/>` with these attributes and this content.
fn request(attributes: &str, content: &str) -> String {
    format!("<iq type='get' id='1' from='a@b/c' to='{JID}'{attributes}>{content}</iq>")
}

fn message(attributes: &str, content: &str) -> String {
    format!("<message from='a@b/c' to='{JID}'{attributes}>{content}</message>")
}

fn ping(attributes: &str, content: &str) -> String {
    format!("<ping xmlns='urn:xmpp:ping'{attributes}>{content}</ping>")
}

fn nested(open: &str, close: &str, levels: usize) -> String {
    open.repeat(levels) + &close.repeat(levels)
}

fn attribute(length: usize) -> String {
    format!(" long='{}'", "x".repeat(length))
}

fn attributes(count: usize) -> String {
    (0..count).map(|number| format!(" a{number}=''")).collect()
}

fn namespaces(count: usize) -> String {
    (0..count).map(|number| format!(" xmlns:n{number}='urn:{number}'")).collect()
}

/// Sends each as a message, as a presence and as a request; the first two get no answer, and the third this
/// one.
async fn all_survive(cases: &[(&str, String, String, &str)]) {
    let (running, _server, mut peer) = Running::connected().await;
    for (name, attributes, content, expected) in cases {
        let message = message(attributes, content);
        assert_eq!(peer.ask(&message).await, "", "message with {name}");
        let presence = message.replace("<message", "<presence").replace("</message", "</presence");
        assert_eq!(peer.ask(&presence).await, "", "presence with {name}");
        let answer = peer.ask(request(attributes, content)).await;
        assert_answer(&answer, expected, name);
    }
    assert_eq!(running.metrics.component_reconnects.get(), 0);
    assert_eq!(running.metrics.component_connected.get(), 1);
}

fn assert_answer(answer: &str, expected: &str, name: &str) {
    let count = usize::from(expected != "nothing");
    assert_eq!(answer.matches("<iq").count(), count, "request with {name}: {answer}");
    match expected {
        "nothing" => {}
        "result" => assert!(answer.contains("type='result'"), "request with {name}: {answer}"),
        error => assert!(answer.contains(&format!("<{error} ")), "request with {name}: {answer}"),
    }
}

#[tokio::test]
async fn deep_stanzas_survive() {
    let none = String::new;
    all_survive(&[
        ("64 levels", none(), ping("", &nested("<a>", "</a>", 62)), "result"),
        ("65 levels", none(), nested("<a xmlns='y'>", "</a>", 64), "policy-violation"),
        ("65 levels of our own namespace", none(), nested("<a>", "</a>", 64), "policy-violation"),
        ("65 levels in a ping", none(), ping("", &nested("<a>", "</a>", 63)), "policy-violation"),
        (
            "65 prefixed levels",
            " xmlns:p='y'".to_owned(),
            nested("<p:a p:b=''>", "</p:a>", 64),
            "policy-violation",
        ),
    ])
    .await;
}

#[tokio::test]
async fn long_and_many_attributes_survive() {
    let none = String::new;
    all_survive(&[
        ("200 KB", attribute(200_000), ping("", ""), "result"),
        ("more than a stanza may have", attribute(MIB), ping("", ""), "nothing"),
        ("200 KB inside", none(), ping(&attribute(200_000), ""), "result"),
        ("the same inside", none(), ping(&attribute(MIB), ""), "policy-violation"),
        ("2,000", attributes(2_000), ping("", ""), "result"),
        ("2,000 inside", none(), ping(&attributes(2_000), ""), "result"),
        ("2,000 namespaces", namespaces(2_000), ping(&namespaces(2_000), ""), "result"),
    ])
    .await;
}

#[tokio::test]
async fn long_and_many_children_survive() {
    let none = String::new;
    let long_name = format!("<{0}></{0}>", "n".repeat(300_000));
    all_survive(&[
        ("400 KB of text", none(), "x".repeat(400_000), "bad-request"),
        ("more text than a stanza may have", none(), "x".repeat(MIB), "policy-violation"),
        ("400 KB of references", none(), "&#x26;".repeat(66_000), "bad-request"),
        (
            "more CDATA than that",
            none(),
            format!("<![CDATA[{}]]>", "]<".repeat(MIB / 2)),
            "policy-violation",
        ),
        ("20,000 children", none(), "<a/>".repeat(20_000), "bad-request"),
        ("more children than that", none(), "<a/>".repeat(MIB / 4), "policy-violation"),
        ("a ping of 20,000 children", none(), ping("", &"<a/>".repeat(20_000)), "result"),
        ("a long name", none(), long_name, "service-unavailable"),
        ("an unknown entity", none(), "&wibble;".to_owned(), "bad-request"),
        ("a forbidden character", none(), "&#0;\u{1}".to_owned(), "bad-request"),
    ])
    .await;
}

#[tokio::test]
async fn invalid_utf_8_is_harmless() {
    let (running, _server, mut peer) = Running::connected().await;
    let bytes = request("", "\u{fffd}").into_bytes();
    let broken: Vec<u8> = bytes.into_iter().filter(|byte| *byte != 0xbf).collect();
    assert!(String::from_utf8(broken.clone()).is_err());
    assert_answer(&peer.ask(broken).await, "bad-request", "broken text");
    assert_eq!(running.metrics.component_reconnects.get(), 0);
}

#[tokio::test]
async fn long_addresses_and_ids_come_back_or_nothing_does() {
    let (running, _server, mut peer) = Running::connected().await;
    let ask =
        |id: &str| format!("<iq type='get' id=\"{id}\" from='a' to='{JID}'>{}</iq>", ping("", ""));
    let long = "i".repeat(200_000);
    let answer = peer.ask(ask(&long)).await;
    assert!(answer.contains(&format!("id='{long}' type='result'")));
    // Each of these takes five bytes in an answer, and a server would close the stream over it.
    assert_eq!(peer.ask(ask(&"'".repeat(200_000))).await, "");
    let node = format!("<query xmlns='http://jabber.org/protocol/disco#info' node='{long}'/>");
    assert!(peer.ask(request("", &node)).await.len() < 1_000);
    assert_eq!(running.metrics.component_reconnects.get(), 0);
}

#[tokio::test]
async fn a_megabyte_of_white_space_is_nothing() {
    let (_running, _server, mut peer) = Running::connected().await;
    assert_eq!(peer.ask(" \n".repeat(MIB / 2)).await, "");
}

/// This process's resident memory in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// Sends this much, and watches our memory meanwhile.
async fn fill(peer: &mut Peer, length: usize, what: &str) {
    let part = what.repeat(MIB / what.len());
    let before = resident();
    for _ in 0..length / part.len() {
        peer.send(&part).await;
        let grown = resident().saturating_sub(before);
        assert!(grown < 6 * MIB, "{grown} bytes more after {what:?}");
    }
}

async fn stanzas_without_end() {
    let (running, _server, mut peer) = Running::connected().await;
    for (start, what, end) in [
        ("", "long text ", ""),
        ("", "<child a='b'/>", ""),
        ("<a b='", "long value ", "'/>"),
        ("<a ", "long='tag' ", "/>"),
        ("<", "long-name-", "/>"),
    ] {
        peer.send(format!("<iq type='get' id='1' from='a@b/c' to='{JID}'>{start}")).await;
        fill(&mut peer, 12 * MIB, what).await;
        let answer = peer.ask(format!("{end}</iq>")).await;
        assert_answer(&answer, "policy-violation", what);
    }
    assert_eq!(running.metrics.component_reconnects.get(), 0);
    peer.send(format!("<message>{}", "<deep>".repeat(64))).await;
    fill(&mut peer, 12 * MIB, "<deeper/>words").await;
}

/// In a process of its own, because neighbouring tests use memory too.
#[tokio::test]
async fn a_stanza_without_end_leaves_memory_flat() {
    const ALONE: &str = "COMPONENT_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return stanzas_without_end().await;
    }
    let name = "component_hostile::a_stanza_without_end_leaves_memory_flat";
    let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
    let output = alone.args([name, "--exact", "--nocapture"]).env(ALONE, "1").output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}
