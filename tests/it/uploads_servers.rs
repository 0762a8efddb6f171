//! Uploaded files go with the last message that names them, and no others, on real servers.

use ephemerd_lab::ejabberd::Schema;
use ephemerd_lab::{PATIENCE, Result, Server, eventually, http};

use crate::conformance::count;
use crate::holds::{hold, release};
use crate::support::{number, pause, printed, resume, run, start, wait_for_number};
use crate::uploads::{Site, TIMER, ejabberd, out_of_band, picture, prosody, send, sources};

const FILES: &str = "SELECT count(*) FROM ephemerd.files";
const NAMES: &str = "SELECT count(*) FROM ephemerd.file_names";
const PENDING: &str = "SELECT count(*) FROM ephemerd.expiries WHERE phase = 'pending'";

/// However a file is shared, it goes with its message: nobody gets it by its URL any more, its bytes and its name are in none
/// of the server's files, and a download that has begun goes on. Nothing of it is left in the ledger, and a second daemon does
/// nothing twice.
async fn all_go<S: Server>(site: Site<S>, mode: &str) -> Result<()> {
    let config = site.config().set("erase.mode", mode);
    let (daemons, pool) =
        ([start(&config).await?, start(&config).await?], site.lab.database.superuser());
    let (mut peter, mut rosa) = (site.lab.online("peter").await?, site.lab.online("rosa").await?);
    let (peters, rosas) = (site.lab.endpoints().jid("peter"), site.lab.endpoints().jid("rosa"));
    let pictures = [picture(40_000), picture(50_000), picture(60_000), picture(5_000_000)];
    let mut urls = Vec::new();
    for picture in &pictures {
        urls.push(site.upload(&mut peter, picture).await?);
    }
    assert!(site.on_disk(&pictures[0]) > 0, "the search finds it");
    let [first, second, third, large] = urls.as_slice() else { unreachable!() };
    let begun = http::begin(site.at, site.path(large), "Range: bytes=1000-").await?;
    send(&mut peter, &rosas, &(out_of_band(first) + TIMER)).await?;
    let secret = second.replace("http://", "aesgcm://") + "#0123456789abcdef";
    send(&mut peter, &rosas, &format!("<body>{secret}</body>{TIMER}")).await?;
    send(&mut peter, &rosas, &(sources(third) + TIMER)).await?;
    send(&mut peter, &rosas, &(out_of_band(large) + TIMER)).await?;
    // The one to whom it was sent sends it back: that is one more message that names it.
    rosa.wait_for_body(first).await?;
    send(&mut rosa, &peters, &(out_of_band(first) + &TIMER.replace('3', "5"))).await?;
    for url in &urls {
        site.gone(url).await?;
    }
    wait_for_number(pool, PENDING, 0).await?;
    wait_for_number(pool, FILES, 0).await?;
    wait_for_number(pool, NAMES, 0).await?;
    for (url, picture) in urls.iter().zip(&pictures) {
        let place = url.strip_prefix(&site.url).and_then(|it| it.rsplit_once('/')).expect("ours").0;
        let secret = place.rsplit('/').next().unwrap_or(place);
        assert_eq!(site.on_disk(&picture[..1_000]), 0, "its bytes");
        assert_eq!(site.on_disk(secret), 0, "its name");
    }
    let rest = begun.finish().await?;
    assert!(matches!(rest.status, 200 | 206), "{}", rest.head);
    assert!(pictures[3].ends_with(&rest.body) && rest.body.len() >= 4_000_000, "it was cut off");
    eventually("each is counted once", PATIENCE, async || {
        let mut fates = [0.0; 2];
        for daemon in &daemons {
            let figures = daemon.figures().await?;
            for (sum, fate) in fates.iter_mut().zip(["erased", "failed"]) {
                *sum += figures.get("ephemerd_files_total", &[("fate", fate)]).unwrap_or_default();
            }
        }
        Ok((fates == [4.0, 0.0]).then_some(()))
    })
    .await?;
    for daemon in daemons {
        assert!(daemon.terminate().await?.success());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn on_prosody_a_file_goes_with_the_last_message_that_names_it() -> Result<()> {
    for mode in ["placeholder", "delete"] {
        let site = prosody().await?;
        let database = site.lab.database.clone();
        all_go(site, mode).await?;
        let rows = "SELECT count(*) FROM prosodyarchive WHERE store = 'uploads'";
        assert_eq!(number(database.superuser(), rows).await?, 0, "the uploads' own rows");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn on_ejabberd_a_file_goes_with_the_last_message_that_names_it() -> Result<()> {
    all_go(ejabberd(Schema::Classic).await?, "delete").await?;
    all_go(ejabberd(Schema::MultiHost).await?, "placeholder").await
}

/// What must stay stays: files that a message without a timer names, before or after, in any way; somebody else's; those that
/// are only mentioned; those elsewhere. What is on hold keeps its file, until it is released.
async fn others_stay<S: Server>(site: Site<S>) -> Result<()> {
    let config = site.config();
    let (daemon, pool) = (start(&config).await?, site.lab.database.superuser());
    let (mut peter, mut rosa) = (site.lab.online("peter").await?, site.lab.online("rosa").await?);
    let lena = site.lab.online("lena").await?;
    let (peters, rosas) = (site.lab.endpoints().jid("peter"), site.lab.endpoints().jid("rosa"));
    let lenas = site.lab.endpoints().jid("lena");
    let on_hold = hold(&config, &["--user", &lenas]).await?;

    let forwarded = site.upload(&mut peter, &picture(9_000)).await?;
    send(&mut peter, &rosas, &(out_of_band(&forwarded) + TIMER)).await?;
    send(&mut rosa, &lenas, &format!("<body>look: {forwarded} he wrote</body>")).await?;

    let before = site.upload(&mut peter, &picture(9_000)).await?;
    send(&mut peter, &lenas, &out_of_band(&before)).await?;
    send(&mut peter, &rosas, &(out_of_band(&before) + TIMER)).await?;

    let foreign = site.upload(&mut peter, &picture(9_000)).await?;
    send(&mut rosa, &peters, &(out_of_band(&foreign) + TIMER)).await?;

    let mentioned = site.upload(&mut peter, &picture(9_000)).await?;
    send(&mut peter, &rosas, &format!("<body>see {mentioned} there</body>{TIMER}")).await?;

    let elsewhere = site.upload(&mut peter, &picture(9_000)).await?;
    let other = elsewhere.replace("127.0.0.1", "127.0.0.2");
    send(&mut peter, &rosas, &(out_of_band(&other) + TIMER)).await?;

    let tricked = site.upload(&mut peter, &picture(9_000)).await?;
    let place = tricked.strip_prefix(&site.url).expect("ours");
    for trick in [format!("x/../{place}"), format!("./{place}"), place.replacen('/', "%2f", 1)] {
        send(&mut peter, &rosas, &(out_of_band(&format!("{}{trick}", site.url)) + TIMER)).await?;
    }

    let (unused, headers) = site.slot(&mut peter, "later.jpg", 9_000).await?;
    send(&mut peter, &rosas, &(out_of_band(&unused) + TIMER)).await?;

    let held = site.upload(&mut peter, &picture(9_000)).await?;
    send(&mut peter, &lenas, &(out_of_band(&held) + TIMER)).await?;

    // All has been decided but for what is on hold.
    eventually("all but what is on hold has gone", PATIENCE, async || {
        let left = count(pool, S::TABLES, "urn:xmpp:ephemeral:0", false).await?;
        Ok((left == 1).then_some(()))
    })
    .await?;
    wait_for_number(pool, FILES, 1).await?;
    let urls = [
        ("forwarded", forwarded.as_str()),
        ("before", &before),
        ("somebody else's", &foreign),
        ("mentioned", &mentioned),
        ("elsewhere", &elsewhere),
        ("tricked", &tricked),
        ("on hold", &held),
    ];
    let standing = site.standing(&urls).await?;
    assert_eq!(standing, urls.iter().map(|it| it.0).collect(), "all of them stay");
    let late = picture(9_000);
    let put = http::put(site.at, site.path(&unused), &headers, &late).await?;
    assert_eq!((put.status, site.status(&unused).await?), (201, 200), "the slot is as it was");

    release(&config, &on_hold).await?;
    site.gone(&held).await?;
    wait_for_number(pool, FILES, 0).await?;
    let standing = site.standing(&urls).await?;
    assert_eq!(standing.len(), urls.len() - 1, "{standing:?}");
    daemon.counts("ephemerd_files_total", &[("fate", "erased")], 1.0).await?;
    let figures = daemon.figures().await?;
    let of = |outcome: &str| figures.get("ephemerd_files_total", &[("fate", outcome)]);
    assert_eq!((of("erased"), of("failed")), (Some(1.0), Some(0.0)));
    // What is read at the moment at which it is erased may be looked at twice.
    assert!(of("kept") >= Some(2.0), "with a message that stays");
    assert!(of("unknown") >= Some(2.0), "somebody else's, and the one that was not there");
    assert!(daemon.terminate().await?.success());
    drop(lena);
    Ok(())
}

/// Somebody who is away has not had the file: it waits with the copy in the queue, and goes when it was delivered and its timer
/// has run out. In a room it goes as well, where the server's tables show who sent the message.
async fn queues_and_rooms<S: Server>(site: Site<S>, goes_in_rooms: bool) -> Result<()> {
    let config = site.config();
    let (daemon, pool) = (start(&config).await?, site.lab.database.superuser());
    site.lab.client("otto").await?.close().await?;
    let mut peter = site.lab.online("peter").await?;
    let den = site.lab.endpoints().room("den");
    peter.join(&den, "Peter").await?;
    let away = site.upload(&mut peter, &picture(9_000)).await?;
    send(&mut peter, &site.lab.endpoints().jid("otto"), &(out_of_band(&away) + TIMER)).await?;
    let said = site.upload(&mut peter, &picture(9_000)).await?;
    peter
        .send(&format!(
            "<message to='{den}' type='groupchat' id='said'>{}{TIMER}</message>",
            out_of_band(&said)
        ))
        .await?;
    peter.wait_for_body(&said).await?;
    // The sender's own copy of the one, and the room's of the other.
    eventually("what waits for nobody has gone", PATIENCE, async || {
        let left = count(pool, S::TABLES, "urn:xmpp:ephemeral:0", false).await?;
        let queued = count(pool, S::TABLES, "urn:xmpp:ephemeral:0", true).await?;
        Ok(((left, queued) == (1, 1)).then_some(()))
    })
    .await?;
    wait_for_number(pool, FILES, 1).await?;
    let is_there = site.status(&said).await? == 200;
    assert_eq!((site.status(&away).await?, is_there), (200, !goes_in_rooms));
    let mut otto = site.lab.online("otto").await?;
    otto.wait_for_body(&away).await?;
    site.gone(&away).await?;
    wait_for_number(pool, FILES, 0).await?;
    assert!(daemon.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn on_prosody_a_file_waits_for_those_who_are_away() -> Result<()> {
    queues_and_rooms(prosody().await?, false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn on_ejabberd_a_file_waits_for_those_who_are_away() -> Result<()> {
    queues_and_rooms(ejabberd(Schema::Classic).await?, true).await
}

/// A module that cannot remove files, an older one for example, is named once in the log and by `check`; the files stay, and go
/// when a module can.
#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_removes_no_files_is_named() -> Result<()> {
    let site = prosody().await?;
    let rooms = site.lab.endpoints().rooms.clone();
    let (config, pool) = (site.config(), site.lab.database.superuser());
    let lacking = config.clone().set("uploads.hosts", vec![rooms.clone()]);
    let checked = printed(&config, &["check"]).await?;
    assert!(
        checked.contains("companion module on upload.localhost: it removes uploaded files"),
        "{checked}"
    );
    let checked = run(&lacking, &["check"]).await?.stdout;
    let named =
        format!("companion module on {rooms}: it does not remove uploaded files, so they stay");
    assert!(checked.contains(&named), "{checked}");
    let mut daemon = start(&lacking).await?;
    let mut peter = site.lab.online("peter").await?;
    let url = site.upload(&mut peter, &picture(9_000)).await?;
    send(&mut peter, "peter@localhost", &(out_of_band(&url) + TIMER)).await?;
    let failed = [("fate", "failed")];
    daemon.wait_for_figure("ephemerd_files_total", &failed, PATIENCE, |it| it >= 2.0).await?;
    let said = daemon.log()?.matches("uploaded files are not removed").count();
    assert_eq!(said, 1, "it was tried twice");
    assert_eq!((site.status(&url).await?, number(pool, FILES).await?), (200, 1));
    daemon.reload(&config)?;
    site.gone(&url).await?;
    wait_for_number(pool, FILES, 0).await?;
    assert!(daemon.terminate().await?.success());
    Ok(())
}

/// While erasing is paused no file goes, even if its message had gone before; and none in a dry run.
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_and_a_dry_run_keep_files() -> Result<()> {
    let site = prosody().await?;
    let (config, pool) = (site.config(), site.lab.database.superuser());
    let mut peter = site.lab.online("peter").await?;
    let url = site.upload(&mut peter, &picture(9_000)).await?;
    // No module knows the file there, so it waits while its message goes.
    let mut daemon = start(&config.clone().set("uploads.hosts", vec!["nowhere.localhost"])).await?;
    send(&mut peter, "peter@localhost", &(out_of_band(&url) + TIMER)).await?;
    let failed = [("fate", "failed")];
    daemon.wait_for_figure("ephemerd_files_total", &failed, PATIENCE, |it| it >= 1.0).await?;
    pause(&config).await?;
    daemon.reload(&config)?;
    let second = site.upload(&mut peter, &picture(9_000)).await?;
    assert_eq!(site.standing(&[("first", &url), ("second", &second)]).await?.len(), 2);
    assert!(daemon.terminate().await?.success());
    let dry = config.clone().set("erase.dry_run", true);
    resume(&config).await?;
    let mut daemon = start(&dry).await?;
    send(&mut peter, "peter@localhost", &(out_of_band(&second) + TIMER)).await?;
    let counted = [("mode", "dry_run")];
    daemon.wait_for_figure("ephemerd_erased_total", &counted, PATIENCE, |it| it >= 1.0).await?;
    assert_eq!(site.standing(&[("first", &url), ("second", &second)]).await?.len(), 2);
    daemon.reload(&config)?;
    site.gone(&url).await?;
    site.gone(&second).await?;
    wait_for_number(pool, FILES, 0).await?;
    assert!(daemon.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn on_prosody_all_other_files_stay() -> Result<()> {
    others_stay(prosody().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn on_ejabberd_all_other_files_stay() -> Result<()> {
    others_stay(ejabberd(Schema::Classic).await?).await
}
