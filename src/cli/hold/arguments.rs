//! The arguments of `hold add`.

use std::time::Duration;

use chrono::{NaiveDate, NaiveTime};

use super::super::Failure;
use crate::config::{parse_duration, stored_address};
use crate::ledger::NewHold;
use crate::model::{Address, Clock as _, HoldOn, LATEST, SystemClock, Timestamp};
use crate::policy;

/// Maximum length of a reason or a name, in characters.
const MOST_CHARACTERS: usize = 500;
/// Maximum length of an address, in bytes (RFC 7622).
const MOST_BYTES: usize = 2047;

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("on").required(true))]
pub(super) struct AddArgs {
    /// Everything
    #[arg(long, group = "on")]
    all: bool,
    /// All users or rooms of a host
    #[arg(long, value_name = "HOST", value_parser = host, group = "on")]
    host: Option<String>,
    /// A user: archive and offline queue
    #[arg(long, value_name = "JID", value_parser = address, group = "on")]
    user: Option<Address>,
    /// A room: its archive, and what it remembers
    #[arg(long, value_name = "JID", value_parser = address, group = "on")]
    room: Option<Address>,
    /// Of that user only the chat with this address; the other side's copies need a hold of their own
    #[arg(long, value_name = "JID", value_parser = host, requires = "user", conflicts_with_all = ["all", "host", "room"])]
    with: Option<String>,
    /// Only messages archived from then on, such as 2026-01-31 or 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<Timestamp>,
    /// Only messages archived before then
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<Timestamp>,
    /// When the hold ends by itself; without this or --for it has no end
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "length")]
    until: Option<Timestamp>,
    /// How long it lasts, such as 90d
    #[arg(long = "for", value_name = "DURATION", value_parser = length, id = "length")]
    length: Option<Duration>,
    /// Why, for the list and the log
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: String,
    /// Who places it [default: the user who runs this, by SUDO_USER, LOGNAME or USER]
    #[arg(long, value_name = "NAME", value_parser = reason)]
    by: Option<String>,
    /// How long to wait for companion modules that were asked to erase before
    #[arg(long, value_name = "DURATION", value_parser = wait, default_value = "200s")]
    pub(super) wait: Duration,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl AddArgs {
    /// The hold that these ask for.
    pub(super) fn hold(self) -> Result<NewHold, Failure> {
        let now = SystemClock.now();
        let ends_at = self.length.map(|length| policy::later(now, length)).or(self.until);
        if ends_at.is_some_and(|at| at <= now) {
            return Err(wrong(
                "--until: the hold would end before it begins",
                "name a time to come",
            ));
        }
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from >= to
        {
            return Err(wrong("--from is not before --to", "no message would be on hold"));
        }
        let on = match (self.host, self.user, self.room) {
            (Some(host), ..) => HoldOn::Host(host),
            (None, Some(user), _) => match self.with {
                Some(with) => HoldOn::Conversation(user, with),
                None => HoldOn::User(user),
            },
            (None, None, Some(room)) => HoldOn::Room(room),
            (None, None, None) => HoldOn::All,
        };
        let (since, before, by) = (self.from, self.to, by(self.by)?);
        Ok(NewHold { on, since, before, reason: self.reason, by, ends_at })
    }
}

fn wrong(what: &str, help: &str) -> Failure {
    Failure::Other(format!("{what}\nhelp: {help}"))
}

/// Who runs this command.
pub(in crate::cli) fn by(named: Option<String>) -> Result<String, Failure> {
    let known = ["SUDO_USER", "LOGNAME", "USER"].into_iter().find_map(|it| std::env::var(it).ok());
    named
        .or_else(|| known.and_then(|it| reason(&it).ok()))
        .ok_or_else(|| wrong("nobody knows who runs this", "say so with --by"))
}

/// A text for the log, on one line.
pub(in crate::cli) fn reason(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    match text.chars().count() {
        0 => Err("it is empty"),
        _ if text.chars().any(char::is_control) => Err("it has control characters"),
        length if length > MOST_CHARACTERS => Err("it is longer than 500 characters"),
        _ => Ok(text.to_owned()),
    }
}

/// How long to wait.
pub(super) fn wait(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| format!("it {error}; write 30s or 5m"))
}

fn length(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Err(error) => Err(format!("it {error}; write 12h or 90d")),
        Ok(Duration::ZERO) => Err("a hold of zero length has no effect".to_owned()),
        Ok(length) => Ok(length),
    }
}

/// A bare address, or a host, as servers store it.
pub(in crate::cli) fn host(text: &str) -> Result<String, &'static str> {
    let is_wrong = |it: char| it == '/' || it.is_whitespace() || it.is_control();
    if text.is_empty() || text.len() > MOST_BYTES || text.contains(is_wrong) {
        return Err("it is not a bare address; write bob@example.org, or example.org");
    }
    Ok(stored_address(text))
}

pub(in crate::cli) fn address(text: &str) -> Result<Address, &'static str> {
    let text = host(text)?;
    match text.split_once('@') {
        Some((local, host)) if !local.is_empty() && !host.is_empty() => {
            Ok(Address { host: host.to_owned(), local: local.to_owned() })
        }
        _ => Err("it is not a bare address; write alice@example.org"),
    }
}

/// A day in UTC, or a time.
pub(in crate::cli) fn time(text: &str) -> Result<Timestamp, &'static str> {
    let day = |text: &str| Some(text.parse::<NaiveDate>().ok()?.and_time(NaiveTime::MIN).and_utc());
    let at = text.parse().ok().or_else(|| day(text));
    at.filter(|at| *at <= LATEST && *at >= Timestamp::UNIX_EPOCH)
        .ok_or("it is not a time; write 2026-01-31 or 2026-01-31T12:00:00Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_bare_and_as_servers_store_them() {
        let alice = Address { host: "example.org".into(), local: "alice".into() };
        assert_eq!(address("Alice@Example.org"), Ok(alice));
        let eva = Address { host: "example.org".into(), local: "\u{e9}va".into() };
        assert_eq!(address("E\u{301}va@example.org"), Ok(eva));
        assert_eq!(host("Straße@Example.org"), Ok("strasse@example.org".into()));
        // Prosody leaves letters as they are that are newer than nodeprep, capital ones too.
        assert_eq!(host("A\u{1f600}@Example.org"), Ok("a\u{1f600}@example.org".into()));
        assert_eq!(host("STRA\u{1e9e}E@example.org"), Ok("stra\u{1e9e}e@example.org".into()));
        for wrong in ["", "alice", "@example.org", "alice@", "alice@example.org/phone", "a b@c"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
        assert!(host(&"a".repeat(MOST_BYTES + 1)).is_err());
    }

    #[derive(clap::Parser)]
    struct Add {
        #[command(flatten)]
        args: AddArgs,
    }

    /// A length beyond all times is no hold without end: that would have no `ends_at`.
    #[test]
    fn a_hold_ends_however_long_it_lasts() {
        let add = ["add", "--all", "--reason", "r", "--by", "b", "--for", "9999999999999w"];
        let add = <Add as clap::Parser>::parse_from(add);
        assert_eq!(add.args.hold().ok().and_then(|it| it.ends_at), Some(LATEST));
    }

    #[test]
    fn a_day_begins_at_midnight() {
        assert_eq!(time("2026-01-31"), time("2026-01-31T00:00:00Z"));
        for wrong in ["", "soon", "2026-02-30", "1969-12-31", "99999-01-01"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn reasons_fit_on_a_line() {
        assert_eq!(reason(" case 17 "), Ok("case 17".to_owned()));
        for wrong in ["", " ", "a\nb", "\u{1b}[2J"] {
            assert!(reason(wrong).is_err(), "{wrong:?}");
        }
        assert!(reason(&"a".repeat(MOST_CHARACTERS + 1)).is_err());
    }
}
