//! The commands by which users set how long their own archives keep messages, against a server played by the test: how the
//! conversations go, what may be chosen, and that nothing is set that the user has not confirmed.

use std::time::Duration;

use chrono::TimeDelta;
use ephemerd::component::{CommandSettings, Wanted, Wished, Wishing};
use ephemerd::metrics::{CommandNode, CommandOutcome};
use ephemerd::model::{Limit, Limits, RetentionRules, StartRule, Wish, WishChange};
use ephemerd::ops::Kept;
use ephemerd::policy::Retention;
use ephemerd::words::{Language, Message, say};
use minidom::Element;

use crate::adhoc_talk::{
    CONFIGURE, CONTACT, DATA, KEPT, PETER, POLICY, Talk, command, filled, form, kept, refusal,
    reply, value, which, wishing,
};

const OWN: &str = "peter@example.org";
const DAY: Duration = Duration::from_secs(86_400);
const WEEK: Duration = Duration::from_secs(7 * 86_400);
/// A week, as a form has it.
const A_WEEK: &str = "604800";

fn wish(archive_for: Option<Duration>, once: bool) -> Wished {
    Wished { wish: Wish { archive_for, once, ..Wish::default() }, ..Wished::default() }
}

fn asked(with: Option<&str>, change: WishChange) -> Wishing {
    Wishing { with: with.map(str::to_owned), change }
}

fn to(archive_for: Option<Duration>) -> WishChange {
    WishChange { archive_for: Some(archive_for), ..WishChange::default() }
}

fn said(message: Message) -> Option<String> {
    Some(say(Language::English, message, &[]))
}

/// What goes on with a conversation: the command that continues it.
fn goes_on(
    node: &'static str,
    begun: &Element,
) -> impl Fn(&str, &[(&str, &str)]) -> String + use<> {
    let id = reply(begun).attr("sessionid").unwrap().to_owned();
    move |action, fields| {
        command(node, &format!("sessionid='{id}' action='{action}'"), &filled(fields))
    }
}

/// The values that a field offers.
fn offered(form: &Element, var: &str) -> Vec<String> {
    let fields = form.children().filter(|it| it.attr("var") == Some(var));
    let options = fields.flat_map(|it| it.children().filter(|it| it.is("option", DATA)));
    options.map(|it| it.get_child("value", DATA).unwrap().text()).collect()
}

fn actions(answer: &Element) -> (&str, Vec<&str>) {
    let actions = reply(answer).children().find(|it| it.name() == "actions").expect("actions");
    (actions.attr("execute").unwrap(), actions.children().map(Element::name).collect())
}

#[tokio::test]
async fn what_is_confirmed_is_set_and_nothing_else() {
    let mut talk = Talk::begin(wishing()).await;
    let present = wish(Some(DAY * 30), false);
    let (begun, wanted) = talk.wish(&command(CONFIGURE, "", ""), present).await;
    assert_eq!(wanted, Wanted::Wish(Wishing::default()));
    assert_eq!(actions(&begun), ("next", vec!["next"]));
    assert_eq!(value(form(&begun), "archive-for").as_deref(), Some("2592000"));
    assert_eq!(value(form(&begun), "once").as_deref(), Some("0"));

    let go_on = goes_on(CONFIGURE, &begun);
    // Where the operator has no limit, a century is one: no time that is set can leave the calendar.
    for (var, wrong) in [
        ("archive-for", "3155760001"),
        ("encrypted-for", "3155760001"),
        ("archive-for", "9223372036854775808"),
    ] {
        let refused = talk.say(&go_on("next", &[(var, wrong)])).await;
        assert_eq!(refusal(&refused).2.as_deref(), Some("bad-payload"), "{var} {wrong}");
    }
    let change = asked(None, to(Some(WEEK)));
    let counted = Wished { messages: 12, ..wish(Some(WEEK), false) };
    let chosen = [("archive-for", A_WEEK)];
    let (shown, wanted) = talk.wish(&go_on("next", &chosen), counted).await;
    assert_eq!(wanted, Wanted::Wish(change.clone()));
    assert_eq!(actions(&shown), ("complete", vec!["prev", "complete"]));
    let told = |var: &str| value(form(&shown), var).unwrap_or_default();
    assert_eq!(told("archive-for-set"), "Longest time in your archive: 7 days");
    assert_eq!(told("count"), "Messages that go right away: 12");
    assert_eq!(value(form(&shown), "first"), None);
    assert_eq!(value(form(&shown), "cannot"), said(Message::WishedForever));

    let (back, wanted) = talk.wish(&go_on("prev", &[]), counted).await;
    assert_eq!(wanted, Wanted::Wish(change.clone()), "what was chosen is suggested");
    assert_eq!(value(form(&back), "archive-for").as_deref(), Some(A_WEEK));
    talk.wish(&go_on("execute", &chosen), counted).await;

    for wrong in [vec![], vec![("confirm", "yes")], vec![("confirm", "rosa@example.org")]] {
        let (again, wanted) = talk.wish(&go_on("complete", &wrong), counted).await;
        assert_eq!(wanted, Wanted::Wish(change.clone()), "{wrong:?}");
        assert_eq!(reply(&again).attr("status"), Some("executing"));
        assert_eq!(value(form(&again), "again"), said(Message::WishedAgain));
    }
    let confirmed = go_on("complete", &[("confirm", " Peter@example.org")]);
    let (done, wanted) = talk.wish(&confirmed, counted).await;
    assert_eq!(wanted, Wanted::SetWish(change));
    assert_eq!(reply(&done).attr("status"), Some("completed"));
    assert_eq!(value(form(&done), "count").as_deref(), Some("12"));
    assert_eq!(value(form(&done), "note"), said(Message::WishedSet));
    assert_eq!(refusal(&talk.say(&confirmed).await).2.as_deref(), Some("bad-sessionid"));
    assert_eq!(talk.counted(CommandNode::Configure, CommandOutcome::Completed), 1);
}

/// What lets nothing go at once needs no confirmation; what a client leaves out stays as it is.
#[tokio::test]
async fn what_costs_nothing_is_set_without_a_word() {
    let mut talk = Talk::begin(wishing()).await;
    let once = WishChange { once: Some(true), ..WishChange::default() };
    for (fields, change, after) in [
        (
            vec![("archive-for", "never"), ("once", "0")],
            WishChange { once: Some(false), ..to(None) },
            wish(None, false),
        ),
        (vec![("once", "true")], once, wish(Some(WEEK), true)),
        (vec![], WishChange::default(), wish(Some(WEEK), false)),
    ] {
        let (begun, _) = talk.wish(&command(CONFIGURE, "", ""), wish(Some(WEEK), false)).await;
        let go_on = goes_on(CONFIGURE, &begun);
        let first = talk.now() + TimeDelta::days(2);
        let after = Wished { first: after.wish.archive_for.map(|_| first), ..after };
        let (shown, _) = talk.wish(&go_on("next", &fields), after).await;
        assert_eq!(value(form(&shown), "confirm"), None, "{fields:?}");
        let (done, wanted) = talk.wish(&go_on("complete", &[]), after).await;
        assert_eq!(wanted, Wanted::SetWish(asked(None, change)));
        let told = |var: &str| value(form(&done), var);
        let first = after.first.map(|_| "2024-10-06 00:00:00 UTC".to_owned());
        assert_eq!(told("first"), first, "{fields:?}");
        let once = if after.wish.once {
            (Some("1 minute"), None)
        } else {
            (None, Some("Messages with a timer go when it has run out."))
        };
        assert_eq!((told("once-for").as_deref(), told("once-off").as_deref()), once);
    }
}

/// A timer for encrypted messages makes messages go as well, and is bounded like those that senders set.
#[tokio::test]
async fn a_timer_for_encrypted_messages_is_confirmed_too() {
    let mut talk = Talk::begin(wishing()).await;
    talk.settings.send_modify(|it| it.rules.timers.max = Some(WEEK));
    let (begun, _) = talk.wish(&command(CONFIGURE, "", ""), Wished::default()).await;
    assert_eq!(offered(form(&begun), "encrypted-for"), ["never", "86400", "172800", A_WEEK]);
    assert_eq!(value(form(&begun), "encrypted-for").as_deref(), Some("never"));
    let go_on = goes_on(CONFIGURE, &begun);
    for wrong in ["86399", "604801"] {
        let refused = talk.say(&go_on("next", &[("encrypted-for", wrong)])).await;
        assert_eq!(refusal(&refused).2.as_deref(), Some("bad-payload"), "{wrong}");
    }
    let change = WishChange { encrypted_for: Some(Some(DAY)), ..to(None) };
    let set = Wish { encrypted_for: Some(DAY), ..Wish::default() };
    let set = Wished { wish: set, ..Wished::default() };
    let chosen = go_on("next", &[("archive-for", "never"), ("encrypted-for", "86400")]);
    let (shown, wanted) = talk.wish(&chosen, set).await;
    assert_eq!(wanted, Wanted::Wish(asked(None, change)));
    assert_eq!(value(form(&shown), "since"), said(Message::WishedSince));
    let (again, _) = talk.wish(&go_on("complete", &[]), set).await;
    assert_eq!(value(form(&again), "again"), said(Message::WishedAgain));
    let (done, wanted) = talk.wish(&go_on("complete", &[("confirm", OWN)]), set).await;
    assert_eq!(wanted, Wanted::SetWish(asked(None, change)));
    assert_eq!(value(form(&done), "encrypted-for-set").as_deref(), Some("1 day"));
}

#[tokio::test]
async fn a_contact_is_named_first() {
    let mut talk = Talk::begin(wishing()).await;
    let begun = talk.say(&command(CONTACT, "", "")).await;
    assert_eq!(actions(&begun), ("next", vec!["next"]));
    let go_on = goes_on(CONTACT, &begun);
    for wrong in ["", "rosa@example.org/phone", "rosa and otto", "@example.org"] {
        let refused = talk.say(&go_on("next", &[("contact", wrong)])).await;
        assert_eq!(refusal(&refused).2.as_deref(), Some("bad-payload"), "{wrong}");
    }
    let rosa = Some("Rosa@example.org");
    let named = go_on("next", &[("contact", " Rosa@example.org ")]);
    let present = Wished { in_all: Some(WEEK), ..Wished::default() };
    let (choice, wanted) = talk.wish(&named, present).await;
    assert_eq!(wanted, Wanted::Wish(asked(rosa, WishChange::default())));
    assert_eq!(actions(&choice), ("next", vec!["prev", "next"]));
    let in_all = value(form(&choice), "in-all").unwrap_or_default();
    assert_eq!(in_all, "Longest time that you have set for all chats: 7 days");
    let back = talk.say(&go_on("prev", &[])).await;
    assert_eq!(value(form(&back), "contact").as_deref(), rosa);
    talk.wish(&named, present).await;
    let counted = Wished { messages: 3, ..wish(Some(DAY), false) };
    talk.wish(&go_on("next", &[("archive-for", "86400")]), counted).await;
    let (done, wanted) = talk.wish(&go_on("complete", &[("confirm", OWN)]), counted).await;
    assert_eq!(wanted, Wanted::SetWish(asked(rosa, to(Some(DAY)))));
    assert_eq!(value(form(&done), "FORM_TYPE").as_deref(), Some(CONTACT));
}

/// The operator's bounds are told, and hold for what a form does not offer as well.
#[tokio::test]
async fn nothing_beyond_the_operators_bounds_is_set() {
    let month = Limits { archive: Some(Limit::After(DAY * 30)), ..Limits::default() };
    let retention = Retention::new(RetentionRules { everyone: month, rules: Vec::new() });
    let mut talk = Talk::begin(CommandSettings { retention, ..wishing() }).await;
    // The operator let users choose less, once.
    let (begun, _) = talk.wish(&command(CONFIGURE, "", ""), wish(Some(DAY / 2), false)).await;
    let page = form(&begun);
    let longest = value(page, "longest").unwrap_or_default();
    assert_eq!(longest, "Longest time by the rules of the server: 30 days");
    assert_eq!(value(page, "archive-for").as_deref(), Some("86400"));
    let days = [1, 2, 7, 14, 30].map(|days: u32| (DAY * days).as_secs().to_string());
    let all = [&["never".to_owned()], days.as_slice()].concat();
    assert_eq!(offered(page, "archive-for"), all);
    let go_on = goes_on(CONFIGURE, &begun);
    for (var, wrong) in [
        ("archive-for", "86399"),
        ("archive-for", "2592001"),
        ("archive-for", "0"),
        ("archive-for", "-86400"),
        ("archive-for", "99999999999999999999999"),
        ("archive-for", "7 days"),
        ("archive-for", ""),
        ("once", "yes"),
    ] {
        let refused = talk.say(&go_on("next", &[(var, wrong)])).await;
        assert_eq!(refusal(&refused).2.as_deref(), Some("bad-payload"), "{var} {wrong}");
    }
    let (_, wanted) =
        talk.wish(&go_on("next", &[("archive-for", "86401")]), wish(None, false)).await;
    let odd = to(Some(DAY + Duration::from_secs(1)));
    assert_eq!(wanted, Wanted::Wish(asked(None, odd)), "a client may offer more");

    // Where there is nothing to choose, that is said.
    talk.settings.send_modify(|it| {
        it.rules.wishes.shortest = DAY * 31;
        it.rules.timers.start = StartRule::Delivered;
    });
    let (begun, _) = talk.wish(&command(CONFIGURE, "", ""), Wished::default()).await;
    assert_eq!(value(form(&begun), "fixed"), said(Message::WishedFixed));
    assert_eq!(value(form(&begun), "once-fixed"), said(Message::WishedOnceFixed));
    assert_eq!(value(form(&begun), "archive-for"), None);
    let once = talk.say(&goes_on(CONFIGURE, &begun)("next", &[("once", "1")])).await;
    assert_eq!(refusal(&once).2.as_deref(), Some("bad-payload"));
}

/// The operator decides whether users may, and nobody goes on with somebody else's conversation or sets anything for others.
#[tokio::test]
async fn nobody_else_sets_anything() {
    let mut talk = Talk::begin(wishing()).await;
    let (begun, _) = talk.wish(&command(CONFIGURE, "", ""), Wished::default()).await;
    let go_on = goes_on(CONFIGURE, &begun);
    let confirm = go_on("complete", &[("confirm", OWN)]);
    assert_eq!(
        refusal(&talk.say(&confirm).await).2.as_deref(),
        Some("bad-action"),
        "not yet shown"
    );
    talk.wish(&go_on("next", &[("archive-for", A_WEEK)]), wish(Some(WEEK), false)).await;
    for (from, condition) in [
        ("peter@example.org/tablet", "bad-request"),
        ("rosa@example.org/phone", "bad-request"),
        ("peter@other.example/phone", "forbidden"),
        ("den@rooms.example.org/peter", "forbidden"),
        ("component.example.org", "forbidden"),
    ] {
        let stolen = talk.ask(&format!("type='set' from='{from}'"), &confirm).await;
        assert_eq!(refusal(&stolen).1, condition, "{from}");
        for node in [CONFIGURE, CONTACT].into_iter().filter(|_| condition == "forbidden") {
            let head = format!("type='set' from='{from}'");
            let answer = talk.ask(&head, &command(node, "", "")).await;
            assert_eq!(refusal(&answer).1, condition, "{from}: {node}");
        }
    }
    // Of another command's conversation nothing is known here.
    let other = talk.say(&confirm.replace(CONFIGURE, CONTACT)).await;
    assert_eq!(refusal(&other).2.as_deref(), Some("bad-sessionid"));
    talk.settings.send_modify(|it| it.rules.wishes.followed = false);
    for node in [CONFIGURE, CONTACT] {
        assert_eq!(refusal(&talk.say(&command(node, "", "")).await).1, "item-not-found");
    }
    assert_eq!(refusal(&talk.say(&confirm).await).1, "item-not-found");
    assert!(talk.questions.try_recv().is_err(), "nothing was set");
    let head = format!("type='get' from='{PETER}'");
    let items = "<query xmlns='http://jabber.org/protocol/disco#items' node='http://jabber.org/protocol/commands'/>";
    let mut listed = async || {
        let answer = talk.ask(&head, items).await;
        let items = answer.children().next().unwrap().children();
        items.filter_map(|it| it.attr("node").map(str::to_owned)).collect::<Vec<_>>()
    };
    assert!(!listed().await.iter().any(|it| it == CONFIGURE || it == CONTACT));
    talk.settings.send_modify(|it| it.rules.wishes.followed = true);
    let head = format!("type='get' from='{PETER}'");
    let answer = talk.ask(&head, items).await;
    let items = answer.children().next().unwrap().children();
    let nodes: Vec<_> = items.filter_map(|it| it.attr("node")).collect();
    assert!(nodes.contains(&CONFIGURE) && nodes.contains(&CONTACT), "{nodes:?}");
}

/// What is told elsewhere agrees with what the user has set.
#[tokio::test]
async fn the_other_commands_tell_of_it() {
    let mut talk = Talk::begin(wishing()).await;
    let now = talk.now();
    let set = Kept { wished: Some(WEEK), chats: 2, ..kept(now) };
    let policy = talk.look(&command(POLICY, "", ""), Some(set.clone())).await;
    let archive_for = value(form(&policy), "archive-for");
    assert_eq!(archive_for.as_deref(), Some("7 days (as you have set it)"));
    assert_eq!(value(form(&policy), "queue-for").as_deref(), Some("no limit"));
    let id = talk.session().await;
    let done = command(KEPT, &format!("sessionid='{id}'"), &which("both"));
    let done = talk.look(&done, Some(set)).await;
    assert_eq!(value(form(&done), "archive-chats").as_deref(), Some("2"));
    let rest = value(form(&done), "archive-rest");
    assert_eq!(rest.as_deref(), Some("7 days (as you have set it)"));
    assert_eq!(value(form(&done), "queue-chats"), None);
}
