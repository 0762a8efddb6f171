//! Reports that the command line and HTTP render.

mod explain;
mod readiness;
mod scan;
mod status;
pub mod text;

pub use explain::{Afterwards, Explainer, Explanation, Found, Given, Live, find_entries};
pub use readiness::{Readiness, ReadinessReport};
pub use scan::{Scan, ScanProgress, scan};
pub use status::{Status, status};
