use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Mutex;

use rand::RngExt as _;

use crate::{LabError, Result};

/// Below the range from which Linux takes the ports of outgoing connections, so that none of them takes a
/// port between our choice and the server's start, or while a server is down in a test.
const RANGE: std::ops::Range<u16> = 20_000..32_000;
const TRIES: usize = 1_000;

static TAKEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// A loopback address that nothing listens on and that this process hands out only once.
pub fn free_address() -> Result<SocketAddr> {
    let mut taken = TAKEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let taken = taken.get_or_insert_default();
    let mut rng = rand::rng();
    for _ in 0..TRIES {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, rng.random_range(RANGE)));
        if !taken.contains(&address.port()) && TcpListener::bind(address).is_ok() {
            taken.insert(address.port());
            return Ok(address);
        }
    }
    Err(LabError::new("no free port on loopback"))
}
