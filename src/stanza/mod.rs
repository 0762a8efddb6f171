//! XML → [`Facts`]: what an archived stanza says about its own retention.
//!
//! Pure and total: no I/O, no recursion, no panic; time and memory are linear in the stanza's length,
//! whatever it contains. XML that a server cannot have stored is [`Unreadable`]: it cannot be judged, so it
//! is left alone.
//!
//! Tokens come from quick-xml; `xml` adds the rules that quick-xml leaves to its caller, so that ephemerd and
//! clients never see two different messages in one row.

mod attributes;
mod blank;
mod chars;
mod element;
mod envelope;
mod links;
mod portable;
mod quote;
mod reader;
mod scope;
mod signature;
mod timer;
mod unreadable;
mod xml;

pub use blank::{blank_queued, parties, placeholder};
pub use envelope::{Envelope, Shows, displayed_item, envelope, is_received, other_side};
pub use links::links;
pub use portable::portable;
pub use quote::{Cut, cut_quote};
pub use signature::{Signature, may_name_senders_id};
pub use unreadable::{Flaw, Unreadable};

use crate::model::Facts;

/// Maximum size of a readable stanza in bytes. The archives' SQL applies the same limit before reading.
pub const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Reads what a stored stanza says about its own retention.
///
/// The root may lack its `xmlns`, as in Prosody's rows: it means `jabber:client`. Well-formed XML
/// with another root (a room's archive may hold presence) is readable, and says
/// [`Facts::not_a_message`].
///
/// # Errors
/// [`Unreadable`] if the text is not namespace-well-formed XML 1.0, or uses what RFC 6120 §11.1
/// forbids: comments, processing instructions (an XML declaration too), a DOCTYPE, entities beyond
/// the five predefined ones.
pub fn read(xml: &str) -> Result<Facts, Unreadable> {
    reader::facts(xml)
}

#[cfg(test)]
mod tests;
