use std::time::Duration;

use crate::{LabError, Result};

/// Linux tells processor time in hundredths of a second.
const TICKS_PER_SECOND: u64 = 100;

/// What a process has used so far, as the kernel counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Processor time, of all threads.
    pub cpu: Duration,
    /// The most memory that it ever held, in bytes.
    pub peak_bytes: u64,
}

impl Usage {
    /// Reads `/proc`.
    pub fn of(pid: i32) -> Result<Self> {
        let malformed = || LabError::new("/proc says something new");
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name may hold spaces; the fields after it are counted from its end.
        let (_, fields) = stat.rsplit_once(") ").ok_or_else(malformed)?;
        let ticks: u64 =
            fields.split(" ").skip(11).take(2).filter_map(|it| it.parse::<u64>().ok()).sum();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: u64 =
            peak.and_then(|it| it.split_whitespace().next()?.parse().ok()).ok_or_else(malformed)?;
        Ok(Self {
            cpu: Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND),
            peak_bytes: kib * 1024,
        })
    }
}
