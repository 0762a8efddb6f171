//! Reports that the command line and HTTP render.

mod readiness;
mod status;

pub use readiness::{Readiness, ReadinessReport};
pub use status::{Status, status};
