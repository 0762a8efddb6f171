//! Where the XMPP server listens for components.

use std::{fmt, io, path::PathBuf, str::FromStr};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Where the XMPP server listens for components: `host:port` or `unix:/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerAddress {
    /// A TCP port.
    Tcp {
        /// A name or an address; an IPv6 address without its brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A socket in the file system.
    Unix(PathBuf),
}

/// A text is not a [`ServerAddress`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected the component port as \"host:port\" or \"unix:/path\", \
     for example \"127.0.0.1:5347\", \"[::1]:5347\" or \"unix:/run/xmpp/component.sock\""
)]
pub struct NotAnAddress;

impl FromStr for ServerAddress {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') {
                Ok(Self::Unix(path.into()))
            } else {
                Err(NotAnAddress)
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or(NotAnAddress)?;
        let port = Some(port).filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
        let port = port.and_then(|port| port.parse().ok()).filter(|port| *port != 0);
        let port = port.ok_or(NotAnAddress)?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bracketed {
            Some(address) if address.parse::<std::net::Ipv6Addr>().is_ok() => address,
            None if is_name(host) => host,
            _ => return Err(NotAnAddress),
        };
        Ok(Self::Tcp { host: host.to_owned(), port })
    }
}

/// Does not check that the name exists, only that nothing else was meant, such as a URL or two ports.
fn is_name(host: &str) -> bool {
    !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || "[]:/@".contains(c))
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The transport below the XML stream.
pub(super) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

impl ServerAddress {
    pub(super) async fn connect(&self) -> io::Result<Box<dyn Transport>> {
        Ok(match self {
            Self::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                // Answers are written whole, so delaying them gains nothing.
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_and_prints_the_same() {
        for text in [
            "127.0.0.1:5347",
            "localhost:1",
            "[::1]:5347",
            "xmpp.example.org:65535",
            "unix:/run/a:b",
        ] {
            assert_eq!(text.parse::<ServerAddress>().unwrap().to_string(), text);
        }
        let tcp = ServerAddress::Tcp { host: "::1".into(), port: 5347 };
        assert_eq!("[::1]:5347".parse(), Ok(tcp));
        assert_eq!("unix:/a".parse(), Ok(ServerAddress::Unix("/a".into())));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "localhost",
            ":5347",
            "localhost:",
            "localhost:0",
            "localhost:65536",
            "a:b:1",
            "::1:5347",
            "[localhost]:1",
            "[::1:1",
            "::1]:1",
            "unix:",
            "unix:run/a",
            "tcp://a:1",
            "a b:1",
            "a@b:1",
            "localhost:+1",
        ] {
            assert_eq!(text.parse::<ServerAddress>(), Err(NotAnAddress), "{text}");
        }
    }
}
