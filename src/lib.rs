//! ephemerd erases messages from an XMPP server's archives when their time is over.
//!
//! The data's way through the house:
//!
//! ```text
//! archived stanza ─▶ inspect ─▶ record the expiry ─▶ due ─▶ erase ─▶ forget ─▶ count
//! ```
//!
//! A module uses only lower layers (a test checks it):
//!
//! | layer | modules | |
//! |---|---|---|
//! | 0 | [`model`] | the nouns |
//! | 1 | [`stanza`], [`policy`], [`database`] | XML → facts; facts and rules → verdict: pure; the way into PostgreSQL |
//! | 2 | [`archive`], [`ledger`] | the server's tables; our tables |
//! | 3 | [`work`], [`ops`] | inspect, erase, sweep; reports |
//! | 4 | [`component`], [`http`] | what speaks to others; no SQL here |
//! | 5 | [`app`], [`cli`], [`config`], [`lifecycle`], [`telemetry`] | what builds it all |
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
pub mod work;
