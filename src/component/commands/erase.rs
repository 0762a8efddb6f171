//! Erasing own messages: what a user may choose, and the forms of that command.

use chrono::{NaiveDate, NaiveTime};

use super::forms::Page;
use super::nodes::Node;
use super::payload::{BadPayload, Command, Fault, Form};
use super::{CommandSettings, Erasing, MOST_COUNTED};
use crate::model::Timestamp;
use crate::words::{Language, Message, say};

/// The fields.
const WITH: &str = "with";
const BEFORE: &str = "before";
pub(super) const CONFIRM: &str = "confirm";

/// Maximum length of an address, in bytes: two parts, and what is between them.
const MOST_ADDRESS: usize = 2_047;

/// Which of the own messages are to be erased.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chosen {
    /// Only the chat with this bare address, as the user wrote it.
    pub with: Option<String>,
    /// Only what was archived before this day, in UTC.
    pub before: Option<NaiveDate>,
}

impl Chosen {
    /// When that day begins.
    pub fn before(&self) -> Option<Timestamp> {
        self.before.map(|day| day.and_time(NaiveTime::MIN).and_utc())
    }

    /// The choice in a form. An empty field chooses nothing, and so does one that is not there.
    pub(super) fn of(command: &Command) -> Result<Self, Fault> {
        let value = |var| match command.value(var) {
            Ok(value) => Ok(value.map(str::trim).filter(|it| !it.is_empty())),
            Err(BadPayload) => Err(Fault::BadPayload),
        };
        let with = value(WITH)?.map(|text| match is_bare(text) {
            true => Ok(text.to_owned()),
            false => Err(Fault::BadPayload),
        });
        let day = value(BEFORE)?
            .map(|text| NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| Fault::BadPayload));
        Ok(Self { with: with.transpose()?, before: day.transpose()? })
    }

    /// The form that asks for it.
    pub(super) fn ask(&self, language: Language) -> Form {
        let mut page = Page::new(language);
        let before = self.before.map(|day| day.to_string());
        page.blank(WITH, "jid-single", Message::EraseWith, self.with.clone());
        page.blank(BEFORE, "text-single", Message::EraseBefore, before);
        let mut form = page.form("form", Node::Erase);
        form.instructions = Some(say(language, Message::EraseChoose, &[]));
        form
    }

    /// The form that says what would go, and is to be confirmed; `again` after a confirmation that was none.
    pub(super) fn confirm(
        &self,
        language: Language,
        settings: &CommandSettings,
        (bare, counted, again): (&str, Erasing, bool),
    ) -> Form {
        let mut page = Page::new(language);
        if again {
            page.line("again", Message::EraseAgain);
        }
        page.begin(settings, counted.paused);
        if *self == Self::default() {
            page.line("all", Message::EraseAll);
        }
        let before = self.before.map(|day| day.to_string());
        for (var, label, value) in [
            ("only-with", Message::EraseWith, self.with.clone()),
            ("only-before", Message::EraseBefore, before),
            ("count", Message::EraseCount, Some(count(language, counted))),
        ] {
            if let Some(value) = value {
                page.text(var, format!("{}: {value}", say(language, label, &[])));
            }
        }
        page.line("cannot", Message::EraseForever);
        page.blank(CONFIRM, "text-single", Message::EraseConfirm, None).required = true;
        let mut form = page.form("form", Node::Erase);
        form.instructions = Some(say(language, Message::EraseType, &[("address", bare.into())]));
        form
    }
}

/// The user typed the own bare address: a word that no client sends by itself, and the same in all languages.
pub(super) fn is_confirmed(command: &Command, bare: &str) -> Result<bool, Fault> {
    match command.value(CONFIRM) {
        Ok(typed) => Ok(typed.is_some_and(|it| it.trim().to_lowercase() == bare.to_lowercase())),
        Err(BadPayload) => Err(Fault::BadPayload),
    }
}

/// The form at the end. It says nothing of holds.
pub(super) fn done(language: Language, settings: &CommandSettings, asked: Erasing) -> Form {
    let mut page = Page::new(language);
    page.begin(settings, asked.paused);
    page.value("count", Message::EraseCount, count(language, asked));
    page.line("note", if asked.messages > 0 { Message::EraseSoon } else { Message::EraseNone });
    page.form("result", Node::Erase)
}

/// A number of messages, counted no further than to [`MOST_COUNTED`].
pub(super) fn count(language: Language, Erasing { messages, .. }: Erasing) -> String {
    match messages < MOST_COUNTED {
        true => messages.to_string(),
        false => say(language, Message::EraseMany, &[("count", MOST_COUNTED.into())]),
    }
}

/// It may be a bare address, or a host. The ledger's side brings it into the form that servers store.
pub(super) fn is_bare(text: &str) -> bool {
    let is_wrong = |it: char| it == '/' || it.is_whitespace() || it.is_control();
    let (local, host) = text.split_once('@').map_or((None, text), |it| (Some(it.0), it.1));
    text.len() <= MOST_ADDRESS
        && !text.contains(is_wrong)
        && local != Some("")
        && !host.is_empty()
        && !host.contains('@')
}
