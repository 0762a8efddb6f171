//! Archive rows without an XMPP server: Prosody's tables, and statements that fill them.

use sqlx::{PgExecutor, PgPool};

use crate::database::Database;
use crate::postgres::SERVER_ROLE;
use crate::{LabError, Result};

/// `prosodyarchive` as Prosody 0.12 and 13 create it; a test compares it with a real one.
const PROSODY_TABLES: &str = r#"
    CREATE TABLE prosodyarchive (
        sort_id bigserial PRIMARY KEY, host text NOT NULL, "user" text NOT NULL,
        store text NOT NULL, key text NOT NULL, "when" integer NOT NULL, "with" text NOT NULL,
        type text NOT NULL, value text NOT NULL);
    CREATE UNIQUE INDEX prosodyarchive_index ON prosodyarchive (host, "user", store, key);
    CREATE INDEX prosodyarchive_with_when ON prosodyarchive (host, "user", store, "with", "when");
    CREATE INDEX prosodyarchive_when ON prosodyarchive (host, "user", store, "when");
    CREATE INDEX prosodyarchive_sort ON prosodyarchive (host, "user", store, sort_id);
"#;

/// Creates the table with its sequence and indexes; the XMPP server's role owns them.
pub async fn create_prosody_tables(database: &Database) -> Result<()> {
    let mut transaction = database.superuser().begin().await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("SET LOCAL ROLE {SERVER_ROLE}; {PROSODY_TABLES}")))
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(())
}

/// One row of `prosodyarchive`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveRow {
    /// The vhost, or the rooms' host.
    pub host: String,
    /// The local part of the user or room.
    pub user: String,
    /// `archive`, `muc_log` or `offline`.
    pub store: String,
    /// The archive id.
    pub key: String,
    /// When it was archived, in whole Unix seconds.
    pub when: i64,
    /// The other side's bare JID; `message<groupchat` in rooms, empty in the queue.
    pub with: String,
    /// The stanza's XML.
    pub value: String,
}

impl ArchiveRow {
    /// A row of `user@localhost`'s archive with `rosa@localhost`.
    pub fn archive(user: &str, key: &str, when: i64, value: &str) -> Self {
        Self {
            host: "localhost".to_owned(),
            user: user.to_owned(),
            store: "archive".to_owned(),
            key: key.to_owned(),
            when,
            with: "rosa@localhost".to_owned(),
            value: value.to_owned(),
        }
    }

    /// A row of the archive of the room `name@conference.localhost`.
    pub fn room(name: &str, key: &str, when: i64, value: &str) -> Self {
        Self {
            host: "conference.localhost".to_owned(),
            store: "muc_log".to_owned(),
            with: "message<groupchat".to_owned(),
            ..Self::archive(name, key, when, value)
        }
    }

    /// A row of `user@localhost`'s offline queue, a copy of the archive row with the key `archived_as`.
    pub fn queue(user: &str, key: &str, when: i64, value: &str, archived_as: &str) -> Self {
        let id = format!(
            "<stanza-id by='{user}@localhost' id='{archived_as}' xmlns='urn:xmpp:sid:0'/></message>"
        );
        let value = value.strip_suffix("</message>").map(|start| format!("{start}{id}"));
        Self {
            store: "offline".to_owned(),
            with: String::new(),
            value: value.unwrap_or_default(),
            ..Self::archive(user, key, when, "")
        }
    }
}

/// Inserts rows in one statement; returns their `sort_id`s in the same order.
pub async fn insert(into: impl PgExecutor<'_>, rows: &[ArchiveRow]) -> Result<Vec<i64>> {
    let column = |of: fn(&ArchiveRow) -> &String| rows.iter().map(of).cloned().collect::<Vec<_>>();
    let whens: Vec<_> = rows.iter().map(|row| row.when).collect();
    let sort_ids: Vec<i64> = sqlx::query_scalar(
        r#"INSERT INTO prosodyarchive (host, "user", store, key, "when", "with", type, value)
           SELECT host, "user", store, key, "when", "with", 'xml', value
           FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[])
             WITH ORDINALITY AS t (host, "user", store, key, "when", "with", value, nr)
           ORDER BY nr RETURNING sort_id"#,
    )
    .bind(column(|row| &row.host))
    .bind(column(|row| &row.user))
    .bind(column(|row| &row.store))
    .bind(column(|row| &row.key))
    .bind(whens)
    .bind(column(|row| &row.with))
    .bind(column(|row| &row.value))
    .fetch_all(into)
    .await?;
    if sort_ids.len() == rows.len() {
        Ok(sort_ids)
    } else {
        Err(LabError::new("rows were lost on their way in"))
    }
}

/// A large archive of chats between many users, generated inside PostgreSQL.
#[derive(Debug, Clone)]
pub struct Bulk {
    /// How many rows.
    pub rows: i64,
    /// Every nth row is marked; 0 for none. Marked rows are spread over the whole archive.
    pub marked_every: i64,
    /// The timer of marked rows, in seconds.
    pub timer_seconds: u32,
    /// The number of users' archives.
    pub users: i64,
    /// The length of a body.
    pub body_bytes: i32,
    /// Age of the first row in seconds; the rows are spread evenly from then to now.
    pub oldest_seconds: i64,
}

impl Default for Bulk {
    fn default() -> Self {
        Self {
            rows: 100_000,
            marked_every: 10,
            timer_seconds: 60,
            users: 100,
            body_bytes: 200,
            oldest_seconds: 30 * 86_400,
        }
    }
}

impl Bulk {
    /// Inserts the rows and analyses the table.
    pub async fn insert(&self, pool: &PgPool) -> Result<()> {
        sqlx::query(
            r#"INSERT INTO prosodyarchive (host, "user", store, key, "when", "with", type, value)
               SELECT 'localhost', 'user' || nr % $3, 'archive', gen_random_uuid()::text,
                 extract(epoch FROM now())::bigint - $6 + ($6 * nr) / $1,
                 'user' || (nr + 1) % $3 || '@localhost', 'xml',
                 '<message xml:lang=''en'' type=''chat'' id=''' || md5(nr::text) || ''' to=''user'
                   || (nr + 1) % $3 || '@localhost'' from=''user' || nr % $3
                   || '@localhost/phone''><body>'
                   || substr(repeat(md5((nr * 7)::text), $5 / 32 + 1), 1, $5) || '</body>'
                   || CASE WHEN $2 > 0 AND nr % greatest($2, 1) = 0
                        THEN '<ephemeral timer=''' || $4 || ''' xmlns=''urn:xmpp:ephemeral:0''/>'
                        ELSE '' END
                   || '</message>'
               FROM generate_series(1, $1) AS nr"#,
        )
        .bind(self.rows)
        .bind(self.marked_every)
        .bind(self.users)
        .bind(self.timer_seconds.to_string())
        .bind(self.body_bytes)
        .bind(self.oldest_seconds)
        .execute(pool)
        .await?;
        sqlx::query("ANALYZE prosodyarchive").execute(pool).await?;
        Ok(())
    }

    /// How many of the rows are marked.
    pub fn marked(&self) -> i64 {
        if self.marked_every > 0 { self.rows / self.marked_every } else { 0 }
    }
}
