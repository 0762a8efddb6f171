//! The integration tests: real servers, real sockets.

// `cfg(test)` on each line lets clippy know that helpers here are tests too.
#[cfg(test)]
mod config;
#[cfg(test)]
mod http;
#[cfg(test)]
mod import_law;
