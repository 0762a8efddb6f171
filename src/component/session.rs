//! One session: from the handshake to the end of the stream.

use tokio::time::timeout;

use super::failure::Failure;
use super::incoming::{Incoming, Kind};
use super::stream::Stream;
use super::{Settings, outgoing};

/// What came and wanted nothing of us.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Ignored {
    messages: u64,
    presences: u64,
    /// Elements that the protocol does not know, or that cannot be read or answered.
    others: u64,
}

/// Answers what comes until the stream ends, and sees to it that a dead server is noticed.
pub(super) async fn hold(stream: &mut Stream, settings: &Settings) -> Failure {
    let mut ignored = Ignored::default();
    let Err(failure) = serve(stream, settings, &mut ignored).await;
    ignored.log();
    failure
}

async fn serve(
    stream: &mut Stream,
    settings: &Settings,
    ignored: &mut Ignored,
) -> Result<std::convert::Infallible, Failure> {
    let timing = settings.timing;
    let mut asked = false;
    loop {
        let patience = if asked { timing.give_up_after } else { timing.ask_after };
        match timeout(patience, stream.receive()).await {
            Ok(received) => {
                received?;
                asked = false;
                answer(stream, &settings.jid, ignored).await?;
            }
            Err(_) if asked => return Err(Failure::Silent),
            Err(_) => {
                ignored.log();
                asked = true;
                stream.send(&outgoing::ping(&settings.jid).unwrap_or_default()).await?;
            }
        }
    }
}

/// Takes what was received apart. Answers go out together: as many as one read can ask for.
async fn answer(stream: &mut Stream, jid: &str, ignored: &mut Ignored) -> Result<(), Failure> {
    let mut answers = Vec::new();
    while let Some(incoming) = stream.next_element()? {
        match incoming {
            // So far only the answer to our own question.
            Incoming::Iq(iq) if iq.kind == Kind::Answer => {}
            Incoming::Iq(iq) => match outgoing::answer(iq, jid) {
                Some(answer) => answers.extend(answer),
                None => ignored.others += 1,
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
