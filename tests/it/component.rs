//! The component against a server played by the test: the handshake, its failures, what is answered, and how
//! a connection ends and is restored.

use std::pin::pin;
use std::time::Duration;

use ephemerd::component::{ComponentSettings, Timing, probe};
use ephemerd::model::{Finding, Level};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, UnixListener};
use tokio::time::{Instant, timeout};
use tokio_xmpp::xmlstream::{StreamHeader, Timeouts, XmlStream, accept_stream};
use xmpp_parsers::component::Handshake;
use xmpp_parsers::disco::{DiscoInfoQuery, DiscoInfoResult};
use xmpp_parsers::stream_features::StreamFeatures;
use xso::{AsXml, FromXml};

use crate::component_stand_in::{
    DEADLINE, IMPATIENT, JID, Running, SECRET, Server, TIMING, elements,
};

const NS: &str = "jabber:component:accept";
const PING: &str = "<ping xmlns='urn:xmpp:ping'/>";

#[tokio::test]
async fn it_shakes_hands_and_says_goodbye() {
    let (running, _server, mut peer) = Running::connected().await;
    assert_eq!(peer.ask("").await, "");
    assert_eq!(running.metrics.component_connected.get(), 1);
    running.tell_to_stop();
    assert_eq!(peer.rest().await, "</stream:stream>");
    let metrics = running.metrics.clone();
    peer.send("</stream:stream>").await;
    drop(peer);
    running.stopped().await;
    assert_eq!(metrics.component_connected.get(), 0);
    assert_eq!(metrics.component_reconnects.get(), 0);
}

#[tokio::test]
async fn every_kind_of_request_is_answered_once() {
    let (running, _server, mut peer) = Running::connected().await;
    let corpus = include_str!("corpus/component/requests.txt");
    let us = format!("id='1' from='a@b/c' to='{JID}'");
    for line in corpus.lines().filter(|line| !line.starts_with('#')) {
        let (expected, stanza) = line.split_once(' ').unwrap();
        let answers = elements(&peer.ask(stanza.trim_start().replace("{us}", &us)).await);
        assert_eq!(answers.len(), usize::from(expected != "nothing"), "{line}");
        for answer in answers {
            assert_eq!(answer.name(), "iq", "{line}");
            let error = answer.get_child("error", NS).and_then(|error| error.children().next());
            assert_eq!(error.map_or("result", |condition| condition.name()), expected, "{line}");
            let kind = if error.is_some() { "error" } else { "result" };
            assert_eq!(answer.attr("type"), Some(kind), "{line}");
            if line.contains("{us}") {
                let head = ["id", "from", "to"].map(|name| answer.attr(name));
                assert_eq!(head, [Some("1"), Some(JID), Some("a@b/c")], "{line}");
            }
        }
    }
    running.tell_to_stop();
    running.stopped().await;
}

#[tokio::test]
async fn a_thousand_requests_at_once_are_answered_in_order() {
    let (_running, _server, mut peer) = Running::connected().await;
    let ask = |id: usize| format!("<iq type='get' id='{id}' from='a' to='{JID}'>{PING}</iq>");
    let answers = elements(&peer.ask((0..1000).map(ask).collect::<String>()).await);
    let ids: Vec<_> = answers.iter().filter_map(|answer| answer.attr("id")).collect();
    assert_eq!(ids, (0..1000).map(|id| id.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_slow_server_is_understood() {
    let (_running, _server, mut peer) = Running::connected().await;
    peer.socket.set_nodelay(true).unwrap();
    for byte in format!("<iq type='get' id='1' from='a' to='{JID}'>{PING}</iq>").bytes() {
        peer.send([byte]).await;
        tokio::task::yield_now().await;
    }
    peer.until("id='1' type='result'").await;
}

/// What a server receives from a component.
#[derive(FromXml, Debug)]
#[xml()]
enum FromComponent {
    #[xml(transparent)]
    Handshake(Handshake),
    #[xml(namespace = NS, name = "iq")]
    Iq {
        #[xml(attribute)]
        id: String,
        #[xml(child)]
        info: DiscoInfoResult,
    },
}

#[derive(AsXml)]
#[xml(namespace = NS, name = "iq")]
struct Ask {
    #[xml(attribute = "type")]
    kind: &'static str,
    #[xml(attribute)]
    id: &'static str,
    #[xml(attribute)]
    from: &'static str,
    #[xml(attribute)]
    to: &'static str,
    #[xml(child)]
    query: DiscoInfoQuery,
}

#[tokio::test]
async fn it_speaks_with_a_server_made_of_tokio_xmpp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap().to_string().parse().unwrap();
    let secret = SECRET.into();
    let _running =
        Running::start(ComponentSettings { jid: JID.into(), server, secret, timing: TIMING });
    let speaking = async {
        let socket = BufStream::new(listener.accept().await.unwrap().0);
        let mut accepted = accept_stream(socket, NS, Timeouts::tight()).await.unwrap();
        assert_eq!(accepted.take_header().to.as_deref(), Some(JID));
        let id = || Some("an id".into());
        let header = StreamHeader { from: Some(JID.into()), to: None, id: id() };
        let opened = accepted.send_header(header).await.unwrap();
        let stream = opened.send_features(&StreamFeatures::default()).await.unwrap();
        let mut stream: std::pin::Pin<&mut XmlStream<_, FromComponent>> = pin!(stream);

        let proof = stream.next().await.unwrap().unwrap();
        let expected = Handshake::from_stream_id_and_password("an id".to_owned(), SECRET);
        assert!(matches!(proof, FromComponent::Handshake(proof) if proof == expected));
        stream.send(&Handshake::new()).await.unwrap();

        let query = DiscoInfoQuery { node: None };
        stream.send(&Ask { kind: "get", id: "1", from: "a@b", to: JID, query }).await.unwrap();
        let answer = stream.next().await.unwrap().unwrap();
        let FromComponent::Iq { id, info } = answer else { panic!("{answer:?}") };
        assert_eq!(id, "1");
        assert_eq!(info.identities[0].category, "component");
        assert_eq!(info.identities[0].type_, "generic");
        assert_eq!(info.identities[0].name.as_deref(), Some("ephemerd"));
        assert_eq!(info.features.len(), 4);
    };
    timeout(DEADLINE, speaking).await.expect("the two understand each other");
}

#[tokio::test]
async fn it_connects_through_a_socket_in_the_file_system() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("component.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let server = format!("unix:{}", path.display()).parse().unwrap();
    let secret = SECRET.into();
    let _running =
        Running::start(ComponentSettings { jid: JID.into(), server, secret, timing: TIMING });
    let mut socket = timeout(DEADLINE, listener.accept()).await.unwrap().unwrap().0;
    let mut header = [0; 5];
    tokio::io::AsyncReadExt::read_exact(&mut socket, &mut header).await.unwrap();
    assert_eq!(&header, b"<?xml");
}

#[tokio::test]
async fn a_wrong_secret_is_tried_slowly() {
    let server = Server::new().await;
    let timing = Timing { retry_most: Duration::from_millis(700), ..TIMING };
    let settings = ComponentSettings { secret: "wrong".into(), timing, ..server.settings() };
    let running = Running::start(settings);
    let mut peer = server.accept().await;
    assert!(!peer.greet().await);
    let refused = Instant::now();
    peer.refuse("not-authorized").await;
    server.accept().await;
    assert!(refused.elapsed() >= Duration::from_millis(650), "{:?}", refused.elapsed());
    assert_eq!(running.metrics.component_connected.get(), 0);
    assert_eq!(running.metrics.component_reconnects.get(), 0);
}

#[tokio::test]
async fn it_comes_back_however_the_connection_ended() {
    let (running, server, mut peer) = Running::connected().await;
    let mut ended = 0;
    for how in ["goodbye", "close", "half-close", "error", "not XML", "comment", "handshake"] {
        match how {
            "goodbye" => peer.send("</stream:stream>").await,
            "close" => {}
            "half-close" => peer.socket.shutdown().await.unwrap(),
            "error" => {
                peer.refuse("system-shutdown").await;
                peer = server.accept_component().await;
                ended += 1;
                continue;
            }
            "not XML" => peer.send("<message a='<'/>").await,
            "comment" => peer.send("<!-- -->").await,
            _ => {
                // Closed in the middle of the next handshake: not an established connection that ended.
                peer.send("</stream:stream>").await;
                ended += 1;
                server.accept().await.open().await;
                peer = server.accept_component().await;
                continue;
            }
        }
        if how != "close" {
            // The component closes its side too, and says why if it was the first to close.
            let farewell = peer.rest().await;
            assert!(farewell.ends_with("</stream:stream>"), "{how}: {farewell}");
            let fault = match how {
                "not XML" => "<not-well-formed",
                "comment" => "<restricted-xml",
                _ => "",
            };
            assert!(farewell.contains(fault), "{how}: {farewell}");
        }
        drop(peer);
        ended += 1;
        peer = server.accept_component().await;
        assert_eq!(peer.ask("").await, "", "{how}");
    }
    assert_eq!(peer.ask("").await, "");
    assert_eq!(running.metrics.component_reconnects.get(), ended);
    assert_eq!(running.metrics.component_connected.get(), 1);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_left_and_tried_again() {
    let server = Server::new().await;
    let settings = ComponentSettings { timing: IMPATIENT, ..server.settings() };
    let _running = Running::start(settings);
    let silent = server.accept().await;
    let mut half = server.accept().await;
    half.open().await;
    let mut undecided = server.accept().await;
    assert!(undecided.greet().await);
    let mut trickling = server.accept().await;
    trickling.greet().await;
    let trickle = async {
        loop {
            if trickling.socket.write_all(b" ").await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (_, mut peer) = tokio::join!(timeout(DEADLINE, trickle), server.accept_component());
    assert_eq!(peer.ask("").await, "");
    drop((silent, half, undecided));
}

#[tokio::test]
async fn a_silent_server_is_asked_and_then_left() {
    let server = Server::new().await;
    let timing = Timing {
        ask_after: Duration::from_millis(50),
        // On a busy machine the answer may be as late as that.
        give_up_after: Duration::from_secs(3),
        ..TIMING
    };
    let running = Running::start(ComponentSettings { timing, ..server.settings() });
    let mut peer = server.accept_component().await;
    // As a server does: both the ping and its answer are routed back.
    for _ in 0..3 {
        let question = peer.until("</iq>").await;
        assert!(question.contains("<ping xmlns='urn:xmpp:ping'>"), "{question}");
        let answer = peer.ask(&question).await;
        assert!(answer.contains("type='result'"), "{answer}");
        peer.send(&answer).await;
    }
    assert_eq!(running.metrics.component_reconnects.get(), 0);
    let farewell = peer.rest().await;
    assert!(farewell.ends_with("</stream:stream>"), "{farewell}");
    server.accept_component().await;
    assert_eq!(running.metrics.component_reconnects.get(), 1);
}

#[tokio::test]
async fn it_stops_at_once_whatever_it_waits_for() {
    let server = Server::new().await;
    let patient = Duration::from_secs(600);
    let timing =
        Timing { open_within: patient, retry_first: patient, retry_most: patient, ..TIMING };
    let settings = ComponentSettings { timing, ..server.settings() };

    let opening = Running::start(settings.clone());
    let silent = server.accept().await;
    opening.tell_to_stop();
    opening.stopped().await;
    drop(silent);

    let retrying = Running::start(settings.clone());
    server.accept().await.refuse("internal-server-error").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    retrying.tell_to_stop();
    retrying.stopped().await;

    // A server that never closes its side does not block us.
    let connected = Running::start(settings);
    let mut peer = server.accept_component().await;
    peer.ask("").await;
    connected.tell_to_stop();
    connected.stopped().await;
    assert_eq!(peer.rest().await, "</stream:stream>");
}

/// The finding of a probe while the server does this.
macro_rules! probed {
    ($server:ident, $serve:expr) => {
        probed!($server, TIMING, $serve)
    };
    ($server:ident, $timing:expr, $serve:expr) => {{
        let settings = ComponentSettings { timing: $timing, ..$server.settings() };
        let probed = async { tokio::join!(probe(&settings), $serve) };
        let (findings, ()) = timeout(DEADLINE, probed).await.expect("a probe ends");
        let [finding]: [Finding; 1] = findings.try_into().unwrap();
        finding
    }};
}

#[tokio::test]
async fn a_probe_says_what_to_do() {
    let server = Server::new().await;
    let accepted = probed!(server, async {
        assert_eq!(server.accept_component().await.rest().await, "</stream:stream>");
    });
    assert_eq!((accepted.level, accepted.remedy.as_str()), (Level::Good, ""));

    for (condition, level, word) in [
        ("host-unknown", Level::Problem, "component.jid"),
        ("not-authorized", Level::Problem, "component.secret"),
        ("conflict", Level::Warning, "daemon"),
        ("invalid-namespace", Level::Problem, "port"),
        ("policy-violation", Level::Problem, "log"),
        ("wibble", Level::Problem, "log"),
    ] {
        let refused = probed!(server, async {
            let mut peer = server.accept().await;
            peer.greet().await;
            peer.refuse(condition).await;
        });
        assert_eq!(refused.level, level, "{condition}: {refused:?}");
        assert!(refused.remedy.contains(word), "{condition}: {refused:?}");
        assert!(!refused.what.contains(JID), "{refused:?}");
    }

    // Prosody refuses an unknown name together with its header.
    let unknown = probed!(server, async {
        let mut peer = server.accept().await;
        peer.open().await;
        peer.refuse("host-unknown").await;
    });
    assert!(unknown.what.contains("has no component"), "{unknown:?}");

    for greeting in ["SSH-2.0-OpenSSH\r\n", "<html><body>", "HTTP/1.1 400 Bad Request\r\n"] {
        let other = probed!(server, async {
            let mut peer = server.accept().await;
            peer.send(greeting).await;
            peer.rest().await;
        });
        assert!(other.what.contains("component port"), "{other:?}");
    }
    let mut kept = None;
    let silent = probed!(server, IMPATIENT, async { kept = Some(server.accept().await) });
    assert!(silent.what.contains("in time"), "{silent:?}");

    // Where nobody listens, and nobody else of this process will: a port that was just closed may be another test's.
    let nobody = ephemerd_lab::free_address().unwrap().to_string().parse().unwrap();
    let refused = probe(&ComponentSettings { server: nobody, ..server.settings() }).await.remove(0);
    assert!(refused.what.contains("cannot be reached"), "{refused:?}");
    assert!(refused.remedy.contains("component.server"), "{refused:?}");
}
