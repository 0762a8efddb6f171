use std::time::Duration;

use crate::{LabError, Result};

/// Linux reports processor time in hundredths of a second.
const TICKS_PER_SECOND: u64 = 100;

/// A process's resource usage so far, as the kernel counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Processor time, of all threads.
    pub cpu: Duration,
    /// Its peak memory in bytes.
    pub peak_bytes: u64,
}

impl Usage {
    /// Reads `/proc`.
    pub fn of(pid: i32) -> Result<Self> {
        let malformed = || LabError::new("/proc says something new");
        let [_, user, system, ..] = fields(pid)?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: u64 =
            peak.and_then(|it| it.split_whitespace().next()?.parse().ok()).ok_or_else(malformed)?;
        Ok(Self { cpu: time(user + system), peak_bytes: kib * 1024 })
    }

    /// How many bytes a process has written so far, to files and sockets.
    pub fn written(pid: i32) -> Result<u64> {
        let malformed = || LabError::new("/proc says something new");
        let io = std::fs::read_to_string(format!("/proc/{pid}/io"))?;
        let written = io.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse().ok());
        written.ok_or_else(malformed)
    }

    /// Processor time of a process and its children, including ended ones.
    pub fn cpu_of_family(pid: i32) -> Result<Duration> {
        let mut ticks: u64 = fields(pid)?.iter().skip(1).sum();
        for entry in std::fs::read_dir("/proc")? {
            let Some(child) = entry?.file_name().to_str().and_then(|it| it.parse().ok()) else {
                continue;
            };
            // One that ends meanwhile is counted in its parent the next time.
            let Ok([parent, user, system, ..]) = fields(child) else { continue };
            if i32::try_from(parent) == Ok(pid) {
                ticks += user + system;
            }
        }
        Ok(time(ticks))
    }
}

fn time(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND)
}

/// The parent, then ticks: its own user and system time, and its ended children's.
fn fields(pid: i32) -> Result<[u64; 5]> {
    let malformed = || LabError::new("/proc says something new");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may contain spaces; the fields after it are counted from its end.
    let (_, fields) = stat.rsplit_once(") ").ok_or_else(malformed)?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let field = |at: usize| fields.get(at)?.parse().ok();
    let wanted = [1, 11, 12, 13, 14].map(field);
    let all: Option<Vec<u64>> = wanted.into_iter().collect();
    all.and_then(|it| it.try_into().ok()).ok_or_else(malformed)
}
