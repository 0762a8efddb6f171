use std::collections::BTreeSet;
use std::time::Duration;

use fluent_bundle::FluentResource;
use fluent_syntax::ast::{Entry, Expression, InlineExpression, PatternElement};

use super::*;
use crate::model::Timestamp;

type Pattern<'a> = fluent_syntax::ast::Pattern<&'a str>;

/// The variables in a pattern, and whether it selects by one without the plural forms that the language needs.
fn variables(pattern: &Pattern<'_>, found: &mut BTreeSet<String>) {
    for element in &pattern.elements {
        let PatternElement::Placeable { expression } = element else { continue };
        let (Expression::Inline(inline) | Expression::Select { selector: inline, .. }) = expression;
        if let InlineExpression::VariableReference { id } = inline {
            found.insert(id.name.to_owned());
        }
        if let Expression::Select { variants, .. } = expression {
            variants.iter().for_each(|it| variables(&it.value, found));
        }
    }
}

/// Each file has each message once, with exactly its variables, and nothing else.
#[test]
fn every_language_has_every_message() {
    for language in Language::ALL {
        let resource = FluentResource::try_new(language.source().to_owned()).expect("it is Fluent");
        let mut ids = Vec::new();
        for entry in resource.entries() {
            let message = match entry {
                Entry::Comment(_) | Entry::GroupComment(_) | Entry::ResourceComment(_) => continue,
                Entry::Message(message) => message,
                other => panic!("{}: {other:?}", language.tag()),
            };
            let id = message.id.name;
            let known = Message::ALL.iter().find(|it| it.id() == id);
            let known = known.unwrap_or_else(|| panic!("{}: {id} is not used", language.tag()));
            let mut found = BTreeSet::new();
            variables(message.value.as_ref().expect("a text"), &mut found);
            let wanted: BTreeSet<String> =
                known.variables().iter().map(|it| (*it).to_owned()).collect();
            assert_eq!(found, wanted, "{}: {id}", language.tag());
            ids.push(id);
        }
        ids.sort_unstable();
        let mut all: Vec<_> = Message::ALL.iter().map(|it| it.id()).collect();
        all.sort_unstable();
        assert_eq!(ids, all, "{}: each message once", language.tag());
    }
}

/// Each message is said somewhere in the program.
#[test]
fn no_message_is_left_over() {
    fn read(folder: &std::path::Path, text: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => read(&path, text),
                false => *text += &std::fs::read_to_string(path).unwrap(),
            }
        }
    }
    let mut text = String::new();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    read(&root.join("src/component"), &mut text);
    text += include_str!("moment.rs");
    let is_said = |it: &Message| {
        let name = format!("Message::{it:?}");
        text.split(&name).skip(1).any(|rest| !rest.starts_with(char::is_alphanumeric))
    };
    let left: Vec<_> = Message::ALL.iter().filter(|it| !is_said(it)).collect();
    assert!(left.is_empty(), "nobody says {left:?}");
}

/// Every message can be said for every number that has a plural form of its own.
#[test]
fn every_message_can_be_said() {
    for language in Language::ALL {
        for message in Message::ALL {
            for count in [0, 1, 2, 5, 11, 21, 22, 1_000_000] {
                let value = |name: &&'static str| match *name {
                    "count" => (*name, count.into()),
                    _ => (*name, "example.org".into()),
                };
                let values: Vec<_> = message.variables().iter().map(value).collect();
                let (text, complete) = said(language, *message, &values);
                assert!(complete && !text.is_empty(), "{}: {text}", language.tag());
                assert!(!text.contains(['{', '\u{2068}']), "{}: {text}", language.tag());
            }
        }
    }
}

#[test]
fn a_language_is_chosen_by_its_first_part() {
    for (tag, language) in [
        (Some("de"), Language::German),
        (Some("de-AT"), Language::German),
        (Some("FR-ca"), Language::French),
        (Some("es_419"), Language::Spanish),
        (Some("ru"), Language::Russian),
        (Some("en-GB"), Language::English),
        (Some("deutsch"), Language::English),
        (Some("nl"), Language::English),
        (Some(""), Language::English),
        (None, Language::English),
    ] {
        assert_eq!(Language::of(tag), language, "{tag:?}");
    }
}

#[test]
fn plurals_are_right() {
    let days = |language, count: u64| duration(language, Duration::from_secs(86_400 * count));
    for (language, count, text) in [
        (Language::English, 1, "1 day"),
        (Language::English, 2, "2 days"),
        (Language::German, 1, "1 Tag"),
        (Language::German, 365, "365 Tage"),
        (Language::French, 1, "1 jour"),
        (Language::French, 2, "2 jours"),
        (Language::Spanish, 1, "1 día"),
        (Language::Spanish, 14, "14 días"),
        (Language::Russian, 1, "1 день"),
        (Language::Russian, 3, "3 дня"),
        (Language::Russian, 11, "11 дней"),
        (Language::Russian, 14, "14 дней"),
        (Language::Russian, 21, "21 день"),
        (Language::Russian, 92, "92 дня"),
    ] {
        assert_eq!(days(language, count), text);
    }
    let summary =
        |count: i64| say(Language::Russian, Message::KeptSummary, &[("count", count.into())]);
    let said = [0, 1, 2, 5, 21, 22, 111].map(summary);
    assert_eq!(
        said,
        [
            "Ни одно сообщение не исчезнет.",
            "Исчезнет 1 сообщение.",
            "Исчезнут 2 сообщения.",
            "Исчезнут 5 сообщений.",
            "Исчезнет 21 сообщение.",
            "Исчезнут 22 сообщения.",
            "Исчезнут 111 сообщений.",
        ]
    );
}

#[test]
fn durations_and_moments_are_exact() {
    let english = |duration_of| duration(Language::English, duration_of);
    assert_eq!(english(Duration::ZERO), "none");
    assert_eq!(english(Duration::from_millis(1)), "1 second");
    assert_eq!(english(Duration::from_secs(90_061)), "1 day 1 hour 1 minute 1 second");
    assert_eq!(
        moment(Timestamp::UNIX_EPOCH + Duration::from_millis(1_999)),
        "1970-01-01 00:00:01 UTC"
    );
}
