//! Where only the companion module reaches the archives (`archive.kind = "component"`): its workers, its
//! `check`, and its sweep.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    check::{COMPONENT, see},
    daemon::{Modules, Telling, Workers},
    settings::component,
};
use crate::{
    archive::remote::{Companion, Requests as _, Unanswered, VERSION},
    component::{self, Link},
    config::{ArchiveKind, Config},
    metrics::Metrics,
    model::{Finding, Level},
    work::{
        Changing,
        remote::{Present, Queue, erase::Eraser, feed::Feed, walk::Walker},
        wake::Wake,
    },
};

/// `check` waits so long for the component's connection, and for each module's answer; for one that is only
/// welcome not so long.
const PATIENCE: Duration = Duration::from_secs(10);
const SHORT_PATIENCE: Duration = Duration::from_secs(2);

impl Workers {
    /// The workers for archives that only the modules reach.
    pub(super) fn spawn_for_modules(
        &self,
        tasks: &mut JoinSet<()>,
        modules: Modules,
        bell: &Arc<Wake>,
        Telling { standing, sweeping, holding }: Telling,
    ) {
        let Modules { link, notices, leading } = modules;
        let (present, walk) = (Present::default(), Arc::new(Notify::new()));
        let queue = Queue::default();
        let settings = Changing::new(self.told.remote.clone());
        let (judging, judged) = watch::channel(settings.clone_now());
        let feed = Feed::new(
            self.pool.clone(),
            link.clone(),
            (settings, judging),
            Arc::clone(&self.metrics),
            (present.clone(), Arc::clone(&walk), queue.clone()),
            (standing, leading),
        );
        let walker = Walker::new(
            self.pool.clone(),
            link.clone(),
            Changing::new(judged),
            Arc::clone(&self.metrics),
            (present.clone(), queue),
        );
        let eraser = Eraser::new(
            self.pool.clone(),
            link,
            Changing::new(self.told.erase.clone()),
            Arc::clone(&self.metrics),
            (Arc::clone(bell), present),
        );
        tasks.spawn(feed.run(notices, self.stop.clone()));
        tasks.spawn(walker.run(walk, (sweeping, holding), self.stop.clone()));
        tasks.spawn(eraser.run(self.stop.clone()));
    }
}

/// One handshake; and where it succeeds, who answers on each host. Where a daemon leads, the modules are left to
/// it: ejabberd lets several connect under one name, and gives to each a part of what is for all.
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
        let found = ask_all(&link, &config.archive.hosts, needed).await;
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
            "companion modules: a daemon runs and works with them; its ephemerd_companions counts those that answer",
        )
    } else {
        Finding::warning(
            "companion modules: they were not asked, for only the component may ask them",
            "see to the component first",
        )
    }
}

async fn ask_all(link: &Link, hosts: &[String], needed: bool) -> Vec<Finding> {
    let mut connection = link.connection();
    let connecting = connection.wait_for(Option::is_some);
    if !matches!(tokio::time::timeout(PATIENCE, connecting).await, Ok(Ok(_))) {
        return vec![Finding::warning(
            "companion modules: they were not asked, for the connection did not stand again",
            "check again",
        )];
    }
    let mut findings = Vec::new();
    for host in hosts {
        let patience = if needed { PATIENCE } else { SHORT_PATIENCE };
        let asked = tokio::time::timeout(patience, link.companion(host)).await;
        findings.extend(finding(host, asked.unwrap_or(Err(Unanswered::Silent)), needed));
    }
    findings
}

/// Hosts are the operator's own: they may be named.
fn finding(host: &str, asked: Result<Companion, Unanswered>, needed: bool) -> Option<Finding> {
    let companion = match asked {
        Ok(companion) => companion,
        // With archives in SQL a module is welcome, and not missed.
        Err(_) if !needed => return None,
        Err(why) => {
            return Some(Finding::problem(
                format!("companion module on {host}: {why}"),
                why.remedy(),
            ));
        }
    };
    let Companion { version, module, server, can, .. } = companion;
    let who = format!("companion module on {host}: version {module}, {server}");
    let lacking: Vec<&str> = [("erase", can.erase), ("blank", can.blank), ("list", can.list)]
        .into_iter()
        .filter_map(|(name, can)| (!can).then_some(name))
        .collect();
    let other_module = module != env!("CARGO_PKG_VERSION");
    Some(if version != VERSION {
        Finding::problem(
            format!(
                "{who}: it speaks version {version} of the protocol, and this program {VERSION}"
            ),
            "install daemon and module of the same version",
        )
    } else if needed && !lacking.is_empty() {
        Finding::problem(
            format!("{who}: it lacks what is needed: {}", lacking.join(", ")),
            "install daemon and module of the same version, and look into the XMPP server's log",
        )
    } else if other_module {
        Finding::warning(
            format!("{who}, where this program is of version {}", env!("CARGO_PKG_VERSION")),
            "install daemon and module of the same version",
        )
    } else {
        Finding::good(who)
    })
}
