//! The log: to stderr, as text or JSON.
//!
//! Our own lines follow `log.level`. Those of dependencies are limited to WARN whatever the level: below that
//! they print statements and stanzas, which may not be logged. Those of sqlx are dropped: it quotes the
//! database's messages.

use std::io::{self, IsTerminal as _};

use tracing::level_filters::LevelFilter;
use tracing::{Subscriber, subscriber::SetGlobalDefaultError};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::{Layer, Layered, SubscriberExt as _};
use tracing_subscriber::{Registry, reload};

use crate::config::{LogConfig, LogFormat, LogLevel};
use crate::task;

type Filter = reload::Layer<Targets, Registry>;
type Filtered = Layered<Filter, Registry>;
type Lines = Box<dyn Layer<Filtered> + Send + Sync>;

/// Handle to the running log.
pub struct Telemetry {
    filter: reload::Handle<Targets, Registry>,
    lines: reload::Handle<Lines, Filtered>,
    write: Box<dyn Fn(LogFormat) -> Lines + Send + Sync>,
}

impl Telemetry {
    /// Starts this process's log. Fails if there already is one.
    pub fn init(log: &LogConfig) -> Result<Self, SetGlobalDefaultError> {
        let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let (subscriber, telemetry) = build(log, colours, io::stderr);
        tracing::subscriber::set_global_default(subscriber)?;
        log_panics();
        Ok(telemetry)
    }

    /// Applies from the next log line on.
    pub fn change(&self, log: &LogConfig) {
        let changed = self.filter.reload(targets(log.level));
        let changed = changed.and_then(|()| self.lines.reload((self.write)(log.format)));
        // This only fails once the log has ended, and then nobody will read this line either.
        if let Err(error) = changed {
            tracing::error!(%error, "cannot change the log settings");
        }
    }
}

fn build<W>(
    log: &LogConfig,
    colours: bool,
    writer: W,
) -> (impl Subscriber + Send + Sync + use<W>, Telemetry)
where
    W: for<'w> MakeWriter<'w> + Clone + Send + Sync + 'static,
{
    let write = move |format| {
        let lines = fmt::layer().with_writer(writer.clone()).with_ansi(colours);
        match format {
            LogFormat::Human => lines.boxed(),
            LogFormat::Json => lines.json().flatten_event(true).boxed(),
        }
    };
    let (filter, filter_handle) = reload::Layer::new(targets(log.level));
    let (lines, lines_handle) = reload::Layer::new(write(log.format));
    let telemetry =
        Telemetry { filter: filter_handle, lines: lines_handle, write: Box::new(write) };
    (tracing_subscriber::registry().with(filter).with(lines), telemetry)
}

fn targets(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new()
        .with_target(env!("CARGO_CRATE_NAME"), level)
        // Its warnings quote the database's messages, which quote rows. We log our own errors instead.
        .with_target("sqlx", LevelFilter::OFF)
        .with_default(level.min(LevelFilter::WARN))
}

/// A panic's message may quote what was being read, so only its place and task are logged.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let task = task::current();
        tracing::error!(%task, place, "a panic: this is a fault of ephemerd, please report its place");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(log: LogConfig, write: impl FnOnce(&Telemetry)) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let (subscriber, telemetry) = build(&log, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || write(&telemetry));
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn dependencies_are_quiet_whatever_the_level() {
        let log = LogConfig { level: LogLevel::Trace, format: LogFormat::Human };
        let text = logged(log, |_| {
            tracing::trace!(target: "ephemerd::work", "ours");
            tracing::info!(target: "hyper", "theirs");
            tracing::warn!(target: "sqlx::pool", "what the database says");
            tracing::warn!(target: "hyper", "their warning");
        });
        assert!(text.contains("ours"), "{text}");
        assert!(text.contains("their warning"), "{text}");
        assert!(!text.contains("theirs") && !text.contains("database says"), "{text}");
        assert!(!text.contains('\u{1b}'), "colours only on a terminal");
    }

    #[test]
    fn level_and_format_can_change_while_running() {
        let log = LogConfig { level: LogLevel::Error, format: LogFormat::Human };
        let text = logged(log, |telemetry| {
            tracing::info!(target: "ephemerd", "before");
            tracing::warn!(target: "hyper", "their warning");
            telemetry.change(&LogConfig { level: LogLevel::Info, format: LogFormat::Human });
            tracing::info!(target: "ephemerd", rows = 3, "after");
            telemetry.change(&LogConfig { level: LogLevel::Info, format: LogFormat::Json });
            tracing::info!(target: "ephemerd", rows = 4, "and then");
        });
        assert!(!text.contains("before") && !text.contains("their warning"), "{text}");
        let [human, json] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
        assert!(human.ends_with(" INFO ephemerd: after rows=3"), "{text}");
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!((&json["message"], &json["rows"]), (&"and then".into(), &4.into()));
    }

    #[test]
    fn json_is_one_object_in_a_line() {
        let log = LogConfig { level: LogLevel::Info, format: LogFormat::Json };
        let text = logged(log, |_| tracing::info!(target: "ephemerd", rows = 3, "erased"));
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(line["message"], "erased");
        assert_eq!(line["rows"], 3);
        assert_eq!(line["level"], "INFO");
    }
}
