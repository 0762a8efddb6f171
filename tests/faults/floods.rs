//! Floods: of the component, of the stream, of HTTP. Erasing stays on time, and memory stays bounded.

use std::time::Duration;

use ephemerd_lab::prosody::Storage;
use ephemerd_lab::reliability::note;
use ephemerd_lab::snapshot::PROSODY_ARCHIVES;
use ephemerd_lab::xmpp::Client;
use ephemerd_lab::{
    Context as _, Daemon, DaemonConfig, Lab, LabError, PATIENCE, Prosody, ProsodyConfig, Result,
    Server as _,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use crate::ensure;
use crate::house::House;

const FOR: Duration = Duration::from_secs(12);
const MOST_BYTES: u64 = 100 << 20;

/// Every flood is judged by memory and erasing delay, besides the exact check.
async fn judged(mut house: House, daemon: &Daemon) -> Result<String> {
    let peak = daemon.usage()?.peak_bytes;
    ensure!(daemon.get("/readyz").await?.status == 200, "not ready afterwards");
    ensure!(peak < MOST_BYTES, "the daemon held {peak} bytes");
    let checked = house.check().await?;
    Ok(format!(
        "peak memory {} MiB; slowest row {} after its time; {checked}",
        peak >> 20,
        checked.slowest()
    ))
}

/// An ordinary account sends requests as fast as Prosody forwards them.
pub(crate) async fn requests_to_the_component(seed: u64) -> Result<()> {
    const AT_ONCE: usize = 200;
    let files = ProsodyConfig { storage: Storage::Files, ..ProsodyConfig::default() };
    let prosody = Prosody::start(&files, None).await?;
    prosody.register("rosa").await?;
    let lab = Lab::database_only().await?;
    let config = DaemonConfig::for_server(&prosody, &lab.database);
    let mut house = House::around(lab.database.clone(), PROSODY_ARCHIVES, config, seed).await?;
    let daemon = house.daemon().await?;
    daemon.wait_for_figure("ephemerd_component_connected", &[], PATIENCE, |it| it == 1.0).await?;
    house.load();
    let component = &prosody.endpoints().component_jid;
    let mut client = Client::login(prosody.endpoints(), "rosa", "flood").await?;
    let (mut sent, mut answered) = (0_usize, 0_usize);
    let started = Instant::now();
    while started.elapsed() < FOR {
        let requests: String = (0..AT_ONCE)
            .map(|at| match at % 4 {
                0 => format!("<iq type='get' id='f{at}' to='{component}'><ping xmlns='urn:xmpp:ping'/></iq>"),
                1 => format!("<iq type='get' id='f{at}' to='{component}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"),
                2 => format!("<iq type='set' id='f{at}' to='{component}'><wibble xmlns='urn:wibble'/></iq>"),
                _ => format!("<iq type='get' id='f{at}' to='{component}'><query xmlns='jabber:iq:version'/></iq>"),
            })
            .collect();
        client.send(&requests).await?;
        sent += AT_ONCE;
        while answered < sent {
            let stanza = client.receive(PATIENCE).await.context("an answer to each request")?;
            answered += usize::from(stanza.name == "iq");
        }
    }
    let rate = sent as f64 / started.elapsed().as_secs_f64();
    let seen = judged(house, &daemon).await?;
    note(
        "a flood of requests to the component",
        "for 12 s an account asks as fast as Prosody passes it on: pings, disco, versions, unknown requests, 200 at once",
        &format!("{sent} requests, {rate:.0} each second, every one answered; {seen}"),
    )
}

/// A server that sends anything, as fast as the daemon reads, and does not read the answers for a while.
pub(crate) async fn a_raw_stream(seed: u64) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let lab = Lab::database_only().await?;
    let config = DaemonConfig::for_database(&lab.database)?
        .set("component.server", listener.local_addr()?.to_string());
    let mut house = House::around(lab.database.clone(), PROSODY_ARCHIVES, config, seed).await?;
    let daemon = house.daemon().await?;
    house.load();
    let mut bytes = 0_u64;
    for (what, unit) in [
        ("requests", "<iq type='get' id='1' from='a@b/c' to='ephemerd.localhost'><ping xmlns='urn:xmpp:ping'/></iq>".repeat(100)),
        ("messages", format!("<message from='a@b/c' to='ephemerd.localhost'><body>{}</body></message>", "x".repeat(100_000))),
        ("levels", format!("<message from='a@b/c' to='ephemerd.localhost'>{}{}</message>", "<a>".repeat(64), "</a>".repeat(64)).repeat(300)),
        ("white space", " \n".repeat(50_000)),
    ] {
        let (mut stream, _) = timeout(PATIENCE, listener.accept())
            .await
            .map_err(|_| LabError::new(format!("nobody connects before {what}")))??;
        greet(&mut stream).await?;
        bytes += flood(&mut stream, &unit, FOR / 4).await;
    }
    ensure!(bytes > 1 << 20, "only {bytes} bytes were read");
    let seen = judged(house, &daemon).await?;
    note(
        "a raw stream",
        "a server played by hand floods the component for 12 s: requests whose answers it does not read at first, messages of 100 KB, messages one level too deep, white space",
        &format!("{} MiB taken; {seen}", bytes >> 20),
    )
}

/// Plays the server's side of XEP-0114 and accepts any secret.
async fn greet(stream: &mut TcpStream) -> Result<()> {
    until(stream, ">").await?; // possibly an XML declaration
    stream
        .write_all(
            b"<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' \
              xmlns:stream='http://etherx.jabber.org/streams' from='ephemerd.localhost' id='1'>",
        )
        .await?;
    until(stream, "</handshake>").await?;
    Ok(stream.write_all(b"<handshake/>").await?)
}

async fn until(stream: &mut TcpStream, text: &str) -> Result<()> {
    let mut read = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&read).contains(text) {
            if stream.read_buf(&mut read).await? == 0 {
                return Err(LabError::new("the component went away"));
            }
        }
        Ok(())
    };
    timeout(PATIENCE, reading).await.map_err(|_| LabError::new(format!("no {text}")))?
}

/// Writes for this long, or until the daemon ends the stream; returns how many bytes.
async fn flood(stream: &mut TcpStream, unit: &str, long: Duration) -> u64 {
    let until = Instant::now() + long;
    let (mut read, mut write) = stream.split();
    let mut bytes = 0;
    let writing = async {
        while Instant::now() < until {
            match timeout(Duration::from_secs(1), write.write(unit.as_bytes())).await {
                // Always a whole unit, so that the XML stays well-formed.
                Ok(Ok(length)) => {
                    bytes += length as u64;
                    let rest = unit.as_bytes().get(length..).unwrap_or_default();
                    if timeout(PATIENCE, write.write_all(rest)).await.is_err() {
                        return;
                    }
                    bytes += rest.len() as u64;
                }
                Ok(Err(_)) => return,
                Err(_) => {}
            }
        }
    };
    let mut sink = vec![0; 1 << 16];
    let reading = async {
        sleep(long / 3).await;
        while read.read(&mut sink).await.is_ok_and(|length| length > 0) {}
    };
    tokio::select! {
        () = writing => {}
        () = reading => {}
    }
    bytes
}

/// Clients that connect and say nothing, that ask and do not read, that never end their header.
pub(crate) async fn http_is_flooded(seed: u64) -> Result<()> {
    const IDLE: usize = 1_000;
    let mut house = House::new(seed).await?;
    let daemon = house.daemon().await?;
    house.load();
    let mut held = Vec::new();
    for _ in 0..IDLE {
        // Connections beyond the kernel's backlog are refused: that is an answer too.
        if let Ok(Ok(stream)) =
            timeout(Duration::from_millis(50), TcpStream::connect(daemon.http())).await
        {
            held.push(stream);
        }
    }
    let idle = held.len();
    for stream in held.iter_mut().take(200) {
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    }
    // A header of 8 MB, byte by byte or all at once: it is cut off early.
    let (mut taken, line) = (0_u64, format!("X: {}\r\n", "y".repeat(1_000)));
    if let Ok(Ok(mut stream)) = timeout(PATIENCE, TcpStream::connect(daemon.http())).await {
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\n").await;
        while taken < 8 << 20 {
            match timeout(Duration::from_secs(2), stream.write_all(line.as_bytes())).await {
                Ok(Ok(())) => taken += line.len() as u64,
                _ => break,
            }
        }
    }
    sleep(FOR).await;
    drop(held);
    let freed = Instant::now();
    while daemon.get("/metrics").await.is_err() {
        ensure!(freed.elapsed() < PATIENCE * 2, "/metrics does not come back");
    }
    let back = freed.elapsed();
    let seen = judged(house, &daemon).await?;
    ensure!(taken < 8 << 20, "a header of 8 MB was read to its end");
    note(
        "HTTP is flooded",
        "1,000 connections that say nothing, 200 of them ask and never read, one header of 8 MB, for 12 s",
        &format!(
            "{idle} connected; the header cut off after {} KiB; /metrics answers again {:.1} s after they are gone; {seen}",
            taken >> 10,
            back.as_secs_f64()
        ),
    )
}
