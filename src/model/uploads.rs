//! Where this server keeps uploaded files (XEP-0363), and how messages name them.

use std::collections::BTreeSet;

/// Maximum length of a part of a place, in bytes.
const MOST_PART: usize = 128;
/// Minimum length of the part that nobody can guess.
const LEAST_SECRET: usize = 8;

/// Where uploaded files are that go with the messages that name them; nowhere by default.
///
/// A file's *place* is the part of its URL that the server gave out, without the file's own name:
/// `SLOT` on Prosody, `USER/SECRET` on ejabberd.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UploadRules {
    /// What the files' URLs begin with, up to and including a slash. Not more than a few.
    pub urls: Vec<String>,
}

impl UploadRules {
    /// Files go with messages.
    pub fn is_on(&self) -> bool {
        !self.urls.is_empty()
    }

    /// What the URLs begin with after their scheme. Encrypted files have the same under `aesgcm:`.
    fn beginnings(&self) -> impl Iterator<Item = &str> {
        self.urls.iter().filter_map(|url| url.find("://").and_then(|at| url.get(at..)))
    }

    /// Patterns of LIKE for texts that may name a file.
    pub fn patterns(&self) -> Vec<String> {
        self.beginnings().map(contains).collect()
    }

    /// The place of the file that this URL names, whatever key its fragment holds; `None` if it is not one of ours.
    pub fn place<'a>(&self, url: &'a str) -> Option<&'a str> {
        let at = url.find("://")?;
        let (scheme, rest) = url.split_at_checked(at)?;
        if !["https", "http", "aesgcm"].contains(&scheme) {
            return None;
        }
        let rest = self.beginnings().find_map(|it| rest.strip_prefix(it))?;
        let path = rest.split(['#', '?']).next()?;
        let (place, _) = path.rsplit_once('/')?;
        is_place(place).then_some(place)
    }

    /// The places of all files that may be named anywhere in this text: a URL in a sentence names a file as well. Of each
    /// URL both the first part and the first two count, since only the server knows which it gave out.
    pub fn places_in(&self, text: &str) -> BTreeSet<String> {
        let mut places = BTreeSet::new();
        for beginning in self.beginnings() {
            for (at, _) in text.match_indices(beginning) {
                let rest = text.get(at + beginning.len()..).unwrap_or_default();
                let first = part(rest);
                let second = rest.strip_prefix(first).and_then(|it| it.strip_prefix('/')).map(part);
                let both = second.map(|second| format!("{first}/{second}"));
                let may_be = [Some(first.to_owned()), both].into_iter().flatten();
                places.extend(may_be.filter(|it| is_place(it)));
            }
        }
        places
    }
}

/// A pattern of LIKE for texts that contain these words.
pub fn contains(words: &str) -> String {
    let mut pattern = String::from("%");
    for c in words.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern + "%"
}

/// Whether this may be a place. It has no dots of its own, so it names no folder above.
pub fn is_place(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let is_secret =
        |it: &str| (LEAST_SECRET..=MOST_PART).contains(&it.len()) && it.chars().all(is_plain);
    let is_user = |it: &str| {
        (1..=MOST_PART).contains(&it.len())
            && it.chars().all(|c| is_plain(c) || c == '.')
            && !it.starts_with('.')
    };
    match text.split_once('/') {
        Some((user, secret)) => is_user(user) && is_secret(secret),
        None => is_secret(text),
    }
}

/// What may be a part of a place, at the start of this text.
fn part(text: &str) -> &str {
    let ends = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    text.split(ends).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> UploadRules {
        UploadRules { urls: vec!["https://up.example.org/file_share/".to_owned()] }
    }

    /// Protects files of others, and everything beside them: only a URL below ours names a file, and no path leads out.
    #[test]
    fn only_a_url_of_ours_names_a_place() {
        let rules = rules();
        let slot = "0190aa7e-9d2c-7000-8000-000000000001";
        for (url, place) in [
            (format!("https://up.example.org/file_share/{slot}/a.jpg"), Some(slot)),
            (format!("aesgcm://up.example.org/file_share/{slot}/a.jpg#0123abcd"), Some(slot)),
            (format!("https://up.example.org/file_share/{slot}/a.jpg?x=/y/z"), Some(slot)),
            (format!("https://up.example.org/file_share/{slot}"), None),
            (format!("ftp://up.example.org/file_share/{slot}/a.jpg"), None),
            (format!("https://elsewhere.example/file_share/{slot}/a.jpg"), None),
            (format!("https://up.example.org.evil/file_share/{slot}/a.jpg"), None),
            (format!("https://up.example.org/file_share/../{slot}/a.jpg"), None),
            (format!("https://up.example.org/file_share/{slot}/../a.jpg"), None),
            (format!("https://up.example.org/file_share/{slot}%2f/a.jpg"), None),
            ("https://up.example.org/file_share/short/a.jpg".to_owned(), None),
            (format!("https://up.example.org/file_share/{}/a", "x".repeat(129)), None),
        ] {
            assert_eq!(rules.place(&url), place, "{url}");
        }
        let two = "https://up.example.org/file_share/da39a3ee/0123456789abcdefABCD/a.jpg";
        assert_eq!(rules.place(two), Some("da39a3ee/0123456789abcdefABCD"));
        assert_eq!(UploadRules::default().place(two), None, "it is off");
    }

    /// Protects files that a message without a timer names, however it does.
    #[test]
    fn a_url_anywhere_in_a_text_names_its_file() {
        let rules = rules();
        let text = "<body>see https://up.example.org/file_share/slot-0001/a.jpg and \
                    aesgcm://up.example.org/file_share/user.x/secret-02/b</body><x>http://up.example.org/file_share/slot-0003</x>";
        let places: Vec<String> = rules.places_in(text).into_iter().collect();
        assert_eq!(places, ["slot-0001", "slot-0003", "user.x/secret-02"]);
        assert_eq!(rules.patterns(), ["%://up.example.org/file\\_share/%"]);
        assert!(UploadRules::default().places_in(text).is_empty());
    }
}
