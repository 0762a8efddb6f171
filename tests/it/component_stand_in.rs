//! A server's component port, played by the test, which decides what it says and when.

use std::sync::Arc;
use std::time::Duration;

use ephemerd::archive::companion::Notice;
use ephemerd::component::{ComponentSettings, Exchange, Link, Timing, exchange, run};
use ephemerd::metrics::Metrics;
use minidom::Element;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(crate) const JID: &str = "ephemerd.example.org";
/// The host whose companion module is trusted.
pub(crate) const HOST: &str = "example.org";
pub(crate) const SECRET: &str = "s3cret & more";
const STREAM_ID: &str = "id <1>";

/// Timeout of every wait in these tests.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Patient with a peer on a busy machine; only what follows no event is short.
pub(crate) const TIMING: Timing = Timing {
    open_within: DEADLINE,
    write_within: DEADLINE,
    ask_after: DEADLINE,
    give_up_after: DEADLINE,
    close_within: Duration::from_millis(500),
    retry_first: Duration::from_millis(10),
    retry_most: Duration::from_millis(100),
};

/// For tests that see the wait for a silent server end: as short as they can bear, where all others must be in time.
pub(crate) const IMPATIENT: Timing = Timing { open_within: Duration::from_secs(2), ..TIMING };

/// A port where components may connect.
pub(crate) struct Server {
    listener: TcpListener,
}

impl Server {
    pub(crate) async fn new() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    pub(crate) fn address(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    pub(crate) fn settings(&self) -> ComponentSettings {
        ComponentSettings {
            jid: JID.to_owned(),
            server: self.address().parse().unwrap(),
            secret: SECRET.into(),
            timing: TIMING,
        }
    }

    /// The next connection, before anything is sent.
    pub(crate) async fn accept(&self) -> Peer {
        let accepted = timeout(DEADLINE, self.listener.accept()).await;
        Peer { socket: accepted.expect("a component connects").unwrap().0, unread: Vec::new() }
    }

    /// The next connection, after its handshake.
    pub(crate) async fn accept_component(&self) -> Peer {
        let mut peer = self.accept().await;
        assert!(peer.greet().await, "the component knows the secret");
        peer.send("<handshake/>").await;
        peer
    }
}

/// The server's end of a connection.
pub(crate) struct Peer {
    pub(crate) socket: TcpStream,
    unread: Vec<u8>,
}

impl Peer {
    pub(crate) async fn send(&mut self, text: impl AsRef<[u8]>) {
        let sent = timeout(DEADLINE, self.socket.write_all(text.as_ref())).await;
        sent.expect("the component reads").unwrap();
    }

    /// Everything received up to and including this text.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        loop {
            let found = self.unread.windows(text.len()).position(|at| at == text.as_bytes());
            if let Some(start) = found {
                let rest = self.unread.split_off(start + text.len());
                return String::from_utf8(std::mem::replace(&mut self.unread, rest)).unwrap();
            }
            let is_open = self.read().await;
            let so_far = String::from_utf8_lossy(&self.unread);
            assert!(is_open, "the stream ended before {text:?}: {so_far}");
        }
    }

    /// Everything received until the component closes its side of the connection.
    pub(crate) async fn rest(&mut self) -> String {
        while self.read().await {}
        String::from_utf8(std::mem::take(&mut self.unread)).unwrap()
    }

    async fn read(&mut self) -> bool {
        let read = timeout(DEADLINE, self.socket.read_buf(&mut self.unread)).await;
        // A reset ends a connection as well as a proper close.
        read.expect("the component says something").is_ok_and(|length| length > 0)
    }

    /// Exchanges headers.
    pub(crate) async fn open(&mut self) {
        let header = self.until("<stream:stream").await + &self.until(">").await;
        assert!(header.contains("xmlns='jabber:component:accept'"), "{header}");
        assert!(header.contains(&format!("to='{JID}'")), "{header}");
        self.send(format!(
            "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' \
             xmlns:stream='http://etherx.jabber.org/streams' from='{JID}' id='{}'>",
            STREAM_ID.replace('<', "&lt;")
        ))
        .await;
    }

    /// Exchanges headers; whether the component knows the secret (XEP-0114, 3).
    pub(crate) async fn greet(&mut self) -> bool {
        self.open().await;
        let proof = self.until("</handshake>").await;
        let expected = hex::encode(Sha1::digest(format!("{STREAM_ID}{SECRET}")));
        proof.contains(&format!(">{expected}</handshake>"))
    }

    /// Ends the stream with this error, as a server does.
    pub(crate) async fn refuse(mut self, condition: &str) {
        self.send(format!(
            "<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
             <text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>no</text></stream:error>\
             </stream:stream>"
        ))
        .await;
    }

    /// Sends this and then a ping; returns everything that was answered before the ping.
    pub(crate) async fn ask(&mut self, text: impl AsRef<[u8]>) -> String {
        self.send(text).await;
        self.send(format!(
            "<iq type='get' id='and-then' from='example.org' to='{JID}'>\
             <ping xmlns='urn:xmpp:ping'/></iq>"
        ))
        .await;
        let mut answers = self.until("id='and-then'").await;
        let head = self.until(">").await;
        assert!(head.contains("type='result'"), "{head}");
        if !head.ends_with("/>") {
            self.until("</iq>").await;
        }
        answers.truncate(answers.rfind("<iq").unwrap());
        answers
    }
}

/// The successive elements in this text.
pub(crate) fn elements(text: &str) -> Vec<Element> {
    let text = format!("<s xmlns='jabber:component:accept'>{text}</s>");
    text.parse::<Element>().unwrap().children().cloned().collect()
}

/// A component running against a [`Server`].
pub(crate) struct Running {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) exchange: Exchange,
    /// For requests to companion modules on [`HOST`].
    pub(crate) link: Link,
    pub(crate) notices: mpsc::Receiver<Notice>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(settings: ComponentSettings) -> Self {
        Self::start_with(settings, |_, _| {})
    }

    /// The same, with what is prepared before it connects.
    pub(crate) fn start_with(
        settings: ComponentSettings,
        prepare: impl FnOnce(&Exchange, &Arc<Metrics>),
    ) -> Self {
        let (metrics, stop) = (Arc::new(Metrics::new()), CancellationToken::new());
        let (exchange, link, notices) = exchange(vec![HOST.to_owned()], metrics.clone());
        prepare(&exchange, &metrics);
        let task = tokio::spawn(run(settings, exchange.clone(), metrics.clone(), stop.clone()));
        Self { metrics, exchange, link, notices, stop, task }
    }

    /// A component and its server, after the handshake.
    pub(crate) async fn connected() -> (Self, Server, Peer) {
        let server = Server::new().await;
        let running = Self::start(server.settings());
        let peer = server.accept_component().await;
        (running, server, peer)
    }

    pub(crate) fn tell_to_stop(&self) {
        self.stop.cancel();
    }

    pub(crate) async fn stopped(self) {
        timeout(DEADLINE, self.task).await.expect("the component stops").unwrap();
    }
}
