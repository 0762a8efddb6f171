//! A minimal HTTP client.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::wait::timed_out;
use crate::{LabError, Result};

const WITHIN: Duration = Duration::from_secs(10);
const MAX_ANSWER_BYTES: u64 = 64 << 20;

/// An HTTP answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status, for example 200.
    pub status: u16,
    /// The header lines, without the status line.
    pub head: String,
    /// The body as text.
    pub body: String,
}

impl Response {
    /// The first header of this name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(':'));
        headers.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

/// Fetches `path` over HTTP/1.1.
pub async fn get(address: SocketAddr, path: &str) -> Result<Response> {
    within(WITHIN, address, &format!("GET {path}"), "\r\n").await
}

/// Posts JSON to `path`, with a longer timeout than for a page.
pub async fn post(
    address: SocketAddr,
    path: &str,
    json: &str,
    patience: Duration,
) -> Result<Response> {
    let length = json.len();
    let rest = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{json}");
    within(patience, address, &format!("POST {path}"), &rest).await
}

/// Puts a file at `path`, with these header lines.
pub async fn put(
    address: SocketAddr,
    path: &str,
    headers: &[(String, String)],
    content: &str,
) -> Result<Response> {
    let headers: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = content.len();
    let rest = format!("{headers}Content-Length: {length}\r\n\r\n{content}");
    within(WITHIN, address, &format!("PUT {path}"), &rest).await
}

/// Begins to fetch `path`: the answer's first bytes have come, and the rest is read by [`Fetch::finish`].
pub async fn begin(address: SocketAddr, path: &str, header: &str) -> Result<Fetch> {
    let mut socket = TcpStream::connect(address).await?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{header}\r\n\r\n");
    socket.write_all(request.as_bytes()).await?;
    let mut answer = vec![0; 1024];
    let read = timeout(WITHIN, socket.read(&mut answer)).await;
    let read = read.map_err(|_| timed_out("the answer's beginning", WITHIN))??;
    answer.truncate(read);
    Ok(Fetch { socket, answer })
}

/// An answer that has begun.
pub struct Fetch {
    socket: TcpStream,
    answer: Vec<u8>,
}

impl Fetch {
    /// Reads the rest.
    pub async fn finish(mut self) -> Result<Response> {
        let reading = self.socket.take(MAX_ANSWER_BYTES);
        let mut reading = reading;
        let read = timeout(WITHIN * 3, reading.read_to_end(&mut self.answer)).await;
        read.map_err(|_| timed_out("the answer's end", WITHIN))??;
        parse(&self.answer).ok_or_else(|| LabError::new("not HTTP"))
    }
}

/// Sends the request `what`; `rest` has more headers, an empty line, and the body.
async fn within(
    patience: Duration,
    address: SocketAddr,
    what: &str,
    rest: &str,
) -> Result<Response> {
    timeout(patience, ask(address, what, rest))
        .await
        .map_err(|_| timed_out(&format!("the answer to {what}"), patience))?
}

async fn ask(address: SocketAddr, what: &str, rest: &str) -> Result<Response> {
    let mut socket = TcpStream::connect(address).await?;
    let request = format!("{what} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{rest}");
    socket.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    socket.take(MAX_ANSWER_BYTES).read_to_end(&mut answer).await?;
    parse(&answer).ok_or_else(|| LabError::new(format!("{what}: not HTTP")))
}

fn parse(answer: &[u8]) -> Option<Response> {
    let answer = String::from_utf8_lossy(answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let (first, head) = head.split_once("\r\n").unwrap_or((head, ""));
    // Patroni answers as servers did before.
    let rest = first.strip_prefix("HTTP/1.1 ").or_else(|| first.strip_prefix("HTTP/1.0 "))?;
    let status = rest.get(..3)?.parse().ok()?;
    let mut response = Response { status, head: head.to_owned(), body: String::new() };
    let chunked = response.header("transfer-encoding").is_some_and(|it| it == "chunked");
    response.body = if chunked { join_chunks(body)? } else { body.to_owned() };
    Some(response)
}

fn join_chunks(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.push_str(after.get(..size)?);
        rest = after.get(size..)?.strip_prefix("\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn plain_and_chunked_answers_read_the_same() {
        let plain = parse(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nhello\r\nworld").unwrap();
        let chunked = b"HTTP/1.1 200 OK\r\na: b\r\nTransfer-Encoding: chunked\r\n\r\n\
            7\r\nhello\r\n\r\n5\r\nworld\r\n0\r\n\r\n";
        let chunked = parse(chunked).unwrap();
        assert_eq!((plain.status, plain.header("a")), (200, Some("b")));
        assert_eq!(chunked.body, plain.body);
        assert!(parse(b"SSH-2.0").is_none());
        assert!(parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nab").is_none());
    }
}
