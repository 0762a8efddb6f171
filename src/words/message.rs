macro_rules! messages {
    ($($name:ident = $id:literal $([$($variable:literal),+])?;)+) => {
        /// A message, by its name in the files.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Message {
            $(#[doc = concat!("`", $id, "`")] $name,)+
        }

        impl Message {
            /// All messages.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The name in the files.
            pub const fn id(self) -> &'static str {
                match self { $(Self::$name => $id,)+ }
            }

            /// The variables that it may use.
            pub const fn variables(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$($($variable),+)?],)+ }
            }
        }
    };
}

messages! {
    Days = "days" ["count"];
    Hours = "hours" ["count"];
    Minutes = "minutes" ["count"];
    Seconds = "seconds" ["count"];
    NoTime = "no-time";
    NoLimit = "no-limit";
    Planned = "planned" ["limit"];
    Wished = "wished" ["limit"];
    Paused = "paused";
    DryRun = "dry-run";

    CommandList = "command-list";
    PolicyName = "policy-name";
    PolicyIntro = "policy-intro" ["host"];
    PolicyTimerMin = "policy-timer-min";
    PolicyTimerMax = "policy-timer-max";
    PolicyStart = "policy-start";
    StartArchived = "start-archived";
    StartDelivered = "start-delivered";
    StartRead = "start-read";
    StartAuto = "start-auto";
    PolicySent = "policy-sent";
    PolicyUnreadFor = "policy-unread-for";
    PolicyOnceFor = "policy-once-for";
    PolicyHint = "policy-hint";
    PolicyNegotiation = "policy-negotiation";
    PolicyRoomsStart = "policy-rooms-start";
    RoomsArchived = "rooms-archived";
    RoomsFirstReader = "rooms-first-reader";
    RoomsEveryone = "rooms-everyone";
    PolicyArchiveFor = "policy-archive-for";
    PolicyQueueFor = "policy-queue-for";
    PolicyRoomsFor = "policy-rooms-for";
    PolicyPlaceholder = "policy-placeholder";
    PolicyCannot = "policy-cannot";

    KeptName = "kept-name";
    KeptChoose = "kept-choose";
    KeptWhich = "kept-which";
    KeptArchive = "kept-archive";
    KeptQueue = "kept-queue";
    KeptBoth = "kept-both";
    KeptSummary = "kept-summary" ["count"];
    KeptMany = "kept-many" ["count"];
    KeptGoing = "kept-going";
    KeptTimer = "kept-timer";
    KeptHint = "kept-hint";
    KeptNegotiation = "kept-negotiation";
    KeptAge = "kept-age";
    KeptOldest = "kept-oldest";
    KeptNext = "kept-next";
    KeptWish = "kept-wish";
    WishTimer = "wish-timer";
    WishHint = "wish-hint";
    WishNegotiation = "wish-negotiation";
    WishAge = "wish-age";
    WishOwn = "wish-own";
    KeptUnread = "kept-unread";
    KeptUndelivered = "kept-undelivered";
    KeptBacklog = "kept-backlog";
    KeptEmptied = "kept-emptied";
    KeptRest = "kept-rest";
    KeptChats = "kept-chats";
    KeptNote = "kept-note";

    EraseName = "erase-name";
    EraseChoose = "erase-choose";
    EraseWith = "erase-with";
    EraseBefore = "erase-before";
    EraseAll = "erase-all";
    EraseCount = "erase-count";
    EraseMany = "erase-many" ["count"];
    EraseForever = "erase-forever";
    EraseType = "erase-type" ["address"];
    EraseConfirm = "erase-confirm";
    EraseAgain = "erase-again";
    EraseSoon = "erase-soon";
    EraseNone = "erase-none";

    ConfigureName = "configure-name";
    ContactName = "contact-name";
    ContactChoose = "contact-choose";
    ContactWith = "contact-with";
    WishedChoose = "wished-choose";
    WishedLongest = "wished-longest";
    WishedInAll = "wished-in-all";
    WishedFixed = "wished-fixed";
    WishedArchiveFor = "wished-archive-for";
    WishedEncryptedFor = "wished-encrypted-for";
    WishedOnce = "wished-once";
    WishedOnceFixed = "wished-once-fixed";
    WishedConfirm = "wished-confirm";
    WishedType = "wished-type" ["address"];
    WishedAgain = "wished-again";
    WishedCount = "wished-count";
    WishedFirst = "wished-first";
    WishedOnceFor = "wished-once-for";
    WishedSince = "wished-since";
    WishedOnceOff = "wished-once-off";
    WishedForever = "wished-forever";
    WishedSet = "wished-set";

    ErrorForeign = "error-foreign";
    ErrorLimited = "error-limited";
    ErrorBusy = "error-busy";
    ErrorFailed = "error-failed";
    ErrorSession = "error-session";
    ErrorExpired = "error-expired";
    ErrorAction = "error-action";
    ErrorPayload = "error-payload";
}
