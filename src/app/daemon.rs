//! `ephemerd run`: builds the workers, connects them, and runs them to their end.

use std::{path::PathBuf, sync::Arc, time::Duration};

use sqlx::{Connection, PgPool};
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc, oneshot, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    Error, archive_kind, are_our_own,
    aside::{connect_while_leading, release_backlog, tell_readiness, tell_state},
    bring_up_to_date, commands, open_archive, pooled,
    reload::Reloader,
    settings::{self, Updates, component},
    trial::send_trials,
};
use crate::{
    archive::{
        Archive,
        companion::{Notice, Requests as _},
    },
    component::{self, Link, Question},
    config::Config,
    database::{DatabaseSettings, Named},
    http,
    ledger::DaemonState,
    lifecycle::{ExitReason, Hangups, Lifecycle, TaskError},
    metrics::Metrics,
    model::{Clock, Level, SystemClock},
    ops::Readiness,
    task,
    telemetry::Telemetry,
    work::{
        Changing,
        age::AgeEraser,
        base::{
            leader::{self, Leader},
            presence,
            unheard::Unheard,
            wake::{self, Bells, Wake},
        },
        erase::{
            Pace,
            files::FileEraser,
            scrub,
            tables::{Notified, TableEraser},
        },
        gauges::{self, Counted, GaugeSettings},
        inspect::{
            Inspection, Inspector, read_once,
            sessions::{Listener, Outputs},
        },
        sweep::{Sweeper, Sweeping},
    },
};

/// Maximum wait between attempts to reach a database that is down.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Maximum number of trials waiting to be sent.
const MOST_TRIALS: usize = 4;

/// The options of `run`.
pub struct RunOptions {
    /// Migrate the schema first.
    pub migrate: bool,
    /// The configuration file that was named: read again on SIGHUP.
    pub file: Option<PathBuf>,
    /// The log, whose settings a reload may change.
    pub telemetry: Telemetry,
}

/// Runs until a signal or a failure. What is down only causes a delay; what is wrong ends it.
pub async fn run(config: Config, options: RunOptions) -> Result<ExitReason, Error> {
    let mut lifecycle = Lifecycle::new().map_err(|error| Error::Signals(error.kind()))?;
    let hangups = Hangups::new().map_err(|error| Error::Signals(error.kind()))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let metrics = Arc::new(Metrics::new());
    metrics.config_last_reload_successful.set(1);
    let database = DatabaseSettings::new(config.database.options());
    let pool = database.pool();
    let starting = Readiness::starting(config.archive.max_lag, clock.now());
    let (readiness, readable) = watch::channel(starting);
    let (page, shown) = watch::channel(None);

    for remark in config.remarks() {
        warn!(help = remark.remedy, "{}", remark.what);
    }
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
    let (senders, updates) = settings::channels(&config);
    exchange.want(updates.wanted.clone());
    let told = updates.commands.clone();
    let (offered, questions) = component::commands(told, Arc::clone(&clock), Arc::clone(&metrics));
    exchange.offer(offered);
    let modules = Modules { link, notices, leading: leading.clone() };
    let connection = connect_while_leading(
        component(&config),
        exchange,
        Arc::clone(&metrics),
        leading,
        lifecycle.soft(),
    );
    lifecycle.spawn("component", endless(connection));

    let RunOptions { migrate, file, telemetry } = options;
    let reloader = Reloader {
        file,
        telemetry,
        in_force: config.clone(),
        updates: senders,
        metrics: Arc::clone(&metrics),
    };
    lifecycle.spawn("reload", endless(reloader.run(hangups, lifecycle.soft())));

    let stop = lifecycle.soft();
    let workers = Workers { config, updates, pool, metrics, clock, readiness, page, stop };
    let (fatal, mut failed) = oneshot::channel();
    let hard = lifecycle.hard();
    lifecycle.spawn("workers", async move {
        // Dropped at the hard stop: the database rolls back what was not committed.
        let working = workers.run(migrate, modules, questions);
        let outcome = hard.run_until_cancelled(working).await.unwrap_or(Ok(()));
        // The caller reports the error; ending is enough to stop the others.
        if let Err(error) = outcome {
            let _ = fatal.send(error);
        }
        Ok::<_, TaskError>(())
    });

    let reason = lifecycle.run_until_stopped().await;
    failed.try_recv().map_or(Ok(reason), Err)
}

async fn endless(task: impl Future<Output = ()>) -> Result<(), TaskError> {
    task.await;
    Ok(())
}

/// Everything that needs the database.
pub(super) struct Workers {
    /// As it was at the start: values taken from here need a restart to change.
    pub(super) config: Config,
    pub(super) updates: Updates,
    pub(super) pool: PgPool,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Arc<dyn Clock>,
    readiness: watch::Sender<Readiness>,
    page: watch::Sender<Option<Counted>>,
    pub(super) stop: CancellationToken,
}

/// Begins a worker, which returns its name when it ends.
pub(super) fn begin(
    tasks: &mut JoinSet<&'static str>,
    name: &'static str,
    work: impl Future<Output = ()> + Send + 'static,
) {
    tasks.spawn(task::named(name, async move {
        work.await;
        name
    }));
}

/// What connects us to the companion modules.
pub(super) struct Modules {
    pub(super) link: Link,
    pub(super) notices: mpsc::Receiver<Notice>,
    pub(super) leading: watch::Receiver<bool>,
}

/// What the workers report about themselves: the state of inspection and of the sweep, and what blocks erasing.
pub(super) struct Reports {
    pub(super) state: watch::Sender<Inspection>,
    pub(super) sweeping: Sweeping,
    pub(super) blocked: watch::Sender<Option<String>>,
}

impl Workers {
    async fn run(
        self,
        migrate: bool,
        modules: Modules,
        questions: mpsc::Receiver<Question>,
    ) -> Result<(), Error> {
        let Some(archive) = self.wait_for_database(migrate).await? else {
            return Ok(());
        };
        let (trials, asked) = mpsc::channel(MOST_TRIALS);
        let bells = Bells { trials: Some(trials), ..Bells::default() };
        let (state, states) = watch::channel(Inspection { caught_up: None, reachable: true });
        let (under_way, sweeps) = watch::channel(false);
        // The backlog is released only once sweeps have stopped holding entries.
        let (holding, holds) = watch::channel(self.updates.sweep.borrow().hold_backlog);
        let (blocked, blocks) = watch::channel(None);
        let reports = Reports { state, sweeping: Sweeping { under_way, holding }, blocked };
        let counted = GaugeSettings {
            hosts: self.config.archive.hosts.clone(),
            tables: match &archive {
                Some(archive) => archive.tables().iter().map(|it| it.name().to_owned()).collect(),
                None => vec![presence::SWEEP.to_owned()],
            },
        };
        let stop = || self.stop.clone();
        let mut tasks = JoinSet::new();
        let (state_sender, daemon_state) = watch::channel(DaemonState::default());
        let connection = modules.link.connection();
        let telling = tell_state(
            state_sender,
            modules.leading.clone(),
            connection,
            Arc::clone(&self.metrics),
            stop(),
        );
        begin(&mut tasks, "state", telling);
        let hosts = self.config.archive.hosts.clone();
        let trials = send_trials(self.pool.clone(), modules.link.clone(), hosts, asked, stop());
        begin(&mut tasks, "trials", trials);
        self.spawn_canary(&mut tasks, &modules, states.clone());
        let answering = archive.clone();
        match archive {
            Some(archive) => self.spawn_for_tables(&mut tasks, archive, modules, &bells, reports),
            None => self.spawn_for_modules(&mut tasks, modules, &bells, reports),
        }
        begin(
            &mut tasks,
            "wake",
            wake::listen(self.pool.clone(), bells, daemon_state, Arc::clone(&self.metrics), stop()),
        );
        let (clock, metrics) = (Arc::clone(&self.clock), Arc::clone(&self.metrics));
        let gauges = gauges::run(self.pool.clone(), counted, clock, metrics, self.page, stop());
        begin(&mut tasks, "gauges", gauges);
        let (pool, metrics) = (self.pool.clone(), Arc::clone(&self.metrics));
        let ledger = (pool, self.updates.age.clone(), answering);
        begin(&mut tasks, "commands", commands::answer(ledger, questions, metrics, stop()));
        let metrics = Arc::clone(&self.metrics);
        begin(&mut tasks, "backlog", release_backlog(self.pool.clone(), metrics, holds, stop()));
        begin(
            &mut tasks,
            "readiness",
            tell_readiness(self.readiness, self.clock, states, sweeps, blocks, stop()),
        );
        // Whichever worker ends first ends all: none may be missing unnoticed.
        while let Some(ended) = tasks.join_next().await {
            match ended {
                Ok(_) if self.stop.is_cancelled() => {}
                Ok(name) => return Err(Error::WorkerEnded(name)),
                Err(_) => return Err(Error::WorkerPanicked),
            }
        }
        Ok(())
    }

    /// The workers for archives in the server's tables; a companion module is optional.
    fn spawn_for_tables(
        &self,
        tasks: &mut JoinSet<&'static str>,
        archive: Archive,
        modules: Modules,
        bells: &Bells,
        Reports { state, sweeping, blocked }: Reports,
    ) {
        let (scrubs, to_scrub) = mpsc::channel(scrub::MOST_SCRUBS);
        let tail = Arc::new(Notify::new());
        let stop = || self.stop.clone();
        let remembered = self.spawn_remembered(tasks, modules.link.clone());
        let (link, whole_seconds) = (modules.link.clone(), !archive.numbers_are_stamps());
        self.spawn_everyone(tasks, link, whole_seconds, bells);
        let files = FileEraser::new(
            self.pool.clone(),
            archive.clone(),
            modules.link.clone(),
            Changing::new(self.updates.files.clone()),
            Arc::clone(&self.metrics),
        );
        begin(tasks, "files", files.run(Arc::clone(&bells.files), stop()));
        begin(tasks, "scrub", scrub::scrub(modules.link.clone(), to_scrub, stop()));
        let (inspect, sweep) = (
            Changing::new(self.updates.inspect.clone()),
            Changing::new(self.updates.sweep.clone()),
        );
        // The sweep takes new rules after the tail has, and then corrects what the tail recorded under the old ones.
        let (judging, judged) = watch::channel(inspect.rules.clone());
        let unheard = Unheard::new(&self.config.archive.hosts, Arc::clone(&bells.wake));
        let listener = Listener::new(
            self.pool.clone(),
            modules.link,
            archive.clone(),
            judged.clone(),
            self.config.archive.hosts.clone(),
            Arc::clone(&self.metrics),
            Outputs { tail: Arc::clone(&tail), remembered, unheard: unheard.clone() },
        );
        begin(tasks, "notices", listener.run(modules.notices, stop()));
        let (pace, notified) = (self.erase_pace(&bells.wake), Notified { scrubs, blocked });
        let eraser = TableEraser::new(self.pool.clone(), archive.clone(), unheard, pace, notified);
        let age = AgeEraser::new(
            self.pool.clone(),
            archive.clone(),
            Changing::new(self.updates.age.clone()),
            Arc::clone(&self.metrics),
            Arc::clone(&bells.commands),
        );
        let states = state.subscribe();
        let inspector = Inspector::new(
            self.pool.clone(),
            archive.clone(),
            inspect,
            Arc::clone(&self.metrics),
            state,
            judging,
        );
        self.spawn_watchers(tasks, &archive, modules.leading);
        let sweeper = Sweeper::new(
            self.pool.clone(),
            archive,
            sweep,
            Changing::new(judged),
            Arc::clone(&self.metrics),
        );
        begin(tasks, "age", age.run(stop()));
        begin(tasks, "inspect", inspector.run(tail, stop()));
        let stopped = stop();
        begin(tasks, "erase", async move {
            stopped.run_until_cancelled(read_once(states)).await;
            eraser.run(stopped).await;
        });
        begin(tasks, "sweep", sweeper.run(sweeping, stop()));
    }

    pub(super) fn erase_pace(&self, bell: &Arc<Wake>) -> Pace {
        let settings = Changing::new(self.updates.erase.clone());
        Pace::new(settings, Arc::clone(&self.metrics), Arc::clone(bell))
    }

    /// Waits until the database is reachable and as required. `None` if stopped meanwhile; the archive is
    /// `None` if it is not in the database.
    async fn wait_for_database(&self, migrate: bool) -> Result<Option<Option<Archive>>, Error> {
        let mut wait = Duration::from_millis(250);
        let mut logged = false;
        loop {
            let attempt = prepare(self.pool.clone(), &self.config, migrate);
            let error = match self.stop.run_until_cancelled(attempt).await {
                None => return Ok(None),
                Some(Ok(archive)) => {
                    if logged {
                        info!("the database is ready");
                    }
                    return Ok(Some(archive));
                }
                Some(Err(Error::Database(error))) => error,
                Some(Err(error)) => return Err(error),
            };
            self.metrics.database_errors.inc();
            if !logged {
                warn!(%error, "the database is not ready yet, will retry");
                logged = true;
            }
            self.stop.run_until_cancelled(tokio::time::sleep(wait)).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }
}

/// The database as required, with the archive if it is in there; or what is wrong.
async fn prepare(pool: PgPool, config: &Config, migrate: bool) -> Result<Option<Archive>, Error> {
    // Detached: migrating changes the session's settings.
    let mut connection = pool.acquire().await.named("connect").map_err(pooled)?.detach();
    are_our_own(&mut connection, &DatabaseSettings::new(config.database.options())).await?;
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
