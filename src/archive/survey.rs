//! Which server's archives are in a database that nothing is known of yet, and of which hosts.

use sqlx::PgConnection;

use super::{
    Kind,
    ejabberd::{self, Schema},
    prosody,
};
use crate::database::Result;

/// One server's archives, as found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surveyed {
    /// Whose they are.
    pub kind: Kind,
    /// What they are, for people.
    pub what: &'static str,
    /// The hosts that have rows, with their numbers, by name: virtual hosts and rooms' hosts.
    pub hosts: Vec<(String, i64)>,
    /// The virtual host is not among them: ejabberd's classic schema does not name it, and no row shows it.
    pub lacks_vhost: bool,
}

/// Finds the archives that this role sees. Needs to read them, but no other rights.
pub async fn survey(connection: &mut PgConnection) -> Result<Vec<Surveyed>> {
    let mut found = Vec::new();
    if prosody::is_there(connection).await? {
        let mut hosts = prosody::unlisted_hosts(connection, &[]).await?;
        // Hosts that only keep other things in that table, such as a pubsub service.
        hosts.retain(|(_, rows)| *rows > 0);
        found.push(Surveyed { kind: Kind::Prosody, what: "Prosody's", hosts, lacks_vhost: false });
    }
    if let Some(schema) = ejabberd::guess(connection).await? {
        let mut hosts = ejabberd::unlisted_hosts(connection, &schema, &[]).await?;
        hosts.retain(|(name, _)| !name.is_empty());
        let (what, lacks_vhost) = match schema {
            Schema::Classic { vhost } => ("ejabberd's, in the classic schema", vhost.is_empty()),
            Schema::MultiHost => ("ejabberd's, in the multi-host schema", false),
        };
        found.push(Surveyed { kind: Kind::Ejabberd, what, hosts, lacks_vhost });
    }
    Ok(found)
}
