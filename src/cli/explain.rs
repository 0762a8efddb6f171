mod render;

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use super::{Failure, print, show};
use crate::app;
use crate::config::Config;
use crate::model::{Store, Timestamp};
use crate::stanza::MAX_BYTES;

const EXAMPLES: &str = "\
Examples:
  ephemerd explain message.xml
  ephemerd explain - < message.xml
  ephemerd explain message.xml --store queue --archived-at 2026-01-31T12:00:00Z
  ephemerd explain --owner alice@example.org --id 5EF3xPqzUmUqQ3sT6V1f0a
  ephemerd explain --owner den@conference.example.org --id 42 --json";

/// Show when a message goes and why, or why it stays
///
/// A stanza from a file or stdin is judged by the configuration as if archived now; no database is
/// needed. With --owner and --id it reads the row in the archive and its entry in the ledger.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The stanza's XML; - is stdin, which is also the default
    #[arg(value_name = "FILE", conflicts_with = "id")]
    file: Option<PathBuf>,
    /// Whose archive it is: a user, or a room
    #[arg(long, value_name = "JID", value_parser = owner)]
    owner: Option<Owner>,
    /// The message's archive id, as MAM shows it
    #[arg(long, value_name = "ID", requires = "owner")]
    id: Option<String>,
    /// The store that it is in; with --id only rows in that store are shown
    #[arg(long, value_name = "STORE", value_parser = store)]
    store: Option<Store>,
    /// When it was archived, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "id")]
    archived_at: Option<Timestamp>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A bare address, split in two.
#[derive(Debug, Clone)]
struct Owner {
    local: String,
    host: String,
}

fn owner(text: &str) -> Result<Owner, &'static str> {
    match text.split_once('@') {
        Some((local, host)) if !local.is_empty() && !host.is_empty() && !text.contains('/') => {
            Ok(Owner { local: local.to_owned(), host: host.to_owned() })
        }
        _ => Err("it is not a bare address; write alice@example.org"),
    }
}

fn store(text: &str) -> Result<Store, &'static str> {
    text.parse().map_err(|_| "it is not one of archive, room, queue")
}

fn time(text: &str) -> Result<Timestamp, &'static str> {
    text.parse().map_err(|_| "it is not a time; write 2026-01-31T12:00:00Z")
}

pub(super) async fn execute(args: Args, config: &Config) -> Result<ExitCode, Failure> {
    let (Some(owner), Some(id)) = (&args.owner, &args.id) else {
        let xml = read(&args)?;
        let host = args.owner.as_ref().map(|owner| owner.host.as_str());
        let (xml, store) = (xml.trim(), args.store.unwrap_or(Store::Archive));
        let explanation = app::explain_given(config, xml, store, host, args.archived_at);
        print(&if args.json {
            show::json(&render::json(&explanation))
        } else {
            render::given(&explanation)
        })?;
        return Ok(ExitCode::SUCCESS);
    };
    let mut found = app::explain_live(config, (&owner.host, &owner.local), id).await?;
    if let Some(store) = args.store {
        found.live.retain(|it| it.explanation.store == store);
        found.orphans.retain(|it| it.expiry.row.store == store);
    }
    if found.live.is_empty() && found.orphans.is_empty() {
        let nobody_has = match found.archive_was_read {
            true => "neither the archive nor the ledger has a message of this owner under this id",
            false => {
                "the ledger has no message of this owner under this id, and the archive cannot be reached: \
                 only the companion module can read it"
            }
        };
        return Err(Failure::Other(format!(
            "{nobody_has}\n\
             help: the id is the one that MAM shows in <result id='…'/>; a room is an owner of its own"
        )));
    }
    print(&if args.json {
        show::json(&render::json_found(&found))
    } else {
        render::found(&found, config, (&owner.host, &owner.local))
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The stanza from the file or stdin; if it is too long to be parsed, only enough of it to know that.
fn read(args: &Args) -> Result<String, Failure> {
    let named = args.file.as_deref().filter(|file| file.as_os_str() != "-");
    let name = named.map_or_else(|| "stdin".to_owned(), |file| file.display().to_string());
    let failed = |error: io::Error| {
        Failure::Other(format!(
            "cannot read {name}: {error}\nhelp: name a file with one stanza's XML"
        ))
    };
    let limit = MAX_BYTES as u64 + 1;
    let mut text = String::new();
    match named {
        Some(file) => File::open(file)
            .map_err(failed)?
            .take(limit)
            .read_to_string(&mut text)
            .map_err(failed)?,
        None => {
            if io::stdin().is_terminal() {
                let _ =
                    writeln!(io::stderr(), "Reading one stanza from the terminal, up to Ctrl-D.");
            }
            io::stdin().lock().take(limit).read_to_string(&mut text).map_err(failed)?
        }
    };
    Ok(text)
}
