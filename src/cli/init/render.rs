//! What `init` prints: what it found and wrote, and the steps that are left, in the servers' own syntax.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};

use super::super::show;
use crate::app::init::{Files, Found, Plan, ROLE};
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
    format!(
        "\n1. Create the role {ROLE}, its rights and its password, as root. The second command asks\n   \
         for the password twice: paste the line of {file}.{shared}\n\n{}",
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

/// The lines of docs/install-prosody.md. Where the database is on this machine, they are run as `postgres`.
fn psql(given: &GivenUrl) -> String {
    let grants = GRANTS.into_iter().find(|it| Path::new(it).exists()).unwrap_or(GRANTS[1]);
    let database = &given.database;
    let is_other = |it: &&String| !it.is_empty() && *it != "5432";
    let first = given.ports.first().filter(is_other);
    let port = first.map(|it| format!("-p {it} ")).unwrap_or_default();
    let socket = given.hosts.first().filter(|it| it.starts_with('/') && *it != DEBIANS_SOCKET);
    let socket = socket.map(|it| format!("-h {it} ")).unwrap_or_default();
    let is_here = |host: &String| {
        let is_loopback = host.parse::<IpAddr>().is_ok_and(|it| it.is_loopback());
        host == "localhost" || host.starts_with('/') || is_loopback
    };
    if given.hosts.iter().all(is_here) {
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

fn prosody(plan: &Plan, secret: &SecretString) -> String {
    let Plan { jid, server, hosts, .. } = plan;
    let mut lua =
        format!("Component \"{jid}\"\n    component_secret = \"{}\"\n", secret.expose_secret());
    if let ServerAddress::Tcp { port, .. } = server
        && *port != 5347
    {
        let _ = writeln!(
            lua,
            "-- The server listens there if it has, above all hosts: component_ports = {{ {port} }}"
        );
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
    let option = named.map(|it| format!(" --config {}", it.display())).unwrap_or_default();
    let lines = [("check", "what is wrong still"), ("migrate", "creates our tables")];
    let more = [("sweep", "records what must go; erases nothing"), ("preview", "what goes when")];
    let mut text = "\n4. When they are done, before anything is erased:\n\n".to_owned();
    for (command, what) in lines.into_iter().chain(more) {
        let _ = writeln!(text, "ephemerd{option} {command:<8} # {what}");
    }
    text + "\n   Then start the service: docs/install-prosody.md#4-running\n"
}
