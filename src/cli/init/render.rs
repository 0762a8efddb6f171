//! What `init` prints: what it found and wrote, and the steps that are left, in the servers' own syntax.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};

use super::super::show;
use crate::app::init::{Files, Found, FoundArchive, Plan, ROLE, in_shell};
use crate::component::ServerAddress;
use crate::config::{ArchiveKind, GivenUrl};

/// Where psql looks for the server if nothing is said.
const DEBIANS_SOCKET: &str = "/var/run/postgresql";

/// Where the package installs it, and where a clone has it.
const GRANTS: [&str; 2] = ["/usr/share/ephemerd/grants.sql", "deploy/grants.sql"];

pub(super) fn found(found: &Found) -> String {
    let mut text = format!("The database answers: PostgreSQL {}.\n", found.postgres.version);
    for archive in &found.archives {
        let rows =
            |(name, rows): &(String, i64)| format!("{name} ({})", show::counted(*rows, "row"));
        let hosts: Vec<String> = archive.hosts.iter().map(rows).collect();
        let hosts = if hosts.is_empty() { "none yet".to_owned() } else { hosts.join(", ") };
        let _ = writeln!(text, "Archives: {}.\nHosts in them: {hosts}.", archive.what);
    }
    text
}

/// The hosts of the archives that were not chosen.
pub(super) fn left_out(archive: &FoundArchive, hosts: &[String]) -> String {
    let names = archive.hosts.iter().map(|(name, _)| name);
    let left: Vec<_> = names.filter(|it| !hosts.contains(it)).map(String::as_str).collect();
    match left.as_slice() {
        [] => String::new(),
        names => {
            format!("Not listed, so that nothing of them is ever erased: {}.\n", names.join(", "))
        }
    }
}

pub(super) fn written(files: &Files) -> String {
    format!(
        "\nWritten:\n  {} (mode 0640)\n  {} (mode 0600)\n  {} (mode 0600)\n",
        files.config.display(),
        files.secret.display(),
        files.password.display()
    )
}

pub(super) fn database(files: &Files, given: &GivenUrl, found: &Found) -> String {
    let file = files.password.display();
    let shared = match found.postgres.has_role {
        true => {
            "\n   That role exists already: if something else uses it, leave that command out, and write\n   \
             the role's password into that file."
        }
        false => "",
    };
    let absent = match grants() {
        Some(_) => "",
        None => {
            "\n   grants.sql is not on this machine yet: it comes with the package, and is deploy/grants.sql\n   \
             in the source."
        }
    };
    format!(
        "\n1. Create the role {ROLE}, its rights and its password, as root. The second command asks\n   \
         for the password twice: paste the line of {file}.{shared}{absent}\n\n{}",
        psql(given)
    )
}

pub(super) fn server(plan: &Plan, secret: &SecretString) -> String {
    let (place, block) = match plan.kind {
        ArchiveKind::Ejabberd => ("Below `listen:` in ejabberd.yml", ejabberd(plan, secret)),
        ArchiveKind::Prosody | ArchiveKind::Component => {
            ("At the end of prosody.cfg.lua", prosody(plan, secret))
        }
    };
    format!(
        "\n2. {place}, add this block, and restart the server.\n   \
         The block contains the component's secret, because the server may not read its file.\n\n{block}"
    )
}

/// The first of the places that has it.
fn grants() -> Option<&'static str> {
    GRANTS.into_iter().find(|it| Path::new(it).exists())
}

/// The lines of docs/install-prosody.md. Where the database is on this machine, they are run as `postgres`.
fn psql(given: &GivenUrl) -> String {
    let grants = grants().unwrap_or(GRANTS[0]);
    let database = &given.database;
    let is_other = |it: &&String| !it.is_empty() && *it != "5432";
    let first = given.ports.first().filter(is_other);
    let port = first.map(|it| format!("-p {it} ")).unwrap_or_default();
    let socket = given.hosts.first().filter(|it| it.starts_with('/') && *it != DEBIANS_SOCKET);
    let socket = socket.map(|it| format!("-h {it} ")).unwrap_or_default();
    if given.hosts.iter().all(|it| it.starts_with('/') || is_loopback(it)) {
        return format!(
            "su postgres -c 'psql {socket}{port}-d {database}' < {grants}\n\
             su postgres -c 'psql {socket}{port}-d {database} -c \"\\password {ROLE}\"'\n"
        );
    }
    let hosts = given.hosts.join(",");
    let ports = given.ports.join(",");
    let port = match given.ports.iter().any(|it| is_other(&it)) {
        true => format!("-p {ports} "),
        false => String::new(),
    };
    format!(
        "psql -h {hosts} {port}-U postgres -d {database} -f {grants}\n\
         psql -h {hosts} {port}-U postgres -d {database} -c '\\password {ROLE}'\n"
    )
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|it| it.is_loopback())
}

fn prosody(plan: &Plan, secret: &SecretString) -> String {
    let Plan { jid, server, hosts, .. } = plan;
    let mut lua =
        format!("Component \"{jid}\"\n    component_secret = \"{}\"\n", secret.expose_secret());
    if let ServerAddress::Tcp { host, port } = server {
        let listens = "-- The server listens there if it has, above all hosts:";
        // By default it listens for components on loopback only.
        if !is_loopback(host) {
            let ip = host.parse::<IpAddr>().map_or_else(|_| "*".to_owned(), |it| it.to_string());
            let _ = writeln!(lua, "{listens} component_interfaces = {{ \"{ip}\" }}");
        }
        if *port != 5347 {
            let _ = writeln!(lua, "{listens} component_ports = {{ {port} }}");
        }
    }
    let _ = write!(
        lua,
        "-- Optional: the module of docs/install-prosody.md#prosodys-module. Above all hosts:\n\
         --     plugin_paths = {{ \"/usr/local/lib/prosody/modules\" }}\n\
         --     ephemerd_component = \"{jid}\"\n\
         -- and \"ephemerd\" among modules_enabled of {}\n",
        hosts.join(", ")
    );
    lua
}

fn ejabberd(plan: &Plan, secret: &SecretString) -> String {
    let (port, ip) = match &plan.server {
        ServerAddress::Unix(path) => (format!("\"unix:{}\"", path.display()), String::new()),
        ServerAddress::Tcp { host, port } => {
            let ip = match host.parse::<IpAddr>() {
                Ok(ip) => ip.to_string(),
                Err(_) if host == "localhost" => "127.0.0.1".to_owned(),
                // A name: only the operator knows which of its addresses.
                Err(_) => "::".to_owned(),
            };
            (port.to_string(), format!("    ip: \"{ip}\"\n"))
        }
    };
    format!(
        "  - port: {port}\n{ip}    module: ejabberd_service\n    hosts:\n      \"{jid}\":\n        password: \"{}\"\n\
         # Optional: the module of docs/install-ejabberd.md#4-the-companion-module. Below `modules:`\n\
         #   mod_ephemerd:\n\
         #     component: {jid}\n",
        secret.expose_secret(),
        jid = plan.jid,
    )
}

pub(super) fn checked(findings: &str) -> String {
    format!(
        "\n3. `ephemerd check` says now; it finds problems until 1 and 2 are done:\n\n{findings}"
    )
}

pub(super) fn next(named: Option<&Path>) -> String {
    let option = named.map(|it| format!(" --config {}", in_shell(it))).unwrap_or_default();
    let lines = [("check", "what is wrong still"), ("migrate", "creates our tables")];
    let more = [("sweep", "records what must go; erases nothing"), ("preview", "what goes when")];
    let mut text = "\n4. When they are done, before anything is erased:\n\n".to_owned();
    for (command, what) in lines.into_iter().chain(more) {
        let _ = writeln!(text, "ephemerd{option} {command:<8} # {what}");
    }
    text + "\n   Then start the service: docs/install-prosody.md#4-running\n"
}
