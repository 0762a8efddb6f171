mod render;

use std::path::Path;
use std::process::ExitCode;

use secrecy::SecretString;

use super::{Failure, ask::Ask, check, print};
use crate::app::{
    self,
    init::{Files, Found, FoundArchive, Plan, ROLE},
};
use crate::component::ServerAddress;
use crate::config::{self, ArchiveKind, Config, DEFAULT_FILE, GivenUrl};

const EXAMPLES: &str = "\
Exit codes:
  0  the files are written; `check` finds problems until the printed steps are done
  1  the database cannot be reached or read; nothing was written
  2  a flag is missing or wrong; nothing was written
  3  a file is there already, or cannot be written; nothing was written

Examples:
  ephemerd init
  PGPASSWORD=… ephemerd init --database postgres://prosody@127.0.0.1/prosody --all-hosts
  ephemerd init --database postgres://ejabberd@db/ejabberd --hosts example.org,muc.example.org
  ephemerd --config /etc/ephemerd/work.toml init";

/// Write the first configuration and its secrets, and say what is left to do
///
/// Finds the server's archives and their hosts in the database, makes the component's secret and a password, and
/// prints the block for the server's configuration and the commands for the database. Overwrites nothing, and
/// changes nothing in the database. On a terminal it asks for what is not given.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The XMPP server's database, with a role that may read its archives, such as the server's own
    ///
    /// Its password may be in PGPASSWORD or in ~/.pgpass. ephemerd gets a role of its own.
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Whose archives: prosody or ejabberd [default: those that are there]
    #[arg(long, value_name = "SERVER", value_parser = kind)]
    kind: Option<ArchiveKind>,
    /// The hosts whose messages may be erased, including rooms' hosts
    #[arg(long, value_name = "HOSTS", value_delimiter = ',', value_parser = domain)]
    hosts: Option<Vec<String>>,
    /// All hosts that have rows in the archives
    #[arg(long, conflicts_with = "hosts")]
    all_hosts: bool,
    /// ephemerd's own address [default: ephemerd, below the first host]
    #[arg(long, value_name = "DOMAIN", value_parser = domain)]
    jid: Option<String>,
    /// Where the XMPP server listens for components: host:port or unix:/path [default: 127.0.0.1:5347]
    #[arg(long, value_name = "ADDRESS", value_parser = server)]
    server: Option<ServerAddress>,
}

fn kind(text: &str) -> Result<ArchiveKind, &'static str> {
    let sql = [ArchiveKind::Prosody, ArchiveKind::Ejabberd];
    sql.into_iter().find(|it| it.as_str() == text).ok_or("write prosody or ejabberd")
}

fn domain(text: &str) -> Result<String, String> {
    let remedy = "write a domain in lower case: example.org";
    config::domain(text)
        .map(|()| text.to_owned())
        .map_err(|problem| format!("it {problem}; {remedy}"))
}

fn server(text: &str) -> Result<ServerAddress, String> {
    text.parse().map_err(|_| "write 127.0.0.1:5347, [::1]:5347 or unix:/path".to_owned())
}

pub(super) async fn execute(args: Args, named: Option<&Path>) -> Result<ExitCode, Failure> {
    let config_file = named.unwrap_or(Path::new(DEFAULT_FILE));
    // Before any question.
    let files = Files::new(config_file)?;
    let ask = Ask::new();
    let text = database(&ask, args.database)?;
    let given = GivenUrl::parse(&text).map_err(|it| wrong("--database", &it.0, &it.1))?;
    let password = password(&ask, &given)?;
    let found = app::init::look(&given, password).await?;
    print(&render::found(&found))?;
    let archive = choose(&ask, args.kind, &found)?;
    let hosts = hosts(&ask, args.hosts, args.all_hosts, archive)?;
    print(&render::left_out(archive, &hosts))?;
    let jid = jid(&ask, args.jid, &hosts)?;
    let server = ask.unless(
        args.server,
        "Where the server listens for components",
        "127.0.0.1:5347",
        server,
    )?;
    let url = GivenUrl::for_role(&text, ROLE).unwrap_or_default();
    let plan = Plan { jid, server, url, kind: archive.kind, hosts };
    let secret = app::init::write(&files, &plan)?;
    print(&render::written(&files))?;
    print(&render::database(&files, &given, &found))?;
    print(&render::server(&plan, &secret))?;
    let config = Config::load(Some(&files.config))?;
    let findings = app::check(&config).await;
    print(&render::checked(&check::for_people(&findings)))?;
    print(&render::next(named.map(|_| files.config.as_path())))?;
    Ok(ExitCode::SUCCESS)
}

fn wrong(flag: &str, problem: &str, remedy: &str) -> Failure {
    Failure::Usage(format!("{flag} {problem}\nhelp: {remedy}"))
}

fn database(ask: &Ask, given: Option<String>) -> Result<String, Failure> {
    let what = "The XMPP server's database, with a role that may read its archives";
    let example = "postgres://prosody@127.0.0.1/prosody";
    let check = |text: &str| match GivenUrl::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err((problem, remedy)) => Err(format!("it {problem}; {remedy}")),
    };
    match given {
        Some(url) => Ok(url),
        None if ask.is_possible() => ask.for_value(what, Some(example), check),
        None => Err(wrong(
            "--database",
            "is missing, and there is no terminal to ask on",
            &format!("name the XMPP server's database, such as --database {example}"),
        )),
    }
}

/// The password, if it is not anywhere else and there is somebody to ask.
fn password(ask: &Ask, given: &GivenUrl) -> Result<Option<SecretString>, Failure> {
    let is_known = given.url.has_password() || std::env::var_os("PGPASSWORD").is_some();
    if is_known || !ask.is_possible() {
        return Ok(None);
    }
    ask.for_secret("That role's password; empty if ~/.pgpass has it or none is needed")
}

fn choose<'a>(
    ask: &Ask,
    kind: Option<ArchiveKind>,
    found: &'a Found,
) -> Result<&'a FoundArchive, Failure> {
    let of = |kind: ArchiveKind| found.archives.iter().find(|it| it.kind == kind);
    match (kind, found.archives.as_slice()) {
        (Some(kind), _) => of(kind).ok_or_else(|| absent(&format!("archive of {kind}"))),
        (None, []) => Err(absent("archive of Prosody or ejabberd")),
        (None, [archive]) => Ok(archive),
        (None, _) if ask.is_possible() => {
            let chosen = ask.for_value("Whose archives, prosody or ejabberd", None, kind_of)?;
            of(chosen).ok_or_else(|| absent("such archive"))
        }
        (None, _) => Err(wrong(
            "--kind",
            "is missing: the database has archives of Prosody and of ejabberd",
            "choose with --kind prosody or --kind ejabberd",
        )),
    }
}

fn kind_of(text: &str) -> Result<ArchiveKind, String> {
    kind(text).map_err(str::to_owned)
}

fn absent(what: &str) -> Failure {
    wrong(
        "--database",
        &format!("names a database in which this role sees no {what}"),
        "check the URL; Prosody creates its table with the first message, ejabberd's come from its package. \
         Archives kept elsewhere need archive.kind = \"component\": see docs/configuration.md",
    )
}

fn hosts(
    ask: &Ask,
    given: Option<Vec<String>>,
    all: bool,
    archive: &FoundArchive,
) -> Result<Vec<String>, Failure> {
    let found: Vec<String> = archive.hosts.iter().map(|it| it.0.clone()).collect();
    let is_complete = !found.is_empty() && !archive.lacks_vhost;
    let mut hosts = match given {
        Some(hosts) => hosts,
        None if all && is_complete => found,
        None if ask.is_possible() => {
            let proposed = is_complete.then(|| found.join(", "));
            let what = "Hosts whose messages may be erased, including rooms' hosts";
            ask.for_value(what, proposed.as_deref(), listed)?
        }
        None if is_complete => {
            return Err(wrong(
                "--hosts",
                &format!("is missing; the archives have rows of {}", found.join(", ")),
                "name those whose messages may be erased, or give --all-hosts",
            ));
        }
        None => {
            return Err(wrong(
                "--hosts",
                "is missing, and the archives do not show the virtual host",
                "name the hosts whose messages may be erased: --hosts example.org,conference.example.org",
            ));
        }
    };
    hosts.sort();
    hosts.dedup();
    Ok(hosts)
}

/// A component has an address of its own: a host's belongs to its users or rooms.
fn jid(ask: &Ask, given: Option<String>, hosts: &[String]) -> Result<String, Failure> {
    let own = |jid: &str| match hosts.iter().any(|host| host == jid) {
        true => Err("it is one of the hosts; write an address of its own".to_owned()),
        false => domain(jid),
    };
    let proposed = format!("{ROLE}.{}", topmost(hosts));
    if given.as_deref().is_some_and(|it| own(it).is_err()) {
        let help = format!("write an address of its own, such as --jid {proposed}");
        return Err(wrong("--jid", "is one of the hosts", &help));
    }
    ask.unless(given, "ephemerd's own address on the server", &proposed, own)
}

fn listed(text: &str) -> Result<Vec<String>, String> {
    text.split(',').map(|host| domain(host.trim())).collect()
}

/// The first host that is below no other: a virtual host rather than its rooms'.
fn topmost(hosts: &[String]) -> &str {
    let is_below = |host: &&String| {
        let above =
            |other: &String| host.strip_suffix(other.as_str()).is_some_and(|it| it.ends_with('.'));
        hosts.iter().any(above)
    };
    let first = hosts.iter().find(|host| !is_below(host)).or(hosts.first());
    first.map_or("example.org", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_below_a_virtual_host() {
        let hosts = ["a.example.org", "conference.example.org", "example.org"].map(str::to_owned);
        assert_eq!(topmost(&hosts), "example.org");
        assert_eq!(topmost(&hosts[..2]), "a.example.org");
    }

    #[test]
    fn hosts_are_listed_with_or_without_blanks() {
        assert_eq!(listed("a.org, b.org,c.org").unwrap(), ["a.org", "b.org", "c.org"]);
        for wrong in ["", "a.org,", "A.org", "a.org b.org", "a@b"] {
            assert!(listed(wrong).is_err(), "{wrong}");
        }
    }
}
