//! The conformance suite's part for sessions that hang (XEP-0198): in every kind of archive where a companion module runs, the
//! same messages to people whose connection breaks, and the same fates. It prints its matrix, case × kind.
//!
//! A query of the archive counts as having what it shows, so a recipient's archive is asked only where that ends the wait.

use std::fmt::Write as _;
use std::time::Duration;

use ephemerd_lab::ejabberd;
use ephemerd_lab::prosody::Storage;
use ephemerd_lab::xmpp::Client;
use ephemerd_lab::{Lab, PATIENCE, Result, Server};
use tokio::time::Instant;

use crate::hanging::{HANGS, IN_TIME, config_of, ejabberd, phone, prosody, say};
use crate::reliability::saw;
use crate::remote::{gone_within, says, until_gone};
use crate::support::{seconds, start};

/// Who is sent a message, and what happens to its session.
const CASES: [(&str, &str, Waits); 4] = [
    ("rita", "it hangs, and is resumed", Waits::Yes),
    ("toni", "it hangs, and ends", Waits::Yes),
    ("udo", "it has the message and hangs without acknowledging it", Waits::Yes),
    ("anna", "it acknowledges the message, and hangs", Waits::No),
];

/// Whether the message is kept past its timer, until somebody has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    Yes,
    No,
}

/// What became of one message: whether it stood when its timer was long over, and how long after its recipient had it it was gone.
#[derive(Debug, Clone, Copy)]
struct Fate {
    stood: bool,
    gone: Duration,
}

impl Fate {
    fn is_right(self, waits: Waits) -> bool {
        let stood = waits == Waits::Yes;
        self.stood == stood && (!stood || self.gone > Duration::from_secs(2))
    }

    fn shown(self) -> String {
        let stood = if self.stood { "stands" } else { "–" };
        format!("{stood} → gone in {}", seconds(self.gone))
    }
}

/// A kind, and each case's fate.
type Column = (&'static str, [Fate; 4]);

/// Waits until it is gone for whoever asks; the asking itself is what gives it to him.
async fn read<S: Server>(lab: &Lab<S>, user: &str) -> Result<Fate> {
    let (words, asked) = (format!("for-{user}"), Instant::now());
    let stood = says(lab, user, &words).await?;
    gone_within(IN_TIME, lab, user, &words).await?;
    Ok(Fate { stood, gone: asked.elapsed() })
}

async fn column<S: Server>(
    lab: Lab<S>,
    kind: &'static str,
    (only_module, mode): (bool, &str),
) -> Result<Column> {
    let mut daemon = start(&config_of(&lab, only_module).set("erase.mode", mode)).await?;
    daemon.wait_for_figure("ephemerd_component_connected", &[], PATIENCE, |it| it == 1.0).await?;
    let mut peter = lab.online("peter").await?;
    let (rita, session) = phone(&lab, "rita").await?;
    let (toni, _) = phone(&lab, "toni").await?;
    let (mut anna, mut hers) = phone(&lab, "anna").await?;
    let (mut udo, _) = phone(&lab, "udo").await?;

    rita.break_off();
    toni.break_off();
    let broke = Instant::now();
    for (user, ..) in CASES {
        say(&mut peter, user, &format!("for-{user}")).await?;
    }
    anna.wait_for_body("for-anna").await?;
    anna.acknowledge(&mut hers).await?;
    anna.break_off();
    let hung = Instant::now();
    udo.wait_for_body("for-udo").await?;
    udo.break_off();

    // What is said survives a restart of ours.
    daemon.kill().await?;
    daemon.resume().await?;
    until_gone(&lab, "peter", "for-").await?;
    // Nobody waits for what was acknowledged: its timer ran from the start.
    gone_within(IN_TIME, &lab, "anna", "for-anna").await?;
    let anna = Fate { stood: false, gone: hung.elapsed() };
    assert!(broke.elapsed() < HANGS, "{kind}: the machine was too slow");
    let mut rita = Client::resume(lab.endpoints(), "rita", &session).await?;
    rita.wait_for_body("for-rita").await?;
    let rita = read(&lab, "rita").await?;

    let udo = read(&lab, "udo").await?;

    tokio::time::sleep_until(broke + HANGS + Duration::from_secs(2)).await;
    let toni = read(&lab, "toni").await?;
    Ok((kind, [rita, toni, udo, anna]))
}

/// The matrix, and what was wrong in it.
fn judge(columns: &[Column]) -> (String, Vec<String>) {
    let (mut text, mut faults) = (format!("{:55}", "its session …"), Vec::new());
    for (kind, _) in columns {
        let _ = write!(text, " | {kind:22}");
    }
    for (at, (_, case, waits)) in CASES.iter().enumerate() {
        let _ = write!(text, "\n{case:55}");
        for (kind, fates) in columns {
            let _ = write!(text, " | {:22}", fates[at].shown());
            if !fates[at].is_right(*waits) {
                faults.push(format!("{kind}: {case}: {:?}", fates[at]));
            }
        }
    }
    (text, faults)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hangs_waits_in_every_kind() -> Result<()> {
    use ejabberd::Storage::{Mnesia, Sql};
    let (tables, files, sqlite, sql, mnesia): (_, _, _, _, Column) = tokio::try_join!(
        async {
            let lab = prosody(Storage::Postgres).await?;
            column(lab, "prosody, placeholder", (false, "placeholder")).await
        },
        async { column(prosody(Storage::Files).await?, "files, delete", (true, "delete")).await },
        async {
            let lab = prosody(Storage::Sqlite).await?;
            column(lab, "sqlite, placeholder", (true, "placeholder")).await
        },
        async { column(ejabberd(Sql).await?, "ejabberd, delete", (false, "delete")).await },
        async {
            let lab = ejabberd(Mnesia).await?;
            column(lab, "mnesia, placeholder", (true, "placeholder")).await
        },
    )?;
    let (matrix, faults) = judge(&[tables, files, sqlite, sql, mnesia]);
    #[expect(clippy::print_stdout, reason = "the matrix is what this suite is run for")]
    {
        println!("{matrix}");
    }
    assert!(faults.is_empty(), "{matrix}\n{}", faults.join("\n"));
    let resumed = |(_, fates): Column| seconds(fates[0].gone);
    saw(
        "a recipient's connection breaks and waits to be resumed (XEP-0198)",
        "marked messages to it, its resumption, and its end without one; Prosody, archives in SQL, in files and in SQLite",
        &format!("they stay; after resumption gone in {}", resumed(tables)),
    );
    saw(
        "the same on ejabberd, with its default `resend_on_timeout: false`",
        "archives in SQL and in Mnesia",
        &format!("they stay; after resumption gone in {}", resumed(sql)),
    );
    Ok(())
}
