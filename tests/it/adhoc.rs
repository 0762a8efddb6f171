//! Users' commands (XEP-0050), against a server played by the test: what is listed, how a conversation goes, in which
//! language, and who is refused.

use std::time::Duration;

use ephemerd::component::CommandSettings;
use ephemerd::metrics::{CommandNode, CommandOutcome};
use ephemerd::model::{Limit, Limits, RetentionRule, RetentionRules, Whose};
use ephemerd::ops::Kept;
use ephemerd::policy::Retention;
use ephemerd::words::{Language, Message, say};

use crate::adhoc_talk::{
    COMMANDS, DATA, ERASE, KEPT, PETER, POLICY, ROOMS, Talk, command, form, kept, refusal, reply,
    settings, spoken, value, which,
};
use crate::component_stand_in::{HOST, JID};

const INFO: &str = "http://jabber.org/protocol/disco#info";
const ITEMS: &str = "http://jabber.org/protocol/disco#items";

/// The commands that are listed for whoever asks: node and name.
async fn listed(talk: &mut Talk, from: &str) -> Vec<(String, String)> {
    let query = format!("<query xmlns='{ITEMS}' node='{COMMANDS}'/>");
    let answer = talk.ask(&format!("type='get' xml:lang='de-AT' {from}"), &query).await;
    let items = answer.get_child("query", ITEMS).expect("a list");
    assert_eq!(items.attr("node"), Some(COMMANDS));
    let item = |it: &minidom::Element| {
        assert_eq!(it.attr("jid"), Some(JID));
        (it.attr("node").unwrap().to_owned(), it.attr("name").unwrap().to_owned())
    };
    items.children().map(item).collect()
}

#[tokio::test]
async fn users_find_the_commands_and_nobody_else_does() {
    let mut talk = Talk::begin(settings()).await;
    let names = [Message::PolicyName, Message::KeptName, Message::EraseName]
        .map(|it| say(Language::German, it, &[]));
    let nodes = [POLICY, KEPT, ERASE];
    let all: Vec<_> = nodes.map(str::to_owned).into_iter().zip(names.clone()).collect();
    assert_eq!(listed(&mut talk, &format!("from='{PETER}'")).await, all);
    for from in
        ["from='eve@other.example/r'".to_owned(), format!("from='den@{ROOMS}/Eve'"), String::new()]
    {
        assert_eq!(listed(&mut talk, &from).await, [], "{from}");
    }
    let head = format!("type='get' from='{PETER}' xml:lang='de'");
    let mut described = async |node: &str| {
        let answer = talk.ask(&head, &format!("<query xmlns='{INFO}' {node}/>")).await;
        assert_eq!(spoken(&answer), Some("de"));
        let info = answer.get_child("query", INFO).expect("a description").clone();
        let features: Vec<_> =
            info.children().filter_map(|it| it.attr("var").map(str::to_owned)).collect();
        let identity = info.get_child("identity", INFO).expect("an identity").clone();
        let [category, kind, name] =
            ["category", "type", "name"].map(|it| identity.attr(it).unwrap().to_owned());
        (category, kind, name, features)
    };
    assert!(described("").await.3.contains(&COMMANDS.to_owned()), "the feature is there");
    for (node, name) in nodes.into_iter().zip(names) {
        let (category, kind, title, features) = described(&format!("node='{node}'")).await;
        assert_eq!((category.as_str(), kind.as_str(), title), ("automation", "command-node", name));
        assert_eq!(features, [COMMANDS, DATA]);
    }
    assert_eq!(described(&format!("node='{COMMANDS}'")).await.1, "command-list");
    let info = format!("<query xmlns='{INFO}' node='{KEPT}'/>");
    let answer = talk.ask("type='get' from='eve@other.example/r'", &info).await;
    assert_eq!(refusal(&answer).1, "item-not-found");
}

/// Forth, back, forth again and to the end; each stage says what may follow, and the ledger is asked about nobody else.
#[tokio::test]
async fn a_conversation_goes_forth_and_back() {
    let mut talk = Talk::begin(settings()).await;
    let begun = talk.say(&command(KEPT, "action='execute'", "")).await;
    let actions = |answer: &minidom::Element| {
        let actions = reply(answer).get_child("actions", COMMANDS).expect("actions");
        assert_eq!(actions.attr("execute"), Some("complete"));
        actions.children().map(|it| it.name().to_owned()).collect::<Vec<_>>()
    };
    let status = |answer: &minidom::Element| reply(answer).attr("status").unwrap().to_owned();
    assert_eq!(
        (status(&begun).as_str(), actions(&begun)),
        ("executing", vec!["next".to_owned(), "complete".to_owned()])
    );
    assert_eq!(form(&begun).attr("type"), Some("form"));
    assert_eq!(value(form(&begun), "which").as_deref(), Some("both"));
    let id = reply(&begun).attr("sessionid").unwrap().to_owned();
    let with = |action: &str| format!("sessionid='{id}' action='{action}'");

    let next = talk.now();
    let shown = talk.look(&command(KEPT, &with("next"), &which("archive")), Some(kept(next))).await;
    assert_eq!(
        (status(&shown).as_str(), actions(&shown)),
        ("executing", vec!["prev".to_owned(), "complete".to_owned()])
    );
    let page = form(&shown);
    assert_eq!(page.attr("type"), Some("result"));
    // Profanity shows no value of a field without a type.
    let mut fields = page.children().filter(|it| it.is("field", DATA));
    assert!(fields.all(|it| it.attr("type").is_some()));
    assert_eq!(value(page, "FORM_TYPE").as_deref(), Some(KEPT));
    assert_eq!(value(page, "archive-going").as_deref(), Some("1"));
    assert_eq!(value(page, "archive-next").as_deref(), Some("2024-10-04 00:00:00 UTC"));
    assert_eq!(value(page, "queue-going"), None, "only the archive was wanted");

    let back = talk.say(&command(KEPT, &with("prev"), "")).await;
    assert_eq!(value(form(&back), "which").as_deref(), Some("archive"), "the earlier choice");
    let done =
        talk.look(&command(KEPT, &with("complete"), &which("queue")), Some(kept(next))).await;
    assert_eq!(status(&done), "completed");
    assert_eq!(value(form(&done), "queue-going").as_deref(), Some("0"));
    assert_eq!(value(form(&done), "archive-going"), None);
    let replayed = talk.say(&command(KEPT, &with("complete"), &which("queue"))).await;
    assert_eq!(refusal(&replayed).2.as_deref(), Some("bad-sessionid"));

    let id = talk.session().await;
    let canceled = talk.say(&command(KEPT, &format!("sessionid='{id}' action='cancel'"), "")).await;
    assert_eq!(status(&canceled), "canceled");
    let after = talk.say(&command(KEPT, &format!("sessionid='{id}'"), "")).await;
    assert_eq!(refusal(&after).2.as_deref(), Some("bad-sessionid"));
    for (outcome, count) in [
        (CommandOutcome::Asked, 4),
        (CommandOutcome::Completed, 1),
        (CommandOutcome::Canceled, 1),
        (CommandOutcome::Invalid, 2),
    ] {
        assert_eq!(talk.counted(CommandNode::Kept, outcome), count, "{outcome:?}");
    }
}

/// A form without a choice means what was suggested: many clients send none back.
#[tokio::test]
async fn what_was_suggested_is_what_is_shown() {
    let mut talk = Talk::begin(settings()).await;
    for payload in ["", "<x xmlns='jabber:x:data' type='submit'/>"] {
        let id = talk.session().await;
        let command = command(KEPT, &format!("sessionid='{id}'"), payload);
        let now = talk.now();
        let done = talk.look(&command, Some(kept(now))).await;
        assert_eq!(reply(&done).attr("status"), Some("completed"));
        assert_eq!(value(form(&done), "archive-going").as_deref(), Some("1"));
        assert_eq!(value(form(&done), "queue-going").as_deref(), Some("0"));
    }
}

#[tokio::test]
async fn everybody_is_answered_in_their_language() {
    let mut talk = Talk::begin(settings()).await;
    for (tag, language) in [
        ("en", Language::English),
        ("de-CH", Language::German),
        ("fr", Language::French),
        ("es-419", Language::Spanish),
        ("ru", Language::Russian),
        ("eo", Language::English),
    ] {
        let now = talk.now();
        // The command's own language wins over the stanza's, which is English here.
        let command = command(POLICY, &format!("xml:lang='{tag}'"), "");
        let answer = talk.look(&command, Some(kept(now))).await;
        assert_eq!(spoken(&answer), Some(language.tag()));
        assert_eq!(spoken(reply(&answer)), Some(language.tag()));
        let title = form(&answer).get_child("title", DATA).unwrap().text();
        assert_eq!(title, say(language, Message::PolicyName, &[]));
        let always = say(language, Message::NoLimit, &[]);
        assert_eq!(value(form(&answer), "timer-max"), Some(always));
    }
}

/// The rule for the account wins, and a policy that is not in force is no promise.
#[tokio::test]
async fn a_retention_policy_is_told_as_it_is() {
    let days = |days: u64| Some(Limit::After(Duration::from_secs(86_400 * days)));
    let own = RetentionRule {
        whose: Whose::Users,
        names: vec![format!("peter@{HOST}")],
        limits: Limits { archive: days(30), ..Limits::default() },
        reason: None,
    };
    let everyone = Limits { archive: days(365), room: days(90), queue: None };
    let retention = Retention::new(RetentionRules { everyone, rules: vec![own] });
    let mut talk = Talk::begin(CommandSettings { retention, ..settings() }).await;
    let policy = command(POLICY, "", "");
    for (ages, archive, rooms) in [
        (true, "30 days", "90 days"),
        (false, "30 days (announced, not in force yet)", "90 days (announced, not in force yet)"),
    ] {
        let now = talk.now();
        let answer = talk.look(&policy, Some(Kept { ages, ..kept(now) })).await;
        let told = ["archive-for", "rooms-for", "queue-for"].map(|it| value(form(&answer), it));
        assert_eq!(told.map(Option::unwrap_or_default), [archive, rooms, "no limit"]);
    }
    let now = talk.now();
    talk.settings.send_modify(|it| it.dry_run = true);
    let answer = talk.look(&policy, Some(Kept { paused: true, ..kept(now) })).await;
    assert_eq!(value(form(&answer), "paused"), None);
    assert!(value(form(&answer), "dry-run").unwrap().starts_with("Nothing is erased"));
}

/// Only a client of a user of a listed host, by the address that the server stamped. Nothing is asked of the ledger.
#[tokio::test]
async fn nobody_else_learns_anything() {
    let mut talk = Talk::begin(settings()).await;
    let strangers = [
        "from='eve@other.example/r'".to_owned(),
        "from='component.example.org'".to_owned(),
        "from='eve@component.example.org/r'".to_owned(),
        format!("from='den@{ROOMS}/Eve'"),
        format!("from='den@{ROOMS}'"),
        format!("from='{HOST}'"),
        format!("from='{HOST}/r'"),
        format!("from='peter@{HOST}'"),
        format!("from='peter@{HOST}/'"),
        format!("from='@{HOST}/r'"),
        "from='peter@EXAMPLE.org/r'".to_owned(),
        format!("from='peter@{HOST}@other.example/r'"),
        format!("from='other.example/peter@{HOST}/r'"),
        format!("from='peter@x@{HOST}/r'"),
        "from=''".to_owned(),
        String::new(),
    ];
    for from in &strangers {
        for node in [POLICY, KEPT] {
            let answer = talk.ask(&format!("type='set' {from}"), &command(node, "", "")).await;
            let expected = ("auth".to_owned(), "forbidden".to_owned(), None);
            assert_eq!(refusal(&answer), expected, "{from}");
        }
    }
    assert!(talk.questions.try_recv().is_err(), "the ledger was not asked");
    let refused = talk.counted(CommandNode::Kept, CommandOutcome::Forbidden);
    assert_eq!(refused, strangers.len() as u64);
}

#[tokio::test]
async fn what_cannot_be_understood_is_named() {
    let mut talk = Talk::begin(settings()).await;
    let id = talk.session().await;
    let of = |attributes: &str| format!("sessionid='{id}' {attributes}");
    let two = "<x xmlns='jabber:x:data' type='submit'><field var='which'>\
               <value>both</value><value>queue</value></field></x>";
    let twice = "<x xmlns='jabber:x:data' type='submit'><field var='which'><value>both</value></field>\
                 <field var='which'><value>both</value></field></x>";
    let form_back = which("both").replace("submit", "form");
    let two_forms = which("both") + &which("both");
    for (payload, condition, fault) in [
        (command(KEPT, "action='wibble'", ""), "bad-request", Some("malformed-action")),
        (command(KEPT, &of("action=''"), ""), "bad-request", Some("malformed-action")),
        (command(KEPT, "action='next'", ""), "bad-request", Some("bad-action")),
        (command(KEPT, "action='complete'", ""), "bad-request", Some("bad-action")),
        (command(POLICY, "action='cancel'", ""), "bad-request", Some("bad-action")),
        (command(KEPT, &of("action='prev'"), ""), "bad-request", Some("bad-action")),
        (
            command(KEPT, &of("action='next'"), &which("everything")),
            "bad-request",
            Some("bad-payload"),
        ),
        (command(KEPT, &of(""), two), "bad-request", Some("bad-payload")),
        (command(KEPT, &of(""), twice), "bad-request", Some("bad-payload")),
        (command(KEPT, &of(""), &form_back), "bad-request", Some("bad-payload")),
        (command(KEPT, &of(""), &two_forms), "bad-request", Some("bad-payload")),
        (command(POLICY, &of(""), ""), "bad-request", Some("bad-sessionid")),
        (command(KEPT, "sessionid=''", ""), "bad-request", Some("bad-sessionid")),
        (command("urn:ephemerd:other", "", ""), "item-not-found", None),
        (command(COMMANDS, "", ""), "item-not-found", None),
        (format!("<command xmlns='{COMMANDS}'/>"), "bad-request", None),
    ] {
        let (_, named, said) = refusal(&talk.say(&payload).await);
        assert_eq!((named.as_str(), said.as_deref()), (condition, fault), "{payload}");
    }
    let get = talk.ask(&format!("type='get' from='{PETER}'"), &command(POLICY, "", "")).await;
    assert_eq!(refusal(&get).1, "bad-request");
    assert!(talk.questions.try_recv().is_err(), "the ledger was not asked");
    let now = talk.now();
    let done = talk.look(&command(KEPT, &of(""), ""), Some(kept(now))).await;
    assert_eq!(reply(&done).attr("status"), Some("completed"), "the session outlived all that");
}
