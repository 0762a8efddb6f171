//! What belongs to a message in a room goes with it: who wrote it is known by the room's own id or the address there.

use ephemerd_lab::Result;
use ephemerd_lab::rows::ArchiveRow;

use crate::belonging::naming;
use crate::reading_chats::{Chats, EPHEMERAL, Entry};

/// What somebody says in the den; a row's archive id is `key-` and the id.
fn said(chats: &Chats, nick: &str, occupant: &str, id: &str, extra: &str) -> ArchiveRow {
    let occupant = match occupant {
        "" => String::new(),
        id => format!("<occupant-id xmlns='urn:xmpp:occupant-id:0' id='{id}'/>"),
    };
    let from = format!("den@conference.localhost/{nick}");
    let stanza = format!(
        "<message from='{from}' id='{id}' type='groupchat'><body>words</body>{extra}{occupant}</message>"
    );
    ArchiveRow::room("den", &format!("key-{id}"), chats.began - 900, &stanza)
}

async fn recorded(chats: &Chats, id: &str) -> Result<Option<(String, i64)>> {
    let entry = "SELECT started_by, extract(epoch FROM due_at - runs_from)::bigint
                   FROM ephemerd.expiries WHERE archive_id = 'key-' || $1 AND store = 'room'";
    Ok(sqlx::query_as(entry).bind(id).fetch_optional(chats.pool()).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_room_ids_and_occupants_decide() -> Result<()> {
    let chats = Chats::start_with(&[("timers.start", "archived")]).await?;
    let item = "<x xmlns='http://jabber.org/protocol/muc#user'><item jid='ann@localhost'/></x>";
    let going = [
        said(&chats, "Ann", "a", "better", &naming("replace", "words")),
        said(&chats, "Renamed", "a", "renamed", &naming("replace", "words")),
        said(&chats, "Bob", "b", "heart", &naming("reactions", "key-words")),
        said(&chats, "Ann", "a", "picture", &naming("attach-to", "key-words")),
        said(&chats, "Ann", "a", "picture-by-id", &naming("attach-to", "words")),
    ];
    let staying = [
        // Of Cy only a nickname is known, and anybody may take that.
        said(&chats, "Cy", "", "cys-better", &naming("replace", "cys")),
        said(&chats, "Bob", "b", "bobs-correction", &naming("replace", "words")),
        said(&chats, "Bob", "b", "bobs-attachment", &naming("attach-to", "key-words")),
        // Whoever has the nickname now is somebody else.
        said(&chats, "Ann", "c", "another-ann", &naming("replace", "words")),
        said(&chats, "Cyd", "", "another-cy", &naming("replace", "cys")),
        // What somebody writes into a message about himself proves nothing.
        said(&chats, "Eve", "", "eves", &(naming("replace", "words") + item)),
        // Only the room's own id names what a reaction is about.
        said(&chats, "Bob", "b", "by-senders-id", &naming("reactions", "words")),
        said(&chats, "Bob", "b", "to-plain", &naming("reactions", "key-plain")),
    ];
    let mut rows = vec![
        said(&chats, "Ann", "a", "words", EPHEMERAL),
        said(&chats, "Cy", "", "cys", EPHEMERAL),
        said(&chats, "Ann", "a", "plain", ""),
        // Eve's message has the id that the room gave Ann's.
        ArchiveRow {
            key: "key-eve".to_owned(),
            ..said(&chats, "Eve", "e", "key-plain", EPHEMERAL)
        },
    ];
    let ids = |rows: &[ArchiveRow]| -> Vec<String> {
        rows.iter().filter_map(|it| it.key.strip_prefix("key-").map(str::to_owned)).collect()
    };
    let (goes, stays) = (ids(&going), ids(&staying));
    rows.extend(going.into_iter().chain(staying));
    chats.add(&rows).await?;
    let timer = Entry::read("archived", 900).timer;
    for id in &goes {
        assert_eq!(recorded(&chats, id).await?, Some(("inherited".to_owned(), timer)), "{id}");
    }
    for id in &stays {
        assert_eq!(recorded(&chats, id).await?, None, "{id}");
    }
    Ok(())
}
