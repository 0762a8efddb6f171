//! What goes in the next hours and days: a bar per span, a colour per reason, and the numbers beside them.

use maud::{Markup, html};

use crate::ledger::{Outlook, Outlooks};
use crate::model::Reason;
use crate::ops::text::count;

/// Maximum width of a bar.
const WIDTH: f64 = 1000.0;

/// The narrowest visible bar.
const LEAST: f64 = 6.0;

/// What goes within one span, by reason in the order of [`Reason::ALL`].
struct Span {
    name: &'static str,
    counts: Vec<i64>,
}

impl Span {
    fn all(&self) -> i64 {
        self.counts.iter().sum()
    }
}

/// Disjoint spans: the ledger's own include each other.
fn spans(outlooks: &Outlooks) -> Vec<Span> {
    let span = |name, figure: fn(&Outlook) -> i64| {
        let of = |reason| {
            let those = outlooks.iter().filter(|((_, other), _)| *other == reason);
            those.map(|(_, outlook)| figure(outlook)).sum()
        };
        Span { name, counts: Reason::ALL.map(of).to_vec() }
    };
    vec![
        span("overdue", |it| it.overdue),
        span("within 1 h", |it| it.within_1h),
        span("1 h to 24 h", |it| it.within_24h - it.within_1h),
        span("1 d to 7 d", |it| it.within_7d - it.within_24h),
        span("7 d to 30 d", |it| it.within_30d - it.within_7d),
        span("later", |it| it.total - it.held - it.overdue - it.within_30d),
    ]
}

/// The chart with its numbers, as a table, so that it can be read without seeing the bars.
pub(super) fn section(outlooks: &Outlooks) -> Markup {
    let spans = spans(outlooks);
    let most = spans.iter().map(Span::all).max().unwrap_or(0);
    let used: Vec<usize> = (0..Reason::ALL.len())
        .filter(|at| spans.iter().any(|span| span.counts.get(*at).is_some_and(|n| *n > 0)))
        .collect();
    html! {
        section aria-labelledby="outlook" {
            h2 #outlook { "What goes when" span.unit { "messages" } }
            @if most == 0 {
                p { "Nothing is due to go." }
            } @else {
                @if used.len() > 1 { (legend(&used)) }
                table.chart {
                    thead.unseen { tr { th scope="col" { "when" } th scope="col" { "share" } th scope="col" { "messages" } } }
                    tbody {
                        @for span in &spans {
                            tr {
                                th scope="row" { (span.name) }
                                td.bar { (bar(span, most)) }
                                td.number { (count(span.all())) }
                            }
                        }
                    }
                }
                @if used.len() > 1 { (by_reason(&spans, &used)) }
            }
        }
    }
}

fn bar(span: &Span, most: i64) -> Markup {
    let width = |n: i64| {
        let share = WIDTH * n as f64 / most.max(1) as f64;
        if n > 0 { share.max(LEAST) } else { 0.0 }
    };
    let mut from = 0.0;
    let parts = span.counts.iter().zip(Reason::ALL).filter(|(n, _)| **n > 0).map(|(n, reason)| {
        let at = from;
        from += width(*n);
        (at, width(*n), reason)
    });
    let parts: Vec<_> = parts.collect();
    html! {
        svg viewBox=(format!("0 0 {WIDTH} 10")) preserveAspectRatio="none" aria-hidden="true" focusable="false" {
            rect.track x="0" y="0" width=(WIDTH) height="10" {}
            @for (at, width, reason) in parts {
                rect.(reason.as_str()) x=(format!("{at:.1}")) y="0" width=(format!("{width:.1}")) height="10" {}
            }
        }
    }
}

fn reasons(used: &[usize]) -> impl Iterator<Item = Reason> {
    used.iter().filter_map(|at| Reason::ALL.get(*at).copied())
}

fn legend(used: &[usize]) -> Markup {
    html! {
        ul.legend aria-label="Colours" {
            @for reason in reasons(used) {
                li {
                    svg viewBox="0 0 10 10" aria-hidden="true" focusable="false" {
                        rect.(reason.as_str()) x="0" y="0" width="10" height="10" rx="2" {}
                    }
                    (reason)
                }
            }
        }
    }
}

fn by_reason(spans: &[Span], used: &[usize]) -> Markup {
    html! {
        h3 #reasons { "By reason" }
        div.wide tabindex="0" role="region" aria-labelledby="reasons" {
            table {
                thead {
                    tr {
                        th scope="col" { "when" }
                        @for reason in reasons(used) { th.number scope="col" { (reason) } }
                    }
                }
                tbody {
                    @for span in spans {
                        tr {
                            th scope="row" { (span.name) }
                            @for at in used {
                                td.number { (count(span.counts.get(*at).copied().unwrap_or(0))) }
                            }
                        }
                    }
                }
            }
        }
    }
}
