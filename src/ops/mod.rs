//! Reports, rendered by the command line and HTTP.

mod ages;
mod explain;
mod readiness;
mod scan;
mod status;
pub mod text;

pub use ages::{AgeOutlook, Aged, age_outlook, age_waits};
pub use explain::{
    Afterwards, Aging, Explainer, Explanation, FoundMessage, Given, Live, Recorded, find_entries,
};
pub use readiness::{Readiness, ReadinessReport};
pub use scan::{Scan, ScanProgress, scan};
pub use status::{Status, status};
