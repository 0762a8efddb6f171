//! The program as an operator runs it: real servers, real sockets, judged by what those servers show.

// `cfg(test)` on each line lets clippy know that helpers here are tests too.
#[cfg(test)]
mod backlog;
#[cfg(test)]
mod check;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod component;
#[cfg(test)]
mod component_hostile;
#[cfg(test)]
mod component_stand_in;
#[cfg(test)]
mod config;
#[cfg(test)]
mod docs;
#[cfg(test)]
mod explain;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod http;
#[cfg(test)]
mod import_law;
#[cfg(test)]
mod killed;
#[cfg(test)]
mod pause;
#[cfg(test)]
mod preview;
#[cfg(test)]
mod scraped;
#[cfg(test)]
mod status;
#[cfg(test)]
mod support;
#[cfg(test)]
mod sweep_command;
#[cfg(test)]
mod tail;
#[cfg(test)]
mod way;
