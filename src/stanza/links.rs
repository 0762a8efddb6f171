//! The files that a message shares, by their URLs: out of band (XEP-0066), as sources of a shared file (XEP-0447), or as
//! its only words.

use super::{
    Unreadable,
    element::JABBER_CLIENT,
    xml::{Event, Xml},
};

const OUT_OF_BAND: &str = "jabber:x:oob";
const FILE_SHARING: &str = "urn:xmpp:sfs:0";
const URL_DATA: &str = "http://jabber.org/protocol/url-data";

/// Maximum number of a message's URLs that count, the first ones.
const MOST_LINKS: usize = 8;
/// Maximum length of a URL in bytes.
const MOST_BYTES: usize = 4_096;

/// The URLs of the files that a message shares, as written: at most eight, each of at most 4,096 bytes. A URL inside a
/// sentence shares nothing. Nothing of what cannot be read.
pub fn links(text: &str) -> Vec<String> {
    read_links(text).unwrap_or_default()
}

/// What the reader is in.
#[derive(Debug, Default)]
struct Place {
    /// A child with this namespace is open.
    is_out_of_band: bool,
    is_file: bool,
    /// The depth of an element whose text may be a URL, and that text.
    words: Option<(usize, String)>,
}

fn read_links(text: &str) -> Result<Vec<String>, Unreadable> {
    let mut xml = Xml::new(text)?;
    let (mut links, mut place) = (Vec::new(), Place::default());
    while let Some(event) = xml.next()? {
        match event {
            Event::Start(name) => {
                let (namespace, depth) = (xml.namespace(name)?, xml.depth());
                match (depth, namespace, name.local) {
                    (1, JABBER_CLIENT, "message") => {}
                    (1, ..) => return Ok(Vec::new()),
                    (2, JABBER_CLIENT, "body") => place.words = Some((depth, String::new())),
                    (2, ..) => {
                        place = Place {
                            is_out_of_band: (namespace, name.local) == (OUT_OF_BAND, "x"),
                            is_file: namespace == FILE_SHARING,
                            words: None,
                        };
                    }
                    (3, OUT_OF_BAND, "url") if place.is_out_of_band => {
                        place.words = Some((depth, String::new()));
                    }
                    (_, URL_DATA, "url-data") if place.is_file => {
                        links.extend(xml.attribute("target").and_then(link));
                    }
                    // A URL has no elements in it.
                    _ => place.words = None,
                }
            }
            Event::Words => {
                if let Some((_, words)) = &mut place.words
                    && words.len() <= MOST_BYTES
                {
                    words.push_str(xml.written());
                }
            }
            Event::End => {
                let words = place.words.take_if(|(at, _)| *at > xml.depth());
                links.extend(words.and_then(|(_, words)| link(&words)));
            }
        }
    }
    links.truncate(MOST_LINKS);
    Ok(links)
}

fn link(text: &str) -> Option<String> {
    let url = text.trim();
    let is_url = url.len() <= MOST_BYTES && !url.contains(char::is_whitespace);
    (is_url && url.contains("://")).then(|| url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(children: &str) -> Vec<String> {
        links(&format!("<message from='a@h/1' to='b@h'>{children}</message>"))
    }

    /// Protects what makes a file go: only these three ways of sharing do.
    #[test]
    fn a_message_shares_files_in_three_ways() {
        assert_eq!(of("<body>https://h/1</body>"), ["https://h/1"]);
        assert_eq!(of("<body> aesgcm://h/1#ab </body>"), ["aesgcm://h/1#ab"]);
        assert_eq!(of("<body>see https://h/1</body>"), [""; 0]);
        assert_eq!(of("<body><b>https://h/1</b></body>"), [""; 0]);
        assert_eq!(of("<x xmlns='jabber:x:oob'><url>https://h/2</url></x>"), ["https://h/2"]);
        assert_eq!(of("<x xmlns='other'><url>https://h/2</url></x>"), [""; 0]);
        let sources = "<sources><url-data xmlns='http://jabber.org/protocol/url-data' target='https://h/3'/></sources>";
        assert_eq!(
            of(&format!("<file-sharing xmlns='urn:xmpp:sfs:0'>{sources}</file-sharing>")),
            ["https://h/3"]
        );
        assert_eq!(of(&format!("<y xmlns='other'>{sources}</y>")), [""; 0]);
        assert_eq!(links("<presence><body>https://h/1</body></presence>"), [""; 0]);
        assert_eq!(links("<message><body>https://h/1</body>"), [""; 0], "cut off");
    }

    #[test]
    fn of_many_urls_only_the_first_count_and_none_that_is_too_long() {
        let one = "<x xmlns='jabber:x:oob'><url>https://h/2</url></x>";
        assert_eq!(of(&one.repeat(MOST_LINKS + 1)).len(), MOST_LINKS);
        let long =
            |more: usize| format!("<body>https://h/{}</body>", "x".repeat(MOST_BYTES - 10 + more));
        assert_eq!((of(&long(0)).len(), of(&long(1)).len()), (1, 0));
    }
}
