//! The command by which users erase own messages, against a server played by the test: how the conversation goes, and that
//! nothing is asked of the ledger that the user has not confirmed.

use ephemerd::component::{Chosen, CommandSettings, MOST_COUNTED, Wanted};
use ephemerd::metrics::{CommandNode, CommandOutcome};
use ephemerd::words::{Language, Message, say};
use minidom::Element;

use crate::adhoc_talk::{
    COMMANDS, ERASE, Talk, command, filled, form, refusal, reply, settings, value,
};

const OWN: &str = "peter@example.org";

impl Talk {
    /// Begins to erase and returns what goes on with it.
    async fn begin_to_erase(&mut self) -> impl Fn(&str, &[(&str, &str)]) -> String + use<> {
        let begun = self.say(&command(ERASE, "", "")).await;
        let id = reply(&begun).attr("sessionid").unwrap().to_owned();
        move |action, fields| {
            command(ERASE, &format!("sessionid='{id}' action='{action}'"), &filled(fields))
        }
    }
}

fn actions(answer: &Element) -> (&str, Vec<&str>) {
    let actions = reply(answer).get_child("actions", COMMANDS).expect("actions");
    (actions.attr("execute").unwrap(), actions.children().map(Element::name).collect())
}

fn said(message: Message) -> Option<String> {
    Some(say(Language::English, message, &[]))
}

#[tokio::test]
async fn what_is_confirmed_is_erased_and_nothing_else() {
    let mut talk = Talk::begin(settings()).await;
    let go_on = talk.begin_to_erase().await;
    let fields = [("with", " Rosa@example.org "), ("before", "2026-11-01")];
    let (shown, wanted) = talk.erase(&go_on("next", &fields), 2).await;
    let chosen = Chosen {
        with: Some("Rosa@example.org".to_owned()),
        before: Some("2026-11-01".parse().unwrap()),
    };
    assert_eq!(wanted, Wanted::Erasable(chosen.clone()));
    assert_eq!(actions(&shown), ("complete", vec!["prev", "complete"]));
    assert_eq!(value(form(&shown), "count").as_deref(), Some("Messages that this concerns: 2"));
    assert_eq!(value(form(&shown), "all"), None);

    let back = talk.say(&go_on("prev", &[])).await;
    assert_eq!(value(form(&back), "with").as_deref(), Some("Rosa@example.org"));
    assert_eq!(value(form(&back), "before").as_deref(), Some("2026-11-01"));
    assert_eq!(actions(&back), ("next", vec!["next"]));
    talk.erase(&go_on("execute", &fields), 2).await;

    for wrong in [vec![], vec![("confirm", "yes")], vec![("confirm", "rosa@example.org")]] {
        let (again, wanted) = talk.erase(&go_on("complete", &wrong), 2).await;
        assert_eq!(wanted, Wanted::Erasable(chosen.clone()), "{wrong:?}");
        assert_eq!(reply(&again).attr("status"), Some("executing"));
        assert_eq!(value(form(&again), "again"), said(Message::EraseAgain));
    }
    let confirmed = go_on("complete", &[("confirm", " Peter@example.org")]);
    let (done, wanted) = talk.erase(&confirmed, 2).await;
    assert_eq!(wanted, Wanted::Erase(chosen));
    assert_eq!(reply(&done).attr("status"), Some("completed"));
    assert_eq!(value(form(&done), "count").as_deref(), Some("2"));
    assert_eq!(value(form(&done), "note"), said(Message::EraseSoon));
    assert_eq!(refusal(&talk.say(&confirmed).await).2.as_deref(), Some("bad-sessionid"));
    assert_eq!(talk.counted(CommandNode::Erase, CommandOutcome::Completed), 1);
}

#[tokio::test]
async fn empty_fields_mean_everything_and_that_is_said() {
    let mut talk = Talk::begin(settings()).await;
    let go_on = talk.begin_to_erase().await;
    let (shown, wanted) = talk.erase(&go_on("next", &[("with", ""), ("before", " ")]), 0).await;
    assert_eq!(wanted, Wanted::Erasable(Chosen::default()));
    assert_eq!(value(form(&shown), "all"), said(Message::EraseAll));
    let (done, _) = talk.erase(&go_on("complete", &[("confirm", OWN)]), 0).await;
    assert_eq!(value(form(&done), "note"), said(Message::EraseNone));
    // So many are not counted to the end; and that nothing goes at the moment is said.
    talk.settings.send_modify(|it| it.dry_run = true);
    let go_on = talk.begin_to_erase().await;
    let (shown, _) = talk.erase(&go_on("next", &[]), MOST_COUNTED).await;
    assert_eq!(value(form(&shown), "dry-run"), said(Message::DryRun));
    let count = value(form(&shown), "count").unwrap();
    assert!(count.ends_with(": 20000 or more"), "{count}");
    let canceled = talk.say(&go_on("cancel", &[])).await;
    assert_eq!(reply(&canceled).attr("status"), Some("canceled"));
    let after = talk.say(&go_on("complete", &[("confirm", OWN)])).await;
    assert_eq!(refusal(&after).2.as_deref(), Some("bad-sessionid"));
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_the_conversation_goes_on() {
    let mut talk = Talk::begin(settings()).await;
    let go_on = talk.begin_to_erase().await;
    let long = format!("a@{}", "b".repeat(2_046));
    for (var, wrong) in [
        ("with", "rosa@example.org/phone"),
        ("with", "rosa and otto"),
        ("with", "@example.org"),
        ("with", "rosa@"),
        ("with", "a@b@c"),
        ("with", long.as_str()),
        ("before", "01.11.2026"),
        ("before", "2026-02-30"),
        ("before", "2026-11-01T00:00:00Z"),
    ] {
        let refused = talk.say(&go_on("next", &[(var, wrong)])).await;
        assert_eq!(refusal(&refused).2.as_deref(), Some("bad-payload"), "{wrong}");
    }
    // Nobody confirms what was not shown.
    for action in ["complete", "prev"] {
        let refused = talk.say(&go_on(action, &[("confirm", OWN)])).await;
        assert_eq!(refusal(&refused).2.as_deref(), Some("bad-action"), "{action}");
    }
    talk.erase(&go_on("next", &[]), 1).await;
    let twice = go_on("complete", &[("confirm", OWN), ("confirm", OWN)]);
    assert_eq!(refusal(&talk.say(&twice).await).2.as_deref(), Some("bad-payload"));
    assert!(talk.questions.try_recv().is_err(), "the ledger was asked for nothing else");
}

/// The operator decides, at a reload too; and each step counts as a request.
#[tokio::test]
async fn it_is_there_only_where_the_operator_lets_users_erase() {
    let mut talk = Talk::begin(CommandSettings { per_minute: 4, ..settings() }).await;
    let go_on = talk.begin_to_erase().await;
    talk.erase(&go_on("next", &[]), 1).await;
    talk.settings.send_modify(|it| it.erase = false);
    let confirm = go_on("complete", &[("confirm", OWN)]);
    assert_eq!(refusal(&talk.say(&confirm).await).1, "item-not-found", "it is switched off");
    assert_eq!(refusal(&talk.say(&command(ERASE, "", "")).await).1, "item-not-found");
    talk.settings.send_modify(|it| it.erase = true);
    assert_eq!(refusal(&talk.say(&confirm).await).1, "policy-violation", "the fifth request");
    assert!(talk.questions.try_recv().is_err(), "nothing was asked for");
}
