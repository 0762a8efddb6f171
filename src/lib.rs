//! ephemerd erases messages from an XMPP server's archives when their timers run out.
//!
//! The path of the data:
//!
//! ```text
//! archived stanza ─▶ inspect ─▶ record the expiry ─▶ due ─▶ erase ─▶ forget ─▶ count
//! ```
//!
//! A module uses only lower layers (a test checks it):
//!
//! | layer | modules | |
//! |---|---|---|
//! | 0 | [`model`] | the types that all layers share |
//! | 1 | [`stanza`], [`policy`], [`database`], [`words`] | XML → facts; facts and rules → verdict; both pure; access to PostgreSQL; words for users |
//! | 2 | [`archive`], [`ledger`] | the server's tables; our tables |
//! | 3 | [`work`], [`ops`] | inspect, erase, sweep; reports |
//! | 4 | [`component`], [`http`] | external interfaces; no SQL |
//! | 5 | [`app`], [`cli`], [`config`], [`lifecycle`], [`telemetry`] | everything that wires it together |
//!
//! [`metrics`] and [`task`] are leaves that any layer may use.

pub mod app;
pub mod archive;
pub mod cli;
pub mod component;
pub mod config;
pub mod database;
pub mod http;
pub mod ledger;
pub mod lifecycle;
pub mod metrics;
pub mod model;
pub mod ops;
pub mod policy;
pub mod stanza;
pub mod task;
pub mod telemetry;
pub mod words;
pub mod work;
