//! The configuration as written: sections and keys, not yet validated.
//!
//! serde rejects unknown keys; [`super::validate`] checks the values, because it can say which key is wrong,
//! where it is and what to do.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Any value, by its TOML type. Values from the environment are always text.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Plain {
    Flag(bool),
    Whole(i64),
    Text(String),
    List(Vec<String>),
    Tables(Vec<BTreeMap<String, Plain>>),
    Other(serde::de::IgnoredAny),
}

/// What the documents say of a key, and a value that is not its default, which tests set.
#[derive(Debug)]
pub struct KeyInfo {
    /// The key, as `section.key`.
    pub key: &'static str,
    /// What a value may be.
    pub takes: &'static str,
    /// A value, as the environment would have it.
    pub example: &'static str,
    /// What it does.
    pub effect: &'static str,
}

macro_rules! sections {
    ($($section:ident: $type:ident {
        $($(#[doc = $effect:literal])+ $key:ident: $takes:literal = $example:literal,)+
    })+) => {
        #[derive(Deserialize, Default)]
        #[serde(default, deny_unknown_fields)]
        pub(super) struct RawConfig {
            $(pub(super) $section: $type,)+
        }

        $(
            #[derive(Deserialize, Default)]
            #[serde(default, deny_unknown_fields)]
            pub(super) struct $type {
                $(pub(super) $key: Option<Plain>,)+
            }
        )+

        /// Every key, as `section.key`.
        pub const KEYS: &[&str] =
            &[$($(concat!(stringify!($section), ".", stringify!($key)),)+)+];

        /// The same with what the documents say.
        pub const KEY_INFOS: &[KeyInfo] = &[$($(KeyInfo {
            key: concat!(stringify!($section), ".", stringify!($key)),
            takes: $takes,
            example: $example,
            effect: concat!($($effect),+),
        },)+)+];
    };
}

sections! {
    component: RawComponent {
        /// ephemerd's own address: the component's name in the XMPP server's configuration.
        jid: "domain" = "e.example.net",
        /// Where the server listens for components.
        server: "`host:port` or `unix:/path`" = "unix:/run/prosody.sock",
        /// The component's secret, as in the server's configuration.
        secret: "text" = "0012345",
        /// A file with the secret.
        secret_file: "path" = "/etc/ephemerd/component.secret",
    }
    database: RawDatabase {
        /// The XMPP server's own database. It may contain a password, which is never printed.
        url: "`postgres://` URL" = "postgresql://e@db/prosody",
        /// The password of ephemerd's role.
        password: "text" = "0012345",
        /// A file with the password.
        password_file: "path" = "/etc/ephemerd/database.password",
    }
    archive: RawArchive {
        /// Where the archives are: `prosody` and `ejabberd`, in tables of this PostgreSQL database; `component`,
        /// anywhere else, through the [companion module](protocol.md).
        kind: "`prosody`, `ejabberd` or `component`" = "ejabberd",
        /// The hosts whose messages may be erased, including rooms' hosts. No other host is ever touched.
        hosts: "list of domains" = "example.net, conference.example.net",
        /// Interval between polls for new messages.
        poll: "duration, `50ms` to `1m`" = "250ms",
        /// When inspection is further behind than this, `/readyz` answers 503. Must be longer than `archive.poll`.
        max_lag: "duration, `1s` to `1d`" = "1m",
    }
    timers: RawTimers {
        /// Shorter timers are raised to this.
        min: "duration" = "5s",
        /// Longer timers are lowered to this. At least `timers.min` and 1 s; for no limit use `none`, not 0.
        max: "duration or `none`" = "7d",
        /// A message that only agrees on a timer is kept at least this long.
        negotiation_for: "duration" = "1d",
        /// [What starts the timer](semantics.md#what-starts-a-timer) of a message, in its recipient's archive.
        start: "`archived`, `delivered`, `read` or `auto`" = "delivered",
        /// How long an unreceived or unread message waits before its timer starts anyway.
        unread_for: "duration or `never`" = "never",
        /// What counts as read.
        read_evidence: "list of `mds`, `markers`, `replies`" = "mds, replies",
        /// A message whose sender asks that it goes [once it was read](semantics.md#once-it-was-read) goes this long after that.
        once_for: "duration" = "5m",
        /// Messages also go when [older specifications](semantics.md#older-ways-to-expire) say that they expire.
        legacy_expiry: "`true` or `false`" = "true",
    }
    hints: RawHints {
        /// If a message's sender asked not to store it, an archived copy goes this long after archiving.
        keep_for: "duration" = "1h",
        /// Which hint wins when a message has both.
        conflict: "`store` or `no-permanent-store`" = "no-permanent-store",
    }
    rooms: RawRooms {
        /// [What starts the timer](semantics.md#in-rooms) of a message in a room.
        start: "`archived`, `first_reader` or `everyone`" = "first_reader",
        /// Whose reading starts no timer in rooms, such as bots': users, whole domains, or occupants.
        ignore_readers: "list of up to 1000 addresses" = "bot@example.net, bots.example.net, den@rooms.example.net/Bot",
    }
    inherit: RawInherit {
        /// What becomes of [what a reply quotes](semantics.md#quotes) when the message that it quotes goes: it is cut out,
        /// stays, or takes the reply with it.
        quotes: "`cut`, `leave` or `erase`" = "leave",
    }
    offline: RawOffline {
        /// The older name of `timers.unread_for`. Set one of the two.
        undelivered_for: "duration or `never`" = "never",
    }
    erase: RawErase {
        /// Whether an erased row stays for a while without its text. `auto` is `delete` on ejabberd, and
        /// `placeholder` on Prosody and with `component`.
        mode: "`auto`, `placeholder` or `delete`" = "delete",
        /// How long a placeholder is kept.
        placeholder_for: "duration" = "2d",
        /// Maximum number of rows in one transaction; up to ten times that while much goes by its age.
        batch: "rows, 1 to 100000" = "10",
        /// Maximum number of rows erased per second; 0 is no limit.
        rows_per_second: "rows/s, 0 to 10000000" = "500",
        /// Counts what would go and erases nothing.
        dry_run: "`true` or `false`" = "true",
        /// What happens to messages archived before the first start.
        backlog: "`hold` or `erase`" = "erase",
    }
    uploads: RawUploads {
        /// What the URLs of [uploaded files](semantics.md#uploaded-files) begin with that go with the messages that name them.
        urls: "list of up to 20 URLs" = "https://upload.example.net/file_share/",
        /// The hosts whose companion modules remove them: on Prosody the upload component, on ejabberd the virtual host.
        /// Without this, the hosts that `uploads.urls` names.
        hosts: "list of up to 20 domains" = "upload.example.net",
    }
    retention: RawRetention {
        /// How long messages stay in users' archives [at most](retention.md), whatever their senders asked for.
        archive_for: "duration from `1s`, or `never`" = "365d",
        /// The same in rooms' archives.
        rooms_for: "duration from `1s`, or `never`" = "90d",
        /// The same in offline queues.
        queue_for: "duration from `1s`, or `never`" = "30d",
        /// [Rules for some](retention.md#rules-for-some) users, rooms or hosts. In the environment, a list in JSON.
        rule: "tables, `[[retention.rule]]`" = r#"[{"archive_for":"30d","hosts":["example.net"]}]"#,
        /// A policy by which more messages than this would go waits for `ephemerd retention accept`.
        confirm_above: "messages, 0 to 1000000000" = "500",
        /// How long nothing goes by its age after a policy was announced, that is, first read by a daemon.
        grace: "duration, up to `365d`" = "2d",
    }
    sweep: RawSweep {
        /// Interval between sweeps of the whole archive.
        every: "duration, from `1m`" = "2h",
        /// Maximum number of rows that a sweep reads per second; 0 is no limit.
        rows_per_second: "rows/s, 0 to 10000000" = "0",
    }
    canary: RawCanary {
        /// An account of yours on one of `archive.hosts`, which nobody uses: [a message](operating.md#the-canary) is sent to
        /// it again and again, and must vanish.
        account: "address of an account, or `none`" = "canary@example.net",
        /// How often. Must be longer than `timers.min` and a minute together.
        every: "duration, from `10s`" = "10m",
    }
    commands: RawCommands {
        /// Users may ask [what is kept of them](users.md), by their client's commands.
        enabled: "`true` or `false`" = "false",
        /// Users may also [erase](users.md#erase-my-messages) what is kept of them. Holds win.
        erase: "`true` or `false`" = "true",
        /// Users may also set [how long their own archives keep messages](users.md#how-long-my-messages-are-kept); what they
        /// have set is followed as long as this is so.
        settings: "`true` or `false`" = "true",
        /// Users cannot set a shorter time than this.
        shortest_archive_for: "duration from `1s`" = "2h",
        /// How often one user may ask within a minute.
        per_minute: "requests, 1 to 1000" = "5",
    }
    http: RawHttp {
        /// Where the status page, `/metrics`, `/healthz` and `/readyz` are served, to anyone who can connect.
        listen: "IP address and port" = "[::1]:1",
    }
    log: RawLog {
        /// The lowest severity that ephemerd logs. Lines from libraries are logged only from `warn` up.
        level: "`error`, `warn`, `info`, `debug` or `trace`" = "debug",
        /// For people, or one JSON object per line.
        format: "`human` or `json`" = "json",
    }
}
