#!/usr/bin/env bash
# The sd-notify crate takes an abstract socket's address for the name of a file.
#
# Version: sd-notify 0.5.0.
# Guess: NOTIFY_SOCKET is read as sd_notify(3) says: a path, or a name in the abstract namespace, which begins with "@".
# Behaviour: both are opened as a path. A service manager that gives an abstract address is never told anything, and where
#   the error is ignored, as examples do, the unit waits for READY until it times out.
# Seen:
# | a path: sent, and READY=1 arrived
# | an abstract address: No such file or directory (os error 2)
. "$(dirname "$0")/lib.sh"

export FOLDER=$WORK
rust 'sd-notify = "=0.5.0"' <<'RUST' | as_described
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

fn show(name: &str, socket: UnixDatagram, address: &str) {
    std::env::set_var("NOTIFY_SOCKET", address);
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    match sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        Ok(()) => {
            let mut buffer = [0; 64];
            let length = socket.recv(&mut buffer).unwrap_or(0);
            let text = String::from_utf8_lossy(&buffer[..length]);
            println!("{name}: sent, and {} arrived", text.trim());
        }
        Err(error) => println!("{name}: {error}"),
    }
}

fn main() {
    let path = format!("{}/notify", std::env::var("FOLDER").unwrap());
    show("a path", UnixDatagram::bind(&path).unwrap(), &path);
    let name = format!("finding-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    show("an abstract address", UnixDatagram::bind_addr(&address).unwrap(), &format!("@{name}"));
}
RUST
