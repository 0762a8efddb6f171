//! One session: from the handshake to the end of the stream.

use tokio::time::{Instant, timeout_at};

use super::commands::Desk;
use super::exchange::{Exchange, Session};
use super::failure::Failure;
use super::incoming::{Incoming, Kind};
use super::outgoing::Answered;
use super::stream::Stream;
use super::{ComponentSettings, outgoing};

/// What was received and needed no answer.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Ignored {
    messages: u64,
    presences: u64,
    /// Elements that are unknown to the protocol, or that cannot be read or answered.
    others: u64,
}

/// Answers what arrives until the stream ends, and makes sure that a dead server is noticed.
pub(super) async fn hold(
    stream: &mut Stream,
    settings: &ComponentSettings,
    exchange: &Exchange,
) -> Failure {
    let mut served = Served {
        session: exchange.session().await,
        desk: Desk::new(exchange.commands()),
        ignored: Ignored::default(),
    };
    let Err(failure) = serve(stream, settings, &mut served).await;
    served.ignored.log();
    failure
}

/// Who handles what arrives.
struct Served<'a> {
    session: Session<'a>,
    desk: Desk<'a>,
    ignored: Ignored,
}

async fn serve(
    stream: &mut Stream,
    settings: &ComponentSettings,
    served: &mut Served<'_>,
) -> Result<std::convert::Infallible, Failure> {
    let (timing, jid) = (settings.timing, &settings.jid);
    let mut asked = false;
    let mut heard = Instant::now();
    stream.send(&served.desk.greeting(jid)).await?;
    // Before anything is received, because stanzas may have come with the handshake.
    answer(stream, jid, served).await?;
    loop {
        let patience =
            if asked { timing.ask_after + timing.give_up_after } else { timing.ask_after };
        // Only received bytes are a sign of life, sent ones are not.
        let woken = tokio::select! {
            woken = timeout_at(heard + patience, stream.receive()) => woken,
            outgoing = served.session.next_outgoing(jid) => {
                stream.send(&outgoing).await?;
                continue;
            }
            ready = served.desk.next_answer() => {
                stream.send(&ready).await?;
                continue;
            }
        };
        match woken {
            Ok(received) => {
                received?;
                (asked, heard) = (false, Instant::now());
                answer(stream, jid, served).await?;
            }
            Err(_) if asked => return Err(Failure::Silent),
            Err(_) => {
                served.ignored.log();
                asked = true;
                stream.send(&outgoing::ping(jid).unwrap_or_default()).await?;
            }
        }
    }
}

/// Handles what was received. Answers are sent together: as many as one read can produce.
async fn answer(
    stream: &mut Stream,
    jid: &str,
    Served { session, desk, ignored }: &mut Served<'_>,
) -> Result<(), Failure> {
    let mut answers = Vec::new();
    while let Some(incoming) = stream.next_element()? {
        match incoming {
            Incoming::Iq(iq) if iq.kind == Kind::Answer => {
                let (from, id) = (iq.from.as_deref(), iq.id.as_deref());
                // It may also answer our ping, or a request that nobody waits for any more.
                if !desk.heard(from, id, iq.answer.as_ref()) {
                    session.answered(from, id, iq.answer);
                }
            }
            Incoming::Notice(notice) => session.exchange().take(jid, &notice),
            Incoming::Iq(iq) => match outgoing::answer(&iq, jid, desk) {
                Answered::Now(answer) => answers.extend(answer),
                Answered::Later => {}
                Answered::Never => ignored.others += 1,
            },
            Incoming::StreamError(condition) => return Err(Failure::from_stream_error(condition)),
            Incoming::Message => ignored.messages += 1,
            Incoming::Presence => ignored.presences += 1,
            Incoming::Handshake | Incoming::Unknown => ignored.others += 1,
        }
    }
    if answers.is_empty() { Ok(()) } else { stream.send(&answers).await }
}

impl Ignored {
    fn log(&mut self) {
        let Self { messages, presences, others } = std::mem::take(self);
        if messages + presences + others > 0 {
            tracing::debug!(messages, presences, others, "ignored on the component stream");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::{sleep, timeout};

    use super::super::incoming::tests::HEADER;
    use super::super::tests::settings;
    use super::*;

    fn idle() -> Exchange {
        super::super::exchange::exchange(vec![], std::sync::Arc::default()).0
    }

    /// A stream that a server has accepted, and the server's end of it.
    async fn accepted() -> (Stream, DuplexStream) {
        let (ours, mut theirs) = duplex(2048);
        theirs.write_all(format!("{HEADER}<handshake/>").as_bytes()).await.unwrap();
        let mut stream = Stream::new(Box::new(ours), settings().timing);
        stream.shake_hands(&settings()).await.unwrap();
        (stream, theirs)
    }

    /// No test waits longer; the clock is paused.
    async fn within<T>(waiting: impl Future<Output = T>) -> T {
        timeout(Duration::from_secs(3600), waiting).await.expect("it ends")
    }

    async fn received(server: &mut DuplexStream) -> String {
        let mut bytes = vec![0; 2048];
        let length = within(server.read(&mut bytes)).await.unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_server_is_asked_once_and_given_up() {
        let (mut stream, mut server) = accepted().await;
        received(&mut server).await;
        let since = Instant::now();
        assert_eq!(within(hold(&mut stream, &settings(), &idle())).await, Failure::Silent);
        assert_eq!(since.elapsed(), Duration::from_secs(60 + 20));
        let asked = received(&mut server).await;
        assert_eq!(asked.matches("<ping").count(), 1, "{asked}");
    }

    #[tokio::test(start_paused = true)]
    async fn any_byte_is_a_sign_of_life() {
        let (mut stream, mut server) = accepted().await;
        let since = Instant::now();
        let talk = async {
            for pause in [59, 59, 79, 79] {
                sleep(Duration::from_secs(pause)).await;
                server.write_all(b" ").await.unwrap();
            }
        };
        let settings = settings();
        let idle = idle();
        let (failure, ()) = tokio::join!(within(hold(&mut stream, &settings, &idle)), talk);
        assert_eq!(failure, Failure::Silent);
        assert_eq!(since.elapsed(), Duration::from_secs(2 * 59 + 2 * 79 + 80));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_read_is_given_up() {
        let (mut stream, mut server) = accepted().await;
        let since = Instant::now();
        let flood = async {
            loop {
                let written = server.write_all(b"<iq type='get' from='a' id='1'/>");
                if written.await.is_err() {
                    break;
                }
            }
        };
        let settings = settings();
        let idle = idle();
        let failure = tokio::select! {
            failure = within(hold(&mut stream, &settings, &idle)) => failure,
            () = flood => panic!("the flood never ends"),
        };
        assert_eq!(failure, Failure::Stalled);
        assert_eq!(since.elapsed(), Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn closing_takes_bounded_time() {
        let (stream, _server) = accepted().await;
        let since = Instant::now();
        stream.close(None).await;
        assert_eq!(since.elapsed(), Duration::from_secs(2));
    }
}
