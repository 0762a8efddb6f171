use std::time::Duration;

/// What the operator lets users wish for their own archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WishRules {
    /// Users may wish, and their wishes are followed.
    pub followed: bool,
    /// No archive keeps messages for less than this by its owner's wish.
    pub shortest: Duration,
}

impl WishRules {
    /// The default of `shortest`: enough for devices that are away overnight.
    pub const SHORTEST: Duration = Duration::from_secs(86_400);

    /// No wish is for longer than a century, which is also the most that the configuration may say.
    pub const LONGEST: Duration = Duration::from_secs(36_525 * 86_400);
}

impl Default for WishRules {
    fn default() -> Self {
        Self { followed: false, shortest: Self::SHORTEST }
    }
}

/// What a user wishes for the own archive, or for one chat in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wish {
    /// How long messages stay at most, in whole seconds, whatever their timers say.
    pub archive_for: Option<Duration>,
    /// The timer of encrypted messages without a visible one, in whole seconds.
    pub encrypted_for: Option<Duration>,
    /// Messages with a timer go once they were read.
    pub once: bool,
}

/// What of a wish is to be different.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WishChange {
    /// How long messages stay at most; `Some(None)` takes that back.
    pub archive_for: Option<Option<Duration>>,
    /// The timer of encrypted messages without a visible one; `Some(None)` takes that back.
    pub encrypted_for: Option<Option<Duration>>,
    /// Whether messages with a timer go once they were read.
    pub once: Option<bool>,
}

impl Wish {
    /// Nothing is wished.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }

    /// The wish after this change.
    #[must_use]
    pub fn changed(self, change: WishChange) -> Self {
        Self {
            archive_for: change.archive_for.unwrap_or(self.archive_for),
            encrypted_for: change.encrypted_for.unwrap_or(self.encrypted_for),
            once: change.once.unwrap_or(self.once),
        }
    }
}
