use std::time::Duration;

use nix::{time::clock_getcpuclockid, unistd::Pid};

use crate::{Context as _, LabError, Result};

/// Linux reports the processor time of processes that have ended in hundredths of a second.
const TICKS_PER_SECOND: u64 = 100;

/// A process's resource usage so far, as the kernel counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Processor time, of all threads, including ended ones.
    pub cpu: Duration,
    /// Its peak memory in bytes.
    pub peak_bytes: u64,
}

impl Usage {
    /// Reads the process's clock, and `/proc`.
    pub fn of(pid: i32) -> Result<Self> {
        let malformed = || LabError::new("/proc says something new");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: u64 =
            peak.and_then(|it| it.split_whitespace().next()?.parse().ok()).ok_or_else(malformed)?;
        Ok(Self { cpu: cpu(pid)?, peak_bytes: kib * 1024 })
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
        let [_, user, system] = fields(pid)?;
        let mut family =
            cpu(pid)? + Duration::from_millis((user + system) * 1_000 / TICKS_PER_SECOND);
        for entry in std::fs::read_dir("/proc")? {
            let Some(child) = entry?.file_name().to_str().and_then(|it| it.parse().ok()) else {
                continue;
            };
            // One that ends meanwhile is counted in its parent the next time.
            let Ok([parent, ..]) = fields(child) else { continue };
            if i32::try_from(parent) == Ok(pid) {
                family += cpu(child).unwrap_or_default();
            }
        }
        Ok(family)
    }
}

/// A process's own clock, in nanoseconds.
fn cpu(pid: i32) -> Result<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(pid)).context("a process's clock")?;
    Ok(clock.now().context("a process's clock")?.into())
}

/// The parent, then ticks: the user and system time of children that have ended.
fn fields(pid: i32) -> Result<[u64; 3]> {
    let malformed = || LabError::new("/proc says something new");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may contain spaces; the fields after it are counted from its end.
    let (_, fields) = stat.rsplit_once(") ").ok_or_else(malformed)?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let field = |at: usize| fields.get(at)?.parse().ok();
    let wanted = [1, 13, 14].map(field);
    let all: Option<Vec<u64>> = wanted.into_iter().collect();
    all.and_then(|it| it.try_into().ok()).ok_or_else(malformed)
}
