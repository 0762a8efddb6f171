//! SQLite behind Prosody's module: after a failed write nothing more is erased in that file, and archiving
//! continues.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use ephemerd_lab::prosody::Storage;
use ephemerd_lab::xmpp::{Component, MamQuery};
use ephemerd_lab::{LabError, Result, Server as _};

use crate::companion::{change, companion, notices, request};
use crate::companion_notices::TIMER;
use crate::reliability::saw;
use crate::remote::prosody;

/// Without access to its folder SQLite cannot create a journal, so every write fails.
fn closed(folder: &Path, is_closed: bool) -> Result<()> {
    let mode = if is_closed { 0o555 } else { 0o755 };
    Ok(fs::set_permissions(folder, fs::Permissions::from_mode(mode))?)
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failed_write_nothing_more_is_erased_and_archiving_goes_on() -> Result<()> {
    let lab = prosody(Storage::Sqlite).await?;
    let mut component = Component::connect(lab.endpoints()).await?;
    let mut peter = lab.online("peter").await?;
    let mut rosa = lab.online("rosa").await?;
    for words in ["one", "two", "three"] {
        peter.chat("rosa@localhost", words, TIMER).await?;
    }
    rosa.wait_for_body("three").await?;
    let mut told = notices(&mut component, "localhost").await?;
    told.retain(|it| it.owner == "rosa@localhost");
    let items: Vec<String> = told.iter().map(crate::companion::Notice::item).collect();
    assert_eq!(items.len(), 3);
    let owner = "rosa@localhost";
    let words = async || -> Result<Vec<String>> {
        let items = lab.archive("rosa", &MamQuery::default()).await?;
        Ok(items.iter().filter_map(|it| it.body().map(str::to_owned)).collect())
    };
    assert_eq!(change(&mut component, "blank", owner, "archive", &items[..1]).await?, ["done"]);
    assert_eq!(companion(&mut component, "localhost").await?.attribute("halted"), None);

    closed(&lab.server.data(), true)?;
    let outcomes = change(&mut component, "blank", owner, "archive", &items[1..]).await;
    closed(&lab.server.data(), false)?;
    assert_eq!(outcomes?, ["failed", "failed"], "what stands was not erased");

    // The file is writable again, yet the module leaves it alone; new messages are archived.
    let asked = request("blank", owner, "archive", "until='2099-01-01T00:00:00Z'", &items[1]);
    for name in ["blank", "erase"] {
        let asked = asked.replace("blank", name);
        let error = component.iq("set", "localhost", &asked).await.expect_err("it is refused");
        assert_eq!(error.condition(), Some("internal-server-error"), "{error}");
    }
    assert_eq!(companion(&mut component, "localhost").await?.attribute("halted"), Some("true"));
    peter.chat(owner, "four", "").await?;
    rosa.wait_for_body("four").await?;
    assert_eq!(words().await?, ["two", "three", "four"]);
    let log = fs::read_to_string(lab.server.log())?;
    assert_eq!(log.matches("erases nothing in it until Prosody is restarted").count(), 1);

    lab.server.restart().await?;
    let mut component = Component::connect(lab.endpoints()).await?;
    assert_eq!(
        change(&mut component, "erase", owner, "archive", &items[1..2]).await?,
        ["done"],
        "a new start begins anew"
    );
    let left = words().await?;
    if left != ["three", "four"] {
        return Err(LabError::new(format!("left are {left:?}")));
    }
    saw(
        "a write to SQLite that fails, behind Prosody's module",
        "its folder is made read-only while two rows are blanked, and opened again",
        "both answered failed, later requests refused and nothing written until a restart; archiving went on; the log said so once",
    );
    Ok(())
}
