//! A proxy to a server that can fail silently, as a broken network does.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Result;

const CHUNK_BYTES: usize = 64 << 10;

/// Forwards what arrives at its address while it is open.
pub struct Gate {
    address: SocketAddr,
    state: watch::Sender<State>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    open: bool,
    /// Connections from an earlier generation are cut or silenced.
    generation: u32,
    silent_before: u32,
}

impl Gate {
    /// An open gate to this server.
    pub async fn to(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (state, seen) = watch::channel(State { open: true, generation: 0, silent_before: 0 });
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_until_cut(client, server, seen.clone()));
            }
        });
        Ok(Self { address, state, accepting })
    }

    /// Where to connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on nothing passes and nothing is closed: connections stay open and silent, new ones too.
    pub fn freeze(&self) {
        self.state.send_modify(|state| state.open = false);
    }

    /// Existing connections stay silent for ever, and new ones pass.
    pub fn forget(&self) {
        self.state.send_modify(|state| {
            state.open = true;
            state.silent_before = state.generation + 1;
            state.generation += 1;
        });
    }

    /// Existing connections are cut, and new ones pass.
    pub fn reopen(&self) {
        self.state.send_modify(|state| {
            state.open = true;
            state.generation += 1;
        });
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass_until_cut(client: TcpStream, server: SocketAddr, mut state: watch::Receiver<State>) {
    let born = state.borrow().generation;
    let mut cut = state.clone();
    let passes = move |state: &State| state.open && state.silent_before <= born;
    let passing = async {
        state.wait_for(|state| passes(state)).await.ok()?;
        let server = TcpStream::connect(server).await.ok()?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::join!(
            pass(from_client, to_server, state.clone(), passes),
            pass(from_server, to_client, state.clone(), passes)
        );
        Some(())
    };
    let is_cut = |state: &State| state.generation != born && state.silent_before <= born;
    tokio::select! {
        _ = passing => {}
        _ = cut.wait_for(is_cut) => {}
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<State>,
    passes: impl Fn(&State) -> bool,
) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(length) = from.read(&mut chunk).await {
        let is_open = state.wait_for(|state| passes(state)).await.is_ok();
        let part = chunk.get(..length).unwrap_or_default();
        if !is_open || part.is_empty() || to.write_all(part).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
