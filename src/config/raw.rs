//! The configuration as written: sections and keys, not yet judged.
//!
//! serde refuses the keys that there are not; [`super::validate`] judges the values, because it can say
//! which key is wrong, where it stands and what to do.

use serde::Deserialize;

/// Any value, by its TOML type. From the environment all are text.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Plain {
    Flag(bool),
    Whole(i64),
    Text(String),
    List(Vec<String>),
    Other(serde::de::IgnoredAny),
}

macro_rules! sections {
    ($($section:ident: $type:ident { $($key:ident),+ $(,)? })+) => {
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

        /// Every key that there is, as `section.key`.
        pub const KEYS: &[&str] =
            &[$($(concat!(stringify!($section), ".", stringify!($key)),)+)+];
    };
}

sections! {
    component: RawComponent { jid, server, secret, secret_file }
    database: RawDatabase { url, password, password_file }
    archive: RawArchive { kind, hosts, poll, max_lag }
    timers: RawTimers { min, max, negotiation_for }
    hints: RawHints { keep_for, conflict }
    offline: RawOffline { undelivered_for }
    erase: RawErase { mode, placeholder_for, batch, rows_per_second, dry_run, backlog }
    sweep: RawSweep { every, rows_per_second }
    http: RawHttp { listen }
    log: RawLog { level, format }
}
