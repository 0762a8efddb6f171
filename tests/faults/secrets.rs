//! What a crash leaves behind, and what a release contains.

use std::fs;
use std::path::Path;
use std::process::Command;

use ephemerd_lab::reliability::note;
use ephemerd_lab::{Daemon, LabError, PATIENCE, Result, Signal};

use crate::ensure;
use crate::house::House;

/// The daemon's secrets: not in its command line or environment, and no core is dumped.
pub(crate) async fn nothing_is_left_of_secrets(seed: u64) -> Result<()> {
    let house = House::new(seed).await?;
    let secret = format!("secret-of-the-component-{seed:x}");
    let password = house.database().postgres().password().to_owned();
    let config = house.config().set_file("component.secret_file", &secret);
    let daemon = Daemon::start(crate::house::program(), &config).await?;
    for file in ["cmdline", "environ", "comm", "status"] {
        let read = fs::read(format!("/proc/{}/{file}", daemon.pid()))?;
        let text = String::from_utf8_lossy(&read);
        ensure!(
            !text.contains(&secret) && !text.contains(&password),
            "/proc/PID/{file} tells a secret"
        );
    }
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.pid()))?;
    let cores = limits.lines().find(|line| line.starts_with("Max core file size"));
    let cores = cores.ok_or_else(|| LabError::new("/proc says something new"))?;
    let limit: Vec<_> = cores.split_whitespace().skip(4).take(2).collect();
    ensure!(limit == ["0", "0"], "cores may be dumped: {cores}");
    let held = held_in_memory(&daemon, &password)?;
    daemon.signal(Signal::SIGABRT)?;
    let ended = daemon.wait(PATIENCE).await?;
    ensure!(!core_dumped(ended), "a core was dumped: {ended}");
    let log = daemon.log()?;
    ensure!(!log.contains(&secret) && !log.contains(&password), "the log tells a secret");
    note(
        "a crash leaves no secret",
        "secrets in files; /proc/PID and the log searched; SIGABRT to the daemon",
        &format!(
            "no secret in the command line, the environment or the log; no core dumped, the limit is 0. A debugger of root finds the password {held} times in its memory"
        ),
    )
}

fn core_dumped(status: std::process::ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    status.core_dumped()
}

/// How often these words occur in the process's memory, which a core dump would contain.
fn held_in_memory(daemon: &Daemon, words: &str) -> Result<usize> {
    use std::os::unix::fs::FileExt as _;
    let maps = fs::read_to_string(format!("/proc/{}/maps", daemon.pid()))?;
    let memory = fs::File::open(format!("/proc/{}/mem", daemon.pid()))?;
    let mut found = 0;
    for line in maps.lines().filter(|line| line.contains(" rw-p ") && !line.contains("[v")) {
        let range = line.split(' ').next().and_then(|it| it.split_once('-'));
        let parse = |text: &str| u64::from_str_radix(text, 16).ok();
        let Some((from, to)) = range.and_then(|(from, to)| parse(from).zip(parse(to))) else {
            continue;
        };
        let mut bytes = vec![0; usize::try_from(to - from).unwrap_or(0).min(256 << 20)];
        if memory.read_at(&mut bytes, from).is_ok() {
            found += bytes.windows(words.len()).filter(|it| *it == words.as_bytes()).count();
        }
    }
    Ok(found)
}

/// A release build has no trace of the points at which tests make the daemon die.
pub(crate) async fn a_release_has_no_crash_points(_seed: u64) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    // Built without optimisation: the question is only whether the strings are there.
    let built = Command::new("cargo")
        .current_dir(root)
        .args(["build", "--quiet", "--locked", "--release", "--bin", "ephemerd"])
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
        .env("CARGO_TARGET_DIR", target.join("no-crash-points"))
        .status()?;
    ensure!(built.success(), "the release build failed: {built}");
    let words = ["LAB_CRASH_AT", "LAB_PANIC_AT"];
    let has = |program: &Path| -> Result<bool> {
        let bytes = fs::read(program)?;
        let holds = |word: &str| bytes.windows(word.len()).any(|it| it == word.as_bytes());
        Ok(words.into_iter().any(holds))
    };
    let release = target.join("no-crash-points/release/ephemerd");
    ensure!(has(crate::house::program())?, "the debug build has no crash points: nothing is shown");
    ensure!(!has(&release)?, "a release build has crash points");
    note(
        "a release has no crash points",
        "a release build, and the debug build that the faults use, searched for the variable that lets them die",
        "the debug build has it, the release build has not",
    )
}
