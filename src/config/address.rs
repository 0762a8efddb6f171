//! Domains and where servers listen.

use std::net::Ipv6Addr;
use std::path::PathBuf;

use super::types::ServerAddress;

/// RFC 7622: a domain part has at most 1023 bytes.
const MAX_DOMAIN_BYTES: usize = 1023;

/// A domain as XMPP servers keep it: lower case, dots between labels that are not empty.
///
/// Letters of any script are letters: servers store them as they are, not in Punycode.
/// The error is the end of a sentence.
pub(super) fn domain(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("has an empty name");
    }
    if text.len() > MAX_DOMAIN_BYTES {
        return Err("has a name of more than 1023 bytes");
    }
    if text.contains(['@', '/']) {
        return Err("has an address with a user or a resource, not a domain");
    }
    if text.to_lowercase() != text {
        return Err("has a name with capital letters, and servers keep them small");
    }
    let in_label = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    let is_label = |label: &str| {
        !label.is_empty()
            && label.chars().all(in_label)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    match text.split('.').all(is_label) {
        true => Ok(()),
        false => Err("has a name that is no domain"),
    }
}

/// `host:port`, `[ipv6]:port` or `unix:/path`.
pub(super) fn server_address(text: &str) -> Option<ServerAddress> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = PathBuf::from(path);
        return path.is_absolute().then_some(ServerAddress::Unix(path));
    }
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(ipv6) => ipv6.parse::<Ipv6Addr>().ok()?.to_string(),
        None => {
            domain(&host.to_lowercase()).ok()?;
            host.to_owned()
        }
    };
    Some(ServerAddress::Tcp { host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_told_from_the_rest() {
        for good in ["example.org", "localhost", "xn--bcher-kva.example", "bücher.example", "a_b.c"]
        {
            assert_eq!(domain(good), Ok(()), "{good}");
        }
        for bad in
            ["", "Example.org", "a..b", ".a", "a.", "a b", "a@b", "a/b", "-a.b", "a:1", "BÜCHER.de"]
        {
            assert!(domain(bad).is_err(), "{bad}");
        }
        assert!(domain(&"a".repeat(1024)).is_err());
    }

    #[test]
    fn addresses_of_servers_read_and_print() {
        for text in ["127.0.0.1:5347", "[::1]:5347", "xmpp.example.org:5347", "unix:/run/p/c.sock"]
        {
            assert_eq!(server_address(text).unwrap().to_string(), text);
        }
        for bad in [
            "",
            "localhost",
            "localhost:",
            "localhost:0",
            "localhost:65536",
            ":5347",
            "::1:5347",
            "unix:",
            "unix:relative",
            "a b:1",
            "[127.0.0.1]:1",
        ] {
            assert_eq!(server_address(bad), None, "{bad}");
        }
    }
}
