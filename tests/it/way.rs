//! The whole way through a real Prosody: sent, archived, inspected, recorded, due, erased.

use std::time::Duration;

use ephemerd_lab::xmpp::{Client, MamQuery};
use ephemerd_lab::{Archive, Checker, Lab, PATIENCE, Prosody, Result, Words};
use tokio::time::Instant;

use crate::support::{gone, start};

/// Long enough to look before it is over.
const TIMER: Duration = Duration::from_secs(8);

const EPHEMERAL: &str = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='8'/>";

struct Talk {
    lab: Lab<Prosody>,
    peter: Client,
    rosa: Client,
    words: Words,
}

async fn talk() -> Result<Talk> {
    let lab = Lab::prosody().await?;
    let mut peter = lab.online("peter").await?;
    let mut rosa = lab.online("rosa").await?;
    let room = lab.endpoints().room("den");
    peter.join(&room, "Peter").await?;
    rosa.join(&room, "Rosa").await?;
    Ok(Talk { lab, peter, rosa, words: Words::random() })
}

impl Talk {
    /// Sends a message to Rosa and waits until she has received it.
    async fn say(&mut self, extra: &str) -> Result<String> {
        let word = self.words.word();
        self.peter.chat(self.rosa.bare_jid(), &word, extra).await?;
        self.rosa.wait_for_body(&word).await?;
        Ok(word)
    }

    async fn say_in_room(&mut self, extra: &str) -> Result<String> {
        let word = self.words.word();
        let room = self.lab.endpoints().room("den");
        self.peter.groupchat(&room, &word, extra).await?;
        self.rosa.wait_for_body(&word).await?;
        Ok(word)
    }

    async fn ids_of(&self, word: &str) -> Result<Option<String>> {
        let items = self.lab.archive("rosa", &MamQuery::default()).await?;
        Ok(items.into_iter().find(|it| it.body() == Some(word)).map(|it| it.id))
    }
}

/// In each mode: marked text leaves both users' archives and the room's on time, everything else stays byte
/// for byte; in placeholder mode a cursor on an erased message still works, in delete mode its row is gone.
#[tokio::test(flavor = "multi_thread")]
async fn marked_words_go_on_time_and_nothing_else() -> Result<()> {
    for mode in ["placeholder", "delete"] {
        let mut talk = talk().await?;
        let daemon = start(&talk.lab.daemon_config().set("erase.mode", mode)).await?;
        let both = [Archive::user("peter"), Archive::user("rosa")];
        let room = [Archive::room("den", "rosa")];
        let mut checker = Checker::new();

        let plain = talk.say("").await?;
        checker.stays(&plain, &both);
        let plain = talk.say_in_room("").await?;
        checker.stays(&plain, &room);
        let started = Instant::now();
        let marked = talk.say(EPHEMERAL).await?;
        checker.goes(&marked, &both, started + TIMER, Instant::now() + PATIENCE);
        let id = talk.ids_of(&marked).await?.expect("the word is archived");
        let in_room = talk.say_in_room(EPHEMERAL).await?;
        checker.goes(&in_room, &room, started + TIMER, Instant::now() + PATIENCE);
        let later = talk.say("").await?;
        checker.stays(&later, &both);

        let before = talk.lab.snapshots().await?;
        assert!(talk.ids_of(&marked).await?.is_some(), "it is still there when nothing is due");
        let pool = talk.lab.database.superuser();
        for word in [&marked, &in_room] {
            gone(pool, word, PATIENCE).await?;
            assert!(started.elapsed() >= TIMER, "{mode}: never earlier than asked for");
        }
        checker.all_due();
        let verdict = checker.judge(&talk.lab, &before).await?;
        assert!(verdict.is_good(), "{mode}, seed {}: {verdict:?}", talk.words.seed());

        let after = MamQuery { after: Some(id.clone()), ..MamQuery::default() };
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM prosodyarchive WHERE key = $1")
            .bind(&id)
            .fetch_one(talk.lab.database.superuser())
            .await?;
        match mode {
            "placeholder" => {
                let items = talk.rosa.query_all(&after).await?;
                let bodies: Vec<_> = items.iter().filter_map(|it| it.body()).collect();
                assert_eq!(bodies, [later.as_str()], "a cursor on an erased message works");
                assert_eq!(rows, 1, "the row stays as a placeholder");
            }
            _ => assert_eq!(rows, 0, "the row is gone"),
        }
        assert!(daemon.terminate().await?.success());
    }
    Ok(())
}
