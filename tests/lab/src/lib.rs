//! A laboratory for ephemerd's tests, its demo and its bench: private servers on loopback, raw XMPP clients, and a checker
//! that judges by what those servers show, never by what ephemerd says of itself.
//!
//! It never depends on `ephemerd`: what it knows of the daemon is its command line, its configuration file and its HTTP pages.
//!
//! All servers are Debian's, each started by us on free ports with a folder of its own, and ended by its pid: when the value is
//! dropped, and when our process ends, however it ends.

mod database;
mod error;
mod figures;
mod lab;
mod launch;
mod ports;
mod process;
mod scratch;
mod server;
mod wait;
mod words;

pub mod checker;
pub mod daemon;
pub mod http;
pub mod pgbouncer;
pub mod postgres;
pub mod prometheus;
pub mod prosody;
pub mod rows;
mod shadow;
pub mod snapshot;
pub mod xmpp;

pub use checker::{Archive, Checker, Verdict};
pub use daemon::{Daemon, DaemonConfig};
pub use database::Database;
pub use error::{Context, LabError, Result};
pub use figures::Figures;
pub use lab::Lab;
pub use launch::Output;
pub use nix::sys::signal::Signal;
pub use pgbouncer::PgBouncer;
pub use ports::free_address;
pub use postgres::{Postgres, PostgresConfig};
pub use process::Process;
pub use prometheus::Prometheus;
pub use prosody::{Prosody, ProsodyConfig};
pub use server::{Endpoints, Server};
pub use shadow::{Shadow, Standing};
pub use snapshot::Snapshot;
pub use wait::{PATIENCE, eventually};
pub use words::Words;
