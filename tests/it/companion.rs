//! A companion module as the daemon meets it: what it tells, and what it answers.

use ephemerd_lab::xmpp::{Component, Element, Stanza, escape};
use ephemerd_lab::{LabError, Result};

/// The protocol's namespace (docs/protocol.md).
pub(crate) const NS: &str = "urn:ephemerd:companion:0";
const NS_FORWARD: &str = "urn:xmpp:forward:0";

/// A marked stanza that was archived, or a queue that was handed out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Notice {
    /// The host that told, and when: its boot id and running number.
    pub(crate) host: String,
    pub(crate) boot: String,
    pub(crate) number: u64,
    /// `archived` or `drained`.
    pub(crate) what: String,
    pub(crate) owner: String,
    /// Empty where the notice has none.
    pub(crate) store: String,
    pub(crate) id: String,
    pub(crate) stamp: String,
    pub(crate) copy_of: Option<String>,
    pub(crate) is_reduced: bool,
    /// The forwarded stanza.
    pub(crate) message: Option<Element>,
}

impl Notice {
    fn read(stanza: &Stanza) -> Option<Self> {
        let notice = stanza.children.iter().find(|child| child.namespace == NS)?;
        let text = |name: &str| notice.attribute(name).unwrap_or_default().to_owned();
        let forwarded = notice.child(NS_FORWARD, "forwarded");
        Some(Self {
            host: stanza.attribute("from")?.to_owned(),
            boot: text("boot"),
            number: notice.attribute("number")?.parse().ok()?,
            what: notice.name.clone(),
            owner: text("owner"),
            store: text("store"),
            id: text("id"),
            stamp: text("stamp"),
            copy_of: notice.attribute("copy-of").map(str::to_owned),
            is_reduced: notice.attribute("reduced") == Some("true"),
            message: forwarded.and_then(|it| it.child("jabber:client", "message")).cloned(),
        })
    }

    /// The words that it tells.
    pub(crate) fn body(&self) -> Option<&str> {
        self.message.as_ref().and_then(Element::body)
    }

    /// As an item of a request.
    pub(crate) fn item(&self) -> String {
        item(&self.id, &self.stamp)
    }
}

/// What the server has told by now. Whoever made it tell must have waited for the server before.
pub(crate) async fn notices(component: &mut Component, host: &str) -> Result<Vec<Notice>> {
    companion(component, host).await?;
    let told = component.take(|it| it.name == "message");
    let is_notice = |it: &Stanza| it.attribute("type") == Some("headline");
    assert!(told.iter().all(is_notice), "{told:?}");
    Ok(told.iter().filter_map(Notice::read).collect())
}

/// Who is there; the whole answer.
pub(crate) async fn companion(component: &mut Component, host: &str) -> Result<Element> {
    let payload = format!("<companion xmlns='{NS}' version='1' daemon='test'/>");
    answer(component, "get", host, &payload).await
}

/// Asks, and gives what the answer holds.
pub(crate) async fn answer(
    component: &mut Component,
    kind: &str,
    host: &str,
    payload: &str,
) -> Result<Element> {
    let answer = component.iq(kind, host, payload).await?;
    let child = answer.children.iter().find(|child| child.namespace == NS);
    child.cloned().ok_or_else(|| LabError::new(format!("an empty answer: {}", answer.xml)))
}

/// The domain of a bare JID.
pub(crate) fn host_of(owner: &str) -> &str {
    owner.split_once('@').map_or(owner, |(_, host)| host)
}

pub(crate) fn item(id: &str, stamp: &str) -> String {
    format!("<item id='{}' stamp='{}'/>", escape(id), escape(stamp))
}

/// A request of this name about a store of an owner; `more` are further attributes.
pub(crate) fn request(name: &str, owner: &str, store: &str, more: &str, items: &str) -> String {
    let owner = escape(owner);
    format!(
        "<{name} xmlns='{NS}' version='1' owner='{owner}' store='{store}' {more}>{items}</{name}>"
    )
}

/// Erases, or blanks, and gives the outcome of each item in their order.
pub(crate) async fn change(
    component: &mut Component,
    name: &str,
    owner: &str,
    store: &str,
    items: &[String],
) -> Result<Vec<String>> {
    let until = if name == "blank" { "until='2099-01-01T00:00:00Z'" } else { "" };
    let payload = request(name, owner, store, until, &items.concat());
    let answer = answer(component, "set", host_of(owner), &payload).await?;
    let outcome = |it: &Element| it.attribute("outcome").unwrap_or_default().to_owned();
    let ids = |it: &Element| it.attribute("id").unwrap_or_default().to_owned();
    let asked: Vec<_> = items.iter().filter_map(|it| Element::parse(it).ok()).collect();
    assert_eq!(
        answer.children.iter().map(ids).collect::<Vec<_>>(),
        asked.iter().map(ids).collect::<Vec<_>>()
    );
    Ok(answer.children.iter().map(outcome).collect())
}

/// A row of a list: its id, its stamp and its stanza.
pub(crate) type Row = (String, String, Element);

/// One page of a list, the last row that was looked at, and whether it was the last page.
pub(crate) async fn page(
    component: &mut Component,
    owner: &str,
    store: &str,
    more: &str,
) -> Result<(Vec<Row>, Option<String>, bool)> {
    let payload = request("list", owner, store, more, "");
    let answer = answer(component, "get", host_of(owner), &payload).await?;
    let row = |row: &Element| {
        let text = |name| row.attribute(name).unwrap_or_default().to_owned();
        let message = row.child("jabber:client", "message").cloned();
        (text("id"), text("stamp"), message.unwrap_or_default())
    };
    let rows = answer.children.iter().map(row).collect();
    let last = answer.attribute("last").map(str::to_owned);
    Ok((rows, last, answer.attribute("complete") == Some("true")))
}

/// A stanza without the places where its parts stood in the text.
pub(crate) fn bare(element: &Element) -> Element {
    let children = element.children.iter().map(bare).collect();
    Element { children, span: 0..0, ..element.clone() }
}
