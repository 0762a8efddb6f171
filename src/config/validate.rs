//! Validates each value: its type, its range, and how values fit together. The defaults are here.

use std::net::SocketAddr;
use std::time::Duration;

use super::address::{account as host_of, domain};
use super::error::ConfigError;
use super::judge::{CENTURY, Judge};
use super::raw::{
    RawArchive, RawCanary, RawCommands, RawComponent, RawConfig, RawDatabase, RawErase, RawHints,
    RawHttp, RawInherit, RawLog, RawOffline, RawRooms, RawSweep, RawTimers,
};
use super::sources::Sources;
use super::types::{
    ArchiveConfig, ArchiveKind, BacklogRule, CanaryConfig, CommandsConfig, ComponentConfig,
    DatabaseConfig, EraseConfig, EraseMode, HttpConfig, LogConfig, LogFormat, LogLevel,
    SweepConfig,
};
use super::{Config, DatabaseUrl, duration};
use crate::component::ServerAddress;
use crate::model::{Address, HintRules, InheritRules, RoomRules, TimerRules, WishRules};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// 10,000,000 rows in 200 s, at some 30 MB/s.
const SWEPT_ROWS_PER_SECOND: u32 = 50_000;

type Result<T> = std::result::Result<T, ConfigError>;

pub(super) fn config(sources: &Sources) -> Result<Config> {
    let (raw, layers) = sources.read()?;
    let judge = Judge::new(sources, &layers);
    let RawConfig {
        component,
        database,
        archive,
        timers,
        hints,
        rooms,
        inherit,
        offline,
        erase,
        uploads,
        retention,
        sweep,
        canary,
        commands,
        http,
        log,
    } = raw;
    let component = judge.component(component)?;
    let database = judge.database(database)?;
    let archive = judge.archive(archive)?;
    let timers = judge.timers(timers, offline)?;
    let retention = judge.retention(retention, &archive)?;
    let uploads = judge.uploads(uploads, &archive)?;
    let canary = judge.canary(canary, &archive, &timers)?;
    Ok(Config {
        component,
        database,
        archive,
        timers,
        hints: judge.hints(hints)?,
        rooms: judge.rooms(rooms)?,
        inherit: judge.inherit(inherit)?,
        erase: judge.erase(erase)?,
        uploads,
        retention,
        sweep: judge.sweep(sweep)?,
        canary,
        commands: judge.commands(commands)?,
        http: judge.http(http)?,
        log: judge.log(log)?,
        settings: judge.settings(),
        remarks: judge.remarks(),
    })
}

impl Judge<'_> {
    fn component(&self, raw: RawComponent) -> Result<ComponentConfig> {
        let jid =
            self.required("component.jid", raw.jid, "write jid = \"ephemerd.example.org\"")?;
        domain(&jid).map_err(|problem| {
            self.invalid(
                "component.jid",
                problem,
                "write a domain in lower case: ephemerd.example.org",
            )
        })?;
        let server =
            self.required("component.server", raw.server, "write server = \"127.0.0.1:5347\"")?;
        let server: ServerAddress = server.parse().map_err(|_| {
            self.invalid(
                "component.server",
                "is neither host:port nor unix:/path",
                "write \"127.0.0.1:5347\", \"[::1]:5347\" or \"unix:/run/prosody/component.sock\"",
            )
        })?;
        self.show("component.jid", jid.as_str());
        self.show("component.server", server.to_string());
        let keys = ["component.secret", "component.secret_file"];
        let secret = self.secret(keys, raw.secret, raw.secret_file)?.ok_or_else(|| {
            self.missing(
                "component.secret",
                "write secret_file = \"/etc/ephemerd/component.secret\", or secret = \"…\"; \
                 the XMPP server's configuration has the same",
            )
        })?;
        Ok(ComponentConfig { jid, server, secret })
    }

    fn database(&self, raw: RawDatabase) -> Result<DatabaseConfig> {
        let example = "postgres://ephemerd@127.0.0.1/prosody";
        let url = self.required("database.url", raw.url, &format!("write url = \"{example}\""))?;
        let url = DatabaseUrl::parse(&url)
            .map_err(|fault| self.invalid("database.url", fault.problem, fault.remedy))?;
        if url.has_password() {
            self.look_at_inline("database.url");
        }
        self.can_open("database.url", url.files())?;
        self.knows_ssl_mode(&url)?;
        self.show("database.url", url.to_string());
        let keys = ["database.password", "database.password_file"];
        let password = self.secret(keys, raw.password, raw.password_file)?;
        if password.is_some() && url.has_password() {
            return Err(self.invalid(
                "database.url",
                "contains a password, and another one is set",
                "take the password out of the URL, or remove password and password_file",
            ));
        }
        Ok(DatabaseConfig { url, password })
    }

    fn archive(&self, raw: RawArchive) -> Result<ArchiveConfig> {
        let kind = self.text("archive.kind", raw.kind)?;
        let kind = kind.ok_or_else(|| self.missing("archive.kind", "write kind = \"prosody\""))?;
        let kind = self.choice::<ArchiveKind>("archive.kind", &kind)?;
        let hosts = self.hosts(raw.hosts)?;
        let poll = self.span("archive.poll", raw.poll, MILLISECOND * 50..=MINUTE, SECOND)?;
        let max_lag = self.span("archive.max_lag", raw.max_lag, SECOND..=DAY, SECOND * 30)?;
        if max_lag <= poll {
            return Err(self.invalid(
                "archive.max_lag",
                format!("is not longer than archive.poll ({})", duration::print(poll)),
                "give it several times archive.poll, or the daemon would never be ready",
            ));
        }
        Ok(ArchiveConfig { kind, hosts, poll, max_lag })
    }

    fn timers(&self, raw: RawTimers, older: RawOffline) -> Result<TimerRules> {
        let default = TimerRules::default();
        let range = Duration::ZERO..=CENTURY;
        let min = self.span("timers.min", raw.min, range.clone(), default.min)?;
        // 0 would erase every marked message at once, but elsewhere 0 means no limit.
        let max = self.span_or("none", "timers.max", raw.max, SECOND..=CENTURY, default.max)?;
        let negotiation_for = self.span(
            "timers.negotiation_for",
            raw.negotiation_for,
            range,
            default.negotiation_for,
        )?;
        let start = self.choice_or("timers.start", raw.start, default.start)?;
        let unread_for = self.unread_for(raw.unread_for, older.undelivered_for)?;
        let read_evidence = self.read_evidence(raw.read_evidence)?;
        let once_for =
            self.span("timers.once_for", raw.once_for, Duration::ZERO..=CENTURY, default.once_for)?;
        let legacy_expiry =
            self.flag("timers.legacy_expiry", raw.legacy_expiry, default.legacy_expiry)?;
        match max {
            Some(max) if max < min => Err(self.invalid(
                "timers.max",
                format!("is shorter than timers.min ({})", duration::print(min)),
                "make timers.min at most timers.max",
            )),
            _ => Ok(TimerRules {
                min,
                max,
                negotiation_for,
                start,
                unread_for,
                read_evidence,
                once_for,
                legacy_expiry,
            }),
        }
    }

    fn hints(&self, raw: RawHints) -> Result<HintRules> {
        let default = HintRules::default();
        let keep_for =
            self.span("hints.keep_for", raw.keep_for, Duration::ZERO..=CENTURY, default.keep_for)?;
        let conflict = self.choice_or("hints.conflict", raw.conflict, default.conflict)?;
        Ok(HintRules { keep_for, conflict })
    }

    fn rooms(&self, raw: RawRooms) -> Result<RoomRules> {
        let start = self.choice_or("rooms.start", raw.start, RoomRules::default().start)?;
        Ok(RoomRules { start, ignore_readers: self.ignore_readers(raw.ignore_readers)? })
    }

    fn inherit(&self, raw: RawInherit) -> Result<InheritRules> {
        let default = InheritRules::default();
        Ok(InheritRules { quotes: self.choice_or("inherit.quotes", raw.quotes, default.quotes)? })
    }

    fn erase(&self, raw: RawErase) -> Result<EraseConfig> {
        Ok(EraseConfig {
            mode: self.choice_or("erase.mode", raw.mode, EraseMode::Auto)?,
            placeholder_for: self.span(
                "erase.placeholder_for",
                raw.placeholder_for,
                Duration::ZERO..=CENTURY,
                DAY * 30,
            )?,
            batch: self.whole("erase.batch", raw.batch, 1..=100_000, 1000)?,
            rows_per_second: self.rate("erase.rows_per_second", raw.rows_per_second, 0)?,
            dry_run: self.flag("erase.dry_run", raw.dry_run, false)?,
            backlog: self.choice_or("erase.backlog", raw.backlog, BacklogRule::Hold)?,
        })
    }

    fn sweep(&self, raw: RawSweep) -> Result<SweepConfig> {
        let key = "sweep.rows_per_second";
        Ok(SweepConfig {
            every: self.span("sweep.every", raw.every, MINUTE..=CENTURY, DAY)?,
            rows_per_second: self.rate(key, raw.rows_per_second, SWEPT_ROWS_PER_SECOND)?,
        })
    }

    fn canary(
        &self,
        raw: RawCanary,
        archive: &ArchiveConfig,
        timers: &TimerRules,
    ) -> Result<CanaryConfig> {
        let text = self.text("canary.account", raw.account)?;
        let text = text.filter(|it| it != "none");
        let account = text.as_deref().map(|text| {
            let remedy =
                "write the bare address of an account on one of archive.hosts, or \"none\"";
            let host =
                host_of(text).map_err(|fault| self.invalid("canary.account", fault, remedy))?;
            if !archive.hosts.iter().any(|it| it == host) {
                return Err(self.invalid("canary.account", "is on none of archive.hosts", remedy));
            }
            let local = text.split('@').next().unwrap_or_default().to_owned();
            Ok(Address { host: host.to_owned(), local })
        });
        let account = account.transpose()?;
        self.show("canary.account", text.as_deref().unwrap_or("none"));
        let every = self.span("canary.every", raw.every, SECOND * 10..=CENTURY, HOUR)?;
        let shortest = timers.min + MINUTE;
        if account.is_some() && timers.min > SECOND * 10 && every <= shortest {
            return Err(self.invalid(
                "canary.every",
                format!(
                    "is not longer than timers.min and a minute ({})",
                    duration::print(shortest)
                ),
                "the message exists for timers.min at least: write a longer interval",
            ));
        }
        Ok(CanaryConfig { account, every })
    }

    fn commands(&self, raw: RawCommands) -> Result<CommandsConfig> {
        Ok(CommandsConfig {
            enabled: self.flag("commands.enabled", raw.enabled, true)?,
            erase: self.flag("commands.erase", raw.erase, false)?,
            settings: self.flag("commands.settings", raw.settings, false)?,
            shortest_archive_for: self.span(
                "commands.shortest_archive_for",
                raw.shortest_archive_for,
                SECOND..=CENTURY,
                WishRules::SHORTEST,
            )?,
            per_minute: self.whole("commands.per_minute", raw.per_minute, 1..=1000, 30)?,
        })
    }

    fn http(&self, raw: RawHttp) -> Result<HttpConfig> {
        let listen = self.text("http.listen", raw.listen)?;
        let listen = listen.as_deref().unwrap_or("127.0.0.1:10466");
        let listen: SocketAddr = listen.parse().map_err(|_| {
            self.invalid(
                "http.listen",
                "is not an IP address with a port",
                "write \"127.0.0.1:10466\", or \"[::]:10466\" for every interface",
            )
        })?;
        self.show("http.listen", listen.to_string());
        Ok(HttpConfig { listen })
    }

    fn log(&self, raw: RawLog) -> Result<LogConfig> {
        Ok(LogConfig {
            level: self.choice_or("log.level", raw.level, LogLevel::Info)?,
            format: self.choice_or("log.format", raw.format, LogFormat::Human)?,
        })
    }
}
