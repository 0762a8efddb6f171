//! A stored stanza as part of another document.

use super::{
    Unreadable,
    element::JABBER_CLIENT,
    xml::{Event, Xml},
};

const DELAY: &str = "urn:xmpp:delay";

/// A stored stanza as it may stand in any XML document: the same bytes, but with the namespace that its root may lack, and
/// without what surrounds it. With `delay`, an element, it has that one as its last child unless it has a
/// `<delay xmlns='urn:xmpp:delay'/>` already.
///
/// # Errors
/// [`Unreadable`] as [`super::read`].
pub fn portable(xml: &str, delay: Option<&str>) -> Result<String, Unreadable> {
    let mut reader = Xml::new(xml)?;
    let (mut root, mut name, mut namespace) = (0..0, "", "");
    let (mut end, mut delay) = (0..0, delay);
    while let Some(event) = reader.next()? {
        match event {
            Event::Start(_) if reader.depth() == 1 => {
                root = reader.token();
                let tag = xml.get(root.start + 1..).unwrap_or_default();
                let is_end = |it: char| it.is_ascii_whitespace() || it == '/' || it == '>';
                name = tag.split(is_end).next().unwrap_or_default();
                namespace = if reader.attribute("xmlns").is_none() { JABBER_CLIENT } else { "" };
            }
            Event::Start(of)
                if reader.depth() == 2 && of.local == "delay" && reader.namespace(of)? == DELAY =>
            {
                delay = None;
            }
            Event::End if reader.depth() == 0 => end = reader.token(),
            _ => {}
        }
    }
    let part = |from: usize, to: usize| xml.get(from..to).unwrap_or_default();
    let after_name = root.start + 1 + name.len();
    let mut out = part(root.start, after_name).to_owned();
    if !namespace.is_empty() {
        out.push_str(&format!(" xmlns='{namespace}'"));
    }
    match delay {
        None => out.push_str(part(after_name, end.end)),
        Some(delay) if end == root => {
            out.push_str(part(after_name, root.end - "/>".len()));
            out.push_str(&format!(">{delay}</{name}>"));
        }
        Some(delay) => {
            out.push_str(part(after_name, end.start));
            out.push_str(delay);
            out.push_str(part(end.start, end.end));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITH: Option<&str> = Some("<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>");

    #[test]
    fn a_namespace_is_declared_once() {
        let cases = [
            ("<message/>", "<message xmlns='jabber:client'/>"),
            (
                "\n<message a='&lt;'>x</message> ",
                "<message xmlns='jabber:client' a='&lt;'>x</message>",
            ),
            ("<message xmlns=\"jabber:server\"/>", "<message xmlns=\"jabber:server\"/>"),
            (
                "<m:message xmlns:m='jabber:client'/>",
                "<m:message xmlns='jabber:client' xmlns:m='jabber:client'/>",
            ),
        ];
        for (stored, expected) in cases {
            assert_eq!(portable(stored, None).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn a_delay_is_added_unless_there_is_one() {
        let delay = WITH.unwrap_or_default();
        let plain = format!("<message xmlns='jabber:client'><body>x</body>{delay}</message>");
        assert_eq!(portable("<message><body>x</body></message>", WITH), Ok(plain.clone()));
        assert_eq!(portable(&plain, WITH), Ok(plain));
        let empty = format!("<message xmlns='jabber:client' >{delay}</message>");
        assert_eq!(portable("<message />", WITH), Ok(empty));
        // Anybody may write another delay, or one that is not the message's own.
        let other = "<message xmlns='jabber:client'><x><delay xmlns='urn:xmpp:delay'/></x><delay xmlns='x'/>";
        let expected = format!("{other}{delay}</message>");
        assert_eq!(portable(&format!("{other}</message>"), WITH), Ok(expected));
    }

    #[test]
    fn what_is_unreadable_is_left_out() {
        for stored in
            ["", "words", "<message>", "<message/><message/>", "<message><!-- --></message>"]
        {
            assert!(portable(stored, WITH).is_err(), "{stored}");
        }
    }
}
