use sqlx::AssertSqlSafe;

use super::identity;

/// Which of ejabberd's schemas is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schema {
    /// `pg.sql`: the tables belong to one virtual host and do not name it.
    Classic {
        /// The virtual host.
        vhost: String,
    },
    /// `pg.new.sql` (`new_sql_schema`, since 25.10 `sql_schema_multihost`): a column names the virtual host.
    MultiHost,
}

impl Schema {
    /// Fills in a statement's placeholders: `{hosts}` is a table of the virtual hosts that have archived
    /// rows, `{host}` the virtual host of row `a`, and `{digest}` its text; the others select rows by
    /// identity.
    ///
    /// In the multi-host schema every index begins with the host, so a statement must name it to find a row
    /// at all. A loose index scan finds the hosts: one probe per host, however large the archive is.
    pub(super) fn sql(&self, template: &str) -> AssertSqlSafe<String> {
        let (hosts, host, words) = match self {
            Self::Classic { vhost } => {
                // A domain contains no quotes; if it did, doubling makes them harmless.
                let host = format!("'{}'::text", vhost.replace('\'', "''"));
                (format!("(VALUES ({host})) AS h(name)"), host, "a.xml")
            }
            Self::MultiHost => {
                (HOSTS.to_owned(), "a.server_host".to_owned(), "a.server_host || E'\\n' || a.xml")
            }
        };
        let digest = format!("sha256(convert_to({words}, 'UTF8'))");
        let texts = [
            ("{archived}", identity::ARCHIVED),
            ("{queued}", identity::QUEUED),
            ("{archived_there}", identity::ARCHIVED_THERE),
            ("{queued_there}", identity::QUEUED_THERE),
            ("{hosts}", &hosts),
            ("{host}", &host),
            ("{digest}", &digest),
        ];
        let filled = |sql: String, (name, text): (&str, &str)| sql.replace(name, text);
        AssertSqlSafe(texts.into_iter().fold(template.to_owned(), filled))
    }
}

const HOSTS: &str = "(WITH RECURSIVE host(name) AS (
        SELECT min(server_host) FROM archive
        UNION ALL
        SELECT (SELECT min(server_host) FROM archive WHERE server_host > host.name)
          FROM host WHERE host.name IS NOT NULL)
    SELECT name FROM host WHERE name IS NOT NULL) AS h(name)";
