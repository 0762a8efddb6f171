use super::{UnknownName, store::display_and_parse};

/// What a hold is on, but for its span of time. Addresses are bare and in lower case, as servers store them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldOn {
    /// Everything.
    All,
    /// All archives, rooms and queues of a host.
    Host(String),
    /// A user's archive and offline queue.
    User(Address),
    /// The rows of one chat in a user's archive and offline queue: the user, and the other side.
    Conversation(Address, String),
    /// A room's archive, and what it remembers.
    Room(Address),
}

/// A bare address with a local part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The virtual host, or the rooms' domain.
    pub host: String,
    /// The user's or the room's local part.
    pub local: String,
}

/// The kind of a [`HoldOn`], as the ledger stores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldScope {
    /// Everything.
    All,
    /// A host.
    Host,
    /// A user.
    User,
    /// One chat of a user.
    Conversation,
    /// A room.
    Room,
}

impl HoldScope {
    /// All scopes.
    pub const ALL: [Self; 5] = [Self::All, Self::Host, Self::User, Self::Conversation, Self::Room];

    /// The name in tables and output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Host => "host",
            Self::User => "user",
            Self::Conversation => "conversation",
            Self::Room => "room",
        }
    }
}

display_and_parse!(HoldScope);

impl HoldOn {
    /// Puts together what the ledger stores in columns.
    ///
    /// # Errors
    /// [`UnknownName`] where the columns do not fit the scope.
    pub fn from_parts(
        scope: HoldScope,
        (host, local): (String, String),
        peer: Option<String>,
    ) -> Result<Self, UnknownName> {
        match scope {
            HoldScope::All => Ok(Self::All),
            HoldScope::Host => Ok(Self::Host(host)),
            HoldScope::User => Ok(Self::User(Address { host, local })),
            HoldScope::Room => Ok(Self::Room(Address { host, local })),
            HoldScope::Conversation => {
                Ok(Self::Conversation(Address { host, local }, peer.ok_or(UnknownName)?))
            }
        }
    }

    /// Its kind.
    pub const fn scope(&self) -> HoldScope {
        match self {
            Self::All => HoldScope::All,
            Self::Host(_) => HoldScope::Host,
            Self::User(_) => HoldScope::User,
            Self::Conversation(..) => HoldScope::Conversation,
            Self::Room(_) => HoldScope::Room,
        }
    }

    /// The host; empty means any.
    pub fn host(&self) -> &str {
        match self {
            Self::All => "",
            Self::Host(host) => host,
            Self::User(it) | Self::Conversation(it, _) | Self::Room(it) => &it.host,
        }
    }

    /// The owner's local part; empty means any.
    pub fn owner(&self) -> &str {
        match self {
            Self::All | Self::Host(_) => "",
            Self::User(it) | Self::Conversation(it, _) | Self::Room(it) => &it.local,
        }
    }

    /// The other side of a conversation.
    pub fn peer(&self) -> Option<&str> {
        match self {
            Self::Conversation(_, peer) => Some(peer),
            _ => None,
        }
    }
}
