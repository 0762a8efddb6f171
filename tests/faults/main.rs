//! Real servers under a steady load are broken on purpose; each fault ends with an exact check, and a section
//! in docs/evidence.md. `./dev test --faults [NAME…]`; `--list` lists the faults; LAB_SEED repeats a run.

mod clocks;
mod companions;
mod database;
mod floods;
mod house;
mod kills;
mod operators;
mod restores;
mod secrets;
mod servers;
mod several;
mod sizes;

use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use ephemerd_lab::{LabError, Result, Words};
use tokio::time::{Instant, timeout};

/// Timeout of a fault; one that takes longer has failed.
const LONGEST: Duration = Duration::from_secs(1_800);

type Run = Pin<Box<dyn Future<Output = Result<()>>>>;

/// A fault: its name, and the function that runs it with a seed.
struct Fault(&'static str, fn(u64) -> Run);

macro_rules! faults {
    ($($module:ident::$name:ident),* $(,)?) => {
        [$(Fault(stringify!($name), |seed| Box::pin($module::$name(seed)))),*]
    };
}

const FAULTS: &[Fault] = &faults![
    kills::killed_at_each_step,
    kills::killed_at_random,
    database::postgresql_stopped_and_started,
    database::postgresql_paused,
    database::connections_cut_in_a_batch,
    database::too_many_connections,
    database::the_disk_is_full,
    database::statements_cancelled,
    database::the_servers_clean_up,
    database::locks_on_archive_rows,
    servers::prosody_tormented,
    servers::ejabberd_tormented,
    companions::prosodys_module_tormented,
    companions::ejabberds_module_tormented,
    clocks::stamps_from_the_future,
    clocks::the_daemons_clock_is_off,
    restores::everything_is_restored,
    restores::the_archive_alone_is_restored,
    restores::restored_while_the_daemon_is_away,
    several::two_daemons,
    several::four_daemons,
    operators::accounts_and_rooms_come_and_go,
    operators::hosts_come_and_go,
    operators::timers_change_for_what_is_recorded,
    sizes::much_is_due_at_once,
    sizes::unreadable_rows,
    sizes::long_stanzas,
    sizes::a_migration_is_interrupted,
    sizes::the_first_start_on_a_large_archive,
    floods::requests_to_the_component,
    floods::a_raw_stream,
    floods::http_is_flooded,
    secrets::nothing_is_left_of_secrets,
    secrets::a_release_has_no_crash_points,
];

/// Fails with what was seen unless this holds.
macro_rules! ensure {
    ($holds:expr, $($seen:tt)+) => {
        if !$holds {
            return Err(ephemerd_lab::LabError::new(format!($($seen)+)));
        }
    };
}
use ensure;

#[expect(clippy::print_stdout, reason = "this is what the suite is run for")]
fn main() -> ExitCode {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    if asked.iter().any(|it| it == "--list") {
        FAULTS.iter().for_each(|fault| println!("{}", fault.0));
        return ExitCode::SUCCESS;
    }
    let names: Vec<&String> = asked.iter().filter(|it| !it.starts_with('-')).collect();
    let chosen = |fault: &&Fault| {
        names.is_empty() || names.iter().any(|name| fault.0.contains(name.as_str()))
    };
    let seed = Words::random().seed();
    let (mut done, mut failed) = (0, Vec::new());
    let started = Instant::now();
    for Fault(name, run) in FAULTS.iter().filter(chosen) {
        println!("{name} …");
        let begun = Instant::now();
        match alone(run(seed)) {
            Ok(()) => println!("{name}: survived, {:.0} s", begun.elapsed().as_secs_f64()),
            Err(error) => {
                println!("{name}: FAILED with LAB_SEED={seed}: {error}");
                failed.push(*name);
            }
        }
        done += 1;
    }
    let took = started.elapsed().as_secs_f64() / 60.0;
    println!("{done} faults in {took:.1} minutes, seed {seed}; failed: {failed:?}");
    if failed.is_empty() && done > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one fault in its own runtime, so that nothing of it survives.
fn alone(run: Run) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(async { timeout(LONGEST, run).await });
    runtime.shutdown_timeout(Duration::from_secs(5));
    outcome.unwrap_or_else(|_| Err(LabError::new(format!("not done after {LONGEST:?}"))))
}
