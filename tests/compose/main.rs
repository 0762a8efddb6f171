//! The compose files on a real engine, through the life of an operator's machine. Heavy: `./dev test
//! --compose`, as root.
//!
//! Images cannot be pulled where the tests run: `tests/compose/images.sh` creates the base by debootstrap,
//! and stand-ins for the others.

#![cfg_attr(
    test,
    expect(clippy::print_stderr, reason = "each step with its time is what the suite is run for")
)]

// `cfg(test)` on each line lets clippy know that helpers here are tests too.
#[cfg(test)]
mod clone;
#[cfg(test)]
mod engine;
#[cfg(test)]
mod files;
#[cfg(test)]
mod life;
#[cfg(test)]
mod people;
