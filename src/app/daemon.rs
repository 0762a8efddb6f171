//! `ephemerd run`: builds the workers, joins them, and sees them through to their end.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use sqlx::{Connection, PgPool};
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc, watch},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    Error, archive_kind, bring_up_to_date, open_archive, pooled,
    reload::Reloader,
    settings::{self, Told, component},
};
use crate::{
    archive::{Archive, remote::Notice},
    component::{self, Exchange, Link},
    config::Config,
    database::{Named, Settings},
    http,
    lifecycle::{ExitReason, Hangups, Lifecycle, TaskError},
    metrics::Metrics,
    model::{Clock, Level, SystemClock},
    ops::Readiness,
    telemetry::Telemetry,
    work::{
        Changing, backlog,
        erase::Eraser,
        gauges::{self, Counted},
        inspect::{Inspector, Standing},
        leader::{self, Leader},
        remote::{self, beside},
        sweep::Sweeper,
        wake::{self, Wake},
    },
};

/// The longest wait between two attempts to reach a database that is down.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How `run` was asked for.
pub struct RunOptions {
    /// Bring the schema up to date first.
    pub migrate: bool,
    /// The configuration file that was named: it is read anew at SIGHUP.
    pub file: Option<PathBuf>,
    /// The log, which a new configuration may change.
    pub telemetry: Telemetry,
}

/// Runs until a signal or a failure. What is down only delays it; what is wrong ends it.
pub async fn run(config: Config, options: RunOptions) -> Result<ExitReason, Error> {
    let mut lifecycle = Lifecycle::new().map_err(|error| Error::Signals(error.kind()))?;
    let hangups = Hangups::new().map_err(|error| Error::Signals(error.kind()))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let metrics = Arc::new(Metrics::new());
    metrics.config_last_reload_successful.set(1);
    let database = Settings::new(config.database.options());
    let pool = database.pool();
    let starting = Readiness::starting(config.archive.max_lag, clock.now());
    let (readiness, readable) = watch::channel(starting);
    let (page, shown) = watch::channel(None);

    let listener =
        TcpListener::bind(config.http.listen).await.map_err(|error| Error::Listen(error.kind()))?;
    info!(listen = %config.http.listen, "serving metrics and health");
    let state = http::State {
        metrics: Arc::clone(&metrics),
        clock: Arc::clone(&clock),
        readiness: readable,
        counted: shown,
        started: clock.now(),
    };
    lifecycle.spawn("http", http::serve(listener, state, lifecycle.soft()));

    let (leads, leading) = watch::channel(false);
    let key = leader::key(&config.component.jid, &config.component.server.to_string());
    let leader = Leader::new(database, key, leads, Arc::clone(&metrics));
    lifecycle.spawn("leader", endless(leader.run(lifecycle.soft())));
    let hosts = config.archive.hosts.clone();
    let (exchange, link, notices) = component::exchange(hosts, Arc::clone(&metrics));
    let modules = Modules { link, notices, leading: leading.clone() };
    let connection = connect_while_leading(
        (component(&config), exchange),
        Arc::clone(&metrics),
        leading,
        lifecycle.soft(),
    );
    lifecycle.spawn("component", endless(connection));

    let RunOptions { migrate, file, telemetry } = options;
    let (tell, told) = settings::channels(&config);
    let reloader =
        Reloader { file, telemetry, in_force: config.clone(), tell, metrics: Arc::clone(&metrics) };
    lifecycle.spawn("reload", endless(reloader.run(hangups, lifecycle.soft())));

    let stop = lifecycle.soft();
    let workers = Workers { config, told, pool, metrics, clock, readiness, page, stop };
    let fatal = Arc::new(Mutex::new(None));
    let told = Arc::clone(&fatal);
    let hard = lifecycle.hard();
    lifecycle.spawn("workers", async move {
        // Dropped at the hard stop: the database takes back what was not committed.
        let outcome =
            hard.run_until_cancelled(workers.run(migrate, modules)).await.unwrap_or(Ok(()));
        outcome.map_err(|error| {
            let text = error.to_string();
            *told.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error);
            TaskError::from(text)
        })
    });

    let reason = lifecycle.run_until_stopped().await;
    let fatal = fatal.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    fatal.map_or(Ok(reason), Err)
}

async fn endless(task: impl Future<Output = ()>) -> Result<(), TaskError> {
    task.await;
    Ok(())
}

/// Keeps the component connected for as long as this daemon leads, again and again until stopped.
async fn connect_while_leading(
    (settings, exchange): (component::Settings, Exchange),
    metrics: Arc<Metrics>,
    mut leading: watch::Receiver<bool>,
    stop: CancellationToken,
) {
    loop {
        let led = stop.run_until_cancelled(leading.wait_for(|leads| *leads)).await;
        if !matches!(led, Some(Ok(_))) {
            return;
        }
        drop(led);
        let given_up = stop.child_token();
        let connected = component::run(
            settings.clone(),
            exchange.clone(),
            Arc::clone(&metrics),
            given_up.clone(),
        );
        let until_given_up = async {
            let _ = leading.wait_for(|leads| !*leads).await;
            given_up.cancel();
        };
        tokio::join!(connected, stop.run_until_cancelled(until_given_up));
    }
}

/// Everything that needs the database.
pub(super) struct Workers {
    /// As it was at the start: what is taken from here needs a restart to change.
    config: Config,
    pub(super) told: Told,
    pub(super) pool: PgPool,
    pub(super) metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    readiness: watch::Sender<Readiness>,
    page: watch::Sender<Option<Counted>>,
    pub(super) stop: CancellationToken,
}

/// The way to the companion modules.
pub(super) struct Modules {
    pub(super) link: Link,
    pub(super) notices: mpsc::Receiver<Notice>,
    pub(super) leading: watch::Receiver<bool>,
}

/// What the workers tell of themselves: how inspection stands, whether a sweep is going on, and whether it holds
/// back what is older than the first start.
pub(super) struct Telling {
    pub(super) standing: watch::Sender<Standing>,
    pub(super) sweeping: watch::Sender<bool>,
    pub(super) holding: watch::Sender<bool>,
}

impl Workers {
    async fn run(self, migrate: bool, modules: Modules) -> Result<(), Error> {
        let Some(archive) = self.wait_for_database(migrate).await? else {
            return Ok(());
        };
        let bell = Arc::new(Wake::default());
        let (standing, stands) = watch::channel(Standing { caught_up: None, reachable: true });
        let (sweeping, sweeps) = watch::channel(false);
        // Nothing is released before nothing is held any more.
        let (holding, holds) = watch::channel(self.told.sweep.borrow().hold_backlog);
        let telling = Telling { standing, sweeping, holding };
        let counted = gauges::Settings {
            hosts: self.config.archive.hosts.clone(),
            tables: match &archive {
                Some(archive) => archive.tables().iter().map(|it| it.name().to_owned()).collect(),
                None => vec![remote::SWEEP.to_owned()],
            },
        };
        let stop = || self.stop.clone();
        let mut tasks = JoinSet::new();
        match archive {
            Some(archive) => self.spawn_for_tables(&mut tasks, archive, modules, &bell, telling),
            None => self.spawn_for_modules(&mut tasks, modules, &bell, telling),
        }
        tasks.spawn(wake::listen(self.pool.clone(), bell, Arc::clone(&self.metrics), stop()));
        let told = (Arc::clone(&self.metrics), self.page);
        let clock = Arc::clone(&self.clock);
        tasks.spawn(gauges::run(self.pool.clone(), counted, clock, told, stop()));
        let metrics = Arc::clone(&self.metrics);
        tasks.spawn(release_backlog(self.pool.clone(), metrics, holds, stop()));
        tasks.spawn(tell_readiness(self.readiness, self.clock, stands, sweeps, stop()));
        // Whichever ends first ends all: none may be missing unnoticed.
        while let Some(ended) = tasks.join_next().await {
            if ended.is_err() || !self.stop.is_cancelled() {
                return Err(Error::WorkerEnded);
            }
        }
        Ok(())
    }

    /// The workers for archives in the server's tables; the module, where there is one, only helps.
    fn spawn_for_tables(
        &self,
        tasks: &mut JoinSet<()>,
        archive: Archive,
        modules: Modules,
        bell: &Arc<Wake>,
        Telling { standing, sweeping, holding }: Telling,
    ) {
        let (scrubs, to_scrub) = mpsc::channel(beside::MOST_SCRUBS);
        let tail = Arc::new(Notify::new());
        let stop = || self.stop.clone();
        tasks.spawn(beside::wake_the_tail(modules.notices, Arc::clone(&tail), stop()));
        tasks.spawn(beside::scrub(modules.link, to_scrub, stop()));
        let (inspect, sweep) =
            (Changing::new(self.told.inspect.clone()), Changing::new(self.told.sweep.clone()));
        // The sweep goes by other rules once the tail does: what that recorded before, it then corrects.
        let (judging, judged) = watch::channel(inspect.rules.clone());
        let eraser = Eraser::new(
            self.pool.clone(),
            archive.clone(),
            Changing::new(self.told.erase.clone()),
            Arc::clone(&self.metrics),
            (Arc::clone(bell), scrubs),
        );
        let inspector = Inspector::new(
            self.pool.clone(),
            archive.clone(),
            inspect,
            Arc::clone(&self.metrics),
            (standing, judging),
        );
        tasks.spawn(gauges::watch_hosts(
            self.pool.clone(),
            archive.clone(),
            self.config.archive.hosts.clone(),
            Arc::clone(&self.metrics),
            stop(),
        ));
        let sweeper = Sweeper::new(
            self.pool.clone(),
            archive,
            sweep,
            Changing::new(judged),
            Arc::clone(&self.metrics),
        );
        tasks.spawn(inspector.run(tail, stop()));
        tasks.spawn(eraser.run(stop()));
        tasks.spawn(sweeper.run((sweeping, holding), stop()));
    }

    /// Waits until the database is there and as it must be. `None` when stopped meanwhile; no archive where
    /// none lies there.
    async fn wait_for_database(&self, migrate: bool) -> Result<Option<Option<Archive>>, Error> {
        let mut wait = Duration::from_millis(250);
        let mut told = false;
        loop {
            let attempt = prepare(self.pool.clone(), &self.config, migrate);
            let error = match self.stop.run_until_cancelled(attempt).await {
                None => return Ok(None),
                Some(Ok(archive)) => return Ok(Some(archive)),
                Some(Err(Error::Database(error))) => error,
                Some(Err(error)) => return Err(error),
            };
            self.metrics.database_errors.inc();
            if !told {
                warn!(%error, "the database is not there yet, trying again");
                told = true;
            }
            self.stop.run_until_cancelled(tokio::time::sleep(wait)).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }
}

async fn release(pool: &PgPool) -> crate::database::Result<i64> {
    let mut connection = pool.acquire().await.named("release_connect")?;
    backlog::release(&mut connection, |_| {}).await
}

async fn until(flag: &mut watch::Receiver<bool>, is: bool) {
    if flag.wait_for(|flag| *flag == is).await.is_err() {
        std::future::pending().await
    }
}

/// What was held back is no longer to be held: whenever the configuration comes to say so.
async fn release_backlog(
    pool: PgPool,
    metrics: Arc<Metrics>,
    mut holds: watch::Receiver<bool>,
    stop: CancellationToken,
) {
    let mut told = false;
    loop {
        if stop.run_until_cancelled(until(&mut holds, false)).await.is_none() {
            return;
        }
        match stop.run_until_cancelled(release(&pool)).await {
            None => return,
            Some(Ok(count)) => {
                if count > 0 {
                    info!(count, "the backlog is no longer held: erase.backlog is \"erase\"");
                }
                told = false;
                stop.run_until_cancelled(until(&mut holds, true)).await;
            }
            Some(Err(error)) => {
                metrics.database_errors.inc();
                if !std::mem::replace(&mut told, true) {
                    warn!(%error, "the backlog cannot be released, trying again");
                }
                stop.run_until_cancelled(tokio::time::sleep(LONGEST_WAIT)).await;
            }
        }
    }
}

/// Tells HTTP how the workers stand, after each look at the archive.
async fn tell_readiness(
    readiness: watch::Sender<Readiness>,
    clock: Arc<dyn Clock>,
    mut stands: watch::Receiver<Standing>,
    sweeps: watch::Receiver<bool>,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            changed = stands.changed() => if changed.is_err() { return stop.cancelled().await },
            () = stop.cancelled() => return,
        }
        let standing = *stands.borrow_and_update();
        let now = Instant::now();
        let sweeping = *sweeps.borrow();
        readiness.send_modify(|readiness| {
            readiness.database = standing.reachable;
            readiness.schema = true;
            readiness.lag_seconds =
                standing.caught_up.map(|at| now.duration_since(at).as_secs_f64());
            readiness.sweeping = sweeping;
            readiness.as_of = clock.now();
        });
    }
}

/// The database as it must be, and the archive in it where one lies there; or why not.
async fn prepare(pool: PgPool, config: &Config, migrate: bool) -> Result<Option<Archive>, Error> {
    // Detached: migrating changes the session's settings.
    let mut connection = pool.acquire().await.named("connect").map_err(pooled)?.detach();
    bring_up_to_date(&mut connection, migrate).await?;
    let opened = match archive_kind(config) {
        Some(_) => Some(open_archive(&mut connection, config).await),
        None => None,
    };
    let _ = connection.close().await;
    let Some((archive, findings)) = opened.transpose()? else { return Ok(None) };
    for finding in &findings {
        match finding.level {
            Level::Good => info!("{}", finding.what),
            Level::Warning | Level::Problem => warn!(help = finding.remedy, "{}", finding.what),
        }
    }
    Ok(Some(archive))
}
