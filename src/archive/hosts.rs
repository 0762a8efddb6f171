use crate::model::Finding;

/// At most this many hosts are named; the rest are counted.
const NAMED: usize = 20;

/// Findings about hosts that are in the archive but not listed, with their row counts, and about those that
/// are listed but absent.
pub(super) fn findings(unlisted: &[(String, i64)], absent: &[String]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for (host, rows) in unlisted.iter().take(NAMED) {
        findings.push(Finding::warning(
            format!(
                "archive.hosts does not list {host}, but the archive has rows of that host: {rows}."
            ),
            "add it to archive.hosts if its messages may be erased; otherwise leave it",
        ));
    }
    if let Some(more) = unlisted.len().checked_sub(NAMED).filter(|more| *more > 0) {
        findings.push(Finding::warning(
            format!("archive.hosts does not list {more} more hosts whose rows are in the archive."),
            "add those to archive.hosts whose messages may be erased",
        ));
    }
    for host in absent.iter().take(NAMED) {
        findings.push(Finding::warning(
            format!("archive.hosts lists {host}, but the archive has no rows of that host."),
            "check its spelling; nothing to do if nothing was archived there yet",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::good("archive.hosts lists the same hosts as the archive."));
    }
    findings
}
