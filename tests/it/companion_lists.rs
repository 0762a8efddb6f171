//! What the companion module in Prosody lists, with each kind of storage, and how a large file is changed.

use std::fmt::Write as _;
use std::fs;

use ephemerd_lab::prosody::Storage;
use ephemerd_lab::xmpp::{Component, MamQuery, Stanza};
use ephemerd_lab::{Lab, LabError, PATIENCE, ProsodyConfig, Result, Server as _, Usage};

use crate::companion::{NS, Row, answer, change, item, notices, page, request};
use crate::companion_notices::{TIMER, everywhere};
use crate::reliability::saw;

const ROSA: &str = "rosa@localhost";

/// All pages from the start, with these bounds, and how many there were.
async fn all(component: &mut Component, bounds: &str) -> Result<(Vec<Row>, usize)> {
    let (mut rows, mut after) = (Vec::new(), String::new());
    for pages in 1..=30 {
        let (more, last, complete) =
            page(component, ROSA, "archive", &format!("{bounds} {after}")).await?;
        rows.extend(more);
        if complete {
            return Ok((rows, pages));
        }
        after =
            format!("after='{}'", last.expect("a page that is not the last one has a last row"));
    }
    panic!("paging has no end")
}

#[tokio::test(flavor = "multi_thread")]
async fn marked_rows_are_listed_page_by_page() -> Result<()> {
    everywhere(async |lab| {
        let mut component = Component::connect(lab.endpoints()).await?;
        let mut peter = lab.online("peter").await?;
        lab.client("rosa").await?.close().await?;
        let words = "x".repeat(400);
        for nr in 0..30 {
            let extra = if nr % 3 == 0 { TIMER } else { "" };
            peter.chat(ROSA, &format!("{nr} {words}"), extra).await?;
        }
        peter.sync().await?;
        let mut told = notices(&mut component, "localhost").await?;
        told.retain(|it| (it.owner.as_str(), it.store.as_str()) == (ROSA, "archive"));
        let told: Vec<_> = told
            .into_iter()
            .map(|it| (it.id.clone(), it.stamp.clone(), it.body().map(str::to_owned)))
            .collect();
        assert_eq!(told.len(), 10);
        let as_told = |rows: &[Row]| -> Vec<_> {
            rows.iter()
                .map(|(id, stamp, it)| (id.clone(), stamp.clone(), it.body().map(str::to_owned)))
                .collect()
        };

        let (rows, pages) = all(&mut component, "max='500' max-bytes='262144'").await?;
        assert_eq!((as_told(&rows), pages), (told.clone(), 1));
        let (rows, pages) = all(&mut component, "max='4' max-bytes='262144'").await?;
        assert_eq!((as_told(&rows), pages), (told.clone(), 3));
        let (rows, pages) = all(&mut component, "max='500' max-bytes='1024'").await?;
        assert_eq!(as_told(&rows), told);
        assert!(pages >= 9, "one row, or two small ones, is what 1,024 bytes hold: {pages}");

        let bounds = "max='500' max-bytes='262144'";
        let last = told[9].1.as_str();
        let (rows, _) = all(&mut component, &format!("{bounds} since='{last}'")).await?;
        assert_eq!(as_told(&rows).last(), told.last());
        let (rows, pages) =
            all(&mut component, &format!("{bounds} since='2099-01-01T00:00:00Z'")).await?;
        assert_eq!((rows.len(), pages), (0, 1));
        let (rows, _, complete) =
            page(&mut component, ROSA, "archive", &format!("{bounds} after='unknown'")).await?;
        assert_eq!((as_told(&rows), complete), (told.clone(), true));
        let from_third = format!("{bounds} since='{}' after='{}'", told[0].1, told[2].0);
        let (rows, _, _) = page(&mut component, ROSA, "archive", &from_third).await?;
        assert_eq!(as_told(&rows), told[3..]);
        bounds_are_kept(&mut component).await?;
        owners_are_listed(&lab, &mut component).await
    })
    .await
}

async fn bounds_are_kept(component: &mut Component) -> Result<()> {
    let list = |more: &str| request("list", ROSA, "archive", more, "");
    let owners = |more: &str| format!("<owners xmlns='{NS}' version='1' {more}/>");
    for (payload, condition) in [
        (list(""), "bad-request"),
        (list("max='0' max-bytes='9999'"), "bad-request"),
        (list("max='501' max-bytes='9999'"), "bad-request"),
        (list("max='9' max-bytes='1023'"), "bad-request"),
        (list("max='9' max-bytes='262145'"), "bad-request"),
        (list("max='-9' max-bytes='9999'"), "bad-request"),
        (list("max='9' max-bytes='9999' since='never'"), "bad-request"),
        (list("max='9' max-bytes='9999' after=''"), "bad-request"),
        (owners("store='archive'"), "bad-request"),
        (owners("max='9'"), "bad-request"),
        (owners("store='archive' max='501'"), "bad-request"),
        (owners("store='room' max='9'"), "item-not-found"),
    ] {
        let error = answer(component, "get", "localhost", &payload).await.err();
        assert_eq!(error.as_ref().and_then(|it| it.condition()), Some(condition), "{payload}");
    }
    // One at a time, plus one that waits for its turn: the last of three that arrive together comes too soon.
    let good = list("max='9' max-bytes='9999'");
    let us = component.jid().to_owned();
    let ask = |id| format!("<iq type='get' id='{id}' from='{us}' to='localhost'>{good}</iq>");
    let asked = ["first", "second", "third"];
    component.send(&asked.map(ask).concat()).await?;
    let mut answers = Vec::new();
    for id in asked {
        let is_answer = |it: &Stanza| it.attribute("id") == Some(id);
        let answer = component.wait_for("an answer", PATIENCE, is_answer).await?;
        answers.push(answer.error().and_then(|it| it.condition().map(str::to_owned)));
    }
    let [first, _, last] = answers.as_slice() else { unreachable!("three were asked") };
    assert_eq!((first.as_deref(), last.as_deref()), (None, Some("resource-constraint")));
    Ok(())
}

async fn owners_are_listed(
    lab: &Lab<ephemerd_lab::Prosody>,
    component: &mut Component,
) -> Result<()> {
    let mut peter = lab.online("peter").await?;
    for user in ["ada", "ada0", "zoe"] {
        lab.client(user).await?.close().await?;
        peter.chat(&format!("{user}@localhost"), "hello", "").await?;
    }
    peter.sync().await?;
    let (mut found, mut after) = (Vec::new(), String::new());
    for _ in 0..3 {
        let ask = format!("<owners xmlns='{NS}' version='1' store='archive' max='2' {after}/>");
        let answer = answer(component, "get", "localhost", &ask).await?;
        let page = answer.children.iter().filter_map(|it| it.attribute("jid"));
        found.extend(page.map(str::to_owned));
        after = found.last().map(|last| format!("after='{last}'")).unwrap_or_default();
        assert_eq!(answer.attribute("complete") == Some("true"), found.len() == 5);
    }
    // In byte order, where @ comes after the digits.
    let all = ["ada0", "ada", "peter", "rosa", "zoe"].map(|it| format!("{it}@localhost"));
    assert_eq!(found, all);
    Ok(())
}

/// An archive of this many rows as Prosody stores it in a file, all marked, and the row with this number.
fn file_of(rows: usize) -> String {
    let mut file = String::new();
    for nr in 0..rows {
        let _ = writeln!(
            file,
            "item({{ [\"key\"] = \"row{nr}\"; [\"when\"] = 1795318395; [\"with\"] = \"peter@localhost\"; \
             [\"name\"] = \"message\"; [\"attr\"] = {{ [\"type\"] = \"chat\"; [\"from\"] = \"peter@localhost/lab\"; \
             [\"to\"] = \"rosa@localhost\"; [\"stamp\"] = \"2026-11-22T03:33:15Z\" }}; \
             {{ [\"name\"] = \"body\"; [\"attr\"] = {{ }}; \"words {nr}\" }}; \
             {{ [\"name\"] = \"ephemeral\"; [\"attr\"] = {{ [\"xmlns\"] = \"urn:xmpp:ephemeral:0\"; [\"timer\"] = \"60\" }} }} }});"
        );
    }
    file
}

/// Each rewrite of a file blocks Prosody: a hundred rows must not take a hundred rewrites.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_rows_go_from_a_large_file_in_one_rewrite() -> Result<()> {
    let config = ProsodyConfig {
        archive_item_limit: Some(300),
        page_limit: 1_500,
        ..ProsodyConfig::default().storage_in(Storage::Files).with_companion()
    };
    let lab = Lab::prosody_with(&config).await?;
    let mut component = Component::connect(lab.endpoints()).await?;
    let mut peter = lab.online("peter").await?;
    lab.client("rosa").await?.close().await?;
    peter.chat(ROSA, "hello", "").await?; // creates the folder, and makes Prosody count the rows
    peter.sync().await?;
    let file = lab.server.data().join("localhost/archive/rosa.list");
    let hello = fs::read_to_string(&file)?;
    fs::write(&file, file_of(299) + &hello)?;

    let stamp = "2026-11-22T03:33:15Z";
    let row = |nr: usize| item(&format!("row{nr}"), stamp);
    // What Prosody has written tells how often it rewrote the file, however busy the machine is.
    let pid = lab.server.pid().await.expect("Prosody is running");
    let written = async |component: &mut Component, name: &str, rows: std::ops::Range<usize>| {
        let (before, count) = (Usage::written(pid)?, rows.len());
        let items: Vec<_> = rows.map(row).collect();
        let outcomes = change(component, name, ROSA, "archive", &items).await?;
        assert_eq!(outcomes, vec!["done"; count]);
        Ok::<_, LabError>(Usage::written(pid)? - before)
    };
    let one_alone = written(&mut component, "erase", 4..5).await?;
    assert!(one_alone > fs::metadata(&file)?.len() / 2, "the file is rewritten: {one_alone}");
    for (name, rows) in [("erase", 5..105), ("blank", 105..205)] {
        let together = written(&mut component, name, rows).await?;
        assert!(together < 3 * one_alone, "{name}: {together} bytes, one alone {one_alone}");
    }
    let rows = fs::read_to_string(&file)?;
    assert_eq!(rows.matches("item(").count(), 199);
    assert_eq!(rows.matches("words ").count(), 98);

    // Prosody knows how many rows are left: it accepts 101 before it makes room again.
    for nr in 0..101 {
        peter.chat(ROSA, &format!("after {nr}"), "").await?;
    }
    peter.sync().await?;
    let query = MamQuery { max: Some(1_500), ..MamQuery::default() };
    let archived = lab.archive("rosa", &query).await?;
    assert_eq!(archived.len(), 300);
    assert!(archived.iter().any(|it| it.body() == Some("hello")));
    Ok(())
}

/// A file is read whole, and nobody else is served meanwhile: after that the server is left alone, whoever asks.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_a_large_file_is_followed_by_a_rest() -> Result<()> {
    let files = ProsodyConfig::default().storage_in(Storage::Files).with_companion();
    let lab = Lab::prosody_with(&files).await?;
    let mut component = Component::connect(lab.endpoints()).await?;
    let mut peter = lab.online("peter").await?;
    lab.client("rosa").await?.close().await?;
    peter.chat(ROSA, "hello", "").await?; // makes the folder
    peter.sync().await?;
    let small = request("list", "peter@localhost", "archive", "max='500' max-bytes='262144'", "");
    for _ in 0..3 {
        answer(&mut component, "get", "localhost", &small).await?;
    }
    let file = lab.server.data().join("localhost/archive/rosa.list");
    fs::write(&file, file_of(20_000))?;
    let large = request("list", ROSA, "archive", "max='500' max-bytes='262144'", "");
    let listed = answer(&mut component, "get", "localhost", &large).await?;
    assert_eq!(listed.children.len(), 500);
    for list in [&small, &large] {
        let refused = answer(&mut component, "get", "localhost", list).await.unwrap_err();
        assert_eq!(refused.condition(), Some("resource-constraint"));
    }
    // Rooms are served by the same thread.
    let owners = format!("<owners xmlns='{NS}' version='1' store='room' max='9'/>");
    let rooms = lab.endpoints().rooms.clone();
    let refused = answer(&mut component, "get", &rooms, &owners).await.unwrap_err();
    assert_eq!(refused.condition(), Some("resource-constraint"));
    saw(
        "a list of a large archive in a file",
        "an owner of 20,000 rows is listed, and then everybody, on the hosts of users and of rooms",
        "lists are refused after it, for 20 times the processor time that it took; small ones follow each other at once",
    );
    Ok(())
}
