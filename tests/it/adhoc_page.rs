//! docs/users.md shows the forms as users get them.

use std::fmt::Write as _;
use std::time::Duration;
use std::{env, fs};

use chrono::TimeDelta;
use ephemerd::component::Wished;
use ephemerd::ledger::KeptEntries;
use ephemerd::model::{Reason, Store, Wish};
use ephemerd::ops::Kept;
use minidom::Element;

use crate::adhoc_talk::{
    CONFIGURE, CONTACT, DATA, ERASE, KEPT, POLICY, Talk, command, filled, form, kept, reply,
    settings, which, wishing,
};
use crate::pages::{Page, root};

const PAGE: &str = "docs/users.md";

/// A form as a client draws it.
fn drawn(form: &Element) -> String {
    let text = |of: &Element, name: &str| of.get_child(name, DATA).map(Element::text);
    let mut out = format!("{}\n\n", text(form, "title").expect("a title"));
    if let Some(instructions) = text(form, "instructions") {
        let _ = writeln!(out, "{instructions}");
    }
    for field in form.children().filter(|it| it.is("field", DATA)) {
        // A field to fill in has a value only if one is suggested.
        let value = text(field, "value").unwrap_or_else(|| "[ ]".to_owned());
        match field.attr("type") {
            Some("hidden") => {}
            Some("fixed") => writeln!(out, "{value}").unwrap(),
            Some("list-single") => {
                writeln!(out, "{}:", field.attr("label").unwrap()).unwrap();
                for option in field.children().filter(|it| it.is("option", DATA)) {
                    let mark = if text(option, "value") == Some(value.clone()) { '*' } else { ' ' };
                    writeln!(out, "  ({mark}) {}", option.attr("label").unwrap()).unwrap();
                }
            }
            Some("boolean") => {
                let mark = if value == "1" { 'x' } else { ' ' };
                writeln!(out, "[{mark}] {}", field.attr("label").unwrap()).unwrap();
            }
            Some("text-single" | "jid-single") => {
                writeln!(out, "{}: {value}", field.attr("label").unwrap()).unwrap()
            }
            other => panic!("{other:?}"),
        }
    }
    out
}

/// What the ledger has of somebody with messages of several kinds.
fn much(talk: &Talk) -> Kept {
    let at = talk.now();
    let of = |store, reason, (going, unread), next: TimeDelta| KeptEntries {
        store,
        reason: Some(reason),
        going,
        unread,
        backlog: 0,
        emptied: if reason == Reason::Timer { 2 } else { 0 },
        oldest: Some(at - TimeDelta::days(9)),
        next: Some(at + next),
    };
    let entries = vec![
        of(Store::Archive, Reason::Timer, (12, 3), TimeDelta::minutes(90)),
        of(Store::Archive, Reason::Hint, (1, 0), TimeDelta::hours(5)),
        of(Store::Queue, Reason::Undelivered, (1, 0), TimeDelta::days(5)),
    ];
    Kept { entries: Some(entries), ..kept(at) }
}

/// Peter sets a week, and then names a contact.
async fn of_wishes() -> [Element; 4] {
    let mut talk = Talk::begin(wishing()).await;
    let wished = |days: u64, messages| Wished {
        wish: Wish {
            archive_for: Some(Duration::from_secs(86_400 * days)),
            once: days < 30,
            ..Wish::default()
        },
        messages,
        ..Wished::default()
    };
    let (choice, _) = talk.wish(&command(CONFIGURE, "", ""), wished(30, 0)).await;
    let id = reply(&choice).attr("sessionid").unwrap();
    let attributes = format!("sessionid='{id}'");
    let chosen =
        command(CONFIGURE, &attributes, &filled(&[("archive-for", "604800"), ("once", "1")]));
    let (counted, _) = talk.wish(&chosen, wished(7, 12)).await;
    let confirmed = command(CONFIGURE, &attributes, &filled(&[("confirm", "peter@example.org")]));
    let (set, _) = talk.wish(&confirmed, wished(7, 12)).await;
    let contact = talk.say(&command(CONTACT, "", "")).await;
    [choice, counted, set, contact]
}

/// The page's blocks of text are these forms, in this order. `DOCS=write` writes them.
#[tokio::test]
async fn the_page_shows_the_forms() {
    let mut talk = Talk::begin(settings()).await;
    let now = talk.now();
    let policy = talk.look(&command(POLICY, "", ""), Some(kept(now))).await;
    let begun = talk.say(&command(KEPT, "", "")).await;
    let id = reply(&begun).attr("sessionid").unwrap();
    let much = much(&talk);
    let done = command(KEPT, &format!("sessionid='{id}'"), &which("both"));
    let done = talk.look(&done, Some(much)).await;
    let wishes = of_wishes().await;
    let asks = talk.say(&command(ERASE, "", "")).await;
    let id = reply(&asks).attr("sessionid").unwrap();
    let attributes = format!("sessionid='{id}'");
    let chosen = filled(&[("with", "rosa@example.org"), ("before", "2026-11-01")]);
    let (counted, _) = talk.erase(&command(ERASE, &attributes, &chosen), 12).await;
    let confirmed = filled(&[("confirm", "peter@example.org")]);
    let (erased, _) = talk.erase(&command(ERASE, &attributes, &confirmed), 12).await;
    let forms =
        [&policy, &begun, &done].into_iter().chain(&wishes).chain([&asks, &counted, &erased]);
    let forms: Vec<String> = forms.map(|it| drawn(form(it))).collect();
    if env::var_os("DOCS").is_some_and(|it| it == "write") {
        let text = Page::read(PAGE).text;
        let mut parts = text.split("```text\n");
        let mut out = parts.next().unwrap().to_owned();
        for (form, part) in forms.iter().zip(parts) {
            let after = part.split_once("```").expect("its end").1;
            let _ = write!(out, "```text\n{form}```{after}");
        }
        fs::write(root().join(PAGE), out).unwrap();
    }
    let shown: Vec<String> =
        Page::read(PAGE).blocks_in(&["text"]).into_iter().map(|it| it.text).collect();
    assert_eq!(shown, forms, "`DOCS=write ./dev test --quick` writes them");
}
