//! Metrics, health and the status page over HTTP/1, read-only: what changes things is the command line.
//!
//! | path | answer |
//! |---|---|
//! | `/` | the status page, and its `/style.css` |
//! | `/metrics` | the Prometheus text format 0.0.4 |
//! | `/healthz` | 200 while the process is alive |
//! | `/readyz` | 200 when ready, else 503; JSON with the reasons |

mod page;
mod serve;

use std::sync::Arc;

use axum::Router;
use axum::extract;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use tokio::sync::watch;

use crate::metrics::Metrics;
use crate::model::{Clock, Timestamp};
use crate::ops::Readiness;
use crate::work::gauges::Counted;

pub use serve::serve;

/// What answers are made from.
#[derive(Clone)]
pub struct State {
    /// The Prometheus metrics.
    pub metrics: Arc<Metrics>,
    /// The time now.
    pub clock: Arc<dyn Clock>,
    /// The workers' last known state.
    pub readiness: watch::Receiver<Readiness>,
    /// The last count of the ledger.
    pub counted: watch::Receiver<Option<Counted>>,
    /// When the daemon started.
    pub started: Timestamp,
}

fn router(state: State) -> Router {
    Router::new()
        .route("/", get(page::page))
        .route("/style.css", get(page::style))
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(readyz))
        .with_state(state)
}

async fn metrics(extract::State(state): extract::State<State>) -> Response {
    match state.metrics.render() {
        Ok(text) => {
            ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "metrics cannot be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn readyz(extract::State(state): extract::State<State>) -> Response {
    let report = state.readiness.borrow().report(state.clock.now());
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "ready": report.ready,
        "reasons": report.reasons,
        "lag_seconds": report.lag_seconds,
        "sweeping": report.sweeping,
    });
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    (status, headers, format!("{body}\n")).into_response()
}
