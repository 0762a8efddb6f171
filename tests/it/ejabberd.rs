//! The whole way through a real ejabberd, in both schemas.

use std::time::Duration;

use ephemerd_lab::ejabberd::{EjabberdConfig, Schema};
use ephemerd_lab::xmpp::MamQuery;
use ephemerd_lab::{Archive, Checker, Lab, Result, Words};
use tokio::time::Instant;

use crate::support::start;

const EPHEMERAL: &str = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='3'/>";

/// In each schema: marked words leave both users' archives and the room's on time, all others stay byte for
/// byte, and a cursor on an erased message still works.
#[tokio::test(flavor = "multi_thread")]
async fn marked_words_go_on_time_and_nothing_else() -> Result<()> {
    for schema in [Schema::Classic, Schema::MultiHost] {
        let lab = Lab::ejabberd(&EjabberdConfig::default().schema(schema)).await?;
        let daemon = start(&lab.daemon_config()).await?;
        let mut words = Words::random();
        let mut peter = lab.online("peter").await?;
        let mut rosa = lab.online("rosa").await?;
        let den = lab.endpoints().room("den");
        peter.join(&den, "Peter").await?;
        rosa.join(&den, "Rosa").await?;
        let both = [Archive::user("peter"), Archive::user("rosa")];
        let room = [Archive::room("den", "rosa")];
        let mut checker = Checker::new();
        let started = Instant::now();
        for extra in ["", EPHEMERAL, ""] {
            let word = words.word();
            peter.chat(rosa.bare_jid(), &word, extra).await?;
            rosa.wait_for_body(&word).await?;
            let in_room = words.word();
            peter.groupchat(&den, &in_room, extra).await?;
            rosa.wait_for_body(&in_room).await?;
            for (word, archives) in [(&word, &both[..]), (&in_room, &room[..])] {
                match extra {
                    "" => checker.stays(word, archives),
                    _ => {
                        let due = started + Duration::from_secs(3);
                        checker.goes(word, archives, due, Instant::now() + Duration::from_secs(5));
                    }
                }
            }
        }
        let before = lab.snapshots().await?;
        let items = lab.archive("rosa", &MamQuery::default()).await?;
        assert_eq!(items.len(), 3, "all is there when nothing is due");
        tokio::time::sleep_until(checker.last_by().expect("words go")).await;
        let verdict = checker.judge(&lab, &before).await?;
        assert!(verdict.is_good(), "{schema:?}, seed {}: {verdict:?}", words.seed());
        let after = MamQuery { after: Some(items[1].id.clone()), ..MamQuery::default() };
        let rest = rosa.query_all(&after).await?;
        assert_eq!(rest.len(), 1, "a cursor on an erased message works");
        assert!(daemon.terminate().await?.success());
    }
    Ok(())
}
