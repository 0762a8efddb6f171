use super::*;

#[test]
fn stamps_are_kept_as_written_and_read_in_microseconds() {
    let shown =
        |stamp: &str| Shown::new(("h", "o"), Store::Archive, ("1", stamp), None, String::new());
    let whole = shown("2026-11-22T03:34:18Z").unwrap();
    assert!(whole.row.stamp.whole_seconds);
    assert_eq!(whole.row.key.digest, b"2026-11-22T03:34:18Z");
    let exact = shown("2026-11-22T03:34:18.1234567Z").unwrap();
    assert!(!exact.row.stamp.whole_seconds);
    assert_eq!(exact.row.key.row_number % 1_000_000, 123_456);
    assert_eq!(exact.row.key.stamped_at.timestamp_subsec_nanos(), 123_456_000);
    for wrong in ["", "now", "2026-11-22", "2026-11-22T03:34:18", &"2".repeat(41)] {
        assert!(shown(wrong).is_none(), "{wrong}");
    }
}

#[test]
fn ids_and_owners_are_bounded() {
    assert!(is_id("a") && is_id(&"é".repeat(256)));
    for wrong in ["", "a\nb", &"a".repeat(257)] {
        assert!(!is_id(wrong), "{wrong:?}");
    }
    assert_eq!(local_part("a@b", "b"), Some("a"));
    for wrong in
        ["b", "@b", "a@c", "a@b/r", "a@B", "a@b@b", "a/x@b", &format!("{}@b", "a".repeat(1024))]
    {
        assert_eq!(local_part(wrong, "b"), None, "{wrong}");
    }
}

/// A module that announces what it knows page by page: these owners are the pages' last ones.
#[derive(Clone)]
struct Paged(std::sync::Arc<std::sync::Mutex<Vec<&'static str>>>);

impl Requests for Paged {
    async fn ask(&self, _: &str, _: Request) -> Result<Answer, Unanswered> {
        let mut pages = self.0.lock().unwrap();
        let last = (!pages.is_empty()).then(|| pages.remove(0).to_owned());
        Ok(Answer::Recalled(last))
    }

    fn connection(&self) -> tokio::sync::watch::Receiver<Option<u64>> {
        tokio::sync::watch::channel(Some(1)).1
    }
}

/// Pages go by the order of JIDs, in which `user90@h` comes before `user9@h`; one that does not go on would go on for ever.
#[tokio::test]
async fn a_recall_goes_on_in_the_order_of_addresses() {
    let module = |pages: &[&'static str]| Paged(std::sync::Arc::new(pages.to_vec().into()));
    for pages in [&["a-b", "a"][..], &["user90", "user9"], &["a", "b", "c"]] {
        assert_eq!(module(pages).recall("h").await, Ok(()), "{pages:?}");
    }
    for pages in [["a", "a-b"], ["a", "a"], ["user9", "user90"]] {
        assert_eq!(module(&pages).recall("h").await, Err(Unanswered::Unreadable), "{pages:?}");
    }
}
