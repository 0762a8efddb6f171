//! Commands on one stream: who is admitted, what is answered at once, and what when the ledger has answered.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;
use xmpp_parsers::ns;
use xmpp_parsers::stanza_error::DefinedCondition;

use super::limits::{NoSession, new_id};
use super::nodes::{self, Node, Show, Stage, Step, Whose};
use super::payload::{Action, Command, Fault, Reply};
use super::refusal::{Refusal, Refusing};
use super::wish::Bounds;
use super::{Answer, Asker, CommandSettings, Commands, MOST_QUESTIONS, Question, Wanted, forms};
use crate::component::outgoing::{self, Error, Head};
use crate::component::outline::Outline;
use crate::metrics::CommandOutcome;
use crate::model::Timestamp;
use crate::task;
use crate::words::{Language, say};

/// Maximum answers under way.
const MOST_UNDER_WAY: usize = 2 * MOST_QUESTIONS;
/// Maximum length of a request's id, in bytes: clients' are far shorter.
const MOST_ID: usize = 1_024;
/// Timeout for the ledger's answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// One stream's view of the commands.
pub(in crate::component) struct Desk<'a> {
    commands: Option<&'a Commands>,
    /// Hosts that were asked what they are, by the id of the request, and those that have said so: whether they are for
    /// rooms, whose occupants are no users.
    asked: HashMap<String, String>,
    are_for_rooms: HashMap<String, bool>,
    under_way: JoinSet<Option<Vec<u8>>>,
}

impl<'a> Desk<'a> {
    pub(in crate::component) fn new(commands: Option<&'a Commands>) -> Self {
        let (asked, are_for_rooms) = (HashMap::new(), HashMap::new());
        Self { commands, asked, are_for_rooms, under_way: JoinSet::new() }
    }

    fn open(&self) -> Option<&'a Commands> {
        self.commands.filter(|it| it.0.settings.borrow().enabled)
    }

    /// Commands are switched on.
    pub(in crate::component) fn is_open(&self) -> bool {
        self.open().is_some()
    }

    /// Asks all hosts what they are (XEP-0030).
    pub(in crate::component) fn greeting(&mut self, jid: &str) -> Vec<u8> {
        let Some(commands) = self.commands else { return Vec::new() };
        let mut out = Vec::new();
        for host in &commands.0.settings.borrow().hosts {
            let id = new_id();
            out.extend(outgoing::ask_what_it_is(jid, host, &id).unwrap_or_default());
            self.asked.insert(id, host.clone());
        }
        out
    }

    /// Takes an answer to that. A host that does not say it serves rooms has users.
    pub(in crate::component) fn heard(
        &mut self,
        from: Option<&str>,
        id: Option<&str>,
        answer: Option<&Outline>,
    ) -> bool {
        let Some(id) = id.filter(|it| self.asked.get(*it).is_some_and(|host| from == Some(host)))
        else {
            return false;
        };
        let is_for_rooms = answer.is_some_and(|answer| {
            let mut identities = answer
                .parts
                .iter()
                .filter(|it| it.namespace == ns::DISCO_INFO && it.name == "identity");
            identities.any(|it| it.attribute("category") == Some("conference"))
        });
        if let Some(host) = self.asked.remove(id) {
            self.are_for_rooms.insert(host, is_for_rooms);
        }
        true
    }

    /// The commands that are listed for whoever asks: name and title.
    pub(in crate::component) fn listed(
        &self,
        from: Option<&str>,
        language: Language,
    ) -> Vec<(&'static str, String)> {
        let Some(commands) = self.open() else { return Vec::new() };
        let settings = commands.0.settings.borrow();
        let asker = Asker::of(from, &settings.hosts);
        let is_user = asker.is_some_and(|it| self.are_for_rooms.get(&it.host) != Some(&true));
        let nodes = Node::ALL.into_iter().filter(|it| is_user && it.is_offered(&settings));
        nodes.map(|it| (it.name(), say(language, it.title(), &[]))).collect()
    }

    /// The answer; `None` if it comes [later](Self::next_answer).
    pub(in crate::component) fn execute(
        &mut self,
        head: &Head,
        command: &Command,
        language: Language,
    ) -> Option<Result<Reply, Error>> {
        let Some(commands) = self.open() else {
            return Some(Err(DefinedCondition::ServiceUnavailable.into()));
        };
        let node = command.node.as_deref().and_then(Node::of);
        let visit = self.admit(commands, head, language);
        let (outcome, answer) = match visit.and_then(|it| self.answer(it, head, command)) {
            Ok(Some((outcome, reply))) => (outcome, Ok(reply)),
            // It is counted when it is answered.
            Ok(None) => return None,
            Err((outcome, error)) => (outcome, Err(error)),
        };
        commands.count(node, outcome);
        Some(answer)
    }

    /// Only users of listed hosts, and not too often.
    fn admit(
        &self,
        commands: &'a Commands,
        head: &Head,
        language: Language,
    ) -> Result<Visit<'a>, Refusal> {
        let refuse = Refusing(language);
        let settings = commands.0.settings.borrow().clone();
        let asker = Asker::of(head.to.as_deref(), &settings.hosts);
        let asker = asker.ok_or_else(|| refuse.foreign())?;
        let now = commands.0.clock.now();
        if !commands.state().0.admit(asker.bare(), settings.per_minute, now) {
            return Err(refuse.limited());
        }
        match self.are_for_rooms.get(&asker.host) {
            Some(false) => Ok(Visit { commands, settings, asker, now, language }),
            Some(true) => Err(refuse.foreign()),
            None => Err(refuse.busy()),
        }
    }

    /// Takes the next step. The conversation is there before its answer, as the next request may be.
    fn answer(
        &mut self,
        visit: Visit<'_>,
        head: &Head,
        command: &Command,
    ) -> Result<Option<(CommandOutcome, Reply)>, Refusal> {
        // An answer under way keeps it in memory.
        if head.id_length() > MOST_ID {
            return Err(Refusing::invalid(DefinedCondition::BadRequest));
        }
        let (node, step) = visit.step(command)?;
        let language = visit.language;
        let reply = |session, status, actions, form| {
            let (node, language) = (node.name(), language.tag());
            Reply { node, session, status, language, actions, form }
        };
        let session = command.session.as_deref();
        Ok(match step {
            Step::Ask(stage) => {
                let (actions, form) = (stage.actions(), forms::ask(language, &stage));
                let id = visit.go_on(session, Some(stage));
                let reply = reply(id, "executing", Some(actions), Some(form));
                Some((CommandOutcome::Asked, reply))
            }
            Step::Look(show, next) => {
                let answer = self.ask_ledger(&visit, show.wants())?;
                let actions = next.as_ref().map(Stage::actions);
                let status = if actions.is_some() { "executing" } else { "completed" };
                let reply = reply(visit.go_on(session, next), status, actions, None);
                self.answer_later(visit, head, Later { node, show, reply, answer });
                None
            }
            Step::Cancel => {
                let reply = reply(visit.go_on(session, None), "canceled", None, None);
                Some((CommandOutcome::Canceled, reply))
            }
        })
    }

    /// Puts a question to the ledger, unless too much is asked at once.
    fn ask_ledger(
        &self,
        visit: &Visit<'_>,
        wanted: Wanted,
    ) -> Result<oneshot::Receiver<Option<Answer>>, Refusal> {
        let Asker { host, owner, .. } = visit.asker.clone();
        let (reply, answer) = oneshot::channel();
        let question = Question { host, owner, wanted, reply };
        let is_free = self.under_way.len() < MOST_UNDER_WAY;
        match is_free && visit.commands.0.questions.try_send(question).is_ok() {
            true => Ok(answer),
            false => Err(Refusing(visit.language).busy()),
        }
    }

    fn answer_later(&mut self, visit: Visit<'_>, head: &Head, later: Later) {
        let Visit { commands, settings, asker, language, .. } = visit;
        let (commands, head, node) = (commands.clone(), head.clone(), later.node);
        self.under_way.spawn(task::named("command", async move {
            let (outcome, answer) = match later.run(&settings, &asker, language).await {
                Ok((outcome, reply)) => (outcome, Ok(reply)),
                Err((outcome, error)) => (outcome, Err(error)),
            };
            commands.count(Some(node), outcome);
            outgoing::command(head, answer, language)
        }));
    }

    /// The next answer that is ready. Cancel-safe.
    pub(in crate::component) async fn next_answer(&mut self) -> Vec<u8> {
        loop {
            match self.under_way.join_next().await {
                Some(Ok(Some(answer))) => return answer,
                Some(Ok(None) | Err(_)) => {}
                None => return std::future::pending().await,
            }
        }
    }
}

/// A request of somebody who may ask.
struct Visit<'a> {
    commands: &'a Commands,
    settings: CommandSettings,
    asker: Asker,
    now: Timestamp,
    language: Language,
}

impl Visit<'_> {
    /// What follows the request.
    fn step(&self, command: &Command) -> Result<(Node, Step), Refusal> {
        let refuse = Refusing(self.language);
        let name = command.node.as_deref();
        let name = name.ok_or_else(|| Refusing::invalid(DefinedCondition::BadRequest))?;
        let node = Node::of(name).filter(|it| it.is_offered(&self.settings));
        let node = node.ok_or_else(|| Refusing::invalid(DefinedCondition::ItemNotFound))?;
        let action = Action::of(command.action.as_deref());
        let action = action.ok_or_else(|| refuse.fault(Fault::MalformedAction))?;
        let step = match &command.session {
            None => nodes::begin(node, action),
            Some(id) => match self.commands.state().1.stage(id, &self.asker.jid, self.now) {
                Ok(stage) if stage.node() == node => {
                    let bounds = Bounds::of(&self.settings, &self.asker);
                    stage.go_on(action, command, Whose { bare: self.asker.bare(), bounds })
                }
                Ok(_) | Err(NoSession::Unknown) => Err(Fault::BadSession),
                Err(NoSession::Expired) => Err(Fault::SessionExpired),
            },
        };
        step.map(|it| (node, it)).map_err(|fault| refuse.fault(fault))
    }

    /// The conversation goes on at this stage, or is over. Returns its id.
    fn go_on(&self, session: Option<&str>, stage: Option<Stage>) -> String {
        let sessions = &mut self.commands.state().1;
        match (session, stage) {
            (Some(id), stage) => {
                sessions.go_on(id, stage, self.now);
                id.to_owned()
            }
            (None, Some(stage)) => {
                sessions.begin((&self.asker.jid, self.asker.bare()), stage, self.now)
            }
            (None, None) => new_id(),
        }
    }
}

/// An answer that waits for the ledger.
struct Later {
    node: Node,
    show: Show,
    /// All but the form.
    reply: Reply,
    answer: oneshot::Receiver<Option<Answer>>,
}

impl Later {
    async fn run(
        mut self,
        settings: &CommandSettings,
        asker: &Asker,
        language: Language,
    ) -> Result<(CommandOutcome, Reply), Refusal> {
        let answer = timeout(ANSWER_WITHIN, self.answer).await;
        let Ok(Ok(Some(answer))) = answer else { return Err(Refusing(language).failed()) };
        self.reply.form = forms::show(language, &self.show, settings, (asker, &answer));
        let outcome = match self.reply.actions {
            Some(_) => CommandOutcome::Asked,
            None => CommandOutcome::Completed,
        };
        Ok((outcome, self.reply))
    }
}
