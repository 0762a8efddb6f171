//! What commands show: forms in the user's language (XEP-0004). A field's `var` never changes; its words may.

use std::time::Duration;

use super::nodes::{Node, Show, Stage, Which};
use super::payload::{Choice, Field, Form};
use super::{Answer, Asker, CommandSettings, erase, wish};
use crate::ledger::{KeptEntries, MOST_KEPT};
use crate::model::{Limit, Reason, RoomStart, StartRule, Store};
use crate::ops::Kept;
use crate::policy;
use crate::words::{Language, Message, duration, moment, say};

/// The form of a stage that asks.
pub(super) fn ask(language: Language, stage: &Stage) -> Form {
    let suggested = match stage {
        Stage::KeptChoice(suggested) | Stage::KeptShown(suggested) => suggested,
        Stage::EraseChoice(chosen) | Stage::EraseCounted(chosen) => return chosen.ask(language),
        Stage::ContactChoice(with) | Stage::WishChoice(with) => {
            return wish::ask_contact(language, with.as_ref());
        }
        Stage::WishCounted(wishing) => {
            return wish::ask_contact(language, wishing.with.as_ref());
        }
    };
    let choice = |it: Which| {
        let label = match it {
            Which::Archive => Message::KeptArchive,
            Which::Queue => Message::KeptQueue,
            Which::Both => Message::KeptBoth,
        };
        Choice { label: say(language, label, &[]), value: it.name().to_owned() }
    };
    let mut page = Page::new(language);
    let label = Some(say(language, Message::KeptWhich, &[]));
    let field = Page::field(Which::VAR, "list-single", label, suggested.name().to_owned());
    page.0.push(Field { required: true, options: Which::ALL.map(choice).into(), ..field });
    let mut form = page.form("form", stage.node());
    form.instructions = Some(say(language, Message::KeptChoose, &[]));
    form
}

/// The form that shows what was looked up; `None` if that is not what was wanted.
pub(super) fn show(
    language: Language,
    show: &Show,
    settings: &CommandSettings,
    (asker, answer): (&Asker, &Answer),
) -> Option<Form> {
    let facts = |kept| Facts { language, settings, asker, kept };
    Some(match (show, answer) {
        (Show::Policy, Answer::Kept(kept)) => facts(kept).policy().form("result", Node::Policy),
        (Show::Kept(which), Answer::Kept(kept)) => {
            facts(kept).kept(*which).form("result", Node::Kept)
        }
        (Show::Counted(chosen, again), Answer::Erasing(counted)) => {
            chosen.confirm(language, settings, (asker.bare(), *counted, *again))
        }
        (Show::Asked(_), Answer::Erasing(asked)) => erase::done(language, settings, *asked),
        (
            Show::Wished(wishing) | Show::WishCounted(wishing, _) | Show::WishSet(wishing),
            Answer::Wished(wished),
        ) => {
            let facts = wish::Facts { language, settings, asker, wishing, wished: *wished };
            match show {
                Show::WishCounted(_, again) => facts.confirm(*again),
                Show::WishSet(_) => facts.done(),
                _ => facts.choose(),
            }
        }
        _ => return None,
    })
}

/// The fields of a form.
pub(super) struct Page(Vec<Field>, Language);

impl Page {
    pub(super) const fn new(language: Language) -> Self {
        Self(Vec::new(), language)
    }

    /// A sentence.
    pub(super) fn line(&mut self, var: &str, message: Message) {
        self.text(var, say(self.1, message, &[]));
    }

    pub(super) fn text(&mut self, var: &str, text: String) {
        self.0.push(Self::field(var, "fixed", None, text));
    }

    /// A value with its label.
    pub(super) fn value(&mut self, var: &str, label: Message, value: impl ToString) {
        let label = Some(say(self.1, label, &[]));
        self.0.push(Self::field(var, "text-single", label, value.to_string()));
    }

    /// A field to fill in.
    pub(super) fn blank(
        &mut self,
        var: &str,
        kind: &'static str,
        label: Message,
        value: Option<String>,
    ) -> &mut Field {
        let label = Some(say(self.1, label, &[]));
        let field = Field { value, ..Self::field(var, kind, label, String::new()) };
        self.0.push_mut(field)
    }

    fn field(var: &str, kind: &'static str, label: Option<String>, value: String) -> Field {
        let (var, value, options) = (var.to_owned(), Some(value), Vec::new());
        Field { var, kind, label, required: false, value, options }
    }

    /// What is exceptional at the moment.
    pub(super) fn begin(&mut self, settings: &CommandSettings, paused: bool) {
        if settings.dry_run {
            self.line("dry-run", Message::DryRun);
        } else if paused {
            self.line("paused", Message::Paused);
        }
    }

    pub(super) fn form(mut self, kind: &'static str, node: Node) -> Form {
        self.0.insert(0, Self::field("FORM_TYPE", "hidden", None, node.name().to_owned()));
        Form { kind, title: say(self.1, node.title(), &[]), instructions: None, fields: self.0 }
    }
}

/// Everything that a form is made of.
struct Facts<'a> {
    language: Language,
    settings: &'a CommandSettings,
    asker: &'a Asker,
    kept: &'a Kept,
}

impl Facts<'_> {
    fn say(&self, message: Message) -> String {
        say(self.language, message, &[])
    }

    /// A limit in words; one that is not followed yet is no promise.
    fn limit(&self, limit: Limit) -> String {
        match limit {
            Limit::Never => self.say(Message::NoLimit),
            Limit::After(age) => {
                let age = duration(self.language, age);
                match self.kept.ages {
                    true => age,
                    false => say(self.language, Message::Planned, &[("limit", age.into())]),
                }
            }
        }
    }

    /// How long this store of the asker keeps anything, also by the asker's own wish.
    fn longest(&self, store: Store) -> String {
        let Asker { host, owner, .. } = self.asker;
        match self.wished_in(store) {
            Some(wished) => {
                let limit = duration(self.language, wished);
                say(self.language, Message::Wished, &[("limit", limit.into())])
            }
            None => self.limit(self.settings.retention.applied(store, host, owner).limit),
        }
    }

    /// How long this store keeps anything by the asker's own wish, if that is shorter than what is in force.
    fn wished_in(&self, store: Store) -> Option<Duration> {
        let Asker { host, owner, .. } = self.asker;
        let wished = self.kept.wished.filter(|_| store == Store::Archive);
        let limit = self.settings.retention.applied(store, host, owner).limit;
        let in_force = if self.kept.ages { limit } else { Limit::Never };
        wished.filter(|_| policy::shorter(in_force, wished) != in_force)
    }

    fn policy(&self) -> Page {
        let mut page = Page::new(self.language);
        let span = |it| duration(self.language, it);
        let or_none = |it: Option<_>| it.map_or_else(|| self.say(Message::NoLimit), span);
        let rules = &self.settings.rules;
        let host = [("host", self.asker.host.as_str().into())];
        page.text("intro", say(self.language, Message::PolicyIntro, &host));
        page.begin(self.settings, self.kept.paused);
        let min = Some(rules.timers.min).filter(|it| !it.is_zero());
        page.value("timer-min", Message::PolicyTimerMin, or_none(min));
        page.value("timer-max", Message::PolicyTimerMax, or_none(rules.timers.max));
        let start = match rules.timers.start {
            StartRule::Archived => Message::StartArchived,
            StartRule::Delivered => Message::StartDelivered,
            StartRule::Read => Message::StartRead,
            StartRule::Auto => Message::StartAuto,
        };
        page.value("timer-start", Message::PolicyStart, self.say(start));
        page.line("timer-sent", Message::PolicySent);
        page.value("unread-for", Message::PolicyUnreadFor, or_none(rules.timers.unread_for));
        page.value("once-for", Message::PolicyOnceFor, span(rules.timers.once_for));
        page.value("hint-keep-for", Message::PolicyHint, span(rules.hints.keep_for));
        let negotiation = span(rules.timers.negotiation_for);
        page.value("negotiation-for", Message::PolicyNegotiation, negotiation);
        let rooms = match rules.rooms.start {
            RoomStart::Archived => Message::RoomsArchived,
            RoomStart::FirstReader => Message::RoomsFirstReader,
            RoomStart::Everyone => Message::RoomsEveryone,
        };
        page.value("rooms-start", Message::PolicyRoomsStart, self.say(rooms));
        page.value("archive-for", Message::PolicyArchiveFor, self.longest(Store::Archive));
        page.value("queue-for", Message::PolicyQueueFor, self.longest(Store::Queue));
        let rooms = self.settings.retention.rules().everyone.of(Store::Room).unwrap_or_default();
        page.value("rooms-for", Message::PolicyRoomsFor, self.limit(rooms));
        if let Some(placeholder_for) = self.settings.placeholder_for {
            page.value("placeholder-for", Message::PolicyPlaceholder, span(placeholder_for));
        }
        page.line("cannot", Message::PolicyCannot);
        page
    }

    fn kept(&self, which: Which) -> Page {
        let mut page = Page::new(self.language);
        page.begin(self.settings, self.kept.paused);
        let Some(entries) = &self.kept.entries else {
            let count = [("count", MOST_KEPT.into())];
            page.text("too-many", say(self.language, Message::KeptMany, &count));
            return page;
        };
        for store in [Store::Archive, Store::Queue] {
            let is_wanted = match which {
                Which::Both => true,
                Which::Archive => store == Store::Archive,
                Which::Queue => store == Store::Queue,
            };
            if is_wanted {
                let entries = entries.iter().filter(|it| it.store == store).copied();
                self.store(&mut page, store, &entries.collect::<Vec<_>>());
            }
        }
        page.line("note", Message::KeptNote);
        page
    }

    /// What is kept in one store.
    fn store(&self, page: &mut Page, store: Store, entries: &[KeptEntries]) {
        let var = |name: &str| format!("{store}-{name}");
        let sum = |of: fn(&KeptEntries) -> i64| entries.iter().map(of).sum::<i64>();
        let going = sum(|it| it.going);
        let title = match store {
            Store::Queue => Message::KeptQueue,
            Store::Archive | Store::Room => Message::KeptArchive,
        };
        page.line(&var("title"), title);
        let summary = say(self.language, Message::KeptSummary, &[("count", going.into())]);
        page.text(&var("summary"), summary);
        page.value(&var("going"), Message::KeptGoing, going);
        for wish in Wish::ALL {
            let of_wish = entries.iter().filter(|it| Wish::of(it.reason) == wish);
            let count: i64 = of_wish.map(|it| it.going).sum();
            if count > 0 {
                page.value(&var(wish.name()), wish.counted(), count);
            }
        }
        let undelivered = entries.iter().filter(|it| it.reason == Some(Reason::Undelivered));
        for (name, label, count) in [
            ("unread", Message::KeptUnread, sum(|it| it.unread)),
            ("undelivered", Message::KeptUndelivered, undelivered.map(|it| it.going).sum()),
            ("backlog", Message::KeptBacklog, sum(|it| it.backlog)),
            ("emptied", Message::KeptEmptied, sum(|it| it.emptied)),
        ] {
            if count > 0 {
                page.value(&var(name), label, count);
            }
        }
        if let Some(oldest) = entries.iter().filter_map(|it| it.oldest).min() {
            page.value(&var("oldest"), Message::KeptOldest, moment(oldest));
        }
        let next = entries.iter().filter_map(|it| Some((it.next?, Wish::of(it.reason))));
        if let Some((at, wish)) = next.min_by_key(|it| it.0) {
            page.value(&var("next"), Message::KeptNext, moment(at));
            let said = match wish {
                Wish::Age if self.wished_in(store).is_some() => Message::WishOwn,
                wish => wish.said(),
            };
            page.value(&var("next-wish"), Message::KeptWish, self.say(said));
        }
        if self.kept.chats > 0 && store == Store::Archive {
            page.value(&var("chats"), Message::KeptChats, self.kept.chats);
        }
        page.value(&var("rest"), Message::KeptRest, self.longest(store));
    }
}

/// By whose wish a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Timer,
    Hint,
    Negotiation,
    Age,
}

impl Wish {
    const ALL: [Self; 4] = [Self::Timer, Self::Hint, Self::Negotiation, Self::Age];

    const fn of(reason: Option<Reason>) -> Self {
        match reason {
            // What belongs to a message goes by that one's timer, with few exceptions. An expiry is another name for one.
            Some(
                Reason::Timer
                | Reason::Undelivered
                | Reason::Inherited
                | Reason::Quote
                | Reason::Legacy,
            ) => Self::Timer,
            Some(Reason::Hint) => Self::Hint,
            Some(Reason::Negotiation) => Self::Negotiation,
            None => Self::Age,
        }
    }

    /// The end of a field's `var`.
    const fn name(self) -> &'static str {
        match self {
            Self::Timer => "by-timer",
            Self::Hint => "by-hint",
            Self::Negotiation => "by-negotiation",
            Self::Age => "by-age",
        }
    }

    const fn counted(self) -> Message {
        match self {
            Self::Timer => Message::KeptTimer,
            Self::Hint => Message::KeptHint,
            Self::Negotiation => Message::KeptNegotiation,
            Self::Age => Message::KeptAge,
        }
    }

    const fn said(self) -> Message {
        match self {
            Self::Timer => Message::WishTimer,
            Self::Hint => Message::WishHint,
            Self::Negotiation => Message::WishNegotiation,
            Self::Age => Message::WishAge,
        }
    }
}
