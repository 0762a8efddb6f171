//! Raw XMPP clients and components: they send exactly what they are given, and return exactly what they
//! receive.

mod client;
mod component;
mod element;
mod mailbox;
mod mam;
mod owner;
mod resume;
mod stream;

pub use client::{Client, Joined};
pub use component::{Component, NS_COMPONENT};
pub use element::{Element, escape};
pub use mailbox::Mailbox;
pub use mam::{MamItem, MamPage, MamQuery};
pub use resume::Resumption;
pub use stream::Stanza;

pub(crate) use client::NS_CLIENT;
pub(crate) use stream::probe;
