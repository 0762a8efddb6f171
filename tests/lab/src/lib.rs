//! A laboratory for ephemerd's tests, its demo and its bench: private servers on loopback, raw XMPP clients and components, and a checker
//! that judges by what those servers show, never by what ephemerd says of itself.
//!
//! It never depends on `ephemerd`: what it knows of the daemon is its command line, its configuration file and its HTTP pages.
//!
//! All servers are Debian's, each started by us on free ports with a folder of its own, and ended by its pid: when the value is
//! dropped, and when our process ends, however it ends.
//!
//! ```text
//! let lab = Lab::prosody().await?;                       // or Lab::database_only()
//! let daemon = Daemon::start(program, &lab.daemon_config().set("erase.mode", "delete")).await?;
//! let mut peter = lab.online("peter").await?;
//! let mut rosa = lab.online("rosa").await?;
//! let word = Words::random().word();
//! peter.chat("rosa@localhost", &word, "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='3'/>").await?;
//! rosa.wait_for_body(&word).await?;
//!
//! let mut checker = Checker::new();
//! checker.goes(&word, &[Archive::user("peter"), Archive::user("rosa")], said + 3 s, said + 6 s);
//! let before = lab.snapshots().await?;
//! sleep_until(checker.last_by()).await;
//! let verdict = checker.judge(&lab, &before).await?;
//! assert!(verdict.is_good(), "{verdict}");
//! ```

mod database;
mod error;
mod figures;
mod gate;
mod lab;
mod launch;
mod load;
mod ports;
mod process;
mod scratch;
mod server;
mod slot;
mod usage;
mod wait;
mod words;

pub mod checker;
pub mod chromium;
pub mod daemon;
pub mod ejabberd;
pub mod http;
pub mod layouts;
pub mod patroni;
pub mod pgbouncer;
pub mod postgres;
pub mod prometheus;
pub mod prosody;
mod release;
pub mod reliability;
pub mod rows;
mod shadow;
pub mod snapshot;
pub mod xmpp;

pub use checker::{Archive, Checker, Verdict};
pub use chromium::{Chromium, Look};
pub use daemon::{Daemon, DaemonConfig};
pub use database::Database;
pub use ejabberd::{Ejabberd, EjabberdConfig};
pub use error::{Context, LabError, Result};
pub use figures::Figures;
pub use gate::Gate;
pub use lab::Lab;
pub use launch::Output;
pub use load::{Load, MARKED};
pub use nix::sys::signal::Signal;
pub use patroni::Patroni;
pub use pgbouncer::PgBouncer;
pub use ports::free_address;
pub use postgres::{Postgres, PostgresConfig};
pub use process::Process;
pub use prometheus::Prometheus;
pub use prosody::{Prosody, ProsodyConfig};
pub use release::Release;
pub use server::{Endpoints, Server};
pub use shadow::{Shadow, Standing};
pub use slot::Slot;
pub use snapshot::Snapshot;
pub use usage::Usage;
pub use wait::{PATIENCE, eventually};
pub use words::Words;
