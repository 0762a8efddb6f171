use chrono::{DateTime, Utc};

use super::{
    Unreadable,
    attributes::Name,
    element::{
        Child, JABBER_CLIENT, MUCSUB_MESSAGES, REPLY, child, is_omemo, is_room_remark, is_rule,
        is_wrapper_step,
    },
    timer::Timer,
    xml::{Event, Xml},
};
use crate::model::{BelongsTo, Bond, Facts, LegacyExpiry, StanzaId, Timestamp};

/// The root element's depth.
const ROOT: usize = 1;
/// Number of elements from a message to the one inside its MUC/Sub event: event, items, item, message.
const WRAPPER: usize = 4;

pub(super) fn facts(text: &str) -> Result<Facts, Unreadable> {
    let mut xml = Xml::new(text)?;
    let mut gatherer = Gatherer::default();
    while let Some(event) = xml.next()? {
        match event {
            Event::Start(name) => gatherer.start(&xml, name)?,
            Event::End => gatherer.end(xml.depth()),
            Event::Words => gatherer.words(xml.depth()),
        }
    }
    Ok(gatherer.finish())
}

/// What a child of the message may contain without being content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Allowed {
    Nothing,
    Text,
    RoomRemarks,
    /// It is content; rules in it may say when it expires.
    Rules,
    /// It is content; encrypted words may be in it.
    Payload,
}

/// Gathers facts event by event; it tracks its position in the stanza but builds no tree.
#[derive(Debug, Default)]
struct Gatherer {
    facts: Facts,
    /// How many elements of a MUC/Sub wrapper are open: event, items, item, message.
    steps: usize,
    /// The open pubsub event contained a message.
    unwrapped: bool,
    /// The depth of the message's open child, and what it may contain without being content.
    open: Option<(usize, Allowed)>,
    /// Number of `<expired/>` elements, and the time in the last one.
    expired: Option<Timestamp>,
    expired_count: usize,
    /// Something that no placeholder contains.
    more_than_placeholder: bool,
    /// It belongs to nothing, whatever it names.
    is_alone: bool,
    /// Something in it is only for clients that do not know replies.
    has_quote: bool,
}

impl Gatherer {
    fn start(&mut self, xml: &Xml<'_>, name: Name<'_>) -> Result<(), Unreadable> {
        let depth = xml.depth();
        if depth == ROOT {
            let is_message = name.local == "message" && xml.namespace(name)? == JABBER_CLIENT;
            self.facts.not_a_message = !is_message;
            self.facts.is_error = xml.attribute("type") == Some("error");
            return Ok(());
        }
        if self.facts.not_a_message {
            return Ok(());
        }
        let parent = depth - 1;
        self.more_than_placeholder |= parent > ROOT;
        if let Some((at, allowed)) = self.open {
            let is_child = parent == at;
            let is_remark = allowed == Allowed::RoomRemarks
                && is_child
                && is_room_remark(xml.namespace(name)?, name.local);
            if allowed == Allowed::Rules && is_child && is_rule(xml.namespace(name)?, name.local) {
                note_rule(&mut self.facts.legacy, xml);
            }
            if allowed == Allowed::Payload && is_child && name.local == "payload" {
                self.facts.encrypted |= is_omemo(xml.namespace(name)?);
            }
            self.facts.has_content |= !is_remark;
        } else if parent == ROOT || (self.steps == WRAPPER && parent == ROOT + WRAPPER) {
            self.child(xml, child(xml.namespace(name)?, name.local));
        } else if self.steps > 0 && parent == ROOT + self.steps {
            self.step(xml, name)?;
        }
        Ok(())
    }

    /// A direct child of the message, or of the message inside the wrapper.
    fn child(&mut self, xml: &Xml<'_>, child: Child) {
        let facts = &mut self.facts;
        self.open = match child {
            Child::Event if self.steps == 0 => None,
            Child::Label | Child::Delay => Some((xml.depth(), Allowed::Text)),
            Child::Room => Some((xml.depth(), Allowed::RoomRemarks)),
            Child::Encrypted if xml.depth() == ROOT + 1 => Some((xml.depth(), Allowed::Payload)),
            // With a status it is a server's report about another message.
            Child::Rules if xml.attribute("status").is_none() => {
                Some((xml.depth(), Allowed::Rules))
            }
            _ => Some((xml.depth(), Allowed::Nothing)),
        };
        match child {
            Child::Ephemeral => note(&mut facts.timers, xml.attribute("timer").unwrap_or_default()),
            Child::Once => facts.once = true,
            Child::WantsOut => facts.wants_out = true,
            Child::NoPermanentStore => facts.hints.no_permanent_store = true,
            Child::NoStore => facts.hints.no_store = true,
            Child::Store => facts.hints.store = true,
            Child::StanzaId if xml.depth() == ROOT + 1 => {
                facts.last_stanza_id = stanza_id(xml).or(facts.last_stanza_id.take());
            }
            Child::Expired => {
                self.expired = xml.attribute("until").and_then(timestamp);
                self.expired_count += 1;
            }
            Child::Event if self.steps == 0 => {
                self.steps = 1;
                self.unwrapped = false;
            }
            Child::Belongs(bond) => {
                facts.has_content = true;
                let named = || named(xml).map(|id| BelongsTo { bond, id });
                facts.belongs_to = facts.belongs_to.take().or_else(named);
            }
            Child::Reply => {
                facts.has_content = true;
                let named = || named(xml).map(|id| BelongsTo { bond: Bond::Quotes, id });
                facts.quotes = facts.quotes.take().or_else(named);
            }
            Child::Fallback => {
                facts.has_content = true;
                self.has_quote |= xml.depth() == ROOT + 1 && xml.attribute("for") == Some(REPLY);
            }
            Child::Alone => {
                facts.has_content = true;
                self.is_alone = true;
            }
            Child::Expire => {
                facts.has_content = true;
                note_seconds(&mut facts.legacy, xml.attribute("seconds").unwrap_or_default());
            }
            Child::Sealed => {
                facts.has_content = true;
                facts.encrypted |= xml.depth() == ROOT + 1;
            }
            Child::Event | Child::Content | Child::Rules | Child::Encrypted => {
                facts.has_content = true;
            }
            Child::StanzaId | Child::Delay | Child::Quiet | Child::Label | Child::Room => {}
        }
        self.more_than_placeholder |=
            !matches!(child, Child::Expired | Child::Delay | Child::StanzaId);
    }

    /// A child of the wrapper: the next step towards the inner message, or something unknown.
    fn step(&mut self, xml: &Xml<'_>, name: Name<'_>) -> Result<(), Unreadable> {
        let is_items = self.steps == 1;
        if is_wrapper_step(self.steps, xml.namespace(name)?, name.local)
            && (!is_items || xml.attribute("node") == Some(MUCSUB_MESSAGES))
        {
            self.steps += 1;
            self.unwrapped |= self.steps == WRAPPER;
        } else {
            self.facts.has_content = true;
        }
        Ok(())
    }

    /// An element ended; `depth` elements are still open.
    fn end(&mut self, depth: usize) {
        self.open = self.open.filter(|(at, _)| *at <= depth);
        if self.steps > 0 && depth + 1 == ROOT + self.steps {
            self.steps -= 1;
            self.facts.has_content |= self.steps == 0 && !self.unwrapped;
        }
    }

    fn words(&mut self, depth: usize) {
        self.more_than_placeholder = true;
        if self.facts.not_a_message {
            return;
        }
        self.facts.has_content |= match self.open {
            Some((_, allowed)) => allowed != Allowed::Text,
            None => depth == ROOT + self.steps,
        };
    }

    fn finish(mut self) -> Facts {
        if self.facts.not_a_message {
            return Facts { not_a_message: true, ..Facts::default() };
        }
        if self.expired_count == 1 && !self.more_than_placeholder {
            self.facts.expired_until = self.expired;
        }
        let belongs = !self.is_alone && !self.facts.is_error;
        self.facts.belongs_to.take_if(|_| !belongs);
        self.facts.quotes.take_if(|_| !belongs || !self.has_quote);
        self.facts
    }
}

/// The id that a child of the message itself names.
fn named(xml: &Xml<'_>) -> Option<String> {
    let id = xml.attribute("id").filter(|id| !id.is_empty() && xml.depth() == ROOT + 1);
    id.map(str::to_owned)
}

fn note(timers: &mut crate::model::Timers, text: &str) {
    match Timer::parse(text) {
        Timer::Seconds(seconds) => {
            timers.valid = timers.valid.saturating_add(1);
            let shortest = timers.shortest_seconds.map_or(seconds, |it| it.min(seconds));
            timers.shortest_seconds = Some(shortest);
        }
        Timer::Zero => timers.zero = timers.zero.saturating_add(1),
        Timer::Invalid => timers.invalid = timers.invalid.saturating_add(1),
    }
}

/// Unlike a timer of zero, a time to live of zero means nothing known.
fn note_seconds(legacy: &mut LegacyExpiry, text: &str) {
    match Timer::parse(text) {
        Timer::Seconds(seconds) => {
            let shortest = legacy.shortest_seconds.map_or(seconds, |it| it.min(seconds));
            legacy.shortest_seconds = Some(shortest);
        }
        Timer::Zero | Timer::Invalid => legacy.invalid = legacy.invalid.saturating_add(1),
    }
}

/// A rule by which a server discards the message after a time, whatever it tells the sender. By `notify` it does not.
fn note_rule(legacy: &mut LegacyExpiry, xml: &Xml<'_>) {
    let discards = matches!(xml.attribute("action"), Some("drop" | "alert" | "error"));
    if !discards || xml.attribute("condition") != Some("expire-at") {
        return;
    }
    match xml.attribute("value").and_then(timestamp) {
        Some(at) => legacy.earliest = Some(legacy.earliest.map_or(at, |it| it.min(at))),
        None => legacy.invalid = legacy.invalid.saturating_add(1),
    }
}

pub(super) fn stanza_id(xml: &Xml<'_>) -> Option<StanzaId> {
    let (by, id) = (xml.attribute("by")?, xml.attribute("id")?);
    Some(StanzaId { by: by.to_owned(), id: id.to_owned() })
}

fn timestamp(text: &str) -> Option<Timestamp> {
    DateTime::parse_from_rfc3339(text).ok().map(|it| it.with_timezone(&Utc))
}
