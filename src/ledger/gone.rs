//! The names of messages that were erased within a day: what belongs to them may come late.

use sqlx::PgConnection;

use super::{Entry, Name};
use crate::{
    database::{Named, Result},
    model::{RowKey, Store, Timestamp},
};

/// Rows of each group of owners that one statement forgets.
const ROWS: i64 = 100;

/// Remembers for a day by what others may name these entries' messages, which are erased.
pub async fn remember(connection: &mut PgConnection, erased: &[&Entry]) -> Result<()> {
    let named: Vec<(&RowKey, &Name)> =
        erased.iter().filter_map(|it| Some((&it.expiry.row, it.expiry.name.as_ref()?))).collect();
    if named.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "-- remember
         INSERT INTO ephemerd.gone (owner_group, names, senders, stamps)
         SELECT hashtext(owner) & 127, array_agg(name), array_agg(sender), array_agg(stamped_at)
           FROM unnest($1::text[], $2::bytea[], $3::bytea[], $4::timestamptz[]) AS k(owner, name, sender, stamped_at)
          GROUP BY 1",
        &named.iter().map(|it| it.0.owner.clone()).collect::<Vec<String>>(),
        &named.iter().map(|it| it.1.name.clone()).collect::<Vec<Vec<u8>>>(),
        &named.iter().map(|it| it.1.sender.clone()).collect::<Vec<Vec<u8>>>(),
        &named.iter().map(|it| it.0.stamped_at).collect::<Vec<Timestamp>>(),
    )
    .execute(&mut *connection)
    .await
    .named("remember")?;
    let in_rooms: Vec<(&RowKey, &Name)> =
        named.into_iter().filter(|it| it.0.store == Store::Room).collect();
    remember_archived(connection, &in_rooms).await
}

/// Remembers messages in rooms by the archive's ids, too.
async fn remember_archived(
    connection: &mut PgConnection,
    named: &[(&RowKey, &Name)],
) -> Result<()> {
    if named.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "-- remember_archived
         INSERT INTO ephemerd.gone (owner_group, names, senders, stamps)
         SELECT hashtext(k.owner) & 127,
                array_agg(ephemerd.message_digest(c.reading_key, 'archive id', k.host, k.owner, k.archive_id)),
                array_agg(k.sender), array_agg(k.stamped_at)
           FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::timestamptz[])
                AS k(host, owner, archive_id, sender, stamped_at)
          CROSS JOIN ephemerd.control AS c
          GROUP BY 1",
        &named.iter().map(|it| it.0.host.clone()).collect::<Vec<String>>(),
        &named.iter().map(|it| it.0.owner.clone()).collect::<Vec<String>>(),
        &named.iter().map(|it| it.0.archive_id.clone()).collect::<Vec<String>>(),
        &named.iter().map(|it| it.1.sender.clone()).collect::<Vec<Vec<u8>>>(),
        &named.iter().map(|it| it.0.stamped_at).collect::<Vec<Timestamp>>(),
    )
    .execute(connection)
    .await
    .named("remember_archived")?;
    Ok(())
}

/// Forgets the names of messages that were erased more than a day ago.
pub async fn forget_names(connection: &mut PgConnection) -> Result<()> {
    loop {
        // One probe of the only index for each group of owners.
        let forgotten = sqlx::query!(
            "-- forget_names
             DELETE FROM ephemerd.gone WHERE ctid = ANY (ARRAY(
                 SELECT old.ctid FROM generate_series(0, 127) AS k(owner_group) CROSS JOIN LATERAL (
                        SELECT g.ctid FROM ephemerd.gone AS g
                         WHERE g.owner_group = k.owner_group AND g.gone_at < now() - interval '1 day'
                         ORDER BY g.gone_at LIMIT $1 FOR UPDATE SKIP LOCKED) AS old))",
            ROWS,
        )
        .execute(&mut *connection)
        .await
        .named("forget_names")?
        .rows_affected();
        if forgotten == 0 {
            return Ok(());
        }
    }
}
