//! Rows of a known age in the tables of each kind of archive in SQL, and what stands of them.

use std::collections::BTreeMap;

use ephemerd_lab::ejabberd::{EjabberdConfig, Schema};
use ephemerd_lab::{DaemonConfig, Lab, Result};
use sqlx::{AssertSqlSafe, PgPool};

/// The kinds of archive in SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Prosody,
    Classic,
    MultiHost,
}

/// The same for each kind, all at the same time: these tests mostly wait.
pub(crate) async fn on_every_kind(test: impl AsyncFn(Kind) -> Result<()>) -> Result<()> {
    tokio::try_join!(test(Kind::Prosody), test(Kind::Classic), test(Kind::MultiHost))?;
    Ok(())
}

/// A row to be archived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Put {
    /// `archive`, `room` or `queue`.
    pub(crate) store: &'static str,
    pub(crate) host: String,
    pub(crate) owner: String,
    /// The other side; in a room nobody.
    pub(crate) peer: String,
    /// What its body says; distinct.
    pub(crate) name: String,
    /// How long ago it was archived, in seconds.
    pub(crate) age: i64,
    /// It has a timer that runs for ten years.
    pub(crate) is_marked: bool,
    /// Its words are encrypted; the body is for clients that cannot read them.
    pub(crate) is_encrypted: bool,
}

impl Put {
    /// A row of `user@localhost`'s archive with Rosa.
    pub(crate) fn archive(user: &str, name: &str, age: i64) -> Self {
        Self {
            store: "archive",
            host: "localhost".to_owned(),
            owner: user.to_owned(),
            peer: "rosa@localhost".to_owned(),
            name: name.to_owned(),
            age,
            is_marked: false,
            is_encrypted: false,
        }
    }

    /// A row of the room `name@conference.localhost`.
    pub(crate) fn room(room: &str, name: &str, age: i64) -> Self {
        let host = "conference.localhost".to_owned();
        Self { store: "room", host, ..Self::archive(room, name, age) }
    }

    fn stanza(&self, stamp_micros: i64) -> String {
        let own = format!("{}@{}", self.owner, self.host);
        let (kind, from, to) = match self.store {
            "room" => ("groupchat", format!("{own}/nick"), own.clone()),
            "queue" => ("chat", format!("{}/x", self.peer), own.clone()),
            _ => ("chat", format!("{own}/x"), self.peer.clone()),
        };
        let timer = match self.is_marked {
            true => "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='315360000'/>",
            false => "",
        };
        let encrypted = match self.is_encrypted {
            true => {
                "<encrypted xmlns='eu.siacs.conversations.axolotl'><payload>x</payload></encrypted>\
                 <store xmlns='urn:xmpp:hints'/>"
            }
            false => "",
        };
        let id = match self.store {
            "queue" => {
                format!("<stanza-id by='{own}' id='{stamp_micros}' xmlns='urn:xmpp:sid:0'/>")
            }
            _ => String::new(),
        };
        let name = &self.name;
        format!(
            "<message type='{kind}' from='{from}' to='{to}'><body>{name}.</body>{encrypted}{timer}{id}</message>"
        )
    }
}

/// What stands of one owner's rows in one store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// The names whose words stand, in alphabetical order.
    pub(crate) names: Vec<String>,
    /// Rows without words.
    pub(crate) blank: usize,
}

/// By store and address.
pub(crate) type Standing = BTreeMap<(String, String), Left>;

impl Kind {
    /// A database with this kind's tables, without a server.
    pub(crate) async fn lab(self) -> Result<Lab> {
        match self {
            Self::Prosody => Lab::database_only().await,
            Self::Classic => Lab::ejabberd_tables(&EjabberdConfig::default()).await,
            Self::MultiHost => {
                let schema = Schema::MultiHost;
                Lab::ejabberd_tables(&EjabberdConfig { schema, ..EjabberdConfig::default() }).await
            }
        }
    }

    /// A daemon that follows a policy at once.
    pub(crate) fn config(self, lab: &Lab) -> Result<DaemonConfig> {
        let config = match self {
            Self::Prosody => DaemonConfig::for_database(&lab.database)?,
            Self::Classic | Self::MultiHost => DaemonConfig::for_ejabberd_tables(&lab.database)?,
        };
        Ok(config.set("retention.grace", "0s").set("archive.poll", "200ms"))
    }

    pub(crate) const fn tables(self) -> &'static [&'static str] {
        match self {
            Self::Prosody => &["prosodyarchive"],
            Self::Classic | Self::MultiHost => &["archive", "spool"],
        }
    }

    /// Archives these rows, in this order.
    pub(crate) async fn put(self, pool: &PgPool, rows: &[Put]) -> Result<()> {
        let now: i64 =
            sqlx::query_scalar("SELECT extract(epoch FROM now())::bigint").fetch_one(pool).await?;
        let mut transaction = pool.begin().await?;
        for (at, row) in rows.iter().enumerate() {
            let seconds = now - row.age;
            let micros = seconds * 1_000_000 + at as i64;
            let xml = row.stanza(micros);
            match (self, row.store) {
                (Self::Prosody, store) => {
                    let (store, with) = match store {
                        "room" => ("muc_log", "message<groupchat"),
                        "queue" => ("offline", ""),
                        _ => ("archive", row.peer.as_str()),
                    };
                    sqlx::query(
                        r#"INSERT INTO prosodyarchive (host, "user", store, key, "when", "with", type, value)
                           VALUES ($1, $2, $3, $4, $5, $6, 'xml', $7)"#,
                    )
                    .bind(&row.host)
                    .bind(&row.owner)
                    .bind(store)
                    .bind(&row.name)
                    .bind(seconds as i32)
                    .bind(with)
                    .bind(xml)
                    .execute(&mut *transaction)
                    .await?;
                }
                (_, "queue") => {
                    let (column, value) = self.vhost("$4, ");
                    let insert = format!(
                        "INSERT INTO spool ({column}username, xml, created_at)
                         SELECT {value}$1, $2, to_timestamp($3) AT TIME ZONE 'UTC' WHERE $4 <> ''"
                    );
                    sqlx::query(AssertSqlSafe(insert))
                        .bind(&row.owner)
                        .bind(xml)
                        .bind(seconds as f64)
                        .bind(&row.host)
                        .execute(&mut *transaction)
                        .await?;
                }
                (_, store) => {
                    let (column, value) = self.vhost("$6, ");
                    let insert = format!(
                        "INSERT INTO archive ({column}username, timestamp, peer, bare_peer, xml, txt, kind, nick)
                         SELECT {value}$1, $2, $3 || '/x', $3, $4, 'words', $5, '' WHERE $6 <> ''"
                    );
                    let in_room = store == "room";
                    let username = match in_room {
                        true => format!("{}@{}", row.owner, row.host),
                        false => row.owner.clone(),
                    };
                    // A room's archive belongs to the virtual host.
                    let host = if in_room { "localhost" } else { &row.host };
                    sqlx::query(AssertSqlSafe(insert))
                        .bind(username)
                        .bind(micros)
                        .bind(&row.peer)
                        .bind(xml)
                        .bind(if in_room { "groupchat" } else { "chat" })
                        .bind(host)
                        .execute(&mut *transaction)
                        .await?;
                }
            }
        }
        transaction.commit().await?;
        Ok(())
    }

    fn vhost(self, value: &'static str) -> (&'static str, &'static str) {
        if self == Self::MultiHost { ("server_host, ", value) } else { ("", "") }
    }

    /// What stands, by store and address.
    pub(crate) async fn standing(self, pool: &PgPool) -> Result<Standing> {
        let host = if self == Self::MultiHost { "server_host" } else { "'localhost'" };
        let select = match self {
            Self::Prosody => {
                r#"SELECT CASE store WHEN 'muc_log' THEN 'room' WHEN 'offline' THEN 'queue' ELSE store END,
                          "user" || '@' || host, value FROM prosodyarchive"#
                    .to_owned()
            }
            Self::Classic | Self::MultiHost => format!(
                "SELECT CASE kind WHEN 'groupchat' THEN 'room' ELSE 'archive' END,
                        CASE kind WHEN 'groupchat' THEN username ELSE username || '@' || {host} END, xml || coalesce(txt, '')
                   FROM archive
                  UNION ALL SELECT 'queue', username || '@' || {host}, xml FROM spool"
            ),
        };
        let rows: Vec<(String, String, String)> =
            sqlx::query_as(AssertSqlSafe(select)).fetch_all(pool).await?;
        let mut standing = Standing::new();
        for (store, address, xml) in rows {
            let left = standing.entry((store, address)).or_default();
            match xml.split_once("<body>").and_then(|it| it.1.split_once(".</body>")) {
                Some((name, _)) => left.names.push(name.to_owned()),
                None => {
                    assert!(xml.contains("<expired xmlns='urn:ephemerd:0'"), "{xml}");
                    assert!(!xml.contains("words"), "{xml}");
                    left.blank += 1;
                }
            }
        }
        for left in standing.values_mut() {
            left.names.sort_unstable();
        }
        Ok(standing)
    }

    /// All names whose words stand.
    pub(crate) async fn names(self, pool: &PgPool) -> Result<Vec<String>> {
        let standing = self.standing(pool).await?;
        let mut names: Vec<String> = standing.into_values().flat_map(|it| it.names).collect();
        names.sort_unstable();
        Ok(names)
    }
}
