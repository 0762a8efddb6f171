//! Raw XMPP clients and components: they send what they are given, as it is written, and show what came, as it came.

mod client;
mod component;
mod element;
mod mailbox;
mod mam;
mod stream;

pub use client::{Client, Joined};
pub use component::{Component, NS_COMPONENT};
pub use element::{Element, escape};
pub use mam::{MamItem, MamPage, MamQuery};
pub use stream::Stanza;

pub(crate) use stream::probe;
