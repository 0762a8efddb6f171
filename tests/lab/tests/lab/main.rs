//! The laboratory's own tests, against the real servers.

// `cfg(test)` on each line lets clippy know that helpers here are tests too.
#[cfg(test)]
mod checker;
#[cfg(test)]
mod component;
#[cfg(test)]
mod daemon;
#[cfg(test)]
mod database;
#[cfg(test)]
mod processes;
#[cfg(test)]
mod prometheus;
#[cfg(test)]
mod prosody;
