//! What can happen between a message and its reading: each case, and the tests that show what becomes of the message.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::pages::root;

/// In the order of who does it: somebody else, the reader, the reader's devices, nobody, the server, the operator.
const CASES: [(&str, &[&str]); 22] = [
    ("somebody else forges a marker", &["a_forged_marker_is_no_evidence"]),
    ("a contact marks what the owner sent", &["a_contacts_marker_changes_nothing"]),
    ("the reader is on another server", &["a_reader_on_another_server_changes_nothing_here"]),
    (
        "a room has many readers",
        &[
            "a_room_runs_from_archiving",
            "a_rooms_first_reader_starts_what_was_read_and_all_before_it",
            "a_rooms_words_go_once_every_member_has_read_them",
            "a_rooms_words_do_not_wait_for_ever_for_every_member",
        ],
    ),
    (
        "a bot marks at once",
        &["a_bot_that_marks_at_once_never_shortens_a_timer", "of_ignored_readers_nothing_counts"],
    ),
    (
        "the owner's own client publishes nonsense",
        &[
            "an_item_counts_for_its_own_chat_and_owner",
            "evidence_out_of_order_counts_by_its_own_stamp",
        ],
    ),
    (
        "a marker is for an older message",
        &["a_marker_for_an_older_message_moves_nothing_that_runs"],
    ),
    (
        "a marker names something gone or unknown",
        &[
            "a_marker_of_nothing_known_starts_nothing",
            "what_names_something_unknown_is_kept_for_ten_minutes",
            "what_is_kept_is_bounded_and_the_newest_comes_first",
        ],
    ),
    (
        "the same message id comes twice in a chat",
        &["of_one_id_twice_the_newest_before_the_marker_counts"],
    ),
    ("it is a note to oneself", &["a_note_to_self_runs_from_archiving"]),
    ("it is a private message in a room", &["an_occupant_of_a_room_is_a_chat_of_its_own"]),
    (
        "markers are switched off",
        &[
            "auto_waits_only_for_those_whose_clients_show_that_they_read",
            "only_the_evidence_that_is_configured_counts",
        ],
    ),
    (
        "the archive is read while the queue stands",
        &["who_reads_the_archive_first_blanks_the_queue_too"],
    ),
    (
        "it was received, and no more is known",
        &[
            "a_receipt_is_no_evidence_of_reading",
            "a_receipt_starts_what_the_queue_held_back",
            "a_queue_handed_out_is_not_read_yet",
        ],
    ),
    ("there are two devices", &["of_several_devices_the_earliest_counts"]),
    (
        "a new device publishes 2,000 chats",
        &["a_device_that_publishes_two_thousand_chats_takes_a_few_statements"],
    ),
    (
        "the timer is shorter than the interval of polls",
        &["a_timer_that_was_over_when_noticed_goes_at_once_and_leaves_no_trace"],
    ),
    ("nobody ever reads it", &["what_nobody_reads_goes_at_the_cap"]),
    (
        "a contact is blocked, or the account removed",
        &[
            "a_removed_account_leaves_nothing_behind",
            "what_the_server_removed_is_no_obstacle_for_others",
        ],
    ),
    (
        "it was read while the daemon was down",
        &[
            "what_was_read_while_the_daemon_was_down_starts_when_it_was_read",
            "what_was_read_in_a_room_while_the_daemon_was_down_starts_when_it_was_read",
            "a_module_remembers_what_was_read_while_no_daemon_ran",
            "what_members_read_while_the_daemon_is_down_counts",
        ],
    ),
    ("the clocks of two servers differ", &["only_our_servers_stamps_count"]),
    (
        "it is history, or came back from a backup",
        &[
            "history_is_judged_when_it_is_accepted",
            "what_a_backup_brings_back_goes_by_the_marker_beside_it",
        ],
    ),
];

/// The names of all tests in these folders and the ones in them.
fn tests_in(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            tests_in(&path, names);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let text = fs::read_to_string(&path).expect("a source");
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            names.extend(lines.windows(2).filter_map(test_named));
        }
    }
}

/// The name of the test that begins with these two lines, if one does.
fn test_named(lines: &[&str]) -> Option<String> {
    let [attribute, item] = lines else { return None };
    let is_test = attribute.starts_with("#[test") || attribute.starts_with("#[tokio::test");
    let name = item.split_once("fn ")?.1.split_once('(')?.0;
    is_test.then(|| name.to_owned())
}

/// Whoever renames or removes one of these tests sees which case would be left without.
#[test]
fn each_case_of_reading_has_a_test() {
    let mut names = BTreeSet::new();
    for folder in ["src", "tests/it"] {
        tests_in(&root().join(folder), &mut names);
    }
    for (case, tests) in CASES {
        for test in tests {
            assert!(names.contains(*test), "{case}: there is no test {test}");
        }
    }
}
