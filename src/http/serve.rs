//! The accept loop. Connections are bounded in number, in what each may send, and in lifetime.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{State, router};
use crate::task;

/// Maximum concurrent connections; others wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;
/// hyper's smallest buffer, and thus the maximum size of a request's head.
const MAX_HEADER_BYTES: usize = 8192;
const MAX_HEADERS: usize = 64;
/// Timeout for the whole request.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// Timeout for request and answer. One connection carries one request, so nobody can idle.
const CONNECTION_TIME: Duration = Duration::from_secs(10);
/// How long to wait for answers in progress when stopping.
const STOP_TIME: Duration = Duration::from_secs(2);
/// After a failed accept, for example with too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Answers on `listener` until `stop`.
pub async fn serve(listener: TcpListener, state: State, stop: CancellationToken) -> io::Result<()> {
    let connections = TaskTracker::new();
    tokio::select! {
        () = stop.cancelled() => {}
        () = accept(listener, state, &connections) => {}
    }
    connections.close();
    // Connections that are not done by then end with the process.
    let _ = timeout(STOP_TIME, connections.wait()).await;
    Ok(())
}

async fn accept(listener: TcpListener, state: State, connections: &TaskTracker) {
    let service = TowerToHyperService::new(router(state));
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // The semaphore is never closed, so this ends only when it is dropped.
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let answer = answer(stream, service.clone());
                connections.spawn(task::named("http", async move {
                    answer.await;
                    drop(permit);
                }));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept an HTTP connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One request on one connection. A client's failures are its own business.
async fn answer(stream: TcpStream, service: TowerToHyperService<axum::Router>) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_TIME, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an HTTP connection failed"),
        Err(_) => tracing::debug!("an HTTP connection took too long"),
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}
