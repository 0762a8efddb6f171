//! A companion module as the daemon sees it: its notices and its answers.

use ephemerd_lab::xmpp::{Component, Element, Stanza, escape};
use ephemerd_lab::{LabError, PATIENCE, Result, eventually};

/// The protocol's namespace (docs/protocol.md).
pub(crate) const NS: &str = "urn:ephemerd:companion:0";
const NS_FORWARD: &str = "urn:xmpp:forward:0";

/// A marked stanza that was archived, or a queue that was handed out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Notice {
    /// The sending host, and the notice's boot id and number.
    pub(crate) host: String,
    pub(crate) boot: String,
    pub(crate) number: u64,
    /// `archived` or `drained`.
    pub(crate) what: String,
    pub(crate) owner: String,
    /// Empty if the notice has none.
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

    /// The text of the message in it.
    pub(crate) fn body(&self) -> Option<&str> {
        self.message.as_ref().and_then(Element::body)
    }

    /// As an item of a request.
    pub(crate) fn item(&self) -> String {
        item(&self.id, &self.stamp)
    }
}

/// The notices sent so far. The caller must have synchronised with the server first.
pub(crate) async fn notices(component: &mut Component, host: &str) -> Result<Vec<Notice>> {
    companion(component, host).await?;
    let told = component.take(|it| it.name == "message");
    let is_notice = |it: &Stanza| it.attribute("type") == Some("headline");
    assert!(told.iter().all(is_notice), "{told:?}");
    Ok(told.iter().filter_map(Notice::read).collect())
}

/// The module's whole answer when asked to identify itself.
pub(crate) async fn companion(component: &mut Component, host: &str) -> Result<Element> {
    let payload = format!("<companion xmlns='{NS}' version='1' daemon='test'/>");
    answer(component, "get", host, &payload).await
}

/// Sends a request and returns the payload of the answer.
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

/// The same for what the module may put off: in files each change is followed by a rest, and a list by a pause.
pub(crate) async fn answer_in_time(
    component: &mut Component,
    kind: &str,
    host: &str,
    payload: &str,
) -> Result<Element> {
    eventually("an answer that is not put off", PATIENCE * 3, async || {
        match answer(component, kind, host, payload).await {
            Err(error) if error.condition() == Some("resource-constraint") => Ok(None),
            answered => answered.map(Some),
        }
    })
    .await
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

/// Erases or blanks, and returns the outcome of each item in order.
pub(crate) async fn change(
    component: &mut Component,
    name: &str,
    owner: &str,
    store: &str,
    items: &[String],
) -> Result<Vec<String>> {
    let until = if name == "blank" { "until='2099-01-01T00:00:00Z'" } else { "" };
    let payload = request(name, owner, store, until, &items.concat());
    let answer = answer_in_time(component, "set", host_of(owner), &payload).await?;
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

/// One page of a list, the last row that was examined, and whether it was the last page.
pub(crate) async fn page(
    component: &mut Component,
    owner: &str,
    store: &str,
    more: &str,
) -> Result<(Vec<Row>, Option<String>, bool)> {
    let payload = request("list", owner, store, more, "");
    let answer = answer_in_time(component, "get", host_of(owner), &payload).await?;
    let row = |row: &Element| {
        let text = |name| row.attribute(name).unwrap_or_default().to_owned();
        let message = row.child("jabber:client", "message").cloned();
        (text("id"), text("stamp"), message.unwrap_or_default())
    };
    let rows = answer.children.iter().map(row).collect();
    let last = answer.attribute("last").map(str::to_owned);
    Ok((rows, last, answer.attribute("complete") == Some("true")))
}

/// A stanza without the positions of its parts in the text.
pub(crate) fn bare(element: &Element) -> Element {
    let children = element.children.iter().map(bare).collect();
    Element { children, span: 0..0, ..element.clone() }
}
