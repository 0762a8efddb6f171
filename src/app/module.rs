//! Archives that only the companion module can reach (`archive.kind = "component"`): workers, `check`, sweep.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    check::{COMPONENT, see},
    daemon::{Modules, Reports, Workers, begin},
    settings::component,
};
use crate::{
    archive::companion::{
        Companion, OLD_MODULE, OLDEST_VERSION, Requests as _, Shown, Unanswered, VERSION,
    },
    component::{self, Link},
    config::{ArchiveKind, Config},
    metrics::Metrics,
    model::{Finding, Level, RoomStart, Store},
    work::{
        Changing,
        base::{presence::Present, wake::Bells},
        erase::{
            companion::CompanionEraser,
            remembered::{self, Remembered},
        },
        inspect::{
            everyone::Everyone,
            feed::{Feed, Links},
        },
        sweep::owners::Walker,
    },
};

/// How long `check` waits for the component's connection and for each module's answer; less for a module that
/// is optional.
const PATIENCE: Duration = Duration::from_secs(10);
const SHORT_PATIENCE: Duration = Duration::from_secs(2);
/// Not a fault: with archives in SQL, a module is optional.
const ONLY_ROWS: &str = "No companion module answers on a host of rooms: what rooms show to those who join, and their subjects, \
     stay until the rooms forget them.";

impl Workers {
    /// The workers for archives that only the modules can reach.
    pub(super) fn spawn_for_modules(
        &self,
        tasks: &mut JoinSet<&'static str>,
        modules: Modules,
        bells: &Bells,
        Reports { state, sweeping, .. }: Reports,
    ) {
        let Modules { link, notices, leading } = modules;
        let (present, walk) = (Present::default(), Arc::new(Notify::new()));
        let remembered = self.spawn_remembered(tasks, link.clone());
        self.spawn_everyone(tasks, link.clone(), true, bells);
        let settings = Changing::new(self.updates.companion.clone());
        let (judging, judged) = watch::channel(settings.clone_now());
        let feed = Feed::new(
            self.pool.clone(),
            link.clone(),
            settings,
            Arc::clone(&self.metrics),
            Links {
                judging,
                present: present.clone(),
                remembered,
                walk: Arc::clone(&walk),
                state,
                leading,
            },
        );
        let walker = Walker::new(
            self.pool.clone(),
            link.clone(),
            Changing::new(judged),
            Arc::clone(&self.metrics),
            present.clone(),
        );
        let pace = self.erase_pace(&bells.wake);
        let eraser = CompanionEraser::new(self.pool.clone(), link, pace, present);
        begin(tasks, "feed", feed.run(notices, self.stop.clone()));
        begin(tasks, "walk", walker.run(walk, sweeping, self.stop.clone()));
        begin(tasks, "erase", eraser.run(self.stop.clone()));
    }

    /// The worker for what only rooms remember, and where to announce it.
    pub(super) fn spawn_remembered(
        &self,
        tasks: &mut JoinSet<&'static str>,
        link: Link,
    ) -> mpsc::Sender<Shown> {
        let (remembered, announced) = mpsc::channel(remembered::MOST_WAITING);
        let (settings, erasing) = (self.updates.companion.clone(), self.updates.erase.clone());
        let worker = Remembered::new(self.pool.clone(), link, settings, erasing);
        begin(tasks, "remembered", worker.run(announced, self.stop.clone()));
        remembered
    }

    /// The worker for rooms in which timers start when every member has read the message. `whole_seconds`: the archive's
    /// stamps may be whole seconds.
    pub(super) fn spawn_everyone(
        &self,
        tasks: &mut JoinSet<&'static str>,
        link: Link,
        whole_seconds: bool,
        bells: &Bells,
    ) {
        let (settings, metrics) = (self.updates.companion.clone(), Arc::clone(&self.metrics));
        let worker = Everyone::new(self.pool.clone(), link, settings, whole_seconds, metrics);
        begin(tasks, "everyone", worker.run(Arc::clone(&bells.readers), self.stop.clone()));
    }
}

/// One handshake and, if it succeeds, which module answers on each host. If a daemon leads, the modules are left to
/// it: ejabberd accepts several connections under one name, and splits the stanzas between them.
pub(super) async fn check(config: &Config, is_led: bool) -> Vec<Finding> {
    let settings = component(config);
    let mut findings: Vec<Finding> = see(component::probe(&settings).await, COMPONENT).collect();
    let needed = config.archive.kind == ArchiveKind::Component;
    if is_led || findings.iter().any(|it| it.level != Level::Good) {
        findings.extend(needed.then(|| not_asked(is_led)));
        return findings;
    }
    let metrics = Arc::new(Metrics::new());
    let (exchange, link, _notices) =
        component::exchange(config.archive.hosts.clone(), Arc::clone(&metrics));
    let stop = CancellationToken::new();
    let asking = async {
        let found = ask_all(&link, config, needed).await;
        stop.cancel();
        found
    };
    let ((), found) =
        tokio::join!(component::run(settings, exchange, metrics, stop.clone()), asking);
    findings.extend(found);
    findings
}

fn not_asked(is_led: bool) -> Finding {
    if is_led {
        Finding::good(
            "companion modules: left to the running daemon, whose metric ephemerd_companions counts those that answer",
        )
    } else {
        Finding::warning(
            "companion modules: not asked, because only the component may ask them",
            "fix the component first",
        )
    }
}

async fn ask_all(link: &Link, config: &Config, needed: bool) -> Vec<Finding> {
    let mut connection = link.connection();
    let connecting = connection.wait_for(Option::is_some);
    if !matches!(tokio::time::timeout(PATIENCE, connecting).await, Ok(Ok(_))) {
        return vec![Finding::warning(
            "companion modules: not asked, because the connection was not re-established",
            "check again",
        )];
    }
    let mut findings = Vec::new();
    let rules = config.rules();
    let waits_for_all = rules.rooms.start == RoomStart::Everyone;
    let (mut knows_members, mut remembers) = (false, false);
    let shows_less = |it: &Companion| {
        rules.looks_for_readers_in(Store::Archive) && it.can.sessions && !it.can.reads
            || rules.looks_for_readers_in(Store::Room) && it.can.scrub && !it.can.room_reads
    };
    for host in &config.archive.hosts {
        let patience = if needed { PATIENCE } else { SHORT_PATIENCE };
        let asked = tokio::time::timeout(patience, link.companion(host)).await;
        let asked = asked.unwrap_or(Err(Unanswered::Silent));
        let answers = |has: fn(&Companion) -> bool| asked.as_ref().is_ok_and(has);
        let shows_nothing = asked.as_ref().is_ok_and(shows_less);
        findings.extend(finding(host, asked.clone(), needed));
        findings.extend(shows_nothing.then(|| {
            Finding::warning(
                format!("companion module on {host}: it does not show what was read"),
                "install this program's module, which does",
            )
        }));
        knows_members |= answers(|it| it.can.members);
        remembers |= answers(|it| it.can.remember);
        findings.extend((waits_for_all && answers(|it| it.can.scrub && !it.can.members)).then(|| {
            Finding::warning(
                format!("companion module on {host}: it does not list rooms' members, so messages there wait for timers.unread_for"),
                "install this program's module, which does",
            )
        }));
    }
    if config.uploads.rules.is_on() {
        for host in &config.uploads.hosts {
            let asked = tokio::time::timeout(SHORT_PATIENCE, link.companion(host)).await;
            findings.push(removes_files(host, asked.unwrap_or(Err(Unanswered::Silent))));
        }
    }
    findings.extend((waits_for_all && !knows_members).then(|| {
        Finding::warning(
            "No companion module lists rooms' members: with rooms.start = \"everyone\" all timers in rooms start timers.unread_for after archiving.",
            "load the companion module on the rooms' host and list that host in archive.hosts, or set rooms.start = \"first_reader\"",
        )
    }));
    findings.extend((!needed && !remembers).then(|| Finding::good(ONLY_ROWS)));
    findings
}

/// Whether this host's module removes uploaded files.
fn removes_files(host: &str, asked: Result<Companion, Unanswered>) -> Finding {
    match asked {
        Ok(companion) if companion.can.files => {
            Finding::good(format!("companion module on {host}: it removes uploaded files"))
        }
        Ok(_) => Finding::warning(
            format!("companion module on {host}: it does not remove uploaded files, so they stay"),
            "load this program's module there, where mod_http_file_share or mod_http_upload keeps the files itself",
        ),
        Err(why) => Finding::warning(
            format!("companion module on {host}: {why}, so uploaded files stay"),
            why.remedy(),
        ),
    }
}

/// Host names come from the operator, so they may be printed.
fn finding(host: &str, asked: Result<Companion, Unanswered>, needed: bool) -> Option<Finding> {
    let companion = match asked {
        Ok(companion) => companion,
        // With archives in SQL, a module is optional.
        Err(_) if !needed => return None,
        Err(why) => {
            return Some(Finding::problem(
                format!("companion module on {host}: {why}"),
                why.remedy(),
            ));
        }
    };
    let Companion { version, module, server, can, drops_unacknowledged, halted, .. } = companion;
    let who = format!("companion module on {host}: version {module}, {server}");
    let lacking: Vec<&str> = [("erase", can.erase), ("blank", can.blank), ("list", can.list)]
        .into_iter()
        .filter_map(|(name, can)| (!can).then_some(name))
        .collect();
    let other_module = module != env!("CARGO_PKG_VERSION");
    let speaks = || {
        format!("{who}: it speaks version {version} of the protocol, this program speaks {VERSION}")
    };
    Some(if !(OLDEST_VERSION..=VERSION).contains(&version) {
        Finding::problem(speaks(), "install daemon and module of the same version")
    } else if version < VERSION {
        Finding::warning(speaks(), OLD_MODULE)
    } else if needed && !lacking.is_empty() {
        Finding::problem(
            format!("{who}: it lacks what is needed: {}", lacking.join(", ")),
            "install daemon and module of the same version, and look at the XMPP server's log",
        )
    } else if halted {
        Finding::problem(
            format!("{who}: a write failed, and it erases nothing more"),
            "restart the XMPP server, and make sure that nothing else writes to its SQLite file",
        )
    } else if drops_unacknowledged {
        Finding::warning(
            format!("{who}: resend_on_timeout of mod_stream_mgmt is false there"),
            "set it to if_offline: what a session never acknowledged then goes into the offline queue, \
             and not only into the archive (docs/install-ejabberd.md)",
        )
    } else if other_module {
        Finding::warning(
            format!("{who}; this program is version {}", env!("CARGO_PKG_VERSION")),
            "install daemon and module of the same version",
        )
    } else {
        Finding::good(who)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::companion::Abilities;

    /// What stops the daemon is told before what could be better.
    #[test]
    fn a_remark_hides_no_problem() {
        let companion = Companion {
            version: VERSION,
            module: env!("CARGO_PKG_VERSION").to_owned(),
            server: "ejabberd 23.01".to_owned(),
            boot: "b".to_owned(),
            number: 0,
            now: None,
            can: Abilities::default(),
            drops_unacknowledged: true,
            halted: false,
        };
        let found = finding("example.org", Ok(companion), true).unwrap();
        assert_eq!(found.level, Level::Problem, "{found:?}");
        assert!(found.what.contains("erase, blank, list"), "{found:?}");
    }
}
