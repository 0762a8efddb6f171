//! `ephemerd init`: what a database shows of its server, and the first configuration with its secrets.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
};

use rand::RngExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::Connection as _;

use crate::{
    archive::{self, Kind},
    component::ServerAddress,
    config::{self, ArchiveKind, DatabaseConfig, GivenUrl, Sample},
    database::{self, About, DatabaseSettings},
};

/// The role that `deploy/grants.sql` creates.
pub const ROLE: &str = "ephemerd";

/// Why nothing was written, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The database cannot be reached or read.
    #[error("--database: {0}\nhelp: {help}", help = unread(.0))]
    Database(#[from] database::Error),
    /// A file is there already.
    #[error(
        "{file} exists already, and init overwrites nothing\n\
         help: move it away (mv {shell} {shell}.old), or name another configuration by --config FILE",
        file = .0.display(), shell = in_shell(.0)
    )]
    Exists(PathBuf),
    /// `--config` names a directory.
    #[error(
        "{folder} is a directory\nhelp: name a file in it: --config {file}",
        folder = .0.display(), file = in_shell(&.0.join("ephemerd.toml"))
    )]
    IsDirectory(PathBuf),
    /// The directory is missing.
    #[error(
        "the directory {folder} does not exist\nhelp: install -d -m 750 -g ephemerd {shell}",
        folder = .0.display(), shell = in_shell(.0)
    )]
    NoDirectory(PathBuf),
    /// The configuration has no usable place.
    #[error(
        "--config does not name a file with a name in UTF-8\nhelp: write --config /etc/ephemerd/ephemerd.toml"
    )]
    NoFile,
    /// A file cannot be written.
    #[error(
        "cannot write {file}: {1}\nhelp: run this as root, or name a configuration by --config FILE", file = .0.display()
    )]
    Unwritable(PathBuf, io::Error),
}

impl InitError {
    /// Retrying is pointless until somebody acts.
    pub const fn is_final(&self) -> bool {
        !matches!(self, Self::Database(_))
    }
}

/// A path as a shell reads it.
pub fn in_shell(path: &Path) -> String {
    let path = path.display().to_string();
    shlex::try_quote(&path).map_or_else(|_| path.clone(), Into::into)
}

fn unread(error: &database::Error) -> &'static str {
    match error.sqlstate() {
        Some("42501") => "use a role that may read the server's tables, such as the server's own",
        Some("28P01" | "28000") => {
            "check the role and its password, which may be in PGPASSWORD or in ~/.pgpass"
        }
        Some("3D000") => "check the name of the database at the end of the URL",
        Some(_) => error.remedy(),
        None => {
            "check its host and port, and that PostgreSQL runs there; if it asks for a password, set PGPASSWORD"
        }
    }
}

/// What the database shows.
#[derive(Debug)]
pub struct Found {
    /// The PostgreSQL server, and whether it has our role already.
    pub postgres: About,
    /// The archives: none, one, or one of each server.
    pub archives: Vec<FoundArchive>,
}

/// One server's archives.
#[derive(Debug)]
pub struct FoundArchive {
    /// For `archive.kind`.
    pub kind: ArchiveKind,
    /// What they are, for people.
    pub what: &'static str,
    /// The hosts that have rows, with their numbers, by name.
    pub hosts: Vec<(String, i64)>,
    /// The virtual host is not among them, because nothing there shows its name.
    pub lacks_vhost: bool,
}

/// Looks at the database with the role of this URL. Changes nothing.
pub async fn look(given: &GivenUrl, password: Option<SecretString>) -> Result<Found, InitError> {
    let database = DatabaseConfig { url: given.url.clone(), password };
    let mut connection = DatabaseSettings::new(database.options()).connect().await?;
    let postgres = database::about(&mut connection, ROLE).await?;
    let surveyed = archive::survey(&mut connection).await?;
    let _ = connection.close().await;
    let archives = surveyed.into_iter().map(|it| FoundArchive {
        kind: match it.kind {
            Kind::Prosody => ArchiveKind::Prosody,
            Kind::Ejabberd => ArchiveKind::Ejabberd,
        },
        what: it.what,
        lacks_vhost: it.lacks_vhost,
        // Nothing else could be listed in archive.hosts.
        hosts: it.hosts.into_iter().filter(|(name, _)| config::domain(name).is_ok()).collect(),
    });
    Ok(Found { postgres, archives: archives.collect() })
}

/// The files of a configuration: itself, and its secrets beside it, where the units look for them.
#[derive(Debug)]
pub struct Files {
    /// The configuration: 0640, of its directory's group.
    pub config: PathBuf,
    /// The component's secret: 0600.
    pub secret: PathBuf,
    /// The role's password: 0600.
    pub password: PathBuf,
}

impl Files {
    /// The files for this configuration, none of which exists.
    pub fn new(config: &Path) -> Result<Self, InitError> {
        let config = std::path::absolute(config).map_err(|_| InitError::NoFile)?;
        if config.is_dir() {
            return Err(InitError::IsDirectory(config));
        }
        let (folder, stem) = (config.parent(), config.file_stem().and_then(|it| it.to_str()));
        let (Some(folder), Some(stem), Some(_)) = (folder, stem, config.to_str()) else {
            return Err(InitError::NoFile);
        };
        if !folder.is_dir() {
            return Err(InitError::NoDirectory(folder.to_path_buf()));
        }
        // As ephemerd@NAME.service has them.
        let name = if stem == "ephemerd" { String::new() } else { format!("{stem}.") };
        let (secret, password) = (
            folder.join(format!("{name}component.secret")),
            folder.join(format!("{name}database.password")),
        );
        let files = Self { config, secret, password };
        // Symbolic links that lead nowhere are there too.
        let exists = files.all().into_iter().find(|it| it.symlink_metadata().is_ok());
        match exists {
            Some(file) => Err(InitError::Exists(file.clone())),
            None => Ok(files),
        }
    }

    const fn all(&self) -> [&PathBuf; 3] {
        [&self.config, &self.secret, &self.password]
    }
}

/// What the configuration is to say.
#[derive(Debug)]
pub struct Plan {
    /// `component.jid`
    pub jid: String,
    /// `component.server`
    pub server: ServerAddress,
    /// `database.url`, without a password.
    pub url: String,
    /// `archive.kind`
    pub kind: ArchiveKind,
    /// `archive.hosts`
    pub hosts: Vec<String>,
}

/// Makes the secrets and writes the files: all of them, or none. Returns the component's secret, which the server's
/// configuration needs.
pub fn write(files: &Files, plan: &Plan) -> Result<SecretString, InitError> {
    let [secret, password] = [new_secret(), new_secret()];
    let sample = Sample {
        jid: &plan.jid,
        server: plan.server.to_string(),
        secret_file: &files.secret,
        url: &plan.url,
        password_file: &files.password,
        kind: plan.kind,
        hosts: &plan.hosts,
    };
    let text = config::filled_sample(&sample).ok_or(InitError::NoFile)?;
    let group = files.config.parent().and_then(|it| fs::metadata(it).ok()).map(|it| it.gid());
    let line = |secret: &SecretString| format!("{}\n", secret.expose_secret());
    let all = [
        (&files.secret, line(&secret), 0o600, None),
        (&files.password, line(&password), 0o600, None),
        (&files.config, text, 0o640, group),
    ];
    for (at, (file, text, mode, group)) in all.iter().enumerate() {
        if let Err(error) = create(file, text, *mode, *group) {
            // Those that this loop created, and no others.
            for (file, ..) in all.iter().take(at) {
                let _ = fs::remove_file(file);
            }
            return Err(match error.kind() {
                io::ErrorKind::AlreadyExists => InitError::Exists(file.to_path_buf()),
                _ => InitError::Unwritable(file.to_path_buf(), error),
            });
        }
    }
    Ok(secret)
}

/// A new file with this mode, whatever the umask is. If it cannot be written, it is removed again.
fn create(file: &Path, text: &str, mode: u32, group: Option<u32>) -> io::Result<()> {
    let mut open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    let mut fill = || {
        // Only root, or a member of that group, may give it away; others keep their own.
        let _ = group.map(|group| fchown(&open, None, Some(group)));
        open.set_permissions(fs::Permissions::from_mode(mode))?;
        open.write_all(text.as_bytes())?;
        open.sync_all()
    };
    fill().inspect_err(|_| drop(fs::remove_file(file)))
}

/// As `openssl rand -hex 32` makes it.
fn new_secret() -> SecretString {
    hex::encode(rand::rng().random::<[u8; 32]>()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            jid: "ephemerd.example.org".to_owned(),
            server: "127.0.0.1:5347".parse().unwrap(),
            url: "postgres://ephemerd@127.0.0.1/prosody".to_owned(),
            kind: ArchiveKind::Prosody,
            hosts: vec!["example.org".to_owned()],
        }
    }

    /// Somebody creates a file between the first look and the writing: theirs stays, ours go.
    #[test]
    fn all_files_are_written_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(&folder.path().join("ephemerd.toml")).unwrap();
        fs::write(&files.config, "theirs").unwrap();
        let error = write(&files, &plan()).unwrap_err();
        assert!(matches!(&error, InitError::Exists(file) if *file == files.config), "{error}");
        assert_eq!(fs::read_to_string(&files.config).unwrap(), "theirs");
        assert!(!files.secret.exists() && !files.password.exists());
        fs::remove_file(&files.config).unwrap();
        write(&files, &plan()).unwrap();
        let secrets = [&files.secret, &files.password].map(|it| fs::read_to_string(it).unwrap());
        assert!(secrets.iter().all(|it| it.len() == 65) && secrets[0] != secrets[1]);
    }

    #[test]
    fn instances_have_secrets_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(&folder.path().join("work.toml")).unwrap();
        assert!(files.secret.ends_with("work.component.secret"), "{files:?}");
        assert!(files.password.ends_with("work.database.password"), "{files:?}");
    }
}
