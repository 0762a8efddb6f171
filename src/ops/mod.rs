//! Reports that the command line and HTTP render.

mod readiness;
mod scan;
mod status;

pub use readiness::{Readiness, ReadinessReport};
pub use scan::{Scan, ScanProgress, scan};
pub use status::{Status, status};
