mod blank;
mod generate;
mod limits;
mod reference;
mod strict;

/// Eight times the usual number of cases, which `PROPTEST_CASES` changes. What a property finds
/// becomes a test of its own, not a seed in a file.
fn config() -> proptest::test_runner::Config {
    let usual = proptest::test_runner::Config::default();
    proptest::test_runner::Config { cases: usual.cases * 8, failure_persistence: None, ..usual }
}
