//! Users' ad-hoc commands (XEP-0050): who may ask what, and what is answered.
//!
//! Whoever asks is known by the `from` that the server stamps, and learns only about their own account. The ledger is asked
//! through a bounded queue ([`Question`]), so that the stream never waits for the database; an answer that comes late or
//! never is an error for that user. `nodes` has the commands and their stages, `forms` what they show, `limits` what bounds
//! them, `payload` how they are written; `erase` has what a user may erase, `wish` what they may wish; `desk` serves one stream.

mod desk;
mod erase;
mod forms;
mod limits;
mod nodes;
mod payload;
mod refusal;
mod wish;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

pub(super) use self::{
    desk::Desk,
    payload::{COMMANDS, Command, Fault, Reply},
};
pub use self::{
    erase::Chosen,
    wish::{Wished, Wishing},
};
use self::{
    limits::{Rates, Sessions},
    nodes::Node,
};
use crate::archive::companion::local_part;
use crate::metrics::{CommandNode, CommandOutcome, Metrics};
use crate::model::{Clock, Rules};
use crate::ops::Kept;
use crate::policy::Retention;

/// Maximum questions that wait for the ledger.
const MOST_QUESTIONS: usize = 16;

/// From so many messages on, what would be erased is not counted.
pub const MOST_COUNTED: i64 = 20_000;

/// What commands need to know.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandSettings {
    /// Users may ask at all.
    pub enabled: bool,
    /// Users may erase what is kept of them.
    pub erase: bool,
    /// Maximum requests of one user in a minute.
    pub per_minute: u32,
    /// Only users of these hosts may ask.
    pub hosts: Vec<String>,
    /// The rules that are told.
    pub rules: Rules,
    /// How long messages are kept at most.
    pub retention: Retention,
    /// How long placeholders are kept, if there are any.
    pub placeholder_for: Option<Duration>,
    /// Nothing is erased.
    pub dry_run: bool,
}

/// What the ledger is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// What is kept; answered by [`Answer::Kept`].
    Kept,
    /// How much would be erased; answered by [`Answer::Erasing`].
    Erasable(Chosen),
    /// To erase it; answered the same way.
    Erase(Chosen),
    /// What is wished, or would be after a change; answered by [`Answer::Wished`].
    Wish(Wishing),
    /// To set it; answered the same way.
    SetWish(Wishing),
}

/// How much is erased, or would be. Nothing here tells of a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erasing {
    /// Messages, what is on hold included; [`MOST_COUNTED`] or more if it is too much to count.
    pub messages: i64,
    /// Erasing is paused.
    pub paused: bool,
}

/// What the ledger says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// What is kept.
    Kept(Kept),
    /// How much is erased, or would be.
    Erasing(Erasing),
    /// What is wished, or would be.
    Wished(Wished),
}

/// A question for the ledger about an account.
#[derive(Debug)]
pub struct Question {
    /// The account's host.
    pub host: String,
    /// Its local part.
    pub owner: String,
    /// What is asked.
    pub wanted: Wanted,
    reply: oneshot::Sender<Option<Answer>>,
}

impl Question {
    /// Nobody waits for the answer any more.
    pub fn is_void(&self) -> bool {
        self.reply.is_closed()
    }

    /// Answers; `None` if it cannot be looked up.
    pub fn answer(self, answer: Option<Answer>) {
        let _ = self.reply.send(answer);
    }
}

/// Commands of all sessions of the stream.
#[derive(Clone)]
pub struct Commands(Arc<Inner>);

struct Inner {
    settings: watch::Receiver<CommandSettings>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    questions: mpsc::Sender<Question>,
    state: Mutex<(Rates, Sessions)>,
}

/// Commands, and the questions that somebody must answer.
pub fn commands(
    settings: watch::Receiver<CommandSettings>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
) -> (Commands, mpsc::Receiver<Question>) {
    let (questions, asked) = mpsc::channel(MOST_QUESTIONS);
    let state = Mutex::default();
    (Commands(Arc::new(Inner { settings, clock, metrics, questions, state })), asked)
}

impl Commands {
    fn state(&self) -> MutexGuard<'_, (Rates, Sessions)> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, node: Option<Node>, outcome: CommandOutcome) {
        let node = node.map_or(CommandNode::Unknown, Node::label);
        self.0.metrics.commands.of(node, outcome).inc();
    }
}

/// A user of a listed host, by the address that the server stamped.
#[derive(Debug, Clone)]
struct Asker {
    host: String,
    owner: String,
    /// The full address.
    jid: String,
}

impl Asker {
    /// `None` for everybody else.
    fn of(from: Option<&str>, hosts: &[String]) -> Option<Self> {
        let jid = from?;
        let (bare, resource) = jid.split_once('/')?;
        let known = |host: &String| Some((host.clone(), local_part(bare, host)?.to_owned()));
        let (host, owner) = hosts.iter().find_map(known)?;
        (!resource.is_empty()).then(|| Self { host, owner, jid: jid.to_owned() })
    }

    fn bare(&self) -> &str {
        self.jid.split_once('/').map_or(&self.jid, |it| it.0)
    }
}
