//! What this daemon did, and its state.

use maud::{Markup, html};

use super::View;
use crate::ledger::Sweep;
use crate::metrics::{FailureCause, Metrics};
use crate::model::{Inspected, Mode, Reason, StartedBy, Store};
use crate::ops::text::{ago, count, time};

fn number(counter: u64) -> i64 {
    i64::try_from(counter).unwrap_or(i64::MAX)
}

/// Messages erased by this daemon since its start, by reason and store.
pub(super) fn erased(view: &View<'_>) -> Markup {
    let of = |store: Store, reason: Reason, modes: &[Mode]| -> i64 {
        let counters = modes.iter().map(|mode| view.metrics.erased.of(store, reason, *mode).get());
        number(counters.sum())
    };
    let gone = |store, reason| of(store, reason, &[Mode::Placeholder, Mode::Delete]);
    let by_reason = |reason| Store::ALL.iter().map(|store| gone(*store, reason)).sum::<i64>();
    let by_store = |store| Reason::OF_ROWS.iter().map(|reason| gone(store, *reason)).sum::<i64>();
    let all = Reason::OF_ROWS.iter().map(|reason| by_reason(*reason)).sum();
    let dry = Store::ALL.iter().flat_map(|store| {
        Reason::OF_ROWS.iter().map(|reason| of(*store, *reason, &[Mode::DryRun]))
    });
    let dry: i64 = dry.sum();
    let read = StartedBy::ALL.iter().filter(|it| it.is_read());
    let read = number(read.map(|by| view.metrics.started.of(*by).get()).sum());
    let unread = number(view.metrics.unread_capped.get());
    html! {
        section aria-labelledby="erased" {
            h2 #erased { "Erased since the start" }
            table {
                thead {
                    tr {
                        th scope="col" { "reason" }
                        @for store in Store::ALL { th.number scope="col" { (store) } }
                        th.number scope="col" { "all" }
                    }
                }
                tbody {
                    @for reason in Reason::OF_ROWS {
                        tr {
                            th scope="row" { (reason) }
                            @for store in Store::ALL { td.number { (count(gone(store, reason))) } }
                            td.number { (count(by_reason(reason))) }
                        }
                    }
                }
                tfoot {
                    tr {
                        th scope="row" { "all" }
                        @for store in Store::ALL { td.number { (count(by_store(store))) } }
                        td.number { (count(all)) }
                    }
                }
            }
            dl.facts {
                dt { "Placeholders deleted" } dd { (count(number(view.metrics.placeholders_deleted.get()))) }
                dt { "Already gone" } dd { (count(number(view.metrics.already_gone.get()))) }
                @if read > 0 { dt { "Timers started at reading" } dd { (count(read)) } }
                @if unread > 0 { dt { "Erased unread" } dd { (count(unread)) } }
                @if dry > 0 { dt { "Counted by a dry run" } dd { (count(dry)) } }
            }
            p.note { "By this daemon, since " (time(view.started)) "." }
        }
    }
}

/// The daemon's state.
pub(super) fn daemon(view: &View<'_>) -> Markup {
    let metrics = view.metrics;
    let leads = metrics.leader.get() != 0;
    let component = match (metrics.component_connected.get() != 0, leads) {
        (true, _) => "connected",
        (false, true) => "not connected",
        (false, false) => "left to the leader",
    };
    let erasing = match (metrics.paused.get() != 0, metrics.dry_run.get() != 0) {
        (true, true) => "paused, and a dry run",
        (true, false) => "paused",
        (false, true) => "a dry run",
        (false, false) => "active",
    };
    let inspection = match view.readiness.lag_seconds {
        None => "has not reached the archive's end yet".to_owned(),
        Some(lag) => format!("{lag:.1} s behind"),
    };
    let sweeps = view.counted.map_or(&[][..], |it| &it.sweeps);
    html! {
        section aria-labelledby="daemon" {
            h2 #daemon { "This daemon" }
            dl.facts {
                dt { "Leader" } dd { (if leads { "this daemon" } else { "not this daemon" }) }
                dt { "Component" } dd { (component) }
                dt { "Erasing" } dd { (erasing) }
                dt { "Inspection" } dd { (inspection) }
                @for (table, sweep) in sweeps {
                    dt { "Sweep of " (table) } dd { (swept(sweep, view)) }
                }
                @if sweeps.is_empty() { dt { "Sweep" } dd { "none yet" } }
            }
        }
    }
}

fn swept(sweep: &Sweep, view: &View<'_>) -> String {
    let last = match sweep.completed_at {
        None => "none has finished yet".to_owned(),
        Some(at) => format!("last finished {}", ago(at, view.now)),
    };
    match sweep.started_at {
        _ if sweep.requested => format!("requested; {last}"),
        Some(_) => format!("at {:.0}%; {last}", sweep.share() * 100.0),
        None => last,
    }
}

/// What failed.
pub(super) fn trouble(metrics: &Metrics) -> Markup {
    let failures = |cause| metrics.erase_failures.of(cause).get();
    let unreadable: u64 = Store::ALL
        .iter()
        .map(|store| metrics.stanzas_inspected.of(*store, Inspected::Unreadable).get())
        .sum();
    let lines = [
        ("Rows locked by other sessions, to be retried", failures(FailureCause::Locked)),
        ("Rows refused by the database, to be retried", failures(FailureCause::Refused)),
        ("Messages that cannot be read, left alone", unreadable),
        ("Database errors", metrics.database_errors.get()),
        ("Component reconnects", metrics.component_reconnects.get()),
    ];
    html! {
        section aria-labelledby="trouble" {
            h2 #trouble { "Problems since the start" }
            dl.facts {
                @for (name, counter) in lines {
                    dt { (name) } dd.number { (count(number(counter))) }
                }
            }
        }
    }
}
