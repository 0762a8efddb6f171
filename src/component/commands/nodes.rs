//! The commands: their nodes, their stages, and what follows a request. Pure; what they show is in `forms`.

use super::erase::{Chosen, is_confirmed};
use super::payload::{Action, Actions, BadPayload, Command, Fault};
use super::wish::{self, Bounds, With};
use super::{CommandSettings, Wanted, Wishing};
use crate::metrics::CommandNode;
use crate::words::Message;

/// A command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    /// The rules that apply to the user.
    Policy,
    /// What is kept of the user.
    Kept,
    /// Erases what is kept of the user.
    Erase,
    /// Sets how long the user's archive keeps messages.
    Configure,
    /// The same for the chat with one contact.
    Contact,
}

impl Node {
    /// All commands, in the order in which they are listed.
    pub(super) const ALL: [Self; 5] =
        [Self::Policy, Self::Kept, Self::Configure, Self::Contact, Self::Erase];

    /// The name in the protocol; it never changes.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Policy => "urn:ephemerd:policy",
            Self::Kept => "urn:ephemerd:kept",
            Self::Erase => "urn:ephemerd:erase",
            // XEP-0441's, for advanced configuration.
            Self::Configure => "urn:xmpp:mam#configure",
            Self::Contact => "urn:ephemerd:contact",
        }
    }

    pub(super) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// It is there at all.
    pub(super) const fn is_offered(self, settings: &CommandSettings) -> bool {
        match self {
            Self::Policy | Self::Kept => true,
            Self::Erase => settings.erase,
            Self::Configure | Self::Contact => settings.rules.wishes.followed,
        }
    }

    pub(super) const fn title(self) -> Message {
        match self {
            Self::Policy => Message::PolicyName,
            Self::Kept => Message::KeptName,
            Self::Erase => Message::EraseName,
            Self::Configure => Message::ConfigureName,
            Self::Contact => Message::ContactName,
        }
    }

    pub(super) const fn label(self) -> CommandNode {
        match self {
            Self::Policy => CommandNode::Policy,
            Self::Kept => CommandNode::Kept,
            Self::Erase => CommandNode::Erase,
            Self::Configure => CommandNode::Configure,
            Self::Contact => CommandNode::Contact,
        }
    }
}

/// Which of the user's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Archive,
    Queue,
    Both,
}

impl Which {
    /// The field that asks for it.
    pub(super) const VAR: &str = "which";
    pub(super) const ALL: [Self; 3] = [Self::Archive, Self::Queue, Self::Both];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Queue => "queue",
            Self::Both => "both",
        }
    }

    /// The choice in a form; what was suggested if the form does not say.
    fn chosen(command: &Command, suggested: Self) -> Result<Self, Fault> {
        match command.value(Self::VAR) {
            Ok(None) => Ok(suggested),
            Ok(Some(name)) => {
                Self::ALL.into_iter().find(|it| it.name() == name).ok_or(Fault::BadPayload)
            }
            Err(BadPayload) => Err(Fault::BadPayload),
        }
    }
}

/// Where a conversation is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    /// The user chooses; this is suggested.
    KeptChoice(Which),
    /// The user sees this.
    KeptShown(Which),
    /// The user chooses what to erase; this is suggested.
    EraseChoice(Chosen),
    /// The user sees how much that is, and confirms it.
    EraseCounted(Chosen),
    /// The user names a contact; this one is suggested.
    ContactChoice(With),
    /// The user sees what is set for that chat, or for all, and chooses.
    WishChoice(With),
    /// The user sees what the change means, and confirms it.
    WishCounted(Wishing),
}

/// What is shown once the ledger was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Show {
    Policy,
    Kept(Which),
    /// How much would be erased; again after a confirmation that was none.
    Counted(Chosen, bool),
    /// How much is going to be erased.
    Asked(Chosen),
    /// What is set; with a change, that is suggested.
    Wished(Wishing),
    /// What a change means; again after a confirmation that was none.
    WishCounted(Wishing, bool),
    /// What was set.
    WishSet(Wishing),
}

impl Show {
    /// What the ledger is asked for it.
    pub(super) fn wants(&self) -> Wanted {
        match self {
            Self::Policy | Self::Kept(_) => Wanted::Kept,
            Self::Counted(chosen, _) => Wanted::Erasable(chosen.clone()),
            Self::Asked(chosen) => Wanted::Erase(chosen.clone()),
            Self::Wished(wishing) | Self::WishCounted(wishing, _) => Wanted::Wish(wishing.clone()),
            Self::WishSet(wishing) => Wanted::SetWish(wishing.clone()),
        }
    }
}

/// What follows a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A form is to be filled in.
    Ask(Stage),
    /// The ledger is asked, and this is shown. The conversation goes on at this stage, or is over.
    Look(Show, Option<Stage>),
    /// The user has had enough.
    Cancel,
}

/// How a command begins.
pub(super) fn begin(node: Node, action: Action) -> Result<Step, Fault> {
    match (node, action) {
        (Node::Policy, Action::Execute) => Ok(Step::Look(Show::Policy, None)),
        (Node::Kept, Action::Execute) => Ok(Step::Ask(Stage::KeptChoice(Which::Both))),
        (Node::Erase, Action::Execute) => Ok(Step::Ask(Stage::EraseChoice(Chosen::default()))),
        (Node::Configure, Action::Execute) => Ok(look_at_wish(Wishing::default())),
        (Node::Contact, Action::Execute) => Ok(Step::Ask(Stage::ContactChoice(None))),
        _ => Err(Fault::BadAction),
    }
}

/// The user sees what is set, or what was just chosen, and may choose.
fn look_at_wish(wishing: Wishing) -> Step {
    let next = Stage::WishChoice(wishing.with.clone());
    Step::Look(Show::Wished(wishing), Some(next))
}

/// Who is in a conversation, and what they may choose.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whose<'a> {
    /// Their bare address.
    pub(super) bare: &'a str,
    /// What they may wish.
    pub(super) bounds: Bounds,
}

impl Stage {
    /// The command that it is part of.
    pub(super) const fn node(&self) -> Node {
        match self {
            Self::KeptChoice(_) | Self::KeptShown(_) => Node::Kept,
            Self::EraseChoice(_) | Self::EraseCounted(_) => Node::Erase,
            Self::ContactChoice(_) | Self::WishChoice(Some(_)) => Node::Contact,
            Self::WishChoice(None) => Node::Configure,
            Self::WishCounted(wishing) => match wishing.with {
                Some(_) => Node::Contact,
                None => Node::Configure,
            },
        }
    }

    /// What may follow.
    pub(super) const fn actions(&self) -> Actions {
        match self {
            Self::KeptChoice(_) => Actions::first(),
            Self::EraseChoice(_) | Self::ContactChoice(_) | Self::WishChoice(None) => {
                Actions::only_next()
            }
            Self::WishChoice(Some(_)) => Actions::only_back_and_next(),
            Self::KeptShown(_) | Self::EraseCounted(_) | Self::WishCounted(_) => Actions::last(),
        }
    }

    /// How the conversation of this user goes on.
    pub(super) fn go_on(
        self,
        action: Action,
        command: &Command,
        whose: Whose<'_>,
    ) -> Result<Step, Fault> {
        match (self, action) {
            (_, Action::Cancel) => Ok(Step::Cancel),
            (Self::KeptChoice(suggested), Action::Next) => {
                let which = Which::chosen(command, suggested)?;
                Ok(Step::Look(Show::Kept(which), Some(Self::KeptShown(which))))
            }
            (Self::KeptChoice(suggested), Action::Complete | Action::Execute) => {
                Ok(Step::Look(Show::Kept(Which::chosen(command, suggested)?), None))
            }
            (Self::KeptShown(which), Action::Prev) => Ok(Step::Ask(Self::KeptChoice(which))),
            (Self::KeptShown(which), Action::Complete | Action::Execute) => {
                Ok(Step::Look(Show::Kept(which), None))
            }
            (Self::EraseChoice(_), Action::Next | Action::Execute) => {
                let chosen = Chosen::of(command)?;
                let next = Self::EraseCounted(chosen.clone());
                Ok(Step::Look(Show::Counted(chosen, false), Some(next)))
            }
            (Self::EraseCounted(chosen), Action::Prev) => Ok(Step::Ask(Self::EraseChoice(chosen))),
            (Self::EraseCounted(chosen), Action::Complete | Action::Execute) => {
                Ok(match is_confirmed(command, whose.bare)? {
                    true => Step::Look(Show::Asked(chosen), None),
                    false => {
                        let same = Self::EraseCounted(chosen.clone());
                        Step::Look(Show::Counted(chosen, true), Some(same))
                    }
                })
            }
            (
                stage @ (Self::ContactChoice(_) | Self::WishChoice(_) | Self::WishCounted(_)),
                action,
            ) => stage.go_on_with_wish(action, command, whose),
            (Self::KeptChoice(_), Action::Prev)
            | (Self::KeptShown(_) | Self::EraseCounted(_), Action::Next)
            | (Self::EraseChoice(_), Action::Prev | Action::Complete) => Err(Fault::BadAction),
        }
    }

    /// The same for what users wish.
    fn go_on_with_wish(
        self,
        action: Action,
        command: &Command,
        whose: Whose<'_>,
    ) -> Result<Step, Fault> {
        match (self, action) {
            (Self::ContactChoice(_), Action::Next | Action::Execute) => {
                let with = Some(wish::contact(command)?);
                Ok(look_at_wish(Wishing { with, ..Wishing::default() }))
            }
            (Self::WishChoice(Some(with)), Action::Prev) => {
                Ok(Step::Ask(Self::ContactChoice(Some(with))))
            }
            (Self::WishChoice(with), Action::Next | Action::Execute) => {
                let wishing = Wishing { with, change: wish::change(command, whose.bounds)? };
                let next = Self::WishCounted(wishing.clone());
                Ok(Step::Look(Show::WishCounted(wishing, false), Some(next)))
            }
            (Self::WishCounted(wishing), Action::Prev) => Ok(look_at_wish(wishing)),
            (Self::WishCounted(wishing), Action::Complete | Action::Execute) => {
                let is_free = !wish::must_be_confirmed(wishing.change);
                Ok(match is_free || is_confirmed(command, whose.bare)? {
                    true => Step::Look(Show::WishSet(wishing), None),
                    false => {
                        let same = Self::WishCounted(wishing.clone());
                        Step::Look(Show::WishCounted(wishing, true), Some(same))
                    }
                })
            }
            _ => Err(Fault::BadAction),
        }
    }
}
