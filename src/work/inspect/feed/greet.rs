//! Greets the modules, and compares the numbers they report with what has arrived.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::{DOUBT, Feed, track::Track};
use crate::{
    archive::companion::{Companion, OLD_MODULE, OLDEST_VERSION, Requests, Unanswered, VERSION},
    database::{Named, Result},
    ledger::{self, Heard},
    task,
    work::base::presence::SWEEP,
};

/// Intervals between greetings of a module that answers, and of one that does not.
const GREET_EVERY: Duration = Duration::from_secs(60);
const GREET_ABSENT_EVERY: Duration = Duration::from_secs(5);

impl<R: Requests> Feed<R> {
    /// Asks every module whose time has come who it is, concurrently.
    pub(super) fn greet(&mut self) {
        if self.requests.connection().borrow().is_none() {
            return;
        }
        let now = Instant::now();
        for host in &self.settings.hosts {
            let track = self.tracks.entry(host.clone()).or_default();
            // Some request to it failed. It may be back soon.
            if self.links.present.of(host).is_none() && std::mem::take(&mut track.answers) {
                track.greet_at = Some(now + GREET_ABSENT_EVERY);
            }
            if track.greets || track.greet_at.is_some_and(|at| at > now) {
                continue;
            }
            // Until the answer sets another time.
            track.greet_at = Some(now + GREET_EVERY);
            let recalls = !std::mem::replace(&mut track.recalled, true);
            (track.recalls, track.greets) = (recalls, true);
            let (requests, host) = (self.requests.clone(), host.clone());
            self.greetings.spawn(task::named("feed", async move {
                let greeting = greeting(&requests, &host, recalls).await;
                (host, greeting)
            }));
        }
    }

    pub(super) async fn greeted(
        &mut self,
        host: &str,
        greeting: std::result::Result<Companion, Unanswered>,
    ) {
        let pause = match greeting.and_then(fit) {
            Ok(companion) => {
                if self.links.present.of(host).is_none() {
                    let Companion { module, server, version, .. } = &companion;
                    info!(host, module, server, "a companion module answers");
                    if *version < VERSION {
                        warn!(host, help = OLD_MODULE, "the companion module is an older version");
                    }
                }
                self.note_halt(host, companion.halted);
                match self.compare(host, &companion).await {
                    Ok(pause) => {
                        self.links.present.found(host, companion.can);
                        self.tracks.entry(host.to_owned()).or_default().answers = true;
                        pause
                    }
                    Err(error) => {
                        self.retry.failed(&error, &self.metrics);
                        GREET_ABSENT_EVERY
                    }
                }
            }
            Err(why) => {
                self.refused(host, why);
                self.tracks.entry(host.to_owned()).or_default().recalled = false;
                GREET_ABSENT_EVERY
            }
        };
        let track = self.tracks.entry(host.to_owned()).or_default();
        (track.greet_at, track.greets) = (Some(Instant::now() + pause), false);
        let companions = i64::try_from(self.links.present.hosts().len()).unwrap_or(i64::MAX);
        self.metrics.companions.set(companions);
        self.links.walk.notify_one();
    }

    /// Logged once, until it works again.
    fn note_halt(&mut self, host: &str, halted: bool) {
        let track = self.tracks.entry(host.to_owned()).or_default();
        if halted && !track.halted {
            warn!(
                host,
                help = "restart the XMPP server, and let nothing else write to its SQLite file",
                "a write failed there: the companion module erases nothing more"
            );
        }
        track.halted = halted;
    }

    fn refused(&mut self, host: &str, why: Unanswered) {
        self.links.present.lost(host, why);
        let track = self.tracks.entry(host.to_owned()).or_default();
        if track.refused.replace(why) != Some(why) && why != Unanswered::Disconnected {
            warn!(host, help = why.remedy(), "no companion module that we can work with: {why}");
        }
    }

    /// Compares the module's numbers with what has arrived. Returns when to ask again.
    async fn compare(&mut self, host: &str, companion: &Companion) -> Result<Duration> {
        let mut connection = self.pool.acquire().await.named("feed_connect")?;
        let numbers = (companion.boot.as_str(), companion.number);
        let track = self.tracks.entry(host.to_owned()).or_default();
        track.refused = None;
        if !track.is_known {
            load(&mut connection, host, track, numbers).await?;
        }
        if track.boot == companion.boot && track.number < companion.number && !track.doubted {
            track.doubted = true;
            return Ok(DOUBT);
        }
        let lost = track.lost(numbers);
        if let Some(lost) = lost {
            // What was lost may have been about sessions, unless it was announced again since.
            track.recalled = track.recalls;
            self.metrics.notices_lost.inc_by(lost);
            info!(
                host,
                lost,
                "the module may have sent notices that we have not received: listing what was archived since"
            );
        }
        let heard = if lost.is_some() { Heard::Lost } else { Heard::All };
        ledger::follow_feed(&mut connection, host, numbers, heard).await?;
        track.follow(numbers);
        Ok(if track.recalled { GREET_EVERY } else { Duration::ZERO })
    }
}

/// The module there. What it knows about sessions arrives before its last answer, and so before anything is erased; that
/// answer's number includes these notices.
async fn greeting<R: Requests>(
    requests: &R,
    host: &str,
    recalls: bool,
) -> std::result::Result<Companion, Unanswered> {
    let companion = requests.companion(host).await?;
    let can = companion.can;
    if !(can.sessions || can.room_reads) || !recalls {
        return Ok(companion);
    }
    requests.recall(host).await?;
    requests.companion(host).await
}

/// Accepts only a module that this program can work with.
fn fit(companion: Companion) -> std::result::Result<Companion, Unanswered> {
    let can = companion.can;
    let fits = (OLDEST_VERSION..=VERSION).contains(&companion.version)
        && can.erase
        && can.blank
        && can.list;
    if fits { Ok(companion) } else { Err(Unanswered::Unimplemented) }
}

/// Loads how far this module's notices have been recorded. If none have, this is the first start.
pub(super) async fn load(
    connection: &mut sqlx::PgConnection,
    host: &str,
    track: &mut Track,
    (boot, number): (&str, i64),
) -> Result<()> {
    if ledger::start_feed(connection, host, (boot, number)).await? {
        info!(host, "first start: what was archived before is backlog");
        ledger::request_sweep(connection, SWEEP).await?;
    }
    if let Some(feed) = ledger::feed(connection, host).await? {
        track.follow((&feed.boot, feed.number));
        track.is_known = true;
    }
    Ok(())
}
