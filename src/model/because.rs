use std::{fmt, time::Duration};

use super::{Bond, LATEST, Reason, Timestamp, Verdict};

/// What policy decided about a stanza; [`fmt::Display`] puts it in a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// The row is to go.
    Goes(Verdict),
    /// The row stays until somebody has received the message, or it is the queued copy that shows that nobody
    /// has: the ledger must record both.
    Waits(Vec<Because>),
    /// Nothing in it asks for it to go, for these reasons.
    Stays(Vec<Because>),
}

impl Judgement {
    /// When and why the row goes, if it does.
    pub fn verdict(self) -> Option<Verdict> {
        match self {
            Self::Goes(verdict) => Some(verdict),
            Self::Waits(_) | Self::Stays(_) => None,
        }
    }

    /// What the ledger records: when the row goes and why, [`LATEST`] while it waits; `None` if there is no
    /// entry.
    pub const fn entry(&self) -> Option<(Timestamp, Reason)> {
        match self {
            Self::Goes(verdict) => Some((verdict.due_at, verdict.reason)),
            Self::Waits(_) => Some((LATEST, Reason::Undelivered)),
            Self::Stays(_) => None,
        }
    }

    /// The reasoning behind the judgement, in order.
    pub fn because(&self) -> &[Because] {
        match self {
            Self::Goes(verdict) => &verdict.because,
            Self::Waits(because) | Self::Stays(because) => because,
        }
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Goes(verdict) => {
                write!(f, "goes {}", verdict.due_at.format("%Y-%m-%d %H:%M:%S UTC"))?;
            }
            Self::Waits(_) | Self::Stays(_) => f.write_str("stays")?,
        }
        for (at, because) in self.because().iter().enumerate() {
            write!(f, "{}{because}", if at == 0 { ": " } else { "; " })?;
        }
        Ok(())
    }
}

/// One step towards a [`Judgement`]; [`fmt::Display`] gives a short clause. Contains nothing from the stanza
/// but numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// The root element is not `<message/>`.
    NotAMessage,
    /// ephemerd has already erased the text.
    Placeholder,
    /// `<i-want-out/>`.
    OptOut,
    /// A timer of zero and no content.
    SwitchesOff,
    /// Neither a timer nor a valid hint.
    NothingAsked,
    /// The timer that is used, out of `of` valid ones.
    Timer {
        /// The shortest, in seconds.
        seconds: u32,
        /// How many there are.
        of: u32,
    },
    /// This many timers of zero and no other: they mean "off".
    ZeroTimers(u32),
    /// This many timers of zero, ignored because there is another one.
    ZeroIgnored(u32),
    /// This many timers that are not a number of seconds.
    InvalidTimers(u32),
    /// Raised to `timers.min`.
    RaisedTo(Duration),
    /// Lowered to `timers.max`.
    LoweredTo(Duration),
    /// It is to go once it was read: its timer is this long.
    Once(Duration),
    /// It is to go once it was read, which nothing shows.
    OnceUnread,
    /// It is to go once it was read, but has no timer.
    OnceWithoutTimer,
    /// A timer without content; it stays for at least this long.
    Negotiation(Duration),
    /// The hint asks that no copy be kept; an archived one goes this long after archiving.
    Hint(Duration),
    /// The hint would not be earlier than the timer.
    TimerDecides,
    /// The hint is earlier than the timer.
    HintDecides,
    /// Hints in errors are ignored.
    HintInError,
    /// `<store/>` overrides the hint.
    StoreBeatsHint,
    /// The hint overrides `<store/>`.
    HintBeatsStore,
    /// Hints do not shorten a negotiation.
    HintInNegotiation,
    /// Hints never touch the offline queue.
    HintInQueue,
    /// While nobody has received the message, its timer counts and not its hint.
    HintWaits,
    /// Nobody has received it: this much time is added.
    Undelivered(Duration),
    /// Nobody has received it, and undelivered messages stay.
    UndeliveredStays,
    /// It goes with the message that it belongs to.
    GoesWith(Bond),
    /// It expires so many seconds after it was sent (XEP-0023).
    ExpiresAfter(u32),
    /// It expires at this time (XEP-0079).
    ExpiresAt(Timestamp),
    /// This many times of expiry that cannot be read.
    InvalidExpiries(u32),
    /// It expires before anything else asks for it to go.
    ExpiryDecides,
    /// It expires no earlier than something else asks for it to go.
    ExpiryIsLater,
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotAMessage => f.write_str("it is not a message"),
            Self::Placeholder => f.write_str("it is a placeholder: its text is gone"),
            Self::OptOut => f.write_str("an opt-out stays, because without it others would switch timers on again"),
            Self::SwitchesOff => f.write_str(
                "a timer of zero without content switches timers off, and stays so that other devices learn of it",
            ),
            Self::NothingAsked => f.write_str("neither a timer nor a hint asks for it to go"),
            Self::Timer { seconds, of: 0 | 1 } => write!(f, "a timer of {}", Seconds(seconds)),
            Self::Timer { seconds, of } => {
                write!(f, "the shortest of {of} timers, {}", Seconds(seconds))
            }
            Self::ZeroTimers(1) => f.write_str("a timer of zero means off"),
            Self::ZeroTimers(of) => write!(f, "{of} timers of zero mean off"),
            Self::ZeroIgnored(1) => f.write_str("a timer of zero is ignored because there is another"),
            Self::ZeroIgnored(of) => write!(f, "{of} timers of zero are ignored because there is another"),
            Self::InvalidTimers(1) => {
                f.write_str("a timer that is not a number of seconds is ignored")
            }
            Self::InvalidTimers(of) => {
                write!(f, "{of} timers that are not a number of seconds are ignored")
            }
            Self::RaisedTo(min) => write!(f, "timers.min makes it {}", Span(min)),
            Self::LoweredTo(max) => write!(f, "timers.max makes it {}", Span(max)),
            Self::Once(timer) => {
                write!(f, "it is to go once it was read, which makes the timer {}", Span(timer))
            }
            Self::OnceUnread => f.write_str(
                "it is to go once it was read; as long as nothing shows that, its timer counts",
            ),
            Self::OnceWithoutTimer => f.write_str(
                "it is to go once it was read, which does not count without a timer",
            ),
            Self::Negotiation(stays) => write!(
                f,
                "it negotiates a timer and carries no content, so it stays {} for devices that are away",
                Span(stays)
            ),
            Self::Hint(Duration::ZERO) => {
                f.write_str("a hint not to be stored, so it goes at once")
            }
            Self::Hint(keep_for) => {
                write!(f, "a hint not to be stored, so it is kept for {}", Span(keep_for))
            }
            Self::TimerDecides => f.write_str("the timer decides, because the hint is no earlier"),
            Self::HintDecides => f.write_str("the hint decides, because it is earlier"),
            Self::HintInError => f.write_str("hints in an error are ignored"),
            Self::StoreBeatsHint => f.write_str("<store/> overrides the hint"),
            Self::HintBeatsStore => f.write_str("the hint overrides <store/>"),
            Self::HintInNegotiation => f.write_str("hints do not shorten a negotiation"),
            Self::HintInQueue => f.write_str("hints do not touch the offline queue"),
            Self::HintWaits => f.write_str("its hint waits until somebody has received it"),
            Self::Undelivered(wait) => {
                write!(f, "nobody has received it yet, which adds {}", Span(wait))
            }
            Self::UndeliveredStays => f.write_str("it stays until somebody has received it"),
            Self::GoesWith(Bond::Corrects) => f.write_str("it goes with the message it corrects"),
            Self::GoesWith(Bond::ReactsTo) => f.write_str("it goes with the message it reacts to"),
            Self::GoesWith(Bond::Quotes) => f.write_str("it goes with the message it quotes"),
            Self::GoesWith(Bond::AttachedTo) => {
                f.write_str("it goes with the message it is attached to")
            }
            Self::ExpiresAfter(seconds) => {
                write!(f, "it expires {} after it was sent (XEP-0023)", Seconds(seconds))
            }
            Self::ExpiresAt(at) => {
                write!(f, "it expires at {} UTC (XEP-0079)", at.format("%Y-%m-%d %H:%M:%S"))
            }
            Self::InvalidExpiries(1) => f.write_str("a time of expiry that cannot be read is ignored"),
            Self::InvalidExpiries(of) => {
                write!(f, "{of} times of expiry that cannot be read are ignored")
            }
            Self::ExpiryDecides => f.write_str("the expiry decides, because it is earlier"),
            Self::ExpiryIsLater => f.write_str("the expiry does not count, because it is no earlier"),
        }
    }
}

/// A timer in seconds, with a readable duration after it if it is long.
struct Seconds(u32);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0)?;
        match self.0 {
            ..3600 => Ok(()),
            long => write!(f, " ({})", Span(Duration::from_secs(long.into()))),
        }
    }
}

/// A duration as the configuration writes it: `90d`, `1h 30m`, `250ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0.as_secs(), u64::from(self.0.subsec_nanos()));
        let parts = [
            (seconds / 86_400, "d"),
            (seconds / 3_600 % 24, "h"),
            (seconds / 60 % 60, "m"),
            (seconds % 60, "s"),
            (nanos / 1_000_000, "ms"),
            (nanos / 1_000 % 1_000, "us"),
            (nanos % 1_000, "ns"),
        ];
        let mut gap = "";
        for (count, unit) in parts.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, "{gap}{count}{unit}")?;
            gap = " ";
        }
        if gap.is_empty() { f.write_str("0s") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_the_configuration_writes_them() {
        let spans = [
            (Duration::ZERO, "0s"),
            (Duration::from_secs(60), "1m"),
            (Duration::from_secs(90 * 86_400), "90d"),
            (Duration::from_secs(86_400 + 7_200 + 180 + 4), "1d 2h 3m 4s"),
            (Duration::from_millis(250), "250ms"),
            (Duration::new(1, 2_003_004), "1s 2ms 3us 4ns"),
        ];
        for (span, text) in spans {
            assert_eq!(Span(span).to_string(), text);
            assert_eq!(humantime::parse_duration(text).unwrap(), span);
        }
    }

    #[test]
    fn several_of_a_kind_are_counted() {
        let clauses = [
            (Because::Timer { seconds: 60, of: 2 }, "the shortest of 2 timers, 60 s"),
            (Because::Timer { seconds: 3_600, of: 1 }, "a timer of 3600 s (1h)"),
            (Because::Timer { seconds: 3_599, of: 1 }, "a timer of 3599 s"),
            (Because::ZeroTimers(2), "2 timers of zero mean off"),
            (Because::ZeroIgnored(2), "2 timers of zero are ignored because there is another"),
            (Because::InvalidTimers(2), "2 timers that are not a number of seconds are ignored"),
        ];
        for (because, text) in clauses {
            assert_eq!(because.to_string(), text);
        }
    }
}
