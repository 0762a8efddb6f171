//! Domains.

/// RFC 7622: a domain part has at most 1023 bytes.
const MAX_DOMAIN_BYTES: usize = 1023;

/// Checks a domain as XMPP servers store it: lower case, dots between non-empty labels.
///
/// Letters of any script are allowed: servers store them as they are, not in Punycode. The error is the end
/// of a sentence.
pub(super) fn domain(text: &str) -> Result<(), &'static str> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
