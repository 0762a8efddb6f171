//! Domains, and addresses of users and occupants.

use xmpp_parsers::jid::{DomainPart, NodePart, ResourcePart};

/// RFC 7622: a domain part has at most 1023 bytes.
const MAX_DOMAIN_BYTES: usize = 1023;

/// Checks a domain as XMPP servers store it: lower case, dots between non-empty labels.
///
/// Letters of any script are allowed: servers store them as they are, not in Punycode. The error is the end
/// of a sentence.
pub fn domain(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("has an empty name");
    }
    if text.len() > MAX_DOMAIN_BYTES {
        return Err("has a name of more than 1023 bytes");
    }
    if text.contains(['@', '/']) {
        return Err("has an address with a user or a resource, not a domain");
    }
    if text.to_lowercase() != text {
        return Err("has a name with capital letters; servers use lower case");
    }
    let in_label = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    let is_label = |label: &str| {
        !label.is_empty()
            && label.chars().all(in_label)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    match text.split('.').all(is_label) {
        true => Ok(()),
        false => Err("has a name that is not a domain"),
    }
}

/// RFC 7622: a local part and a resource have at most 1023 bytes each.
const MAX_PART_BYTES: usize = 1023;

/// Checks the bare address of a user or a room, and returns its host. The error is the end of a sentence.
pub(super) fn account(text: &str) -> Result<&str, &'static str> {
    let (_, host) = text.split_once('@').ok_or("has an address without an @")?;
    if text.contains('/') {
        return Err("has an address with a resource");
    }
    reader(text)?;
    Ok(host)
}

/// Checks the address of a reader: a domain, a user, or an occupant of a room. The error is the end of a sentence.
pub(super) fn reader(text: &str) -> Result<(), &'static str> {
    let (bare, nick) = text.split_once('/').map_or((text, None), |it| (it.0, Some(it.1)));
    let (local, host) = bare.split_once('@').map_or((None, bare), |it| (Some(it.0), it.1));
    domain(host)?;
    let is_sound = |part: &str| {
        !part.is_empty() && part.len() <= MAX_PART_BYTES && !part.contains(char::is_control)
    };
    match (local, nick) {
        (None, Some(_)) => Err("has an address with a resource and no user or room"),
        (Some(local), _) if local.to_lowercase() != local => {
            Err("has an address with capital letters; servers use lower case")
        }
        (Some(local), _) if !is_sound(local) || local.contains(char::is_whitespace) => {
            Err("has an address without a sound name before the @")
        }
        (_, Some(nick)) if !is_sound(nick) => Err("has an address without a nickname after the /"),
        _ if stored(text) != text => Err(
            "has an address that servers store in another form (RFC 6122), so that nobody has it",
        ),
        _ => Ok(()),
    }
}

/// An address or a domain in the form in which servers store it: what nodeprep, nameprep and resourceprep (RFC 6122) make
/// of its parts. Prosody also stores names with letters that are newer than they, and leaves those letters as they are.
pub fn stored(text: &str) -> String {
    let (bare, nick) = text.split_once('/').map_or((text, None), |it| (it.0, Some(it.1)));
    let (local, host) = bare.split_once('@').map_or((None, bare), |it| (Some(it.0), it.1));
    let prepared = |name: &str| NodePart::new(name).ok().map(|it| it.to_string());
    let local = local.map(|name| {
        let letter = |it: char| prepared(&it.to_string()).unwrap_or_else(|| it.to_string());
        prepared(name).unwrap_or_else(|| name.chars().map(letter).collect()) + "@"
    });
    let host = DomainPart::new(host).map_or_else(|_| host.to_lowercase(), |it| it.to_string());
    let nick = nick.map(|it| match ResourcePart::new(it) {
        Ok(stored) => format!("/{}", stored.as_str()),
        Err(_) => format!("/{it}"),
    });
    [local.unwrap_or_default(), host, nick.unwrap_or_default()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_domains_users_or_occupants() {
        let of_many_letters = [
            "bots.example",
            "bot@example.org",
            "\u{e9}va@example.org",
            "\u{1f600}@example.org",
            "den@rooms.example/Weather Bot/2",
        ];
        for good in of_many_letters {
            assert_eq!(reader(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "@h",
            "Bot@h",
            "a b@h",
            "bot@",
            "h/x",
            "den@h/",
            "den@h/a\nb",
            "a@b@h",
            "e\u{301}va@h",
            "straße@h",
            "den@h/e\u{301}va",
        ] {
            assert!(reader(bad).is_err(), "{bad}");
        }
        assert!(reader(&format!("{}@h", "a".repeat(1024))).is_err());
    }

    #[test]
    fn domains_are_told_from_the_rest() {
        for good in ["example.org", "localhost", "xn--bcher-kva.example", "bücher.example", "a_b.c"]
        {
            assert_eq!(domain(good), Ok(()), "{good}");
        }
        for bad in
            ["", "Example.org", "a..b", ".a", "a.", "a b", "a@b", "a/b", "-a.b", "a:1", "BÜCHER.de"]
        {
            assert!(domain(bad).is_err(), "{bad}");
        }
        assert!(domain(&"a".repeat(1024)).is_err());
    }
}
