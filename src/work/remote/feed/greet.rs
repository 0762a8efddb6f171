//! Who is there: greets the modules, and holds what they say of their numbers against what has come.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::{DOUBT, Feed, track::Track};
use crate::{
    archive::remote::{Companion, Requests, Unanswered, VERSION},
    database::{Named, Result},
    ledger::{self, Heard},
    work::remote::SWEEP,
};

/// Between two greetings of a module that answers, and of one that does not.
const GREET_EVERY: Duration = Duration::from_secs(60);
const GREET_ABSENT_EVERY: Duration = Duration::from_secs(5);

impl<R: Requests> Feed<R> {
    /// Asks every module that is to be asked by now who it is, side by side.
    pub(super) fn greet(&mut self) {
        if self.requests.connection().borrow().is_none() {
            return;
        }
        let now = Instant::now();
        for host in &self.settings.hosts {
            let track = self.tracks.entry(host.clone()).or_default();
            // It failed whoever asked it for something: it may be back soon.
            if self.present.of(host).is_none() && std::mem::take(&mut track.answers) {
                track.greet_at = Some(now + GREET_ABSENT_EVERY);
            }
            if track.greet_at.is_some_and(|at| at > now) {
                continue;
            }
            // Until the answer sets another time: no question is asked twice.
            track.greet_at = Some(now + GREET_EVERY);
            let (requests, host) = (self.requests.clone(), host.clone());
            self.greetings.spawn(async move {
                let greeting = requests.companion(&host).await;
                (host, greeting)
            });
        }
    }

    pub(super) async fn greeted(
        &mut self,
        host: &str,
        greeting: std::result::Result<Companion, Unanswered>,
    ) {
        let pause = match greeting.and_then(fit) {
            Ok(companion) => {
                if self.present.of(host).is_none() {
                    let Companion { module, server, .. } = &companion;
                    info!(host, module, server, "a companion module answers");
                }
                match self.compare(host, &companion).await {
                    Ok(pause) => {
                        self.present.found(host, companion.can);
                        self.tracks.entry(host.to_owned()).or_default().answers = true;
                        pause
                    }
                    Err(error) => {
                        self.failed(&error);
                        GREET_ABSENT_EVERY
                    }
                }
            }
            Err(why) => {
                self.refused(host, why);
                GREET_ABSENT_EVERY
            }
        };
        let track = self.tracks.entry(host.to_owned()).or_default();
        track.greet_at = Some(Instant::now() + pause);
        let companions = i64::try_from(self.present.hosts().len()).unwrap_or(i64::MAX);
        self.metrics.companions.set(companions);
        self.walk.notify_one();
    }

    fn refused(&mut self, host: &str, why: Unanswered) {
        self.present.lost(host, why);
        let track = self.tracks.entry(host.to_owned()).or_default();
        if track.refused.replace(why) != Some(why) && why != Unanswered::Disconnected {
            warn!(host, help = why.remedy(), "no companion module that we can work with: {why}");
        }
    }

    /// Holds what the module says of its numbers against what has come. Returns when to ask again.
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
            self.metrics.notices_lost.inc_by(lost);
            info!(
                host,
                lost,
                "the module may have told what we have not heard: listing what was archived since"
            );
        }
        let heard = if lost.is_some() { Heard::Lost } else { Heard::All };
        ledger::follow_feed(&mut connection, host, numbers, heard).await?;
        track.follow(numbers);
        Ok(GREET_EVERY)
    }
}

/// What this program can work with.
fn fit(companion: Companion) -> std::result::Result<Companion, Unanswered> {
    let can = companion.can;
    let fits = companion.version == VERSION && can.erase && can.blank && can.list;
    if fits { Ok(companion) } else { Err(Unanswered::Unimplemented) }
}

/// How far the ledger has come with this module; where it knows nothing, this is the first start.
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
