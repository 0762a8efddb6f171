use super::client::Client;
use super::element::escape;
use crate::Result;

const NS_OWNER: &str = "http://jabber.org/protocol/muc#owner";
const NS_ADMIN: &str = "http://jabber.org/protocol/muc#admin";
const NS_CONFIG: &str = "http://jabber.org/protocol/muc#roomconfig";

/// What owners do with their rooms (XEP-0045).
impl Client {
    /// Sets these fields of a room's configuration, and no others.
    pub async fn configure(&mut self, room: &str, fields: &[(&str, &str)]) -> Result<()> {
        let field = |(name, value): &(&str, &str)| {
            format!("<field var='{name}'><value>{value}</value></field>")
        };
        let kind = field(&("FORM_TYPE", NS_CONFIG));
        let fields: String = fields.iter().map(field).collect();
        let form = format!("<x xmlns='jabber:x:data' type='submit'>{kind}{fields}</x>");
        let query = format!("<query xmlns='{NS_OWNER}'>{form}</query>");
        self.iq("set", Some(&escape(room)), &query).await.map(drop)
    }

    /// Gives somebody, by bare address, this affiliation to a room.
    pub async fn affiliate(&mut self, room: &str, jid: &str, affiliation: &str) -> Result<()> {
        let item = format!("<item affiliation='{affiliation}' jid='{}'/>", escape(jid));
        let query = format!("<query xmlns='{NS_ADMIN}'>{item}</query>");
        self.iq("set", Some(&escape(room)), &query).await.map(drop)
    }
}
