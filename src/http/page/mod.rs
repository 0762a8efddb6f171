//! The status page: what an operator wants to see without Grafana. No script, no query, no names of people.

mod chart;
mod tables;
mod verdict;

use axum::extract;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use super::State;
use crate::metrics::Metrics;
use crate::model::Timestamp;
use crate::ops::ReadinessReport;
use crate::ops::text::{ago, count, counted, length, time};
use crate::work::gauges::Counted;

use verdict::{Matter, Verdict};

/// How often the page reloads itself; the figures are counted at most as often.
const REFRESH_SECONDS: u8 = 15;

const STYLE: &str = include_str!("style.css");

/// Only our own style sheet, wherever the page is shown.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 5] = [
    (CACHE_CONTROL, "no-store"),
    (CONTENT_SECURITY_POLICY, POLICY),
    (REFERRER_POLICY, "no-referrer"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
];

/// What the page is made from.
struct View<'a> {
    now: Timestamp,
    started: Timestamp,
    readiness: ReadinessReport,
    counted: Option<&'a Counted>,
    metrics: &'a Metrics,
}

/// `/`
pub(super) async fn page(extract::State(state): extract::State<State>) -> Response {
    let now = state.clock.now();
    let counted = state.counted.borrow().clone();
    let view = View {
        now,
        started: state.started,
        readiness: state.readiness.borrow().report(now),
        counted: counted.as_ref(),
        metrics: &state.metrics,
    };
    let html = document(&view).into_string();
    (HEADERS, [(CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response()
}

/// `/style.css`
pub(super) async fn style() -> Response {
    (HEADERS, [(CONTENT_TYPE, "text/css; charset=utf-8")], STYLE).into_response()
}

fn document(view: &View<'_>) -> Markup {
    let verdict = verdict::of(view);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="refresh" content=(REFRESH_SECONDS);
                title { "ephemerd: " (verdict.level.word().to_lowercase()) }
                link rel="icon" href="data:,";
                link rel="stylesheet" href="style.css";
            }
            body {
                header {
                    h1 { "ephemerd" }
                    p { "version " (env!("CARGO_PKG_VERSION")) ", running for " (length(view.now - view.started)) }
                }
                main {
                    (banner(&verdict))
                    @match view.counted {
                        Some(counted) => {
                            (tiles(view, counted))
                            (chart::section(&counted.outlook))
                        }
                        None => section { h2 { "What goes when" } p { "Nothing has been counted yet." } }
                    }
                    div.columns {
                        (tables::erased(view))
                        div {
                            (tables::daemon(view))
                            (tables::trouble(view.metrics))
                        }
                    }
                }
                (footer(view))
            }
        }
    }
}

fn banner(verdict: &Verdict) -> Markup {
    html! {
        section.verdict.(verdict.level.class()) aria-label="Is it working?" {
            p {
                span.sign aria-hidden="true" { (verdict.level.sign()) }
                span { strong { (verdict.level.word()) ". " } (verdict.sentence) }
            }
            @if !verdict.others.is_empty() {
                ul {
                    @for Matter { text, .. } in &verdict.others {
                        li { (text) }
                    }
                }
            }
        }
    }
}

/// The four counts of the ledger.
fn tiles(view: &View<'_>, counted: &Counted) -> Markup {
    let tally = &counted.tally;
    let overdue = match tally.oldest_due {
        _ if view.metrics.paused.get() != 0 => "not counted during a pause".to_owned(),
        None if view.readiness.database => "nothing is late".to_owned(),
        None => "nothing was late when this was counted".to_owned(),
        Some(since) => format!("the oldest was due {}", ago(since, view.now)),
    };
    let pending = match tally.unread {
        0 => "messages still to go".to_owned(),
        unread => format!("messages still to go, {} of them not read yet", count(unread)),
    };
    let backlog = match tally.backlog {
        0 => "nothing is held",
        _ => "from before the first start, held until accepted",
    };
    let tile = |name: &str, number: i64, note: &str| {
        html! { div { dt { (name) } dd { strong { (count(number)) } span { (note) } } } }
    };
    html! {
        section aria-labelledby="ledger" {
            h2 #ledger { "In the ledger" }
            dl.tiles {
                (tile("Pending", tally.pending, &pending))
                (tile("Overdue", tally.overdue, &overdue))
                (tile("Backlog", tally.backlog, backlog))
                (tile("Placeholders", tally.placeholders, "text gone, rows still there"))
            }
            p.note { (as_of(view, counted)) }
        }
    }
}

fn as_of(view: &View<'_>, counted: &Counted) -> Markup {
    let at = counted.as_of;
    html! {
        "Counted " time datetime=(at.to_rfc3339()) { (time(at)) } ", " (ago(at, view.now)) "."
    }
}

fn footer(view: &View<'_>) -> Markup {
    html! {
        footer {
            p { "Shown at " (time(view.now)) ". The page reloads itself every " (counted(REFRESH_SECONDS.into(), "second")) "." }
            nav aria-label="For programs" {
                a href="metrics" { "/metrics" } " " a href="readyz" { "/readyz" } " " a href="healthz" { "/healthz" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::STYLE;
    use crate::model::Reason;

    /// A bar without its own colour is black.
    #[test]
    fn every_reason_has_a_colour_by_day_and_by_night() {
        for reason in Reason::ALL {
            let name = reason.as_str();
            assert_eq!(STYLE.matches(&format!("--{name}: #")).count(), 2, "{name}");
            assert!(STYLE.contains(&format!(".{name} {{ fill: var(--{name}); }}")), "{name}");
        }
    }
}
