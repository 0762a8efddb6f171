use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::Schema;
use crate::{
    archive::{
        MAX_STANZA_BYTES, head,
        layout::{self, sequence},
        marks::*,
        text_of,
    },
    database::{Named, Result},
    model::Finding,
    stanza,
};

const TABLES: [&str; 2] = ["archive", "spool"];

/// The columns that we need and the types that we accept. Additional columns are ignored.
const COLUMNS: [(&str, &str, &[&str]); 8] = [
    ("archive", "username", &["text"]),
    ("archive", "timestamp", &["bigint"]),
    ("archive", "kind", &["text"]),
    ("archive", "xml", &["text"]),
    ("archive", "txt", &["text"]),
    ("spool", "username", &["text"]),
    ("spool", "seq", &["integer", "bigint"]),
    ("spool", "xml", &["text"]),
];

const GRANTS: &str = "run deploy/grants.sql in this database as a superuser";

/// Above this size in bytes, reading all of `spool` takes too long for each poll.
const LARGE_QUEUE_BYTES: i64 = 64 * 1024 * 1024;

/// How many of the newest rows are sampled.
const SAMPLE_ROWS: i64 = 1_000;

/// What the probe found.
#[derive(Debug)]
pub struct ProbedSchema {
    /// The schema, if it is one that we know.
    pub schema: Option<Schema>,
    /// What to report to the operator.
    pub findings: Vec<Finding>,
}

/// Looks at the live schema and at what our role may do there. `hosts` are those whose rows we may touch.
pub async fn probe(connection: &mut PgConnection, hosts: &[String]) -> Result<ProbedSchema> {
    let mut findings = layout::unusable(connection, &TABLES).await?;
    if !findings.is_empty() {
        return Ok(ProbedSchema { schema: None, findings });
    }
    let columns = columns(connection).await?;
    findings.extend(missing(&columns));
    if findings.is_empty() {
        findings = privileges(connection).await?;
    }
    if !findings.is_empty() {
        return Ok(ProbedSchema { schema: None, findings });
    }
    let is_multi_host =
        |table: &str| columns.iter().any(|it| it.0 == table && it.1 == "server_host");
    let schema = match (is_multi_host("archive"), is_multi_host("spool")) {
        (true, true) => Schema::MultiHost,
        (false, false) => match classic(connection, hosts).await? {
            Ok(schema) => schema,
            Err(problem) => return Ok(ProbedSchema { schema: None, findings: vec![problem] }),
        },
        _ => {
            let problem = Finding::problem(
                "Only one of the tables archive and spool names the virtual host.",
                "ejabberd's migration to its multi-host schema is not complete: finish it",
            );
            return Ok(ProbedSchema { schema: None, findings: vec![problem] });
        }
    };
    let name = if schema == Schema::MultiHost { "multi-host" } else { "classic" };
    findings.push(Finding::good(format!(
        "ejabberd's archive is readable and has the columns needed ({name} schema)."
    )));
    findings.extend(compressed(connection, &schema).await?);
    findings.extend(large_queue(connection).await?);
    findings.extend(layout::obstacles(connection, &TABLES).await?);
    Ok(ProbedSchema { schema: Some(schema), findings })
}

async fn columns(connection: &mut PgConnection) -> Result<Vec<(String, String, String)>> {
    sqlx::query_as(
        "-- ejabberd_columns
         SELECT relation.name, attname::text, format_type(atttypid, NULL)
           FROM (VALUES ('archive'), ('spool')) AS relation(name)
           JOIN pg_attribute ON attrelid = to_regclass(relation.name)
          WHERE attnum > 0 AND NOT attisdropped
          ORDER BY relation.name, attnum",
    )
    .fetch_all(connection)
    .await
    .named("ejabberd_columns")
}

fn missing(columns: &[(String, String, String)]) -> Vec<Finding> {
    for table in TABLES {
        if !columns.iter().any(|it| it.0 == table) {
            return vec![Finding::problem(
                format!("There is no table {table} in this database."),
                "check database.url, and that ejabberd keeps its archives there: see docs/install-ejabberd.md",
            )];
        }
    }
    let is_missing = |(table, name, types): &&(&str, &str, &[&str])| {
        !columns.iter().any(|it| it.0 == *table && it.1 == *name && types.contains(&&*it.2))
    };
    let missing = COLUMNS.iter().filter(is_missing).map(|(table, name, types)| {
        Finding::problem(
            format!("Column {name} of {table} is missing or is not {}.", types.join(" or ")),
            "this version of ejabberd's schema is not supported: see docs/install-ejabberd.md",
        )
    });
    missing.collect()
}

async fn privileges(connection: &mut PgConnection) -> Result<Vec<Finding>> {
    let granted: Vec<(String, bool)> = sqlx::query_as(
        "-- ejabberd_privileges
         VALUES ('SELECT on archive', has_table_privilege('archive', 'SELECT')),
                ('DELETE on archive', has_table_privilege('archive', 'DELETE')),
                ('UPDATE (xml) on archive', has_column_privilege('archive', 'xml', 'UPDATE')),
                ('UPDATE (txt) on archive', has_column_privilege('archive', 'txt', 'UPDATE')),
                ('SELECT on spool', has_table_privilege('spool', 'SELECT')),
                ('UPDATE (xml) on spool', has_column_privilege('spool', 'xml', 'UPDATE'))",
    )
    .fetch_all(&mut *connection)
    .await
    .named("ejabberd_privileges")?;
    let (sequence, may_read): (Option<String>, Option<bool>) = sqlx::query_as(concat!(
        "-- ejabberd_sequence
         SELECT numbers.oid::regclass::text, has_sequence_privilege(numbers.oid, 'SELECT') FROM (SELECT ",
        sequence!("spool", "seq"),
        " AS oid) AS numbers",
    ))
    .fetch_one(connection)
    .await
    .named("ejabberd_sequence")?;
    let lacking = granted.into_iter().filter(|it| !it.1);
    let lacking = lacking.map(|it| Finding::problem(format!("Our role lacks {}.", it.0), GRANTS));
    Ok(lacking.chain(layout::sequence_findings("spool.seq", sequence, may_read)).collect())
}

/// The classic schema does not name the virtual host. It must follow from the configuration, and nothing in
/// the archive may contradict it.
async fn classic(
    connection: &mut PgConnection,
    hosts: &[String],
) -> Result<std::result::Result<Schema, Finding>> {
    let remedy =
        "in archive.hosts, list the one virtual host of this database and its own rooms' hosts";
    let mut vhosts: Vec<&String> =
        hosts.iter().filter(|host| !is_below_another(host, hosts)).collect();
    if vhosts.len() != 1 {
        let rooms = room_hosts(connection).await?;
        vhosts = hosts.iter().filter(|host| !rooms.contains(host)).collect();
    }
    let [vhost] = vhosts.as_slice() else {
        return Ok(Err(Finding::problem(
            format!(
                "ejabberd's classic schema holds one virtual host, and {} of archive.hosts could be it.",
                vhosts.len()
            ),
            remedy,
        )));
    };
    let schema = Schema::Classic { vhost: (*vhost).clone() };
    match another_owner(connection, vhost).await? {
        Some(host) => Ok(Err(Finding::problem(
            format!(
                "The archive holds users of {host}, which is not the virtual host according to archive.hosts."
            ),
            remedy,
        ))),
        None => Ok(Ok(schema)),
    }
}

fn is_below_another(host: &str, hosts: &[String]) -> bool {
    hosts.iter().any(|other| host.strip_suffix(other.as_str()).is_some_and(|it| it.ends_with('.')))
}

async fn room_hosts(connection: &mut PgConnection) -> Result<Vec<String>> {
    sqlx::query_scalar(
        "-- ejabberd_room_hosts
         SELECT DISTINCT split_part(username, '@', 2) FROM archive WHERE kind = 'groupchat' ORDER BY 1",
    )
    .fetch_all(connection)
    .await
    .named("ejabberd_room_hosts")
}

/// The schema of these tables as far as they show it, without any configuration: the classic one's virtual host is
/// the domain that most owners of the newest rows have, or empty. `None` without tables.
pub async fn guess(connection: &mut PgConnection) -> Result<Option<Schema>> {
    let columns = columns(connection).await?;
    let has = |table: &str, column: &str| columns.iter().any(|it| it.0 == table && it.1 == column);
    if !has("archive", "xml") || !has("spool", "xml") {
        return Ok(None);
    }
    if has("archive", "server_host") {
        return Ok(Some(Schema::MultiHost));
    }
    let mut rows: BTreeMap<String, usize> = BTreeMap::new();
    for mut domains in owners(connection).await? {
        domains.dedup();
        // Somebody elsewhere may have the same local part: then it is not clear who the owner is.
        if let [domain] = domains.as_slice() {
            *rows.entry(domain.clone()).or_default() += 1;
        }
    }
    let vhost = rows.into_iter().max_by_key(|(_, rows)| *rows).unwrap_or_default().0;
    Ok(Some(Schema::Classic { vhost }))
}

/// The domain of an owner in the newest rows if a stanza's own address has it at another host than `vhost`.
async fn another_owner(connection: &mut PgConnection, vhost: &str) -> Result<Option<String>> {
    let owners = owners(connection).await?;
    Ok(owners.into_iter().find_map(|domains| {
        let first = domains.first().cloned();
        first.filter(|_| !domains.iter().any(|it| it == vhost))
    }))
}

/// For each of the newest rows of users, the domains at which a stanza's own address has its owner.
async fn owners(connection: &mut PgConnection) -> Result<Vec<Vec<String>>> {
    let rows: Vec<(String, Vec<u8>)> = sqlx::query_as(concat!(
        "-- ejabberd_owners
         SELECT username, ",
        head!("xml", "4096"),
        "
           FROM (SELECT username, kind, xml FROM archive ORDER BY timestamp DESC LIMIT $1) AS newest
          WHERE kind = 'chat' AND octet_length(xml) <= $2",
    ))
    .bind(SAMPLE_ROWS)
    .bind(MAX_STANZA_BYTES)
    .fetch_all(connection)
    .await
    .named("ejabberd_owners")?;
    let domains = |(username, head): (String, Vec<u8>)| {
        let parties = stanza::parties(&text_of(head)).into_iter();
        let at = parties.filter_map(|jid| {
            let bare = jid.split('/').next()?;
            let (local, domain) = bare.split_once('@')?;
            (local == username).then(|| domain.to_owned())
        });
        at.collect()
    };
    Ok(rows.into_iter().map(domains).collect())
}

/// `compress_xml` writes a private format that differs between releases: such rows are left alone.
async fn compressed(connection: &mut PgConnection, schema: &Schema) -> Result<Option<Finding>> {
    let found: bool = sqlx::query_scalar(schema.sql(
        "-- ejabberd_compressed
         SELECT EXISTS (SELECT FROM {hosts} CROSS JOIN LATERAL
                   (SELECT a.xml FROM archive AS a WHERE {host} = h.name
                     ORDER BY a.timestamp DESC LIMIT $1) AS newest
                 WHERE newest.xml <> '' AND newest.xml NOT LIKE '<%')",
    ))
    .bind(SAMPLE_ROWS)
    .fetch_one(connection)
    .await
    .named("ejabberd_compressed")?;
    Ok(found.then(|| {
        Finding::warning(
            "Some archived rows are compressed: they cannot be read and are left alone.",
            "set compress_xml: false in mod_mam; rows that are compressed already stay unreadable",
        )
    }))
}

/// Each poll reads the whole queue, unless an index lets it begin where the last one ended.
async fn large_queue(connection: &mut PgConnection) -> Result<Option<Finding>> {
    let (bytes, is_indexed): (i64, bool) = sqlx::query_as(concat!(
        "-- ejabberd_queue_size
         SELECT pg_relation_size('spool'),
                EXISTS (SELECT FROM pg_index WHERE indrelid = to_regclass('spool') AND indisvalid
                           AND pg_get_expr(indpred, indrelid) LIKE '%",
        ephemeral!(),
        "%')",
    ))
    .fetch_one(connection)
    .await
    .named("ejabberd_queue_size")?;
    Ok((bytes > LARGE_QUEUE_BYTES && !is_indexed).then(|| {
        Finding::warning(
            format!(
                "The offline queue is large ({} MiB), and each poll reads all of it.",
                bytes >> 20
            ),
            QUEUE_INDEX,
        )
    }))
}

/// Hosts in the archive that are not listed, with their row counts: virtual hosts if the schema names them,
/// and the hosts of rooms.
pub async fn unlisted_hosts(
    connection: &mut PgConnection,
    schema: &Schema,
    hosts: &[String],
) -> Result<Vec<(String, i64)>> {
    sqlx::query_as(schema.sql(
        "-- ejabberd_unlisted_hosts
         SELECT CASE a.kind WHEN 'groupchat' THEN split_part(a.username, '@', 2) ELSE {host} END AS name,
                count(*)
           FROM archive AS a
          GROUP BY 1
         HAVING CASE a.kind WHEN 'groupchat' THEN split_part(a.username, '@', 2) ELSE {host} END <> ALL ($1)
          ORDER BY 1",
    ))
    .bind(hosts)
    .fetch_all(connection)
    .await
    .named("ejabberd_unlisted_hosts")
}
