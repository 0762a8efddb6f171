//! Reports that the command line and HTTP render.

mod readiness;

pub use readiness::{Readiness, ReadinessReport};
