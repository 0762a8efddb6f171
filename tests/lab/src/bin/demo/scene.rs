//! What Peter and Rosa say, what each finds in the archives, and what must become of it.

use std::collections::BTreeSet;
use std::time::Duration;

use ephemerd_lab::xmpp::{Client, MamItem, MamQuery};
use ephemerd_lab::{Archive, Checker, Lab, Result, Server, Snapshot, Verdict, Words};
use tokio::time::Instant;

/// The room's name.
pub(crate) const ROOM: &str = "garden";

/// A server that stamps in whole seconds gives up to one more, the daemon looks four times a second: the rest is for a busy machine.
const GRACE: Duration = Duration::from_secs(4);

/// What is said: by Peter or by Rosa, in the room or not, beginning so, with this timer in seconds.
const LINES: [(Speaker, bool, &str, Option<u32>); 8] = [
    (Speaker::Peter, false, "lunch at", None),
    (Speaker::Rosa, false, "bring the", None),
    (Speaker::Peter, false, "door code", Some(3)),
    (Speaker::Rosa, false, "wifi password", Some(6)),
    (Speaker::Peter, true, "hello from", None),
    (Speaker::Rosa, true, "party at", Some(4)),
    (Speaker::Peter, true, "the gift is a", Some(8)),
    (Speaker::Rosa, true, "see you in", None),
];

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
    /// How it stands in what Peter and Rosa find.
    pub(crate) seen: [Seen; 2],
}

/// How a message stands in an archive, as a client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It is there.
    There,
    /// It was there before and was found missing after so long.
    GoneAfter(Duration),
}

pub(crate) struct Scene {
    clients: [Client; 2],
    room: String,
    pub(crate) lines: Vec<Line>,
    checker: Checker,
    before: Vec<Snapshot>,
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
        for (by, in_room, start, timer_seconds) in LINES {
            let body = format!("{start} {}", words.word());
            let said = Instant::now();
            let line = Line { by, in_room, body, timer_seconds, said, seen: [Seen::There; 2] };
            line.say(&mut clients, &room).await?;
            line.expect(&mut checker);
            lines.push(line);
        }
        for client in &mut clients {
            client.sync().await?;
        }
        let before = lab.snapshots().await?;
        Ok(Self { clients, room, lines, checker, before })
    }

    /// Asks the archives as both clients.
    pub(crate) async fn look(&mut self) -> Result<()> {
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

    /// The verdict of fresh clients and of the tables: everything with a timer must be gone now, and must not have gone before its time.
    pub(crate) async fn verdict<S: Server>(&mut self, lab: &Lab<S>) -> Result<Verdict> {
        self.checker.all_due();
        let mut verdict = self.checker.judge(lab, &self.before).await?;
        let early = self.lines.iter().filter(|line| line.went_too_early());
        verdict.faults.extend(early.map(|line| format!("too early: {}", line.body)));
        Ok(verdict)
    }
}

impl Line {
    async fn say(&self, clients: &mut [Client; 2], room: &str) -> Result<()> {
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
        to.wait_for_body(&self.body).await.map(drop)
    }

    fn went_too_early(&self) -> bool {
        let timer = self.timer_seconds.map_or(Duration::MAX, |it| Duration::from_secs(it.into()));
        self.seen.iter().any(|seen| matches!(seen, Seen::GoneAfter(after) if *after < timer))
    }

    fn expect(&self, checker: &mut Checker) {
        let archives = if self.in_room {
            vec![Archive::room(ROOM, "peter"), Archive::room(ROOM, "rosa")]
        } else {
            vec![Archive::user("peter"), Archive::user("rosa")]
        };
        match self.timer_seconds.map(|seconds| Duration::from_secs(seconds.into())) {
            Some(timer) => {
                let due = self.said + timer;
                checker.goes(&self.body, &archives, due, due + GRACE);
            }
            None => checker.stays(&self.body, &archives),
        }
    }
}

fn bodies(items: Vec<MamItem>) -> BTreeSet<String> {
    items.iter().filter_map(|item| item.body().map(str::to_owned)).collect()
}
