//! `database.url`, parsed by rules of our own that leave nothing to guess.
//!
//! People paste passwords as they are. A `/`, `?` or `#` in one ends the first part of the URL early, and the
//! rest of the password would pass for a port, a database or a parameter. So anything that could be such a
//! rest is rejected, and nothing that was not understood is ever shown.

mod role;

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use sqlx::{ConnectOptions as _, postgres::PgConnectOptions};
use url::Url;

pub use role::GivenUrl;

use super::secret::{HIDDEN, is_alike};

const SCHEMES: [&str; 2] = ["postgres", "postgresql"];

/// The only `target_session_attrs` that make sense: of several hosts, we use the one that accepts writes.
const WRITABLE: [&str; 3] = ["any", "read-write", "primary"];

/// What may follow the `?`: host settings, and parameters that sqlx knows by the same name.
const PARAMETERS: [&str; 19] = [
    "host",
    "hostaddr",
    "port",
    "target_session_attrs",
    "user",
    "password",
    "dbname",
    "application_name",
    "options",
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
];

/// Other parameters that PostgreSQL's own programs know. Anything else is not named: it may be part of a
/// password.
const UNSUPPORTED: [&str; 36] = [
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "max_protocol_version",
    "min_protocol_version",
    "passfile",
    "replication",
    "require_auth",
    "requirepeer",
    "requiressl",
    "scram_client_key",
    "scram_server_key",
    "service",
    "servicefile",
    "ssl",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcertmode",
    "sslcompression",
    "sslcrl",
    "sslcrldir",
    "sslkeylogfile",
    "sslnegotiation",
    "sslpassword",
    "sslsni",
    "tcp_user_timeout",
];

/// What is wrong with a URL, as the end of a sentence, and what to do. Neither quotes the URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) problem: Cow<'static, str>,
    pub(super) remedy: Cow<'static, str>,
}

/// Something that may be part of a password.
const fn unclear(problem: &'static str) -> Fault {
    let remedy = Cow::Borrowed("percent-encode the password or use password_file");
    Fault { problem: Cow::Borrowed(problem), remedy }
}

const fn wrong(problem: &'static str) -> Fault {
    let remedy = Cow::Borrowed("write it as postgres://ephemerd@127.0.0.1/prosody");
    Fault { problem: Cow::Borrowed(problem), remedy }
}

fn unknown(parameter: &str) -> Fault {
    match UNSUPPORTED.iter().find(|it| **it == parameter) {
        Some(name) => Fault {
            problem: format!("has the parameter {name}, which is not supported").into(),
            remedy: format!("remove {name} from the URL").into(),
        },
        None => unclear("has an unknown parameter after its question mark"),
    }
}

type Result<T> = std::result::Result<T, Fault>;

/// Where the database is, and our role there. May contain a password, which is never printed.
#[derive(Clone)]
pub struct DatabaseUrl {
    /// Names, addresses and socket directories, in order; if empty, the environment decides.
    hosts: Vec<String>,
    /// None, one for all hosts, or one per host; an empty one means the default.
    ports: Vec<String>,
    /// sqlx's other parameters by name, except the password.
    parameters: Vec<(&'static str, String)>,
    password: Option<SecretString>,
    shown: String,
}

impl DatabaseUrl {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        if !SCHEMES.contains(&scheme) {
            return Err(wrong("is not a PostgreSQL URL"));
        }
        let Parts { who, hosts, path, query } = Parts::of(rest)?;
        let (user, password) =
            who.and_then(|it| it.split_once(':')).unwrap_or((who.unwrap_or_default(), ""));
        let (parameters, shown) = (Vec::new(), format!("{scheme}://{user}"));
        let mut url =
            Self { hosts: Vec::new(), ports: Vec::new(), parameters, password: None, shown };
        url.set("user", user)?;
        url.set("password", password)?;
        url.set_hosts(hosts)?;
        url.set("dbname", path.trim_start_matches('/'))?;
        let hidden = if url.password.is_some() { format!(":{HIDDEN}") } else { String::new() };
        let at = if who.is_some() { "@" } else { "" };
        url.shown += &format!("{hidden}{at}{hosts}{path}");
        url.set_query(query)?;
        if !url.hosts.iter().all(|it| is_host(it)) {
            return Err(unclear(
                "has a host that is not a name, an address or the directory of a socket",
            ));
        }
        if !url.ports.iter().all(|it| it.is_empty() || is_port(it)) {
            return Err(unclear("has a port that is not a number from 1 to 65535"));
        }
        if url.ports.len() > 1 && url.ports.len() != url.hosts.len() {
            return Err(wrong("has a different number of ports than hosts"));
        }
        // sqlx validates the rest: modes and numbers.
        url.connect_options(None, None).ok_or(wrong("has a parameter that cannot be read"))?;
        Ok(url)
    }

    /// Sets a value from the URL; an empty one counts as unset.
    fn set(&mut self, name: &'static str, written: &str) -> Result<()> {
        let value = decoded(written)?;
        let list = || value.split(',').map(str::to_owned).collect();
        match name {
            _ if value.is_empty() => {}
            "password" => self.password = Some(value.into()),
            "host" | "hostaddr" => self.hosts = list(),
            "port" => self.ports = list(),
            "target_session_attrs" if WRITABLE.contains(&value.as_str()) => {}
            "target_session_attrs" => {
                return Err(wrong(
                    "has a target_session_attrs other than read-write, primary or any",
                ));
            }
            _ => self.parameters.push((name, value)),
        }
        Ok(())
    }

    /// `host:port,host:port`, each port optional.
    fn set_hosts(&mut self, written: &str) -> Result<()> {
        for host in written.split(',').filter(|_| !written.is_empty()) {
            let (name, port) = match host.strip_prefix('[').and_then(|it| it.split_once(']')) {
                Some((address, port)) if address.parse::<Ipv6Addr>().is_ok() => (address, port),
                Some(_) => {
                    return Err(unclear("has a host in brackets that is not an IPv6 address"));
                }
                None => host.split_at(host.find(':').unwrap_or(host.len())),
            };
            let port = match port.strip_prefix(':') {
                None if port.is_empty() => "",
                Some(number) if is_port(number) => number,
                _ => return Err(unclear("has a port that is not a number from 1 to 65535")),
            };
            self.hosts.push(decoded(name)?);
            self.ports.push(port.to_owned());
        }
        Ok(())
    }

    fn set_query(&mut self, query: &str) -> Result<()> {
        let mut before = '?';
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let known = PARAMETERS.iter().find(|known| **known == name);
            let known = known.ok_or_else(|| unknown(name))?;
            self.set(known, value)?;
            let shown = if *known == "password" { HIDDEN } else { value };
            self.shown += &format!("{before}{name}={shown}");
            before = '&';
        }
        Ok(())
    }

    fn connect_options(&self, host: Option<&str>, port: Option<&str>) -> Option<PgConnectOptions> {
        // A form in which values cannot run into each other; sqlx looks for a password elsewhere if there is
        // none.
        let mut url = Url::parse("postgres:/").ok()?;
        let password = self.password.as_ref().map(ExposeSecret::expose_secret);
        let mine = [("host", host), ("port", port), ("password", password)];
        let mine = mine.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let parameters = self.parameters.iter().map(|(name, value)| (*name, value.as_str()));
        url.query_pairs_mut().extend_pairs(mine.chain(parameters));
        PgConnectOptions::from_url(&url).ok()
    }

    /// The options for each host, including the password; at least one.
    pub(super) fn options(&self) -> Vec<PgConnectOptions> {
        let port = |at: usize| {
            let port = if self.ports.len() == 1 { self.ports.first() } else { self.ports.get(at) };
            port.map(String::as_str).filter(|port| !port.is_empty())
        };
        // They were valid when the URL was read; only the environment can have changed.
        let options = |host, at| self.connect_options(host, port(at)).unwrap_or_default();
        match self.hosts.as_slice() {
            [] => vec![options(None, 0)],
            hosts => hosts.iter().enumerate().map(|(at, host)| options(Some(host), at)).collect(),
        }
    }

    /// The files that it names: certificates and a key.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        let is_file = |name: &str| ["ca", "cert", "key"].iter().any(|end| name.ends_with(end));
        self.parameters
            .iter()
            .filter(move |(name, _)| is_file(name))
            .map(|(_, value)| Path::new(value))
    }

    /// Whether the URL itself sets the TLS mode.
    pub(super) fn has_ssl_mode(&self) -> bool {
        self.parameters.iter().any(|(name, _)| matches!(*name, "sslmode" | "ssl-mode"))
    }

    /// Whether both contain the same password, or none.
    pub(super) fn has_same_password(&self, other: &Self) -> bool {
        is_alike(self.password.as_ref(), other.password.as_ref())
    }

    /// Whether the URL contains a password.
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }
}

/// What follows `postgres://`, not yet decoded.
struct Parts<'a> {
    who: Option<&'a str>,
    hosts: &'a str,
    path: &'a str,
    query: &'a str,
}

impl<'a> Parts<'a> {
    /// Rejects anything that may be part of a password.
    fn of(rest: &'a str) -> Result<Self> {
        if rest.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return Err(unclear("has a space or a control character"));
        }
        if rest.contains('#') {
            return Err(unclear("has a #, which would begin a fragment"));
        }
        let (authority, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if tail.contains('@') {
            return Err(unclear("has an @ after its host"));
        }
        let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
        if path.matches('/').count() > 1 {
            return Err(unclear("has more than one path segment after its host"));
        }
        let (who, hosts) = match authority.rsplit_once('@') {
            Some((who, hosts)) => (Some(who), hosts),
            None => (None, authority),
        };
        Ok(Self { who, hosts, path, query })
    }
}

/// The URL with `***` in place of its password.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

/// A socket directory, an address or a name.
fn is_host(host: &str) -> bool {
    let in_name = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    host.starts_with('/')
        || host.parse::<Ipv6Addr>().is_ok()
        || (!host.is_empty() && host.chars().all(in_name))
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse().is_ok_and(|port: u16| port > 0)
}

/// Percent-decodes text. A `%` that encodes nothing was part of something pasted as it is.
fn decoded(written: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(written.len());
    let mut rest = written.as_bytes();
    while let [first, after @ ..] = rest {
        rest = match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                let byte = hex::decode([*high, *low])
                    .map_err(|_| unclear("has a % that does not encode anything"))?;
                bytes.extend(byte);
                after
            }
            (b'%', _) => return Err(unclear("has a % that does not encode anything")),
            _ => {
                bytes.push(*first);
                after
            }
        };
    }
    let text = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
    text.ok_or(unclear("does not decode to text"))
}

#[cfg(test)]
mod tests;
