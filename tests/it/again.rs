//! What `./dev test` does with tests that failed: it runs a few of them once more, alone.

use std::path::Path;

use ephemerd_lab::{LabError, Result};
use tokio::process::Command;

/// Tests in a shell: the first argument is a folder in which each leaves a file when it ran; `--exact` chooses one.
const TESTS: &str = r#"
cd "$1"; shift
chosen="${@: -1}"; code=0
for test in $TESTS; do
    [ $# -eq 0 ] || [ "$chosen" = "${test%:*}" ] || continue
    echo x >> "${test%:*}"
    if [ "${test#*:}" = good ] || [ "${test#*:}$(wc -l < "${test%:*}")" = once2 ]
    then echo "test ${test%:*} ... ok"; else echo "test ${test%:*} ... FAILED"; code=101; fi
done
exit $code"#;

/// Runs these, and returns the exit code, what was said, and how often each ran.
async fn run(tests: &str, extra: &[&str]) -> Result<(Option<i32>, String, Vec<usize>)> {
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("tests");
    std::fs::write(&script, TESTS)?;
    let again = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/again.sh");
    let output = Command::new(again)
        .arg("bash")
        .args([&script, folder.path()])
        .args(extra)
        .env("TESTS", tests)
        .output()
        .await?;
    let names = tests.split(' ').filter_map(|it| it.split(':').next());
    let ran = names.map(|name| match std::fs::read_to_string(folder.path().join(name)) {
        Ok(text) => Ok(text.lines().count()),
        Err(error) => Err(LabError::new(format!("{name} never ran: {error}"))),
    });
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((output.status.code(), said, ran.collect::<Result<_>>()?))
}

/// Only what passes the second time is forgiven, and it is named.
#[tokio::test]
async fn what_fails_runs_once_more() -> Result<()> {
    assert_eq!(run("a:good b:good", &[]).await?, (Some(0), String::new(), vec![1, 1]));
    let (code, said, ran) = run("a:good b:once c:once", &[]).await?;
    assert_eq!((code, ran), (Some(0), vec![1, 2, 2]), "{said}");
    for name in ["b", "c"] {
        assert!(said.contains(&format!("alone, so look into it: {name}\n")), "{said}");
    }
    let (code, said, ran) = run("a:once b:bad", &[]).await?;
    assert_eq!((code, ran), (Some(101), vec![2, 2]), "{said}");
    assert!(!said.contains("look into it"), "{said}");
    Ok(())
}

/// Many failures have a cause of their own, and who chose tests looks at them.
#[tokio::test]
async fn many_failures_are_failures() -> Result<()> {
    let (code, _, ran) = run("a:once b:once c:once d:once", &[]).await?;
    assert_eq!((code, ran), (Some(101), vec![1; 4]));
    let (code, _, ran) = run("a:once", &["--", "a"]).await?;
    assert_eq!((code, ran), (Some(101), vec![1]));
    Ok(())
}
