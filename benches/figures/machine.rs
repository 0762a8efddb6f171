//! The kind of machine that figures were measured on.

use std::fs::read_to_string;

use serde::{Deserialize, Serialize};

/// What matters about it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: u64,
    pub(crate) system: String,
}

impl Machine {
    /// The one that this runs on; unknown values stay empty.
    pub(crate) fn this() -> Self {
        let value = |file: &str, key: &str| {
            let text = read_to_string(file).unwrap_or_default();
            let line = text.lines().find(|it| it.starts_with(key)).unwrap_or_default();
            let value = line.split_once([':', '=']).map_or("", |it| it.1);
            value.trim().trim_matches('"').to_owned()
        };
        let kib = value("/proc/meminfo", "MemTotal");
        let kib: u64 = kib.split(' ').next().and_then(|it| it.parse().ok()).unwrap_or(0);
        Self {
            processor: value("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: (kib + (1 << 19)) >> 20,
            system: value("/etc/os-release", "PRETTY_NAME"),
        }
    }

    /// As a sentence.
    pub(crate) fn sentence(&self) -> String {
        let Self { processor, cores, memory_gib, system } = self;
        format!("Measured on {cores} cores of {processor}, {memory_gib} GiB of memory, {system}.")
    }
}
