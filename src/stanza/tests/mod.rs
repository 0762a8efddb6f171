mod blank;
mod generate;
mod limits;
mod quote;
mod reference;
mod strict;

/// Eight times the default number of cases; `PROPTEST_CASES` overrides it. A failure becomes a test of its
/// own, not a seed file.
fn config() -> proptest::test_runner::Config {
    let usual = proptest::test_runner::Config::default();
    proptest::test_runner::Config { cases: usual.cases * 8, failure_persistence: None, ..usual }
}
