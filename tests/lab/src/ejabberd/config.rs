use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::database::Database;
use crate::postgres::SERVER_ROLE;
use crate::server::Endpoints;
use crate::{LabError, Release, Result};

/// Which of ejabberd's SQL schemas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Schema {
    /// `pg.sql`: one virtual host, which no column names.
    #[default]
    Classic,
    /// `pg.new.sql`: several, named by `server_host`.
    MultiHost,
}

/// Where archives and offline queues are; accounts and rooms are always in SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Storage {
    /// PostgreSQL.
    #[default]
    Sql,
    /// ejabberd's own database in files.
    Mnesia,
}

/// How ejabberd is set up beyond what the lab needs.
#[derive(Debug, Clone, Default)]
pub struct EjabberdConfig {
    /// Whose ejabberd.
    pub release: Release,
    /// Where archives and offline queues are.
    pub storage: Storage,
    /// Loads the companion module of `deploy/ejabberd`, built once for all tests.
    pub companion: bool,
    /// A folder of compiled modules that it finds.
    pub code: Option<PathBuf>,
    /// Virtual hosts beside the one of the lab, each with rooms of its own.
    pub more_hosts: Vec<&'static str>,
    /// The SQL schema.
    pub schema: Schema,
    /// `archive` has the column `origin_id`, as from 24.02 on.
    pub origin_id: bool,
    /// `use_mam_for_storage` of `mod_offline`.
    pub mam_for_storage: bool,
    /// `compress_xml` of `mod_mam`.
    pub compress_xml: bool,
    /// Options of `mod_stream_mgmt`, as YAML on one line; if empty, its defaults.
    pub stream_mgmt: &'static str,
    /// `max_user_offline_messages`: the capacity of an offline queue.
    pub offline_limit: Option<u32>,
    /// Without `mod_offline`.
    pub no_offline: bool,
    /// Persistent rooms are unloaded a second after the last occupant has left.
    pub rooms_hibernate: bool,
    /// Where it accepts an administrator's commands over HTTP, `POST /api/COMMAND`, from anybody.
    pub commands: Option<SocketAddr>,
    /// Where it takes and gives out uploaded files, below `/upload/`; they are in its data folder.
    pub uploads: Option<SocketAddr>,
    /// `jid_in_url` of `mod_http_upload` is `node`: users' names are in the URLs.
    pub uploads_by_name: bool,
    /// More lines of YAML, at the top level.
    pub lines: Vec<String>,
    /// More lines of YAML, among the modules, with their line breaks.
    pub modules: Vec<&'static str>,
    /// Instead of all that, a configuration as an operator writes it, for example from a document. Its names,
    /// ports and secrets are replaced by the lab's.
    pub file: Option<String>,
}

impl EjabberdConfig {
    /// The same in another schema.
    #[must_use]
    pub fn schema(self, schema: Schema) -> Self {
        Self { schema, ..self }
    }

    /// The schema's file, as the package brings it.
    pub(super) fn schema_file(&self) -> &'static str {
        match self.schema {
            Schema::Classic => "/usr/share/ejabberd/sql/pg.sql",
            Schema::MultiHost => "/usr/share/ejabberd/sql/pg.new.sql",
        }
    }

    /// The configuration file.
    pub(super) fn render(&self, endpoints: &Endpoints, database: &Database) -> Result<String> {
        if let Some(file) = &self.file {
            return self.adapt(file, endpoints, database);
        }
        let mut yaml = self.globals(endpoints, database);
        for line in &self.lines {
            let _ = writeln!(yaml, "{line}");
        }
        Ok(yaml + &self.modules(endpoints) + &self.modules.concat())
    }

    fn adapt(&self, file: &str, endpoints: &Endpoints, database: &Database) -> Result<String> {
        let postgres = database.postgres();
        let changes = [
            ("example.org", endpoints.domain.clone()),
            ("sql_port: 5432", format!("sql_port: {}", postgres.address().port())),
            ("sql_database: ejabberd", format!("sql_database: {}", database.name())),
            ("sql_username: ejabberd", format!("sql_username: {SERVER_ROLE}")),
            ("SQL-PASSWORD", postgres.password().to_owned()),
            ("port: 5222", format!("port: {}", endpoints.clients.port())),
            ("port: 5347", format!("port: {}", endpoints.components.port())),
            ("COMPONENT-SECRET", endpoints.component_secret.clone()),
        ];
        let mut yaml = file.to_owned();
        for (from, to) in changes {
            if !yaml.contains(from) {
                return Err(LabError::new(format!("the configuration lacks {from}")));
            }
            yaml = yaml.replace(from, &to);
        }
        if self.schema == Schema::MultiHost {
            yaml.push_str("new_sql_schema: true\n");
        }
        Ok(yaml)
    }

    fn globals(&self, endpoints: &Endpoints, database: &Database) -> String {
        let postgres = database.postgres();
        let mut yaml = format!(
            "hosts: [{hosts}]
loglevel: info
default_db: sql
sql_type: pgsql
sql_server: \"127.0.0.1\"
sql_port: {port}
sql_database: {database}
sql_username: {SERVER_ROLE}
sql_password: {password:?}
sql_pool_size: 4
auth_method: sql
auth_password_format: plain
listen:
  - port: {clients}
    ip: \"127.0.0.1\"
    module: ejabberd_c2s
    access: c2s
    starttls: false
  - port: {components}
    ip: \"127.0.0.1\"
    module: ejabberd_service
    access: c2s
    global_routes: false
    hosts:
      {component}:
        password: {secret:?}
      {other}:
        password: {secret:?}
{commands}{uploads}access_rules:
  c2s:
    allow: all
  rooms:
    allow: all
shaper_rules:
  max_user_sessions: 20
  max_user_offline_messages: {offline_limit}
",
            offline_limit = self.offline_limit.unwrap_or(5000),
            hosts = [&[endpoints.domain.as_str()], &self.more_hosts[..]].concat().join(", "),
            port = postgres.address().port(),
            database = database.name(),
            password = postgres.password(),
            clients = endpoints.clients.port(),
            components = endpoints.components.port(),
            component = endpoints.component_jid,
            other = endpoints.other_component,
            secret = endpoints.component_secret,
            commands = self.commands.map(listen_for_commands).unwrap_or_default(),
            uploads = self.uploads.map(listen_for_uploads).unwrap_or_default(),
        );
        if self.schema == Schema::MultiHost {
            yaml.push_str("new_sql_schema: true\n");
        }
        yaml
    }

    fn modules(&self, endpoints: &Endpoints) -> String {
        let storage = match self.storage {
            Storage::Sql => "sql",
            Storage::Mnesia => "mnesia",
        };
        format!(
            "modules:
  mod_disco: {{}}
  mod_blocking: {{}}
  mod_carboncopy: {{}}
  mod_ping: {{}}
  mod_privacy: {{}}
  mod_roster: {{}}
  mod_stream_mgmt: {{{stream_mgmt}}}
{offline}  mod_mam:
    db_type: {storage}
    default: always
    request_activates_archiving: false
    compress_xml: {compress}
  mod_muc:
    host: {rooms}
    access: rooms
    access_create: rooms
    access_persistent: rooms
    access_mam: rooms
    default_room_options:
      mam: true
      persistent: true
      public: true
      allow_subscription: true
{hibernation}{companion}{uploads}",
            hibernation = if self.rooms_hibernate { "    hibernation_timeout: 1\n" } else { "" },
            stream_mgmt = self.stream_mgmt,
            offline = match self.no_offline {
                true => String::new(),
                false => format!(
                    "  mod_offline:
    access_max_user_messages: max_user_offline_messages
    db_type: {storage}
    use_mam_for_storage: {}
",
                    self.mam_for_storage
                ),
            },
            companion = match self.companion {
                true => format!("  mod_ephemerd:\n    component: {}\n", endpoints.component_jid),
                false => String::new(),
            },
            uploads =
                self.uploads.map(|at| keep_uploads(at, self.uploads_by_name)).unwrap_or_default(),
            compress = self.compress_xml,
            rooms = endpoints.rooms.replace(&endpoints.domain, "@HOST@"),
        )
    }
}

fn listen_for_uploads(at: SocketAddr) -> String {
    format!(
        "  - port: {port}
    ip: \"{ip}\"
    module: ejabberd_http
    request_handlers:
      /upload: mod_http_upload
",
        port = at.port(),
        ip = at.ip(),
    )
}

/// `@DATA@` is its data folder.
fn keep_uploads(at: SocketAddr, by_name: bool) -> String {
    let jid = if by_name { "node" } else { "sha1" };
    format!(
        "  mod_http_upload:
    docroot: \"@DATA@/upload\"
    put_url: \"http://{at}/upload\"
    get_url: \"http://{at}/upload\"
    jid_in_url: {jid}
    access: all
"
    )
}

fn listen_for_commands(at: SocketAddr) -> String {
    format!(
        "  - port: {port}
    ip: \"{ip}\"
    module: ejabberd_http
    request_handlers:
      /api: mod_http_api
api_permissions:
  anybody:
    from: [mod_http_api]
    who: all
    what: \"*\"
",
        port = at.port(),
        ip = at.ip(),
    )
}
