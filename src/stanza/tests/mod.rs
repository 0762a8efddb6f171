mod blank;
mod generate;
mod limits;
mod reference;
mod strict;

/// So many cases. What a property finds becomes a test of its own, not a seed in a file.
fn config(cases: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config { cases, failure_persistence: None, ..Default::default() }
}
