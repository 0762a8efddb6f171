/// Where on the server a stanza is stored: the label `store` of our metrics and tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Store {
    /// A user's message archive.
    Archive,
    /// A room's message archive.
    Room,
    /// A user's offline queue.
    Queue,
}

impl Store {
    /// All stores.
    pub const ALL: [Self; 3] = [Self::Archive, Self::Room, Self::Queue];

    /// The name in tables, labels and output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Room => "room",
            Self::Queue => "queue",
        }
    }
}

/// How a row was erased: the label `mode` of our metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// The text is gone; the row stays for a while as a placeholder.
    Placeholder,
    /// The row is gone.
    Delete,
    /// Nothing was erased: a dry run.
    DryRun,
}

impl Mode {
    /// All modes.
    pub const ALL: [Self; 3] = [Self::Placeholder, Self::Delete, Self::DryRun];

    /// The name in labels and output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Placeholder => "placeholder",
            Self::Delete => "delete",
            Self::DryRun => "dry_run",
        }
    }
}

/// The result of inspecting a stanza: the label `outcome` of our metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Inspected {
    /// It has an expiry now.
    Marked,
    /// It was read and has no expiry.
    Unmarked,
    /// It could not be read, and is left alone.
    Unreadable,
}

impl Inspected {
    /// Everything it may be.
    pub const ALL: [Self; 3] = [Self::Marked, Self::Unmarked, Self::Unreadable];

    /// The name in labels and output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Marked => "marked",
            Self::Unmarked => "unmarked",
            Self::Unreadable => "unreadable",
        }
    }
}

macro_rules! display_and_parse {
    ($type:ty) => {
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::model::UnknownName;

            fn from_str(name: &str) -> std::result::Result<Self, Self::Err> {
                Self::ALL
                    .into_iter()
                    .find(|it| it.as_str() == name)
                    .ok_or($crate::model::UnknownName)
            }
        }
    };
}
pub(crate) use display_and_parse;

display_and_parse!(Store);
display_and_parse!(Mode);
display_and_parse!(Inspected);

/// A name that is not one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown name")]
pub struct UnknownName;
