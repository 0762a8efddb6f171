//! Sweeping: goes through the whole archive once, so that nothing remains unknown.
//!
//! `tables` goes through the server's tables in key order; `owners` has the companion module list owner by owner.

pub mod owners;
mod removed;
mod schedule;
mod stale;
mod tables;

pub use self::{
    removed::Removals,
    schedule::Sweeping,
    tables::{Progress, SweepSettings, Sweeper},
};
