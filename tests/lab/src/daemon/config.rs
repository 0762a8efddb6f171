use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::database::Database;
use crate::lab::Lab;
use crate::server::Server;
use crate::{LabError, Result, free_address};

/// A configuration of the daemon: all it needs for one lab, and additional settings of a test.
#[derive(Debug, Clone)]
pub struct DaemonConfig {
    sections: BTreeMap<String, BTreeMap<String, Value>>,
    files: BTreeMap<String, String>,
    pub(super) env: Vec<(String, String)>,
}

impl DaemonConfig {
    /// For the server of a lab, with its archives in the lab's database.
    pub fn for_server<S: Server>(server: &S, database: &Database) -> Self {
        let at = server.endpoints();
        Self::empty()
            .with_database(database)
            .set("component.jid", at.component_jid.as_str())
            .set("component.server", at.components.to_string())
            .set_file("component.secret_file", &at.component_secret)
            .set("archive.kind", S::KIND)
            .set("archive.hosts", vec![at.domain.clone(), at.rooms.clone()])
    }

    /// For Prosody's tables without a Prosody: nothing listens where the component connects.
    pub fn for_database(database: &Database) -> Result<Self> {
        let config = Self::empty()
            .with_database(database)
            .set("component.jid", "ephemerd.localhost")
            .set("component.server", free_address()?.to_string())
            .set_file("component.secret_file", "nobody asks")
            .set("archive.kind", "prosody")
            .set("archive.hosts", vec!["localhost", "conference.localhost"]);
        Ok(config)
    }

    /// For ejabberd's tables without an ejabberd.
    pub fn for_ejabberd_tables(database: &Database) -> Result<Self> {
        Ok(Self::for_database(database)?.set("archive.kind", "ejabberd"))
    }

    /// Nothing at all.
    pub fn empty() -> Self {
        Self { sections: BTreeMap::new(), files: BTreeMap::new(), env: Vec::new() }
    }

    fn with_database(self, database: &Database) -> Self {
        self.set("database.url", database.url_without_password())
            .set_file("database.password_file", database.postgres().password())
    }

    /// Sets a key, for example `erase.mode`.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        let (section, name) = key.split_once('.').unwrap_or(("", key));
        self.sections.entry(section.to_owned()).or_default().insert(name.to_owned(), value.into());
        self
    }

    /// Whether a key, `section.key`, has this value.
    pub fn is(&self, key: &str, value: &str) -> bool {
        let (section, name) = key.split_once('.').unwrap_or(("", key));
        self.sections.get(section).and_then(|it| it.get(name)).and_then(Value::as_str)
            == Some(value)
    }

    /// Removes a key.
    #[must_use]
    pub fn unset(mut self, key: &str) -> Self {
        let (section, name) = key.split_once('.').unwrap_or(("", key));
        if let Some(section) = self.sections.get_mut(section) {
            section.remove(name);
        }
        self.files.remove(key);
        self
    }

    /// Sets a key to the path of a file with this text, for example `component.secret_file`.
    #[must_use]
    pub fn set_file(mut self, key: &str, text: &str) -> Self {
        self.files.insert(key.to_owned(), text.to_owned());
        self
    }

    /// Sets a variable in the daemon's environment, for example `EPHEMERD__ERASE__MODE`.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        let (section, name) = key.split_once('.')?;
        self.sections.get(section)?.get(name)
    }

    /// Writes the configuration file and the files it names into this folder.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let mut config = self.clone();
        // Each file is replaced atomically, for a daemon that reads while we write.
        let new = folder.join("new");
        let write = |name: &str, text: &str| -> Result<PathBuf> {
            let file = folder.join(name);
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            options.open(&new)?.write_all(text.as_bytes())?;
            fs::rename(&new, &file)?;
            Ok(file)
        };
        for (key, text) in &self.files {
            config = config.set(key, write(key, text)?.display().to_string());
        }
        write("ephemerd.toml", &config.render()?).map(drop)
    }

    /// The file as text, in TOML.
    fn render(&self) -> Result<String> {
        let mut toml = String::new();
        for (section, keys) in &self.sections {
            toml.push_str(&format!("[{section}]\n"));
            for (name, value) in keys {
                if value.is_null() || value.is_object() {
                    return Err(LabError::new(format!("{section}.{name}: not a value for TOML")));
                }
                // JSON writes strings, numbers, booleans and lists of them as TOML does.
                toml.push_str(&format!("{name} = {value}\n"));
            }
        }
        Ok(toml)
    }
}

impl<S: Server> Lab<S> {
    /// The daemon's configuration for this lab.
    pub fn daemon_config(&self) -> DaemonConfig {
        DaemonConfig::for_server(&self.server, &self.database)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_reads_as_toml() {
        let config = DaemonConfig::empty()
            .set("erase.mode", "say \"now\"")
            .set("erase.batch", 10)
            .set("archive.hosts", vec!["a", "b"])
            .set("archive.poll", "1s")
            .unset("archive.poll");
        let toml =
            "[archive]\nhosts = [\"a\",\"b\"]\n[erase]\nbatch = 10\nmode = \"say \\\"now\\\"\"\n";
        assert_eq!(config.render().unwrap(), toml);
        assert!(config.set("a.b", Value::Null).render().is_err());
    }
}
