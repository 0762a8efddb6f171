//! Reports, rendered by the command line and HTTP.

mod about;
mod ages;
mod erasable;
mod explain;
mod export;
mod kept;
mod readiness;
mod scan;
mod scan_names;
mod status;
pub mod text;
mod wished;

pub use about::{About, AboutStore, AboutWhom, OwnerHolds, about};
pub use ages::{AgeOutlook, Aged, age_outlook, age_waits};
pub use erasable::{Erasable, erasable};
pub use explain::{
    Afterwards, Aging, Explainer, Explanation, FoundMessage, Given, Live, Recorded, find_entries,
};
pub use export::{Export, ExportCounts, ExportPlace};
pub use kept::{Kept, kept};
pub use readiness::{Readiness, ReadinessReport};
pub use scan::{Scan, ScanProgress, scan};
pub use status::{Status, status};
pub use wished::{GoingByWish, going_by_wish};
