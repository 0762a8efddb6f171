//! Metrics and health, over real sockets.

use std::sync::Arc;
use std::time::Duration;

use ephemerd::http::{State, serve};
use ephemerd::metrics::Metrics;
use ephemerd::model::{Clock, Reason, Timestamp};
use ephemerd::ops::Readiness;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(30);

struct Epoch;

impl Clock for Epoch {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
}

struct Server {
    address: std::net::SocketAddr,
    metrics: Arc<Metrics>,
    readiness: watch::Sender<Readiness>,
    stop: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

async fn start() -> Server {
    start_on(TcpListener::bind("127.0.0.1:0").await.unwrap()).await
}

async fn start_on(listener: TcpListener) -> Server {
    let address = listener.local_addr().unwrap();
    let metrics = Arc::new(Metrics::new());
    let starting = Readiness::starting(Duration::from_secs(30), Timestamp::UNIX_EPOCH);
    let (readiness, receiver) = watch::channel(starting);
    let (_, counted) = watch::channel(None);
    let state = State {
        metrics: Arc::clone(&metrics),
        clock: Arc::new(Epoch),
        readiness: receiver,
        counted,
        started: Timestamp::UNIX_EPOCH,
    };
    let stop = CancellationToken::new();
    let task = tokio::spawn(serve(listener, state, stop.clone()));
    Server { address, metrics, readiness, stop, task }
}

impl Server {
    async fn ask(&self, method: &str, path: &str) -> String {
        self.send(&format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await
    }

    async fn send(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        read_to_end(&mut stream).await
    }
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
    String::from_utf8(bytes).unwrap()
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {answer:?}")).parse().unwrap()
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[tokio::test]
async fn metrics_are_text_0_0_4() {
    let server = start().await;
    server.metrics.already_gone.inc_by(3);
    let answer = server.ask("GET", "/metrics").await;
    assert_eq!(status(&answer), 200);
    assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert!(body(&answer).contains("\nephemerd_already_gone_total 3\n"));
}

#[tokio::test]
async fn readiness_follows_the_workers() {
    let server = start().await;
    let answer = server.ask("GET", "/readyz").await;
    assert_eq!(status(&answer), 503);
    let json: serde_json::Value = serde_json::from_str(body(&answer)).unwrap();
    assert_eq!(json["ready"], false);
    assert_eq!(json["reasons"][0], "the database does not answer");
    assert!(json["lag_seconds"].is_null());

    server.readiness.send_modify(|readiness| {
        readiness.database = true;
        readiness.schema = true;
        readiness.lag_seconds = Some(0.5);
        readiness.sweeping = true;
    });
    let answer = server.ask("GET", "/readyz").await;
    assert_eq!(status(&answer), 200);
    assert!(answer.contains("content-type: application/json\r\n"));
    let json: serde_json::Value = serde_json::from_str(body(&answer)).unwrap();
    assert_eq!(
        json,
        serde_json::json!({"ready": true, "reasons": [], "lag_seconds": 0.5, "sweeping": true})
    );
}

#[tokio::test]
async fn only_known_paths_and_only_reading() {
    let server = start().await;
    assert_eq!(status(&server.ask("GET", "/healthz").await), 200);
    let head = server.ask("HEAD", "/metrics").await;
    assert_eq!((status(&head), body(&head)), (200, ""));
    for path in ["/metrics/", "/../etc/passwd", "/healthz2"] {
        assert_eq!(status(&server.ask("GET", path).await), 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        for path in ["/", "/style.css", "/metrics", "/healthz", "/readyz"] {
            assert_eq!(status(&server.ask(method, path).await), 405, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_request_is_bounded() {
    let server = start().await;
    let long = "x".repeat(20_000);
    let line = server.send(&format!("GET /{long} HTTP/1.1\r\n\r\n")).await;
    assert!([414, 431].contains(&status(&line)), "{line}");
    let header = server.send(&format!("GET /healthz HTTP/1.1\r\nX: {long}\r\n\r\n")).await;
    assert_eq!(status(&header), 431);
    let headers = "X: y\r\n".repeat(65);
    let many = server.send(&format!("GET /healthz HTTP/1.1\r\n{headers}\r\n")).await;
    assert_eq!(status(&many), 431);
    // It does not wait for a body.
    let body =
        server.send("GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n").await;
    assert_eq!(status(&body), 200);
}

#[tokio::test]
async fn one_connection_is_one_request() {
    let server = start().await;
    let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let answers = server.send(&request.repeat(2)).await;
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 1, "{answers}");
    assert!(answers.contains("connection: close\r\n"));
}

/// Clients that hold all connections silently are dropped, and the next one is answered.
#[tokio::test]
async fn the_slow_do_not_keep_others_out() {
    let server = start().await;
    let mut slow = Vec::new();
    let began = Instant::now();
    for _ in 0..64 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET /hea").await.unwrap();
        slow.push(stream);
    }
    assert_eq!(status(&server.ask("GET", "/healthz").await), 200);
    let waited = began.elapsed();
    // No connection ends before the header's timeout (5 s), which expires before the connection's (10 s).
    assert!(waited > Duration::from_secs(4), "the number of connections is bounded: {waited:?}");
    assert!(waited < Duration::from_millis(9_500), "{waited:?}");
    for stream in &mut slow {
        read_to_end(stream).await;
    }
}

/// A server and a client that asks but never reads: the answer does not fit into what is under way.
async fn never_read() -> (Server, TcpStream) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(1024).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let server = start_on(socket.listen(16).unwrap()).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(1024).unwrap();
    let mut stream = socket.connect(server.address).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    (server, stream)
}

/// A client that asks but never reads is dropped as well.
#[tokio::test]
async fn who_never_reads_is_dropped() {
    let (_server, mut stream) = never_read().await;
    let dropped = async {
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(DEADLINE, dropped).await.unwrap();
}

/// Stopping does not wait for a client that does not read.
#[tokio::test]
async fn stopping_is_quick() {
    let began = Instant::now();
    let (server, mut silent) = never_read().await;
    assert_eq!(status(&server.ask("GET", "/healthz").await), 200);
    server.stop.cancel();
    timeout(DEADLINE, server.task).await.unwrap().unwrap().unwrap();
    // Its connection would last for ten seconds.
    assert!(began.elapsed() < Duration::from_millis(9_500), "{:?}", began.elapsed());
    silent.write_all(b"x").await.expect("it lasts still");
}

#[tokio::test]
async fn stopping_closes_the_listener() {
    // Not the address that others use: one of them may be given the port as soon as it is free.
    let server = start_on(TcpListener::bind("127.0.0.77:0").await.unwrap()).await;
    assert_eq!(status(&server.ask("GET", "/healthz").await), 200);
    server.stop.cancel();
    timeout(DEADLINE, server.task).await.unwrap().unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

/// A bar of the status page without its own colour would be black.
#[test]
fn every_reason_has_a_colour() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/page/style.css");
    let style = std::fs::read_to_string(file).expect("the style sheet");
    for reason in Reason::ALL {
        let class = format!(".{reason} {{ fill: var(--{reason}); }}");
        assert_eq!(style.matches(&class).count(), 1, "{class}");
        assert_eq!(
            style.matches(&format!("  --{reason}: #")).count(),
            2,
            "{reason}: light and dark"
        );
    }
}
