//! Users' commands at a server played by the test: what users send, and the ledger's answers, are the test's.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::TimeDelta;
use ephemerd::component::{Answer, CommandSettings, Erasing, Question, Wanted, Wished, commands};
use ephemerd::ledger::KeptEntries;
use ephemerd::metrics::{CommandNode, CommandOutcome};
use ephemerd::model::{Clock, Reason, Store, Timestamp};
use ephemerd::ops::Kept;
use minidom::Element;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::component_stand_in::{DEADLINE, HOST, JID, Peer, Running, Server, elements};

pub(crate) const COMMANDS: &str = "http://jabber.org/protocol/commands";
pub(crate) const DATA: &str = "jabber:x:data";
pub(crate) const POLICY: &str = "urn:ephemerd:policy";
pub(crate) const KEPT: &str = "urn:ephemerd:kept";
pub(crate) const ERASE: &str = "urn:ephemerd:erase";
pub(crate) const CONFIGURE: &str = "urn:xmpp:mam#configure";
pub(crate) const CONTACT: &str = "urn:ephemerd:contact";
const STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
const COMPONENT: &str = "jabber:component:accept";
/// A listed host that serves rooms.
pub(crate) const ROOMS: &str = "rooms.example.org";
pub(crate) const PETER: &str = "peter@example.org/phone";

/// A clock that the test sets.
struct Hand(Mutex<Timestamp>);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// A component with commands, its server, and whoever answers for the ledger.
pub(crate) struct Talk {
    pub(crate) running: Running,
    pub(crate) peer: Peer,
    pub(crate) questions: mpsc::Receiver<Question>,
    pub(crate) settings: watch::Sender<CommandSettings>,
    hand: Arc<Hand>,
    _server: Server,
}

pub(crate) fn settings() -> CommandSettings {
    CommandSettings {
        enabled: true,
        erase: true,
        per_minute: 1000,
        hosts: vec![HOST.to_owned(), ROOMS.to_owned()],
        rules: ephemerd::model::Rules::default(),
        retention: ephemerd::policy::Retention::default(),
        placeholder_for: Some(Duration::from_secs(30 * 86_400)),
        dry_run: false,
    }
}

/// The same where users may set how long their archives keep messages.
pub(crate) fn wishing() -> CommandSettings {
    let mut settings = settings();
    settings.rules.wishes.followed = true;
    settings
}

/// What the ledger has of somebody with one message, until then.
pub(crate) fn kept(next: Timestamp) -> Kept {
    let entries = KeptEntries {
        store: Store::Archive,
        reason: Some(Reason::Timer),
        going: 1,
        unread: 0,
        backlog: 0,
        emptied: 0,
        oldest: Some(next - TimeDelta::days(1)),
        next: Some(next),
    };
    Kept { paused: false, ages: false, wished: None, chats: 0, entries: Some(vec![entries]) }
}

/// A command as a client sends it.
pub(crate) fn command(node: &str, attributes: &str, form: &str) -> String {
    format!("<command xmlns='{COMMANDS}' node='{node}' {attributes}>{form}</command>")
}

/// A form that chooses.
pub(crate) fn which(value: &str) -> String {
    format!("<x xmlns='{DATA}' type='submit'><field var='which'><value>{value}</value></field></x>")
}

impl Talk {
    /// A component that has asked each host what it is, and was told.
    pub(crate) async fn begin(settings: CommandSettings) -> Self {
        let (mut talk, requests) = Self::connected(settings).await;
        for (id, host) in requests {
            let category = if host == ROOMS { "conference" } else { "server" };
            talk.peer.send(identified(&id, &host, category)).await;
        }
        talk
    }

    /// The same, not told yet: ids of the requests, and whom they are to.
    pub(crate) async fn connected(settings: CommandSettings) -> (Self, Vec<(String, String)>) {
        let server = Server::new().await;
        let hand = Arc::new(Hand(Mutex::new(Timestamp::UNIX_EPOCH + TimeDelta::days(20_000))));
        let hosts = settings.hosts.clone();
        let (settings, told) = watch::channel(settings);
        let mut asked = None;
        let running = Running::start_with(server.settings(), |exchange, metrics| {
            let (offered, questions) = commands(told, hand.clone(), metrics.clone());
            exchange.offer(offered);
            asked = Some(questions);
        });
        let mut peer = server.accept_component().await;
        let mut requests = Vec::new();
        for host in hosts {
            let request = elements(&peer.until("</iq>").await).remove(0);
            assert_eq!(request.attr("to"), Some(host.as_str()), "each host is asked what it is");
            requests.push((request.attr("id").unwrap().to_owned(), host));
        }
        let questions = asked.unwrap();
        (Self { running, peer, questions, settings, hand, _server: server }, requests)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.hand.now()
    }

    pub(crate) fn wait(&self, time: TimeDelta) {
        *self.hand.0.lock().unwrap() += time;
    }

    /// Sends a request and returns what is answered, without the ledger.
    pub(crate) async fn ask(&mut self, head: &str, payload: &str) -> Element {
        self.peer.send(format!("<iq id='1' to='{JID}' {head}>{payload}</iq>")).await;
        let answer = elements(&self.peer.until("</iq>").await).remove(0);
        assert_eq!((answer.attr("id"), answer.attr("from")), (Some("1"), Some(JID)));
        answer
    }

    /// The same for a command of Peter's.
    pub(crate) async fn say(&mut self, payload: &str) -> Element {
        self.ask(&format!("type='set' from='{PETER}'"), payload).await
    }

    /// The same for a command that asks the ledger, which says this.
    pub(crate) async fn look(&mut self, payload: &str, kept: Option<Kept>) -> Element {
        let (answer, wanted) = self.wait_for(payload, kept.map(Answer::Kept)).await;
        assert_eq!(wanted, Wanted::Kept);
        answer
    }

    /// The same for one that would erase, and so many messages; also returns what the ledger was asked.
    pub(crate) async fn erase(&mut self, payload: &str, messages: i64) -> (Element, Wanted) {
        let erasing = Erasing { messages, paused: false };
        self.wait_for(payload, Some(Answer::Erasing(erasing))).await
    }

    /// The same for one that asks what is wished, or sets it, and this is that.
    pub(crate) async fn wish(&mut self, payload: &str, wished: Wished) -> (Element, Wanted) {
        self.wait_for(payload, Some(Answer::Wished(wished))).await
    }

    async fn wait_for(&mut self, payload: &str, answer: Option<Answer>) -> (Element, Wanted) {
        let head = format!("type='set' from='{PETER}' xml:lang='en'");
        self.peer.send(format!("<iq id='1' to='{JID}' {head}>{payload}</iq>")).await;
        let question = self.question().await;
        assert_eq!((question.host.as_str(), question.owner.as_str()), (HOST, "peter"));
        let wanted = question.wanted.clone();
        question.answer(answer);
        (elements(&self.peer.until("</iq>").await).remove(0), wanted)
    }

    pub(crate) async fn question(&mut self) -> Question {
        let question = timeout(DEADLINE, self.questions.recv()).await;
        question.expect("the ledger is asked").expect("the component runs")
    }

    /// Begins a conversation and returns its id.
    pub(crate) async fn session(&mut self) -> String {
        let answer = self.say(&command(KEPT, "action='execute'", "")).await;
        reply(&answer).attr("sessionid").unwrap().to_owned()
    }

    pub(crate) fn counted(&self, node: CommandNode, outcome: CommandOutcome) -> u64 {
        self.running.metrics.commands.of(node, outcome).get()
    }
}

/// What a host says that it is.
pub(crate) fn identified(id: &str, from: &str, category: &str) -> String {
    format!(
        "<iq type='result' id='{id}' from='{from}' to='{JID}'>\
         <query xmlns='http://jabber.org/protocol/disco#info'>\
         <identity category='{category}' type='x'/></query></iq>"
    )
}

/// A form that says what to erase, or confirms it.
pub(crate) fn filled(fields: &[(&str, &str)]) -> String {
    let field =
        |(var, value): &(&str, &str)| format!("<field var='{var}'><value>{value}</value></field>");
    let fields: String = fields.iter().map(field).collect();
    format!("<x xmlns='{DATA}' type='submit'>{fields}</x>")
}

/// The command in an answer.
pub(crate) fn reply(answer: &Element) -> &Element {
    assert_eq!(answer.attr("type"), Some("result"), "{answer:?}");
    answer.get_child("command", COMMANDS).expect("a command")
}

/// The form in an answer.
pub(crate) fn form(answer: &Element) -> &Element {
    reply(answer).get_child("x", DATA).expect("a form")
}

/// The value of a form's field.
pub(crate) fn value(form: &Element, var: &str) -> Option<String> {
    let mut fields = form.children().filter(|it| it.is("field", DATA));
    let field = fields.find(|it| it.attr("var") == Some(var))?;
    Some(field.get_child("value", DATA)?.text())
}

/// An error's type, its condition, and what XEP-0050 says of it.
pub(crate) fn refusal(answer: &Element) -> (String, String, Option<String>) {
    assert_eq!(answer.attr("type"), Some("error"), "{answer:?}");
    let error = answer.get_child("error", COMPONENT).expect("an error");
    let is_condition = |it: &&Element| it.ns() == STANZAS && it.name() != "text";
    let condition = error.children().find(is_condition).expect("a condition").name().to_owned();
    let fault = error.children().find(|it| it.ns() == COMMANDS).map(|it| it.name().to_owned());
    (error.attr("type").unwrap().to_owned(), condition, fault)
}

/// The words of an error, and their language.
pub(crate) fn words(answer: &Element) -> (String, String) {
    let error = answer.get_child("error", COMPONENT).expect("an error");
    let text = error.get_child("text", STANZAS).expect("a text");
    (text.text(), spoken(text).unwrap_or_default().to_owned())
}

/// The language that an element says it is in.
pub(crate) fn spoken(element: &Element) -> Option<&str> {
    element.attr_ns("http://www.w3.org/XML/1998/namespace", "lang")
}
