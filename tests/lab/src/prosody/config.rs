use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::Release;
use crate::postgres::{Postgres, SERVER_ROLE};
use crate::server::Endpoints;

/// The companion module, and the folder where the lab installs it.
pub(super) const COMPANION: &str = "ephemerd";
pub(super) const PLUGINS: &str = "plugins";

/// Where Prosody stores archives and everything else but accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Storage {
    /// In the lab's PostgreSQL.
    #[default]
    Postgres,
    /// In a SQLite file of its own.
    Sqlite,
    /// In files.
    Files,
}

/// How Prosody is set up beyond what the lab needs.
#[derive(Debug, Clone)]
pub struct ProsodyConfig {
    /// Whose Prosody.
    pub release: Release,
    /// Where archives are.
    pub storage: Storage,
    /// Only archives and offline queues are there; all else is in files.
    pub archives_only: bool,
    /// `storage_archive_item_limit`, unlimited by default.
    pub archive_item_limit: Option<u32>,
    /// `max_archive_query_results`: the maximum page size of a MAM answer.
    pub page_limit: u32,
    /// The companion module of `deploy/prosody` runs on the accounts' host and on the rooms' host.
    pub companion: bool,
    /// Folders with more modules.
    pub plugin_paths: Vec<PathBuf>,
    /// More modules for the accounts' host and the rooms' host, by name.
    pub modules: Vec<String>,
    /// More lines of Lua for all hosts.
    pub globals: Vec<String>,
    /// More lines of Lua at the end, for example further hosts.
    pub hosts: Vec<String>,
    /// `debug`, `info`, `warn` or `error`.
    pub log_level: String,
}

impl Default for ProsodyConfig {
    fn default() -> Self {
        Self {
            release: Release::default(),
            storage: Storage::default(),
            archives_only: false,
            archive_item_limit: None,
            page_limit: 50,
            companion: false,
            plugin_paths: Vec::new(),
            modules: Vec::new(),
            globals: Vec::new(),
            hosts: Vec::new(),
            log_level: "info".to_owned(),
        }
    }
}

/// Where this Prosody lives.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) folder: &'a Path,
    pub(super) endpoints: &'a Endpoints,
    pub(super) database: Option<(&'a Postgres, &'a str)>,
}

impl ProsodyConfig {
    /// With the companion module.
    #[must_use]
    pub fn with_companion(self) -> Self {
        Self { companion: true, ..self }
    }

    /// With archives kept there.
    #[must_use]
    pub fn storage_in(self, storage: Storage) -> Self {
        Self { storage, ..self }
    }

    /// The configuration file. Strings are inserted as quoted Lua strings.
    pub(super) fn render(&self, place: Place<'_>) -> String {
        [self.globals(place), self.storage(place), self.hosts(place.endpoints)].concat()
    }

    fn globals(&self, place: Place<'_>) -> String {
        let Place { folder, endpoints, .. } = place;
        let mut lua = String::new();
        let companion = self.companion.then(|| folder.join(PLUGINS));
        let plugins: Vec<_> = self.plugin_paths.iter().chain(&companion).map(quote).collect();
        let lines = [
            format!("plugin_paths = {{ {} }}", plugins.join(", ")),
            format!("data_path = {}", quote(folder.join("data"))),
            format!("pidfile = {}", quote(folder.join("data/prosody.pid"))),
            format!("log = {{ {{ levels = {{ min = {:?} }}, to = \"console\" }} }}", self.log_level),
            "interfaces = { \"127.0.0.1\" }; component_interfaces = { \"127.0.0.1\" }".to_owned(),
            format!("c2s_ports = {{ {} }}", endpoints.clients.port()),
            format!("component_ports = {{ {} }}", endpoints.components.port()),
            "c2s_direct_tls_ports = {}; s2s_ports = {}; s2s_direct_tls_ports = {}".to_owned(),
            "http_ports = {}; https_ports = {}; limits = {}".to_owned(),
            "c2s_require_encryption = false; allow_unencrypted_plain_auth = true".to_owned(),
            "authentication = \"internal_plain\"".to_owned(),
            "modules_disabled = { \"s2s\"; \"tls\"; \"http\" }".to_owned(),
            "modules_enabled = { \"roster\"; \"saslauth\"; \"disco\"; \"ping\"; \"pep\"; \"blocklist\"; \
             \"carbons\"; \"smacks\"; \"csi_simple\"; \"mam\"; \"offline\"; \"cron\"; \"posix\" }"
                .to_owned(),
            "default_archive_policy = true; archive_expires_after = \"never\"".to_owned(),
            format!("max_archive_query_results = {}", self.page_limit),
        ];
        for line in lines.iter().chain(&self.globals) {
            let _ = writeln!(lua, "{line}");
        }
        if self.companion {
            let _ = writeln!(lua, "ephemerd_component = {:?}", endpoints.component_jid);
        }
        lua
    }

    fn storage(&self, place: Place<'_>) -> String {
        // Accounts in files can be created without the server, whatever stores the rest.
        let mut lua = "storage = { accounts = \"internal\" }\n".to_owned();
        if let Some(limit) = self.archive_item_limit {
            let _ = writeln!(lua, "storage_archive_item_limit = {limit}");
        }
        let _ = match (self.storage, place.database) {
            (Storage::Files, _) => writeln!(lua, "default_storage = \"internal\""),
            (Storage::Postgres, Some((postgres, database))) => writeln!(
                lua,
                "default_storage = \"sql\"\nsql = {{ driver = \"PostgreSQL\", host = \"127.0.0.1\", \
                 port = {}, database = {database:?}, username = {SERVER_ROLE:?}, password = {:?} }}",
                postgres.address().port(),
                postgres.password(),
            ),
            (Storage::Sqlite | Storage::Postgres, _) => writeln!(
                lua,
                "default_storage = \"sql\"\nsql = {{ driver = \"SQLite3\", database = {} }}",
                quote(place.folder.join("data/prosody.sqlite"))
            ),
        };
        if self.archives_only {
            let archives = r#"{ archive = "sql"; muc_log = "sql"; offline = "sql" }"#;
            let _ = writeln!(lua, "storage = {archives}\ndefault_storage = \"internal\"");
        }
        lua
    }

    fn hosts(&self, endpoints: &Endpoints) -> String {
        let companion = self.companion.then(|| COMPANION.to_owned());
        let modules: String =
            self.modules.iter().chain(&companion).map(|name| format!("{name:?}; ")).collect();
        let secret = &endpoints.component_secret;
        format!(
            "VirtualHost {:?}\n\
             \tmodules_enabled = {{ {modules}}}\n\
             Component {:?} \"muc\"\n\
             \trestrict_room_creation = false\n\
             \tmodules_enabled = {{ \"muc_mam\"; {modules}}}\n\
             \tmuc_room_default_persistent = true\n\
             \tmuc_log_by_default = true; muc_log_expires_after = \"never\"\n\
             Component {:?}\n\
             \tcomponent_secret = {secret:?}\n\
             Component {:?}\n\
             \tcomponent_secret = {secret:?}\n{}",
            endpoints.domain,
            endpoints.rooms,
            endpoints.component_jid,
            endpoints.other_component,
            self.hosts.join("\n"),
        )
    }
}

fn quote(path: impl AsRef<Path>) -> String {
    format!("{:?}", path.as_ref().display().to_string())
}
