//! What Peter and Rosa say, what each finds in the archives, and the expected outcome.

use std::collections::BTreeSet;
use std::time::Duration;

use ephemerd_lab::xmpp::{Client, MamItem, MamQuery};
use ephemerd_lab::{Archive, Checker, Lab, Result, Server, Snapshot, Verdict, Words};
use tokio::time::Instant;

/// The room's name.
pub(crate) const ROOM: &str = "garden";

/// A server that stamps whole seconds adds up to one more, and the daemon polls four times a second: the rest
/// is a margin for a busy machine.
const GRACE: Duration = Duration::from_secs(4);

/// The lines: by Peter or by Rosa, in the room or not, with this beginning and this timer in seconds.
const LINES: [(Speaker, bool, &str, Option<u32>); 9] = [
    (Speaker::Peter, false, "lunch at", None),
    (Speaker::Rosa, false, "bring the", None),
    (Speaker::Peter, false, "door code", Some(3)),
    (Speaker::Rosa, false, "wifi password", Some(6)),
    (Speaker::Peter, true, "hello from", None),
    (Speaker::Rosa, true, "party at", Some(4)),
    (Speaker::Peter, true, "the gift is a", Some(8)),
    (Speaker::Rosa, true, "see you in", None),
    (Speaker::Peter, false, "the secret is", Some(4)),
];

/// Everything is read at once, except for the last line, which Rosa reads this many seconds later.
const READ_LATE: u32 = 6;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaker {
    Peter,
    Rosa,
}

impl Speaker {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Peter => "Peter",
            Self::Rosa => "Rosa",
        }
    }
}

/// One message.
pub(crate) struct Line {
    pub(crate) by: Speaker,
    pub(crate) in_room: bool,
    pub(crate) body: String,
    pub(crate) timer_seconds: Option<u32>,
    pub(crate) said: Instant,
    /// It is read this many seconds later.
    pub(crate) read_after: u32,
    /// Its state in the archives of Peter and Rosa.
    pub(crate) seen: [Seen; 2],
}

/// A message's state in an archive, as a client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It is there.
    There,
    /// It was there, and was found missing after this long.
    GoneAfter(Duration),
}

pub(crate) struct Scene {
    clients: [Client; 2],
    room: String,
    pub(crate) lines: Vec<Line>,
    checker: Checker,
    before: Vec<Snapshot>,
    /// The id of what Rosa has not read yet, and when she does.
    unread: Option<(Instant, String)>,
}

impl Scene {
    /// Both come online, join the room and say their lines.
    pub(crate) async fn play<S: Server>(lab: &Lab<S>, words: &mut Words) -> Result<Self> {
        let mut clients = [lab.online("peter").await?, lab.online("rosa").await?];
        let room = lab.endpoints().room(ROOM);
        for (client, nick) in clients.iter_mut().zip(["Peter", "Rosa"]) {
            client.join(&room, nick).await?;
        }
        let mut lines = Vec::new();
        let mut checker = Checker::new();
        let mut unread = None;
        for (at, (by, in_room, start, timer_seconds)) in LINES.into_iter().enumerate() {
            let body = format!("{start} {}", words.word());
            let said = Instant::now();
            let read_after = if at + 1 == LINES.len() { READ_LATE } else { 0 };
            let seen = [Seen::There; 2];
            let line = Line { by, in_room, body, timer_seconds, said, read_after, seen };
            let id = line.say(&mut clients, &room).await?;
            line.expect(&mut checker);
            match read_after {
                0 if in_room => {}
                0 => line.read(&mut clients, &id).await?,
                late => unread = Some((said + Duration::from_secs(late.into()), id)),
            }
            lines.push(line);
        }
        for client in &mut clients {
            client.sync().await?;
        }
        let before = lab.snapshots().await?;
        Ok(Self { clients, room, lines, checker, before, unread })
    }

    /// Rosa reads what she has not read yet, once it is time.
    async fn read_late(&mut self) -> Result<()> {
        let due = self.unread.take_if(|(at, _)| *at <= Instant::now());
        match (due, self.lines.last()) {
            (Some((_, id)), Some(last)) => last.read(&mut self.clients, &id).await,
            _ => Ok(()),
        }
    }

    /// Asks the archives as both clients.
    pub(crate) async fn look(&mut self) -> Result<()> {
        self.read_late().await?;
        for (index, client) in self.clients.iter_mut().enumerate() {
            let own = bodies(client.query_all(&MamQuery::default()).await?);
            let room = bodies(client.query_all(&MamQuery::room(&self.room)).await?);
            let now = Instant::now();
            for line in &mut self.lines {
                let found = if line.in_room { &room } else { &own }.contains(&line.body);
                let Some(seen) = line.seen.get_mut(index) else { continue };
                if found {
                    *seen = Seen::There;
                } else if *seen == Seen::There {
                    *seen = Seen::GoneAfter(now - line.said);
                }
            }
        }
        Ok(())
    }

    /// Nothing with a timer is there any more.
    pub(crate) fn all_gone(&self) -> bool {
        let mut timed = self.lines.iter().filter(|line| line.timer_seconds.is_some());
        timed.all(|line| !line.seen.contains(&Seen::There))
    }

    /// When the last message with a timer must be gone.
    pub(crate) fn last_by(&self) -> Instant {
        self.checker.last_by().unwrap_or_else(Instant::now)
    }

    /// The verdict of fresh clients and of the tables: everything with a timer must be gone now, and must not
    /// have gone early.
    pub(crate) async fn verdict<S: Server>(&mut self, lab: &Lab<S>) -> Result<Verdict> {
        self.checker.all_due();
        let mut verdict = self.checker.judge(lab, &self.before).await?;
        // Since then only Rosa's late marker was archived, for both.
        let is_new = |it: &String| it.ends_with(" is new");
        if verdict.faults.iter().filter(|it| is_new(it)).count() == 2 {
            verdict.faults.retain(|it| !is_new(it));
        }
        let early = self.lines.iter().filter(|line| line.went_too_early());
        verdict.faults.extend(early.map(|line| format!("too early: {}", line.body)));
        Ok(verdict)
    }
}

impl Line {
    /// Says it, and gives the id under which it came.
    async fn say(&self, clients: &mut [Client; 2], room: &str) -> Result<String> {
        let [peter, rosa] = clients;
        let (from, to) = match self.by {
            Speaker::Peter => (peter, rosa),
            Speaker::Rosa => (rosa, peter),
        };
        let timer = self
            .timer_seconds
            .map(|seconds| format!("<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='{seconds}'/>"));
        let timer = timer.unwrap_or_default();
        if self.in_room {
            from.groupchat(room, &self.body, &timer).await?;
        } else {
            from.chat(to.bare_jid(), &self.body, &timer).await?;
        }
        let came = to.wait_for_body(&self.body).await?;
        Ok(came.attribute("id").unwrap_or_default().to_owned())
    }

    /// The recipient's client shows that it was read.
    async fn read(&self, clients: &mut [Client; 2], id: &str) -> Result<()> {
        let [peter, rosa] = clients;
        let (by, to) = match self.by {
            Speaker::Peter => (rosa, peter),
            Speaker::Rosa => (peter, rosa),
        };
        let marker = format!(
            "<displayed xmlns='urn:xmpp:chat-markers:0' id='{id}'/><store xmlns='urn:xmpp:hints'/>"
        );
        let to = to.bare_jid();
        by.send(&format!("<message to='{to}' type='chat'>{marker}</message>")).await?;
        by.sync().await
    }

    /// How long it stays in what Peter and Rosa find, in seconds.
    pub(crate) fn lives(&self, finder: usize) -> Option<u32> {
        let is_reader = (self.by == Speaker::Peter) == (finder == 1);
        let late = if is_reader { self.read_after } else { 0 };
        self.timer_seconds.map(|timer| timer + late)
    }

    fn went_too_early(&self) -> bool {
        let lives = |at| self.lives(at).map_or(Duration::MAX, |it| Duration::from_secs(it.into()));
        let mut seen = self.seen.iter().enumerate();
        seen.any(|(at, seen)| matches!(seen, Seen::GoneAfter(after) if *after < lives(at)))
    }

    fn expect(&self, checker: &mut Checker) {
        let archives = if self.in_room {
            vec![Archive::room(ROOM, "peter"), Archive::room(ROOM, "rosa")]
        } else {
            vec![Archive::user("peter"), Archive::user("rosa")]
        };
        match self.lives(0).max(self.lives(1)) {
            Some(seconds) => {
                let due = self.said + Duration::from_secs(seconds.into());
                checker.goes(&self.body, &archives, due, due + GRACE);
            }
            None => checker.stays(&self.body, &archives),
        }
    }
}

fn bodies(items: Vec<MamItem>) -> BTreeSet<String> {
    items.iter().filter_map(|item| item.body().map(str::to_owned)).collect()
}
