//! What the companion modules say of uploaded files and remove, asked as the daemon asks them: nothing of others', and
//! nothing by tricks with paths.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use ephemerd::archive::companion::{Answer, FileItem, FileState, Outcome, Request, Unanswered};
use ephemerd_lab::ejabberd::Schema;
use ephemerd_lab::xmpp::{Component, escape};
use ephemerd_lab::{Result, Server};

use crate::companion::{NS, answer};
use crate::companion_protocol::{exchanged, result};
use crate::component_stand_in::Running;
use crate::uploads::{Site, ejabberd, picture, prosody};

fn file(id: &str, uploader: &str) -> String {
    format!("<file id='{}' uploader='{}'/>", escape(id), escape(uploader))
}

fn request(name: &str, files: &str) -> String {
    format!("<{name} xmlns='{NS}' version='2'>{files}</{name}>")
}

/// What the module says of each file: its state or its outcome.
async fn said(
    component: &mut Component,
    host: &str,
    name: &str,
    files: &[(&str, &str)],
) -> Result<Vec<String>> {
    let asked: String = files.iter().map(|(id, uploader)| file(id, uploader)).collect();
    let kind = if name == "files" { "get" } else { "set" };
    let told = answer(component, kind, host, &request(name, &asked)).await?;
    let ids = told.children.iter().map(|it| it.attribute("id").unwrap_or_default());
    assert!(ids.eq(files.iter().map(|it| it.0)), "in order: {told:?}");
    let word = if name == "files" { "state" } else { "outcome" };
    let words = told.children.iter().map(|it| it.attribute(word).unwrap_or_default().to_owned());
    Ok(words.collect())
}

/// The file that has this content.
fn stored(folder: &Path, content: &str) -> Option<PathBuf> {
    for entry in fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        let below = if path.is_dir() { stored(&path, content) } else { None };
        let found = below.or_else(|| (fs::read(&path).ok()? == content.as_bytes()).then_some(path));
        if found.is_some() {
            return found;
        }
    }
    None
}

/// Protects everybody's files from everybody else: the module compares the uploader, follows no link and no path, and knows a
/// file only by what the server itself gave out.
async fn only_own_files_go<S: Server>(site: Site<S>) -> Result<()> {
    let mut component = Component::connect(site.lab.endpoints()).await?;
    let mut peter = site.lab.online("peter").await?;
    let (peters, rosas) = (site.lab.endpoints().jid("peter"), site.lab.endpoints().jid("rosa"));
    site.lab.client("rosa").await?.close().await?;
    let (content, other) = (picture(9_000), picture(9_000));
    let url = site.upload(&mut peter, &content).await?;
    let linked = site.upload(&mut peter, &other).await?;
    let place = |url: &str| {
        let rest = url.strip_prefix(&site.url).expect("ours");
        rest.rsplit_once('/').expect("a name").0.to_owned()
    };
    let (own, link) = (place(&url), place(&linked));
    let (host, peters, rosas) = (site.module.as_str(), peters.as_str(), rosas.as_str());
    let tricks = [
        format!("{own}/."),
        format!("../{own}"),
        format!("{own}/../{own}"),
        "..".to_owned(),
        "../../data".to_owned(),
        format!("/{own}"),
        format!("{own}\u{2f}picture.jpg"),
        picture(32),
    ];
    // A link in the place of a file, and of its folder.
    let target = site.data.join("precious");
    fs::write(&target, "precious")?;
    let path = stored(&site.data, &other).expect("the other file");
    fs::remove_file(&path)?;
    symlink(&target, &path)?;

    for name in ["files", "unlink"] {
        let mine = said(&mut component, host, name, &[(&own, rosas)]).await?;
        assert_eq!(mine, ["other"], "somebody else's");
        for trick in &tricks {
            let tricked = said(&mut component, host, name, &[(trick, peters)]).await?;
            assert!(tricked == ["gone"] || tricked == ["other"], "{trick}: {tricked:?}");
        }
        assert_eq!(said(&mut component, host, name, &[(&link, peters)]).await?, ["gone"], "a link");
    }
    assert_eq!(fs::read_to_string(&target)?, "precious");
    assert_eq!(site.status(&url).await?, 200);

    let many: String = (0..501).map(|nr| file(&format!("number-{nr:04}"), peters)).collect();
    for (kind, payload, condition) in [
        ("get", request("files", ""), "bad-request"),
        ("get", request("files", &many), "bad-request"),
        ("set", request("unlink", &many), "bad-request"),
        ("set", request("unlink", &file("", peters)), "bad-request"),
        ("set", request("unlink", &file(&"x".repeat(257), peters)), "bad-request"),
        ("set", request("unlink", &file(&own, "")), "bad-request"),
        ("set", request("unlink", &file(&own, "localhost")), "bad-request"),
        ("set", request("unlink", &file(&own, "peter@localhost/phone")), "bad-request"),
        ("set", request("unlink", &file(&own, peters).repeat(2)), "bad-request"),
        ("get", request("unlink", &file(&own, peters)), "feature-not-implemented"),
        ("set", request("files", &file(&own, peters)), "feature-not-implemented"),
    ] {
        let error = answer(&mut component, kind, host, &payload).await.err();
        let found = error.as_ref().and_then(|error| error.condition());
        assert_eq!(found, Some(condition), "{payload:.200}");
    }
    let rooms = site.lab.endpoints().rooms.clone();
    let there = request("unlink", &file(&own, peters));
    let error = answer(&mut component, "set", &rooms, &there).await.err();
    assert_eq!(error.as_ref().and_then(|it| it.condition()), Some("feature-not-implemented"));
    let nobody = peter.iq("set", Some(host), &request("unlink", &file(&own, peters))).await.err();
    assert_eq!(nobody.as_ref().and_then(|it| it.condition()), Some("forbidden"));
    assert_eq!(site.status(&url).await?, 200);

    let both = [(own.as_str(), peters), (&own, rosas)];
    assert_eq!(said(&mut component, host, "files", &both).await?, ["there", "other"]);
    let (outcomes, left) =
        (said(&mut component, host, "unlink", &both).await?, site.status(&url).await?);
    assert_eq!(outcomes[0], "done", "{outcomes:?}");
    assert!(matches!(left, 404 | 410), "{left}");
    assert_eq!(said(&mut component, host, "unlink", &[(&own, peters)]).await?, ["gone"]);
    assert!(stored(&site.data, &content).is_none());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn on_prosody_the_module_removes_only_what_is_the_uploaders() -> Result<()> {
    only_own_files_go(prosody().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn on_ejabberd_the_module_removes_only_what_is_the_uploaders() -> Result<()> {
    only_own_files_go(ejabberd(Schema::Classic).await?).await
}

/// Protects files from answers that are not about them: what cannot be read counts for nothing.
#[tokio::test]
async fn what_a_module_says_of_files_is_read() {
    let (running, _server, mut peer) = Running::connected().await;
    let item = |id: &str| FileItem { id: id.to_owned(), uploader: "al&ice@example.org".to_owned() };
    let asked = |of: fn(Vec<FileItem>) -> Request| of(vec![item("a/b"), item("c")]);
    let told = |word: &str, first: &str, second: &str| {
        let file = |id: &str, more: &str| {
            format!("<file id='{id}' uploader='al&amp;ice@example.org' {more}/>")
        };
        format!("<{word} xmlns='{NS}'>{}{}<file/></{word}>", file("a/b", first), file("c", second))
    };
    let known = told("files", "state='there' since='2026-11-22T03:34:18Z'", "state='there'");
    let (sent, answer) =
        exchanged(&running, &mut peer, asked(Request::Files), |id| result(id, &known)).await;
    assert!(sent.contains("type='get'") && sent.contains("uploader='al&amp;ice@example.org'"));
    let Ok(Answer::Files(files)) = answer else { panic!("{answer:?}") };
    assert!(matches!(&files[..], [(it, FileState::There(_))] if *it == item("a/b")), "{files:?}");
    let gone = told("files", "state='gone'", "state='other'");
    let (_, answer) =
        exchanged(&running, &mut peer, asked(Request::Files), |id| result(id, &gone)).await;
    let Ok(Answer::Files(files)) = answer else { panic!("{answer:?}") };
    assert_eq!(files, [(item("a/b"), FileState::Gone), (item("c"), FileState::Other)]);
    let outcomes = told("unlinked", "outcome='done'", "outcome='new'");
    let (sent, answer) =
        exchanged(&running, &mut peer, asked(Request::Unlink), |id| result(id, &outcomes)).await;
    assert!(sent.contains("type='set'") && sent.contains("<unlink "), "{sent}");
    let Ok(Answer::Unlinked(files)) = answer else { panic!("{answer:?}") };
    assert_eq!(files, [(item("a/b"), Outcome::Done), (item("c"), Outcome::Failed)]);
    let (_, answer) =
        exchanged(&running, &mut peer, asked(Request::Unlink), |id| result(id, &gone)).await;
    assert_eq!(answer.unwrap_err(), Unanswered::Unreadable);
}
