//! The status page in a real browser: its numbers match the tables, it fits a phone and a desktop, is
//! readable in both themes, and says when the database is away. The screenshots are in `target/tmp` for
//! people to look at.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ephemerd_lab::rows::{ArchiveRow, insert};
use ephemerd_lab::{
    Chromium, Daemon, Lab, Look, Postgres, PostgresConfig, ProsodyConfig, Result, Signal, daemon,
    eventually,
};
use serde_json::{Value, json};
use sqlx::PgPool;

const LOOKS: [Look; 4] = [
    Look { width: 360, dark: false },
    Look { width: 360, dark: true },
    Look { width: 1280, dark: false },
    Look { width: 1280, dark: true },
];

/// The figures are counted every 15 s, or every two minutes on a busy machine.
const COUNTED_WITHIN: Duration = Duration::from_secs(150);

#[tokio::test(flavor = "multi_thread")]
async fn it_shows_what_the_tables_hold() -> Result<()> {
    let postgres = Arc::new(Postgres::start(PostgresConfig::default()).await?);
    let lab = Lab::prosody_on(Arc::clone(&postgres), &ProsodyConfig::default()).await?;
    let pool = lab.database.superuser();
    let config = lab.daemon_config().set("archive.poll", "100ms").set("hints.keep_for", "2d");
    let daemon = Daemon::start(Path::new(env!("CARGO_BIN_EXE_ephemerd")), &config).await?;
    archive(pool).await?;
    eventually("all is recorded and counted", COUNTED_WITHIN, async || {
        let pending = daemon.figures().await?.get("ephemerd_pending_expiries", &[]);
        Ok((pending == Some(WAITING as f64)).then_some(()))
    })
    .await?;
    daemon
        .wait_for_figure("ephemerd_component_connected", &[], COUNTED_WITHIN, |it| it == 1.0)
        .await?;

    let url = format!("http://{}/", daemon.http());
    let mut browser = Chromium::start().await?;
    for look in LOOKS {
        let shown = look_at(&mut browser, &url, "working", look).await?;
        assert_eq!(shown["level"], "Working. ", "{shown}");
        assert_eq!(shown["pending"], count(pool, "phase = 'pending'").await?, "{shown}");
        assert_eq!(shown["placeholders"], count(pool, "phase = 'placeholder'").await?, "{shown}");
        assert_eq!(shown["spans"], spans(pool).await?, "{shown}");
        assert_eq!(shown["erased"], GONE, "{shown}");
    }

    let program = Path::new(env!("CARGO_BIN_EXE_ephemerd"));
    daemon::command(program, &config, &["pause", "--for", "2h"]).await?;
    std::fs::write(daemon.config_file(), "[erase]\nbatch = 0\n")?;
    daemon.signal(Signal::SIGHUP)?;
    daemon.wait_for_figure("ephemerd_paused", &[], COUNTED_WITHIN, |it| it == 1.0).await?;
    for look in LOOKS {
        let shown = look_at(&mut browser, &url, "paused", look).await?;
        assert_eq!(shown["level"], "Attention. ", "{shown}");
        let text = shown["text"].as_str().unwrap_or_default();
        assert!(text.contains("Erasing is paused until 20"), "{text}");
        assert!(text.contains("The changed configuration is invalid"), "{text}");
    }

    postgres.stop().await?;
    eventually("it is noticed", COUNTED_WITHIN, async || {
        Ok((daemon.get("/readyz").await?.status == 503).then_some(()))
    })
    .await?;
    for look in LOOKS {
        let shown = look_at(&mut browser, &url, "database-away", look).await?;
        assert_eq!(shown["level"], "Not working. ", "{shown}");
        let text = shown["text"].as_str().unwrap_or_default();
        assert!(text.contains("The database does not answer."), "{text}");
        assert!(text.contains("The ledger's figures are "), "how old they are: {text}");
        assert_eq!(shown["pending"], with_comma(i64::try_from(WAITING).unwrap_or(0)), "{shown}");
    }
    assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
    Ok(())
}

/// Opens the page, takes a screenshot, checks the layout; returns its text.
async fn look_at(browser: &mut Chromium, url: &str, scene: &str, look: Look) -> Result<Value> {
    browser.open(url, look).await?;
    keep_picture(browser, scene, look).await?;
    judge_look(browser, look).await?;
    browser.evaluate(SHOWN).await
}

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;
/// Messages with content and a timer of this many seconds: how many.
const TIMERS: [(u64, u64); 7] = [
    (1, 120),
    (HOUR / 2, 45),
    (12 * HOUR, 230),
    (DAY - 10, 160),
    (3 * DAY, 410),
    (14 * DAY, 275),
    (180 * DAY, 60),
];
/// Messages with a hint, which go after two days.
const HINTS: u64 = 140;
/// Messages that negotiate a timer, which go after 90 days.
const NEGOTIATIONS: u64 = 25;
const GONE: u64 = 120;
const WAITING: u64 = 45 + 230 + 160 + 410 + 275 + 60 + HINTS + NEGOTIATIONS;

async fn archive(pool: &PgPool) -> Result<()> {
    let now: i64 =
        sqlx::query_scalar("SELECT extract(epoch FROM now())::bigint").fetch_one(pool).await?;
    let mut rows = Vec::new();
    let mut add = |count: u64, content: &str| {
        for _ in 0..count {
            let key = format!("key-{}", rows.len());
            let value = format!(
                "<message type='chat' from='rosa@localhost/x' to='peter@localhost'>{content}</message>"
            );
            rows.push(ArchiveRow::archive("peter", &key, now, &value));
        }
    };
    for (seconds, count) in TIMERS {
        let timer = format!(
            "<body>words</body><ephemeral xmlns='urn:xmpp:ephemeral:0' timer='{seconds}'/>"
        );
        add(count, &timer);
    }
    add(HINTS, "<body>words</body><no-permanent-store xmlns='urn:xmpp:hints'/>");
    add(NEGOTIATIONS, "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='60'/>");
    insert(pool, &rows).await.map(drop)
}

async fn count(pool: &PgPool, which: &str) -> Result<String> {
    let query = format!("SELECT count(*) FROM ephemerd.expiries WHERE {which}");
    let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_one(pool).await?;
    Ok(with_comma(count))
}

/// As the page formats numbers below a million.
fn with_comma(count: i64) -> String {
    match count {
        ..1_000 => count.to_string(),
        _ => format!("{},{:03}", count / 1_000, count % 1_000),
    }
}

/// What the chart must show, according to the table.
async fn spans(pool: &PgPool) -> Result<Value> {
    const QUERY: &str = "
        SELECT count(due_at) FROM (VALUES (0, NULL, '0'), (1, '0', '1 h'), (2, '1 h', '24 h'), (3, '24 h', '7 d'),
                                     (4, '7 d', '30 d'), (5, '30 d', NULL)) AS span (nr, after, upto)
          LEFT JOIN ephemerd.expiries ON phase = 'pending'
           AND (after IS NULL OR due_at > now() + after::interval)
           AND (upto IS NULL OR due_at <= now() + upto::interval)
         GROUP BY nr ORDER BY nr";
    let counts: Vec<i64> = sqlx::query_scalar(QUERY).fetch_all(pool).await?;
    Ok(json!(counts.into_iter().map(with_comma).collect::<Vec<_>>()))
}

/// The page's text.
const SHOWN: &str = "(() => {
    const text = (selector) => document.querySelector(selector)?.textContent;
    const tile = (name) => [...document.querySelectorAll('.tiles div')]
        .find((it) => it.querySelector('dt').textContent === name)?.querySelector('strong').textContent;
    return {
        level: text('.verdict strong'), pending: tile('Pending'), placeholders: tile('Placeholders'),
        spans: [...document.querySelectorAll('.chart tbody .number')].map((it) => it.textContent),
        erased: Number(text('tfoot td:last-child').replace(',', '')),
        text: document.body.innerText,
    };
})()";

/// Flaws of the layout: text outside the page, unreadable text, headings out of order.
const FAULTS: &str = "(() => {
    const faults = [];
    const page = document.documentElement;
    if (page.scrollWidth > page.clientWidth) faults.push(`${page.scrollWidth} px wide`);
    const rgb = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const light = (colour) => {
        const [r, g, b] = rgb(colour).map((it) => it / 255)
            .map((it) => it <= 0.04045 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = getComputedStyle(at).backgroundColor;
            if ((rgb(colour)[3] ?? 1) === 1) return colour;
        }
        return 'rgb(255, 255, 255)';
    };
    const contrast = (one, other) => {
        const [a, b] = [light(one), light(other)].sort((x, y) => y - x);
        return (a + 0.05) / (b + 0.05);
    };
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    let seen = 0;
    while (texts.nextNode()) {
        const element = texts.currentNode.parentElement;
        if (!texts.currentNode.textContent.trim() || element.closest('.unseen')) continue;
        seen += 1;
        const style = getComputedStyle(element);
        const ratio = contrast(style.color, ground(element));
        if (ratio < 4.5) faults.push(`${element.textContent}: contrast ${ratio.toFixed(2)}`);
        if (parseFloat(style.fontSize) < 14) faults.push(`${element.textContent}: ${style.fontSize}`);
        const box = element.getBoundingClientRect();
        if (box.right > page.clientWidth + 0.5) faults.push(`${element.textContent}: sticks out`);
    }
    if (seen < 40) faults.push(`only ${seen} texts`);
    for (const part of document.querySelectorAll('.chart rect:not(.track), .legend rect')) {
        const ratio = contrast(getComputedStyle(part).fill, ground(part.closest('section')));
        if (ratio < 3) faults.push(`a bar: contrast ${ratio.toFixed(2)}`);
    }
    if (document.querySelectorAll('h1').length !== 1) faults.push('not one h1');
    for (const section of document.querySelectorAll('section')) {
        const label = section.getAttribute('aria-labelledby');
        if (!section.ariaLabel && !document.getElementById(label)) faults.push('a section without a name');
    }
    return faults;
})()";

async fn judge_look(browser: &mut Chromium, look: Look) -> Result<()> {
    assert_eq!(browser.evaluate("innerWidth").await?, look.width);
    let faults = browser.evaluate(FAULTS).await?;
    assert_eq!(faults, json!([]), "{look:?}");
    let ground = browser.evaluate("getComputedStyle(document.body).backgroundColor").await?;
    let is_dark = ground.as_str().is_some_and(|it| it.starts_with("rgb(1"));
    assert_eq!(is_dark, look.dark, "{look:?}: {ground}");
    Ok(())
}

async fn keep_picture(browser: &mut Chromium, scene: &str, look: Look) -> Result<()> {
    let theme = if look.dark { "dark" } else { "light" };
    let name = format!("page-{scene}-{}-{theme}.png", look.width);
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    Ok(std::fs::write(file, browser.picture().await?)?)
}
