use std::net::SocketAddr;
use std::time::Duration;

use rxml::error::EndOrError;
use rxml::{Event, Parse as _, Parser};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::component::NS_COMPONENT;
use super::element::{Element, TreeBuilder, new_parser, start_tag};
use crate::error::Context as _;
use crate::wait::timed_out;
use crate::{LabError, Result};

const MAX_STANZA_BYTES: usize = 16 << 20;
const NS_STREAM: &str = "http://etherx.jabber.org/streams";

/// A stanza (or another direct child of the stream) as received.
#[derive(Debug, Clone)]
pub struct Stanza {
    /// The bytes on the wire.
    pub xml: String,
    /// The same, parsed.
    pub element: Element,
}

impl std::ops::Deref for Stanza {
    type Target = Element;

    fn deref(&self) -> &Element {
        &self.element
    }
}

enum Item {
    Header(Element),
    Stanza(Stanza),
    End,
}

/// A raw XML stream over TCP (RFC 6120).
pub(super) struct Stream {
    socket: TcpStream,
    parser: Parser,
    tree: TreeBuilder,
    header_read: bool,
    id: String,
    /// Stanzas received: nothing else on the stream counts.
    stanzas: u32,
    /// Bytes of the stanza that is being read.
    raw: Vec<u8>,
    /// Bytes received and not yet passed to the parser.
    ahead: Vec<u8>,
}

impl Stream {
    /// Connects and exchanges stream headers.
    pub(super) async fn open(
        address: SocketAddr,
        namespace: &str,
        to: &str,
        within: Duration,
    ) -> Result<Self> {
        let connecting = timeout(within, TcpStream::connect(address)).await;
        let connected = connecting.map_err(|_| timed_out("a connection", within))?;
        let socket = connected.context(format!("connecting to {address}"))?;
        socket.set_nodelay(true)?;
        let mut stream = Self {
            socket,
            parser: new_parser(),
            tree: TreeBuilder::default(),
            header_read: false,
            id: String::new(),
            stanzas: 0,
            raw: Vec::new(),
            ahead: Vec::new(),
        };
        stream.restart(namespace, to, within).await?;
        Ok(stream)
    }

    /// Exchanges stream headers again, as after SASL.
    pub(super) async fn restart(
        &mut self,
        namespace: &str,
        to: &str,
        within: Duration,
    ) -> Result<()> {
        self.parser = new_parser();
        self.header_read = false;
        self.raw.clear();
        // Components have no stream features (XEP-0114). Clients may declare prefixes there that their
        // stanzas use, as some libraries do.
        let version = match namespace == NS_COMPONENT {
            true => "",
            false => " version='1.0' xmlns:lab='urn:example:lab'",
        };
        self.send(&format!(
            "<?xml version='1.0'?><stream:stream xmlns='{namespace}' \
             xmlns:stream='{NS_STREAM}' to='{to}'{version}>"
        ))
        .await?;
        match self.next(within).await? {
            Item::Header(header) => {
                self.id = header.attribute("id").unwrap_or_default().to_owned();
                Ok(())
            }
            Item::Stanza(_) | Item::End => Err(LabError::new("no stream header")),
        }
    }

    /// The id that the server assigned to this stream.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// How many stanzas were received.
    pub(super) fn stanzas(&self) -> u32 {
        self.stanzas
    }

    /// Sends this text as it is.
    pub(super) async fn send(&mut self, xml: &str) -> Result<()> {
        self.socket.write_all(xml.as_bytes()).await.context("sending XML")
    }

    /// The next stanza; a stream error and the stream's end are errors.
    pub(super) async fn receive(&mut self, within: Duration) -> Result<Stanza> {
        match self.next(within).await? {
            Item::Stanza(stanza) if stanza.is(NS_STREAM, "error") => {
                Err(LabError::new(format!("stream error: {}", stanza.xml)))
            }
            Item::Stanza(stanza) => {
                let counts = matches!(stanza.name.as_str(), "iq" | "message" | "presence");
                self.stanzas += u32::from(counts);
                Ok(stanza)
            }
            Item::Header(_) | Item::End => Err(LabError::new("the server ended the stream")),
        }
    }

    async fn next(&mut self, within: Duration) -> Result<Item> {
        timeout(within, self.read()).await.map_err(|_| timed_out("a stanza", within))?
    }

    /// Cancel-safe: all state is in `self`.
    async fn read(&mut self) -> Result<Item> {
        loop {
            let mut rest = self.ahead.as_slice();
            let event = self.parser.parse(&mut rest, false);
            let used = self.ahead.len() - rest.len();
            self.raw.extend(self.ahead.drain(..used));
            match event {
                Ok(Some(event)) => {
                    if let Some(item) = self.take(event)? {
                        return Ok(item);
                    }
                }
                Ok(None) => return Ok(Item::End),
                Err(EndOrError::NeedMoreData) => self.fill().await?,
                Err(EndOrError::Error(error)) => return Err(error).context("reading XML"),
            }
        }
    }

    fn take(&mut self, event: Event) -> Result<Option<Item>> {
        let between_stanzas = self.tree.is_idle();
        let length = event.metrics().len();
        match event {
            Event::StartElement(_, name, attributes) if !self.header_read => {
                let header = start_tag(name, &attributes);
                self.header_read = header.is(NS_STREAM, "stream");
                self.raw.drain(..length);
                Ok(Some(if self.header_read { Item::Header(header) } else { Item::End }))
            }
            Event::EndElement(_) if between_stanzas => Ok(Some(Item::End)),
            Event::XmlDeclaration(..) | Event::Text(..) if between_stanzas => {
                self.raw.drain(..length);
                Ok(None)
            }
            event => {
                let Some(element) = self.tree.feed(event) else { return Ok(None) };
                // The parser may have read beyond this event, so the length is the element's own.
                let xml = self.raw.drain(..element.span.end).collect();
                let xml = String::from_utf8(xml).context("reading XML")?;
                Ok(Some(Item::Stanza(Stanza { xml, element })))
            }
        }
    }

    async fn fill(&mut self) -> Result<()> {
        if self.raw.len() > MAX_STANZA_BYTES {
            return Err(LabError::new("a stanza is too long"));
        }
        match self.socket.read_buf(&mut self.ahead).await.context("reading XML")? {
            0 => Err(LabError::new("the server closed the connection")),
            _ => Ok(()),
        }
    }
}

/// Whether an XMPP server answers here with a stream header.
pub(crate) async fn probe(address: SocketAddr, namespace: &str, to: &str) -> Result<()> {
    Stream::open(address, namespace, to, Duration::from_secs(2)).await.map(drop)
}
