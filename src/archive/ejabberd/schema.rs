use sqlx::AssertSqlSafe;

/// Which of ejabberd's schemas is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schema {
    /// `pg.sql`: the tables are of one virtual host, and do not name it.
    Classic {
        /// The virtual host.
        vhost: String,
    },
    /// `pg.new.sql` (`new_sql_schema`, since 25.10 `sql_schema_multihost`): a column names the virtual host.
    MultiHost,
}

impl Schema {
    /// A statement with its placeholders filled in: `{hosts}` is a table of the virtual hosts that have archived
    /// rows; `{host}` names the one of a row `a`, and `{digest}` its words.
    ///
    /// The multi-host schema has the host first in every index, so that a statement must name it to find a row
    /// at all. A loose scan finds the hosts: one probe for each, however large the archive is.
    pub(super) fn sql(&self, template: &str) -> AssertSqlSafe<String> {
        let (hosts, host, words) = match self {
            Self::Classic { vhost } => {
                // A domain has no quotes; doubled they would be harmless.
                let host = format!("'{}'::text", vhost.replace('\'', "''"));
                (format!("(VALUES ({host})) AS h(name)"), host, "a.xml")
            }
            Self::MultiHost => {
                (HOSTS.to_owned(), "a.server_host".to_owned(), "a.server_host || E'\\n' || a.xml")
            }
        };
        let digest = format!("sha256(convert_to({words}, 'UTF8'))");
        let sql = template.replace("{hosts}", &hosts).replace("{host}", &host);
        AssertSqlSafe(sql.replace("{digest}", &digest))
    }
}

const HOSTS: &str = "(WITH RECURSIVE host(name) AS (
        SELECT min(server_host) FROM archive
        UNION ALL
        SELECT (SELECT min(server_host) FROM archive WHERE server_host > host.name)
          FROM host WHERE host.name IS NOT NULL)
    SELECT name FROM host WHERE name IS NOT NULL) AS h(name)";
