//! The status page: the tables' numbers, nobody's name, valid HTML, and nothing that could run.

use ephemerd::model::Reason;
use ephemerd_lab::http::Response;
use ephemerd_lab::rows::{ArchiveRow, insert};
use ephemerd_lab::{Daemon, DaemonConfig, Lab, PATIENCE, Result, eventually};
use sqlx::PgPool;

use crate::support::{marked, now, number, start, tail_has_passed, wait_for_number};

/// The page's text without tags, words separated by single blanks.
fn text(html: &str) -> String {
    let pieces = html.split('<').map(|piece| piece.split_once('>').map_or(piece, |(_, text)| text));
    let text = pieces.collect::<Vec<_>>().join(" ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Waits until the page says this; returns the page.
pub(crate) async fn shows(daemon: &Daemon, words: &str) -> Result<Response> {
    eventually(&format!("the page to say {words}"), PATIENCE, async || {
        let page = daemon.get("/").await?;
        assert_eq!(page.status, 200);
        Ok(text(&page.body).contains(words).then_some(page))
    })
    .await
}

const SWEPT: &str = "SELECT count(*) FROM ephemerd.sweeps, ephemerd.cursors
                       WHERE completed_at IS NOT NULL AND requested_at IS NULL AND started_at IS NULL";

/// Timers of an hour and less, of days, of months; one is overdue and refused, one held.
async fn fill(pool: &PgPool, config: &DaemonConfig) -> Result<()> {
    // Nothing is left to record or sweep for the daemon that shows it.
    let first = start(config).await?;
    wait_for_number(pool, SWEPT, 1).await?;
    let now = now(pool).await?;
    let mut rows = Vec::new();
    for (timer, count) in [(600, 3), (7_200, 5), (200_000, 7), (1_000_000, 11), (9_000_000, 13)] {
        for nr in 0..count {
            let key = format!("key-{timer}-{nr}");
            rows.push(ArchiveRow::room("den", &key, now, &marked("secret words", timer)));
        }
    }
    insert(pool, &rows).await?;
    wait_for_number(pool, "SELECT count(*) FROM ephemerd.expiries", 39).await?;
    tail_has_passed(pool).await?;
    assert!(first.terminate().await?.success());
    let late = "UPDATE ephemerd.expiries SET due_at = now() - interval '2 hours', retry_at = now() + interval '1 hour'
                 WHERE archive_id = 'key-7200-0'";
    let held = "UPDATE ephemerd.expiries SET backlog = true WHERE archive_id = 'key-600-0'";
    for statement in [late, held] {
        sqlx::query(statement).execute(pool).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_shows_the_tables_numbers_and_no_names() -> Result<()> {
    let lab = Lab::database_apart().await?;
    let pool = lab.database.superuser();
    let config = DaemonConfig::for_database(&lab.database)?.set("archive.poll", "50ms");
    fill(pool, &config).await?;
    let daemon = start(&config).await?;
    // Who leads is decided after the start, and how far inspection is behind is another figure each time.
    shows(&daemon, "Leader this daemon Component not connected Erasing active Inspection 0.")
        .await?;
    let page = shows(&daemon, "In the ledger").await?;
    let told = text(&page.body);
    let pending = "SELECT count(*) FROM ephemerd.expiries WHERE phase = 'pending' AND NOT backlog";
    let pending = number(pool, pending).await?;
    assert_eq!(pending, 38);
    for words in [
        "Not working. 1 message should be gone by now; the oldest has been overdue for 2h",
        "The component is not connected to the XMPP server.",
        "Pending 38 messages still to go",
        "Overdue 1 the oldest was due 2h",
        "Backlog 1 from before the first start, held until accepted",
        "Placeholders 0",
        "overdue 1 within 1 h 2 1 h to 24 h 4 1 d to 7 d 7 7 d to 30 d 11 later 13",
        "last finished ",
        "Rows locked by other sessions, to be retried 0 Rows refused by the database, to be retried 0",
    ] {
        assert!(told.contains(words), "{words} is not in: {told}");
    }
    for name in ["den", "localhost", "rosa", "peter", "key-", "secret"] {
        assert!(!told.contains(name), "{name} is in: {told}");
    }
    sound(&page.body);
    // What this daemon erased is counted at once, not with the ledger's figures.
    let now = now(pool).await?;
    insert(pool, &[ArchiveRow::room("den", "key-due", now, &marked("due", 1))]).await?;
    let erased = |reason| if reason == Reason::Timer { "0 1 0 1" } else { "0 0 0 0" };
    let by_reason = Reason::OF_ROWS.map(|reason| format!("{reason} {}", erased(reason)));
    shows(&daemon, &format!("{} all 0 1 0 1", by_reason.join(" "))).await?;
    Ok(())
}

/// Nothing on it runs or comes from elsewhere, whatever its content; and it is read-only.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_on_it_runs() -> Result<()> {
    let lab = Lab::database_only().await?;
    let daemon = start(&DaemonConfig::for_database(&lab.database)?).await?;
    for (path, kind) in
        [("/", "text/html; charset=utf-8"), ("/style.css", "text/css; charset=utf-8")]
    {
        let page = daemon.get(path).await?;
        assert_eq!((page.status, page.header("content-type")), (200, Some(kind)));
        let policy = page.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'; style-src 'self';"), "{policy}");
        assert!(!policy.contains("script") && !policy.contains("unsafe"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && policy.contains("form-action 'none'"));
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(page.header("cache-control"), Some("no-store"));
        assert!(!page.body.contains("<script") && !page.body.contains("http://"), "{}", page.body);
    }
    Ok(())
}

/// Before anything has answered it says so, and for how long it has been trying.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_there_before_the_database() -> Result<()> {
    let lab = Lab::database_only().await?;
    let away = DaemonConfig::for_database(&lab.database)?
        .set("database.url", "postgres://ephemerd@127.0.0.1:1/nowhere");
    let daemon = Daemon::spawn(crate::support::program(), &away)?;
    eventually("its pages", PATIENCE, async || Ok(daemon.get("/healthz").await.ok())).await?;
    let page = shows(&daemon, "Not working. The database does not answer.").await?;
    assert!(text(&page.body).contains("Nothing has been counted yet."), "{}", page.body);
    sound(&page.body);
    Ok(())
}

/// Elements are closed in the right order, and ids are unique.
fn sound(html: &str) {
    let mut open = Vec::new();
    let mut ids = Vec::new();
    for tag in html.split('<').skip(1).filter_map(|rest| rest.split('>').next()) {
        let name = tag.split([' ', '/']).find(|name| !name.is_empty()).unwrap_or_default();
        ids.extend(tag.split(" id=\"").nth(1).and_then(|rest| rest.split('"').next()));
        match name {
            "!DOCTYPE" | "meta" | "link" | "br" => {}
            _ if tag.starts_with('/') => assert_eq!(open.pop(), Some(name), "{html}"),
            _ => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?} are not closed");
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "{ids:?}");
    for id in html.split("aria-labelledby=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(ids.contains(&id), "nothing is called {id}");
    }
}
