//! An XML stream to the server: the handshake (XEP-0114, 3), then elements in, bytes out.

use std::io;

use secrecy::ExposeSecret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use xmpp_parsers::component::Handshake;

use super::failure::{Failure, NotXml};
use super::framer::{Frame, Framer};
use super::incoming::{self, Incoming};
use super::server::Transport;
use super::{ComponentSettings, Timing, outgoing};
use crate::database::reason;

/// Maximum bytes per read.
const CHUNK: usize = 16 << 10;

/// A stream that the server has accepted.
pub(super) struct Stream {
    transport: Box<dyn Transport>,
    timing: Timing,
    framer: Framer,
    /// The last bytes read, and how many of them went to the framer.
    chunk: Vec<u8>,
    framed: usize,
    /// The server's stream header, whose namespaces are in scope in every element.
    header: Vec<u8>,
}

impl Stream {
    /// Connects and shakes hands, in bounded time.
    pub(super) async fn open(settings: &ComponentSettings) -> Result<Self, Failure> {
        let opening = async {
            let transport = settings.server.connect().await;
            let transport = transport.map_err(|error| Failure::Unreachable(reason(&error)))?;
            let mut stream = Self::new(transport, settings.timing);
            stream.shake_hands(settings).await?;
            Ok(stream)
        };
        timeout(settings.timing.open_within, opening).await.unwrap_or(Err(Failure::TimedOut))
    }

    pub(super) fn new(transport: Box<dyn Transport>, timing: Timing) -> Self {
        Self {
            transport,
            timing,
            framer: Framer::new(),
            chunk: Vec::with_capacity(CHUNK),
            framed: 0,
            header: Vec::new(),
        }
    }

    /// Sends our header, proves that we know the secret, and waits until the server says yes or no.
    pub(super) async fn shake_hands(
        &mut self,
        settings: &ComponentSettings,
    ) -> Result<(), Failure> {
        self.send(&outgoing::header(&settings.jid)).await?;
        self.header = self.read_header().await?;
        let id = incoming::read_stream_id(&self.header).ok_or(Failure::NotComponentPort)?;
        let proof = Handshake::from_stream_id_and_password(id, settings.secret.expose_secret());
        // A server that rejects our name has closed already; its reason is still to be read.
        let sent = self.send(&xso::to_vec(&proof).unwrap_or_default()).await;
        loop {
            match self.next_element()? {
                None => {
                    self.receive().await.map_err(|failure| sent.clone().err().unwrap_or(failure))?
                }
                Some(Incoming::Handshake) => return Ok(()),
                Some(Incoming::StreamError(condition)) => {
                    return Err(Failure::from_stream_error(condition));
                }
                Some(_) => {}
            }
        }
    }

    async fn read_header(&mut self) -> Result<Vec<u8>, Failure> {
        loop {
            match self.next_frame() {
                Ok(None) => self.receive().await?,
                Ok(Some(Frame::Header(header))) => return Ok(header),
                Ok(Some(Frame::Element(_) | Frame::End)) | Err(_) => {
                    return Err(Failure::NotComponentPort);
                }
            }
        }
    }

    /// Waits for more bytes. Cancel-safe.
    pub(super) async fn receive(&mut self) -> Result<(), Failure> {
        self.chunk.clear();
        self.framed = 0;
        match self.transport.read_buf(&mut self.chunk).await {
            Ok(0) => Err(Failure::Closed),
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::Broken(error.kind())),
        }
    }

    /// The next element received so far; `None` if more must be [received](Self::receive).
    pub(super) fn next_element(&mut self) -> Result<Option<Incoming>, Failure> {
        Ok(match self.next_frame()? {
            Some(Frame::Element(element)) => Some(incoming::read(&self.header, &element)),
            Some(Frame::Header(_) | Frame::End) => return Err(Failure::Closed),
            None => None,
        })
    }

    fn next_frame(&mut self) -> Result<Option<Frame>, NotXml> {
        let mut rest = self.chunk.get(self.framed..).unwrap_or_default();
        let frame = self.framer.cut(&mut rest);
        self.framed = self.chunk.len() - rest.len();
        frame
    }

    /// Writes, in bounded time.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match timeout(self.timing.write_within, self.transport.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Failure::Broken(error.kind())),
            Err(_) => Err(Failure::Stalled),
        }
    }

    /// Closes our side and waits, in bounded time, until the server closes its own.
    pub(super) async fn close(mut self, why: Option<&Failure>) {
        let within = self.timing.close_within;
        let closing = async {
            if let Some(Failure::NotXml(fault)) = why {
                self.transport.write_all(&outgoing::stream_error(*fault)).await?;
            }
            self.transport.write_all(outgoing::END).await?;
            self.transport.shutdown().await?;
            while self.receive().await.is_ok() {}
            io::Result::Ok(())
        };
        if !matches!(timeout(within, closing).await, Ok(Ok(()))) {
            tracing::debug!("the XMPP server did not close the stream with us");
        }
    }
}
