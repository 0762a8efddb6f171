//! The accept loop. Every connection is bounded: their number, what each may send, and how long each lives.

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

/// Connections at once; others wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;
/// hyper's smallest buffer: no request line with its headers is longer.
const MAX_HEADER_BYTES: usize = 8192;
const MAX_HEADERS: usize = 64;
/// Until the whole request has come.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// Until the answer has gone out as well. One connection carries one request, so nobody idles.
const CONNECTION_TIME: Duration = Duration::from_secs(10);
/// For answers under way when we stop.
const STOP_TIME: Duration = Duration::from_secs(2);
/// After a failed accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Answers on `listener` until `stop`.
pub async fn serve(listener: TcpListener, state: State, stop: CancellationToken) -> io::Result<()> {
    let connections = TaskTracker::new();
    tokio::select! {
        () = stop.cancelled() => {}
        () = accept(listener, state, &connections) => {}
    }
    connections.close();
    // Who is not done by then ends with the process.
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
                connections.spawn(async move {
                    answer.await;
                    drop(permit);
                });
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept an HTTP connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One request on one connection. A client that fails is its own affair.
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
