//! What needs only PostgreSQL.

use ephemerd_lab::rows::{self, ArchiveRow, Bulk};
use ephemerd_lab::{Lab, Result};

const PLAIN: &str = "<message type='chat'><body>hello</body></message>";

#[tokio::test(flavor = "multi_thread")]
async fn rows_go_in_as_given_and_in_order() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    let given = [
        ArchiveRow::archive("peter", "k1", 1_000, PLAIN),
        ArchiveRow::room("garden", "k2", 2_000, PLAIN),
        ArchiveRow::queue("rosa", "k3", 3_000, PLAIN, "k1"),
    ];
    let sort_ids = rows::insert(pool, &given).await?;
    assert!(sort_ids.is_sorted());
    let found: Vec<(String, i32, String)> = sqlx::query_as(
        r#"SELECT concat_ws('|', host, "user", store, key, "with", type), "when", value
           FROM prosodyarchive ORDER BY array_position($1, sort_id)"#,
    )
    .bind(&sort_ids)
    .fetch_all(pool)
    .await?;
    assert_eq!(found[0].0, "localhost|peter|archive|k1|rosa@localhost|xml");
    assert_eq!(found[1].0, "conference.localhost|garden|muc_log|k2|message<groupchat|xml");
    assert_eq!(found[2].0, "localhost|rosa|offline|k3||xml");
    assert_eq!(found.iter().map(|it| it.1).collect::<Vec<_>>(), [1_000, 2_000, 3_000]);
    assert_eq!(found[1].2, PLAIN);
    assert!(found[2].2.ends_with("id='k1' xmlns='urn:xmpp:sid:0'/></message>"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_rows_are_marked_as_often_as_said() -> Result<()> {
    let lab = Lab::database_only().await?;
    let bulk = Bulk { rows: 1_000, marked_every: 4, ..Bulk::default() };
    bulk.insert(lab.database.superuser()).await?;
    let (rows, marked, users): (i64, i64, i64) = sqlx::query_as(
        r#"SELECT count(*), count(*) FILTER (WHERE value LIKE '%timer=''60''%'),
             count(DISTINCT "user") FROM prosodyarchive"#,
    )
    .fetch_one(lab.database.superuser())
    .await?;
    assert_eq!((rows, marked, users), (1_000, bulk.marked(), bulk.users));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemons_role_may_do_what_grants_sql_says_and_no_more() -> Result<()> {
    let lab = Lab::database_only().await?;
    let pool = lab.database.superuser();
    rows::insert(pool, &[ArchiveRow::archive("peter", "k1", 1_000, PLAIN)]).await?;
    let daemon = lab.database.daemon_pool(1).await?;
    sqlx::query("CREATE TABLE own (a int)").execute(&daemon).await?;
    sqlx::query("UPDATE prosodyarchive SET value = ''").execute(&daemon).await?;
    for refused in [
        "UPDATE prosodyarchive SET key = ''",
        "INSERT INTO prosodyarchive DEFAULT VALUES",
        "CREATE TABLE public.other (a int)",
    ] {
        let error = sqlx::query(refused).execute(&daemon).await.unwrap_err();
        let code = error.as_database_error().and_then(|it| it.code()).unwrap_or_default();
        assert_eq!(code, "42501", "{refused}");
    }
    sqlx::query("DELETE FROM prosodyarchive").execute(&daemon).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_lab_has_a_database_of_its_own() -> Result<()> {
    let (one, other) = tokio::try_join!(Lab::database_only(), Lab::database_only())?;
    assert_ne!(one.database.name(), other.database.name());
    assert_eq!(one.database.postgres().address(), other.database.postgres().address());
    Ok(())
}
