//! What a user wishes for the own archive: what may be chosen, and the forms of these commands. One asks about all chats,
//! another one about one contact.

use std::time::Duration;

use super::erase::{self, CONFIRM, count};
use super::forms::Page;
use super::nodes::Node;
use super::payload::{BadPayload, Choice, Command, Fault, Form};
use super::{Asker, CommandSettings, Erasing};
use crate::model::{Limit, Store, Timestamp, Wish, WishChange, WishRules};
use crate::policy;
use crate::words::{Language, Message, duration, moment, say};

/// The fields.
const CONTACT: &str = "contact";
const ARCHIVE_FOR: &str = "archive-for";
const ENCRYPTED_FOR: &str = "encrypted-for";
const ONCE: &str = "once";

/// What stands for no limit.
const NEVER: &str = "never";

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// The times that are offered, where the operator's bounds allow them.
const OFFERED: [Duration; 10] = [
    HOUR,
    Duration::from_secs(6 * 3_600),
    DAY,
    Duration::from_secs(2 * 86_400),
    Duration::from_secs(7 * 86_400),
    Duration::from_secs(14 * 86_400),
    Duration::from_secs(30 * 86_400),
    Duration::from_secs(90 * 86_400),
    Duration::from_secs(180 * 86_400),
    Duration::from_secs(365 * 86_400),
];

/// What a user may choose: the operator's bounds for this account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    shortest: Duration,
    /// What the archive keeps at most anyway.
    longest: Option<Duration>,
    /// The longest timer.
    longest_timer: Option<Duration>,
    /// How long after it was read a message goes; `None` where nobody looks whether it was.
    once_for: Option<Duration>,
}

impl Bounds {
    pub(super) fn of(settings: &CommandSettings, asker: &Asker) -> Self {
        let rules = &settings.rules;
        let longest = settings.retention.applied(Store::Archive, &asker.host, &asker.owner).limit;
        let looks = rules.looks_for_readers_in(Store::Archive);
        Self {
            shortest: rules.wishes.shortest,
            longest_timer: rules.timers.max,
            longest: match longest {
                Limit::After(age) => Some(age),
                Limit::Never => None,
            },
            once_for: looks.then(|| rules.timers.once_for.max(rules.timers.min)),
        }
    }

    fn allow(self, time: Duration, longest: Option<Duration>) -> bool {
        (self.shortest..=longest.unwrap_or(WishRules::LONGEST)).contains(&time)
    }

    /// The times that are offered up to the longest, with the one that is set.
    fn offered(self, longest: Option<Duration>, set: Option<Duration>) -> Vec<Duration> {
        let all = OFFERED.into_iter().chain([self.shortest]).chain(set);
        let mut offered: Vec<Duration> = all.filter(|it| self.allow(*it, longest)).collect();
        offered.sort_unstable();
        offered.dedup();
        offered
    }
}

/// Whose chat a conversation is about: a contact's bare address, or everybody's.
pub(super) type With = Option<String>;

/// What of a user's wishes is asked for or set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wishing {
    /// Only for the chat with this bare address, as the user wrote it.
    pub with: Option<String>,
    /// What is to be different.
    pub change: WishChange,
}

/// What is wished, and what that means. Nothing here tells of a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wished {
    /// What is set, or would be.
    pub wish: Wish,
    /// How long messages stay in all chats, if the question is about one.
    pub in_all: Option<Duration>,
    /// Messages that go as soon as it is set, what is on hold included; [`MOST_COUNTED`](super::MOST_COUNTED) or more if it is
    /// too much to count.
    pub messages: i64,
    /// When the first of all goes, unless that is as soon as it is set; `None` if there is none.
    pub first: Option<Timestamp>,
    /// Erasing is paused.
    pub paused: bool,
}

/// The contact in a form.
pub(super) fn contact(command: &Command) -> Result<String, Fault> {
    let written = command.value(CONTACT).map_err(|BadPayload| Fault::BadPayload)?;
    let written = written.map(str::trim).unwrap_or_default();
    if erase::is_bare(written) { Ok(written.to_owned()) } else { Err(Fault::BadPayload) }
}

/// The form that asks for it.
pub(super) fn ask_contact(language: Language, suggested: Option<&String>) -> Form {
    let mut page = Page::new(language);
    let label = Message::ContactWith;
    page.blank(CONTACT, "jid-single", label, suggested.cloned()).required = true;
    let mut form = page.form("form", Node::Contact);
    form.instructions = Some(say(language, Message::ContactChoose, &[]));
    form
}

/// The choice in a form. What is not there stays as it is.
pub(super) fn change(command: &Command, bounds: Bounds) -> Result<WishChange, Fault> {
    let value = |var| command.value(var).map_err(|BadPayload| Fault::BadPayload);
    let time = |var, longest| {
        let chosen = value(var)?.map(|text| match text.trim() {
            NEVER => Ok(None),
            text => {
                let time = text.parse().map(Duration::from_secs);
                let time = time.ok().filter(|it| bounds.allow(*it, longest));
                time.map(Some).ok_or(Fault::BadPayload)
            }
        });
        chosen.transpose()
    };
    let once = value(ONCE)?.map(|text| match text.trim() {
        "0" | "false" => Ok(false),
        "1" | "true" if bounds.once_for.is_some() => Ok(true),
        _ => Err(Fault::BadPayload),
    });
    Ok(WishChange {
        archive_for: time(ARCHIVE_FOR, bounds.longest)?,
        encrypted_for: time(ENCRYPTED_FOR, bounds.longest_timer)?,
        once: once.transpose()?,
    })
}

/// By this change messages may go that would stay: it must be confirmed.
pub(super) fn must_be_confirmed(change: WishChange) -> bool {
    [change.archive_for, change.encrypted_for].into_iter().flatten().any(|it| it.is_some())
}

/// What the forms are made of.
pub(super) struct Facts<'a> {
    pub(super) language: Language,
    pub(super) settings: &'a CommandSettings,
    pub(super) asker: &'a Asker,
    pub(super) wishing: &'a Wishing,
    pub(super) wished: Wished,
}

impl Facts<'_> {
    const fn node(&self) -> Node {
        if self.wishing.with.is_some() { Node::Contact } else { Node::Configure }
    }

    fn span(&self, it: Option<Duration>) -> String {
        let no_limit = || say(self.language, Message::NoLimit, &[]);
        it.map_or_else(no_limit, |it| duration(self.language, it))
    }

    /// How long messages stay by the wish, as the operator's bounds are now.
    fn archive_for(&self) -> Option<Duration> {
        policy::wished(self.wished.wish, self.settings.rules.wishes)
    }

    /// The timer of encrypted messages, in the same way.
    fn encrypted_for(&self) -> Option<Duration> {
        policy::wished_timer(self.wished.wish, self.settings.rules.wishes)
    }

    fn page(&self) -> Page {
        let mut page = Page::new(self.language);
        page.begin(self.settings, self.wished.paused);
        if let Some(with) = &self.wishing.with {
            self.line(&mut page, "only-with", Message::EraseWith, with.clone());
        }
        page
    }

    /// A value that is not to be filled in, in a form in which others are.
    fn line(&self, page: &mut Page, var: &str, label: Message, value: String) {
        page.text(var, format!("{}: {value}", say(self.language, label, &[])));
    }

    /// The form that shows what is set and what may be chosen.
    pub(super) fn choose(&self) -> Form {
        let (mut page, bounds) = (self.page(), Bounds::of(self.settings, self.asker));
        self.line(&mut page, "longest", Message::WishedLongest, self.span(bounds.longest));
        let set = self.archive_for();
        if self.wishing.with.is_some() {
            self.line(&mut page, "in-all", Message::WishedInAll, self.span(self.wished.in_all));
        }
        if !self.offer(&mut page, (ARCHIVE_FOR, Message::WishedArchiveFor), bounds.longest, set) {
            page.line("fixed", Message::WishedFixed);
        }
        let (label, longest) = (Message::WishedEncryptedFor, bounds.longest_timer);
        self.offer(&mut page, (ENCRYPTED_FOR, label), longest, self.encrypted_for());
        if bounds.once_for.is_some() {
            let set = if self.wished.wish.once { "1" } else { "0" };
            page.blank(ONCE, "boolean", Message::WishedOnce, Some(set.to_owned()));
        } else {
            page.line("once-fixed", Message::WishedOnceFixed);
        }
        let mut form = page.form("form", self.node());
        form.instructions = Some(say(self.language, Message::WishedChoose, &[]));
        form
    }

    /// Lets the user choose a time up to the longest. `false` if there is none.
    fn offer(
        &self,
        page: &mut Page,
        (var, label): (&str, Message),
        longest: Option<Duration>,
        set: Option<Duration>,
    ) -> bool {
        let offered = Bounds::of(self.settings, self.asker).offered(longest, set);
        if offered.is_empty() {
            return false;
        }
        let choice = |it: Option<Duration>| Choice {
            label: self.span(it),
            value: it.map_or_else(|| NEVER.to_owned(), |it| it.as_secs().to_string()),
        };
        let set = choice(set.filter(|it| offered.contains(it))).value;
        let options = std::iter::once(None).chain(offered.into_iter().map(Some));
        let field = page.blank(var, "list-single", label, Some(set));
        field.options = options.map(choice).collect();
        true
    }

    /// The form that says what the change means, and is to be confirmed; `again` after a confirmation that was none.
    pub(super) fn confirm(&self, again: bool) -> Form {
        let mut page = self.page();
        if again {
            page.line("again", Message::WishedAgain);
        }
        self.tell(&mut page, |page, var, label, value| self.line(page, var, label, value));
        let mut instructions = say(self.language, Message::WishedConfirm, &[]);
        if must_be_confirmed(self.wishing.change) {
            page.line("cannot", Message::WishedForever);
            page.blank(CONFIRM, "text-single", Message::EraseConfirm, None).required = true;
            let address = [("address", self.asker.bare().into())];
            instructions = say(self.language, Message::WishedType, &address);
        }
        let mut form = page.form("form", self.node());
        form.instructions = Some(instructions);
        form
    }

    /// The form at the end.
    pub(super) fn done(&self) -> Form {
        let mut page = self.page();
        self.tell(&mut page, |page, var, label, value| page.value(var, label, value));
        page.line("note", Message::WishedSet);
        page.form("result", self.node())
    }

    /// What is wished, how many messages that concerns at once, and when the first one goes.
    fn tell(&self, page: &mut Page, say_of: impl Fn(&mut Page, &str, Message, String)) {
        let Wished { messages, first, paused, wish, .. } = self.wished;
        let set = self.archive_for();
        say_of(page, "archive-for-set", Message::WishedArchiveFor, self.span(set));
        if set.is_some() {
            let counted = count(self.language, Erasing { messages, paused });
            say_of(page, "count", Message::WishedCount, counted);
            if let Some(first) = first {
                say_of(page, "first", Message::WishedFirst, moment(first));
            }
        }
        let encrypted_for = self.encrypted_for();
        if encrypted_for.is_some() {
            let label = Message::WishedEncryptedFor;
            say_of(page, "encrypted-for-set", label, self.span(encrypted_for));
        }
        let once_for = Bounds::of(self.settings, self.asker).once_for.filter(|_| wish.once);
        match once_for {
            Some(once_for) => {
                let time = duration(self.language, once_for);
                say_of(page, "once-for", Message::WishedOnceFor, time);
            }
            None => page.line("once-off", Message::WishedOnceOff),
        }
        if once_for.is_some() || encrypted_for.is_some() {
            page.line("since", Message::WishedSince);
        }
    }
}
