//! What bounds commands: how often somebody may ask, and how many conversations we remember.

use std::collections::HashMap;

use chrono::TimeDelta;

use super::nodes::Stage;
use crate::model::Timestamp;

/// Maximum users whose requests are counted; beyond that, whoever asked first is forgotten.
const MOST_ASKERS: usize = 4_096;
/// Maximum sessions, of all and of each user; beyond that, the oldest ends.
pub(super) const MOST_SESSIONS: usize = 1_000;
pub(super) const MOST_OF_ONE: usize = 4;
/// How long a session waits for its user, and how long we remember that it was too long.
pub(super) const SESSION_LASTS: TimeDelta = TimeDelta::minutes(10);
const REMEMBERED_FOR: TimeDelta = TimeDelta::hours(1);

/// How often users have asked within their current minute.
#[derive(Default)]
pub(super) struct Rates(HashMap<String, (Timestamp, u32)>);

impl Rates {
    /// Counts a request of this bare address. `false` if there were already `most` within a minute.
    pub(super) fn admit(&mut self, bare: &str, most: u32, now: Timestamp) -> bool {
        // A clock that was set back begins a new minute, too.
        let is_over =
            |since: Timestamp| !(TimeDelta::zero()..TimeDelta::minutes(1)).contains(&(now - since));
        if let Some((since, count)) = self.0.get_mut(bare) {
            if is_over(*since) {
                (*since, *count) = (now, 0);
            }
            *count = count.saturating_add(1);
            return *count <= most;
        }
        // Nobody is remembered for longer than that.
        self.0.retain(|_, (since, _)| !is_over(*since));
        if self.0.len() >= MOST_ASKERS {
            let oldest = self.0.iter().min_by_key(|(_, (since, _))| *since);
            if let Some(oldest) = oldest.map(|(bare, _)| bare.clone()) {
                self.0.remove(&oldest);
            }
        }
        self.0.insert(bare.to_owned(), (now, 1));
        most > 0
    }
}

/// A conversation in several stages.
struct Session {
    /// The full address of the client that began it: no other may go on with it.
    jid: String,
    bare: String,
    stage: Stage,
    /// When it was last used, and a number that grows with each use.
    used: (Timestamp, u64),
}

/// Why there is no session to go on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoSession {
    /// It never was, is over, or somebody else's.
    Unknown,
    /// Its user took too long.
    Expired,
}

/// All conversations.
#[derive(Default)]
pub(super) struct Sessions {
    by_id: HashMap<String, Session>,
    uses: u64,
}

impl Sessions {
    /// Begins a session and returns its id. The user's oldest ends if there are too many.
    pub(super) fn begin(
        &mut self,
        (jid, bare): (&str, &str),
        stage: Stage,
        now: Timestamp,
    ) -> String {
        self.by_id.retain(|_, it| now - it.used.0 <= REMEMBERED_FOR);
        let of_one = |it: &Session| it.bare == bare;
        if self.by_id.values().filter(|it| of_one(it)).count() >= MOST_OF_ONE {
            self.end_oldest(of_one);
        } else if self.by_id.len() >= MOST_SESSIONS {
            self.end_oldest(|_| true);
        }
        let id = new_id();
        self.uses += 1;
        let used = (now, self.uses);
        let session = Session { jid: jid.to_owned(), bare: bare.to_owned(), stage, used };
        self.by_id.insert(id.clone(), session);
        id
    }

    fn end_oldest(&mut self, of: impl Fn(&Session) -> bool) {
        let oldest = self.by_id.iter().filter(|it| of(it.1)).min_by_key(|it| it.1.used.1);
        if let Some(id) = oldest.map(|it| it.0.clone()) {
            self.by_id.remove(&id);
        }
    }

    /// The stage of this client's session.
    pub(super) fn stage(
        &mut self,
        id: &str,
        jid: &str,
        now: Timestamp,
    ) -> Result<Stage, NoSession> {
        let session = self.by_id.get(id).filter(|it| it.jid == jid).ok_or(NoSession::Unknown)?;
        let stage = session.stage.clone();
        if now - session.used.0 > SESSION_LASTS {
            self.by_id.remove(id);
            return Err(NoSession::Expired);
        }
        Ok(stage)
    }

    /// The session goes on at this stage, or ends.
    pub(super) fn go_on(&mut self, id: &str, stage: Option<Stage>, now: Timestamp) {
        self.uses += 1;
        match (stage, self.by_id.get_mut(id)) {
            (Some(stage), Some(session)) => {
                (session.stage, session.used) = (stage, (now, self.uses));
            }
            _ => drop(self.by_id.remove(id)),
        }
    }
}

/// Unguessable.
pub(super) fn new_id() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}

#[cfg(test)]
mod tests {
    use super::super::nodes::Which;
    use super::*;

    const START: Timestamp = Timestamp::UNIX_EPOCH;
    const STAGE: Stage = Stage::KeptChoice(Which::Both);

    #[test]
    fn a_user_may_ask_so_often_within_a_minute() {
        let mut rates = Rates::default();
        let at = |seconds| START + TimeDelta::seconds(seconds);
        let admitted = [0, 1, 2, 59, 60, 61, -5].map(|it| rates.admit("a@b", 2, at(it)));
        assert_eq!(admitted, [true, true, false, false, true, true, true]);
        assert!(rates.admit("c@b", 2, at(59)), "each user has a count of their own");
    }

    #[test]
    fn the_table_of_users_is_bounded() {
        let mut rates = Rates::default();
        for number in 0..2 * MOST_ASKERS {
            assert!(rates.admit(&format!("{number}@b"), 1, START));
            assert!(rates.0.len() <= MOST_ASKERS);
        }
    }

    #[test]
    fn nobody_is_remembered_for_long() {
        let mut rates = Rates::default();
        rates.admit("a@b", 1, START);
        rates.admit("c@b", 1, START + TimeDelta::minutes(1));
        assert_eq!(rates.0.keys().collect::<Vec<_>>(), ["c@b"]);
        let mut sessions = Sessions::default();
        sessions.begin(("a@b/c", "a@b"), STAGE, START);
        let late = START + REMEMBERED_FOR + TimeDelta::seconds(1);
        let id = sessions.begin(("c@b/c", "c@b"), STAGE, late);
        assert_eq!(sessions.by_id.keys().collect::<Vec<_>>(), [&id]);
    }

    #[test]
    fn only_the_client_that_began_a_session_goes_on() {
        let mut sessions = Sessions::default();
        let id = sessions.begin(("a@b/c", "a@b"), STAGE, START);
        for jid in ["a@b/d", "a@b", "e@b/c", ""] {
            assert_eq!(sessions.stage(&id, jid, START), Err(NoSession::Unknown), "{jid}");
        }
        assert_eq!(sessions.stage(&id, "a@b/c", START), Ok(STAGE));
        sessions.go_on(&id, None, START);
        assert_eq!(sessions.stage(&id, "a@b/c", START), Err(NoSession::Unknown), "a replay");
    }

    #[test]
    fn a_session_does_not_wait_for_ever() {
        let mut sessions = Sessions::default();
        let id = sessions.begin(("a@b/c", "a@b"), STAGE, START);
        assert_eq!(sessions.stage(&id, "a@b/c", START + SESSION_LASTS), Ok(STAGE));
        sessions.go_on(&id, Some(STAGE), START + SESSION_LASTS);
        let late = START + SESSION_LASTS * 2 + TimeDelta::seconds(1);
        assert_eq!(sessions.stage(&id, "a@b/c", late), Err(NoSession::Expired));
        assert_eq!(sessions.stage(&id, "a@b/c", late), Err(NoSession::Unknown));
    }

    #[test]
    fn the_oldest_session_ends_when_there_are_too_many() {
        let mut sessions = Sessions::default();
        let mut begin = |jid: &str, bare: &str| sessions.begin((jid, bare), STAGE, START);
        let own: Vec<_> = (0..=MOST_OF_ONE).map(|_| begin("a@b/c", "a@b")).collect();
        let others: Vec<_> = (0..MOST_SESSIONS - MOST_OF_ONE)
            .map(|it| begin(&format!("{it}@b/c"), &format!("{it}@b")))
            .collect();
        assert_eq!(sessions.by_id.len(), MOST_SESSIONS);
        assert_eq!(sessions.stage(&own[0], "a@b/c", START), Err(NoSession::Unknown));
        assert_eq!(sessions.stage(&own[1], "a@b/c", START), Ok(STAGE));
        sessions.begin(("late@b/c", "late@b"), STAGE, START);
        assert_eq!(sessions.by_id.len(), MOST_SESSIONS);
        assert_eq!(sessions.stage(&own[1], "a@b/c", START), Err(NoSession::Unknown));
        assert_eq!(sessions.stage(&others[0], "0@b/c", START), Ok(STAGE));
    }
}
