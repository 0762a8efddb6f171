use super::client::Client;
use super::element::{Element, escape};
use super::stream::Stanza;
use crate::{LabError, Result};

const NS_MAM: &str = "urn:xmpp:mam:2";
const NS_RSM: &str = "http://jabber.org/protocol/rsm";
const NS_FORWARD: &str = "urn:xmpp:forward:0";
const NS_DELAY: &str = "urn:xmpp:delay";
const MAX_PAGES: usize = 10_000;

/// One query of a message archive (XEP-0313), with result sets (XEP-0059).
#[derive(Debug, Clone, Default)]
pub struct MamQuery {
    /// Which archive: a room's, or one's own if `None`.
    pub archive: Option<String>,
    /// Only messages with this JID.
    pub with: Option<String>,
    /// The maximum page size; the server's own limit if `None`.
    pub max: Option<u32>,
    /// Only what follows this archive id.
    pub after: Option<String>,
    /// Only what precedes this archive id; an empty one asks for the last page.
    pub before: Option<String>,
}

/// One archived message as the server returns it.
#[derive(Debug, Clone)]
pub struct MamItem {
    /// The archive id.
    pub id: String,
    /// When it was archived (XEP-0203).
    pub stamp: String,
    /// The message, parsed.
    pub message: Element,
    /// The message as received.
    pub xml: String,
}

impl MamItem {
    /// The text of its `<body/>`.
    pub fn body(&self) -> Option<&str> {
        self.message.body()
    }
}

/// One page of an answer.
#[derive(Debug, Clone, Default)]
pub struct MamPage {
    /// The messages, oldest first.
    pub items: Vec<MamItem>,
    /// The server says that nothing follows.
    pub complete: bool,
    /// The archive id of the first message, according to the server.
    pub first: Option<String>,
    /// The archive id of the last message, according to the server.
    pub last: Option<String>,
    /// How many messages the whole answer has, if the server says so.
    pub count: Option<u64>,
}

impl Client {
    /// Requests one page. `item-not-found` and the like are `LabError::Stanza`.
    pub async fn query(&mut self, query: &MamQuery) -> Result<MamPage> {
        let query_id = self.new_id();
        let payload = query.render(&query_id);
        let answer = self.iq("set", query.archive.as_deref(), &payload).await;
        let is_result = |it: &Stanza| {
            it.child(NS_MAM, "result").is_some_and(|it| it.attribute("queryid") == Some(&query_id))
        };
        let results = self.take(is_result);
        let answer = answer?;
        let fin = answer.child(NS_MAM, "fin").ok_or_else(|| LabError::new("MAM without <fin/>"))?;
        let set = fin.child(NS_RSM, "set");
        let field = |name| set.and_then(|set| set.child(NS_RSM, name)).map(|it| it.text.clone());
        Ok(MamPage {
            items: results.iter().map(read_item).collect::<Result<_>>()?,
            complete: fin.attribute("complete") == Some("true"),
            first: field("first"),
            last: field("last"),
            count: field("count").and_then(|count| count.parse().ok()),
        })
    }

    /// Requests page after page, from `query.after` or from the start, until the server says that it is
    /// complete.
    pub async fn query_all(&mut self, query: &MamQuery) -> Result<Vec<MamItem>> {
        let mut query = query.clone();
        let mut items = Vec::new();
        for _ in 0..MAX_PAGES {
            let page = self.query(&query).await?;
            items.extend(page.items);
            if page.complete {
                return Ok(items);
            }
            query.after = page.last.or(query.after);
        }
        Err(LabError::new("MAM paging has no end"))
    }
}

impl MamQuery {
    /// The whole archive of a room.
    pub fn room(jid: &str) -> Self {
        Self { archive: Some(jid.to_owned()), ..Self::default() }
    }

    fn render(&self, query_id: &str) -> String {
        let with = self.with.as_deref().map(|with| {
            let with = escape(with);
            format!("<field var='with'><value>{with}</value></field>")
        });
        let tag = |name: &str, value: &str| format!("<{name}>{}</{name}>", escape(value));
        let max = self.max.map(|max| tag("max", &max.to_string()));
        let after = self.after.as_deref().map(|id| tag("after", id));
        let before = self.before.as_deref().map(|id| tag("before", id));
        let set = [max, after, before].into_iter().flatten().collect::<String>();
        format!(
            "<query xmlns='{NS_MAM}' queryid='{query_id}'><x xmlns='jabber:x:data' type='submit'>\
             <field var='FORM_TYPE' type='hidden'><value>{NS_MAM}</value></field>{}</x>\
             <set xmlns='{NS_RSM}'>{set}</set></query>",
            with.unwrap_or_default(),
        )
    }
}

fn read_item(stanza: &Stanza) -> Result<MamItem> {
    let malformed = || LabError::new(format!("a MAM result is malformed: {}", stanza.xml));
    let result = stanza.child(NS_MAM, "result").ok_or_else(malformed)?;
    let forwarded = result.child(NS_FORWARD, "forwarded").ok_or_else(malformed)?;
    let delay = forwarded.child(NS_DELAY, "delay").ok_or_else(malformed)?;
    let message = forwarded.child("jabber:client", "message").ok_or_else(malformed)?;
    Ok(MamItem {
        id: result.attribute("id").ok_or_else(malformed)?.to_owned(),
        stamp: delay.attribute("stamp").ok_or_else(malformed)?.to_owned(),
        xml: stanza.xml.get(message.span.clone()).ok_or_else(malformed)?.to_owned(),
        message: message.clone(),
    })
}
