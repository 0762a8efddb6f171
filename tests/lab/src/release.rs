//! Whose servers run: this machine's, or another Debian's.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::{env, fs};

use nix::unistd::{Gid, Uid, User, geteuid};

use crate::error::Context as _;
use crate::{LabError, Result, scratch};

/// Names the suite whose servers all tests start; without it they start those that are installed here.
const SUITE: &str = "LAB_RELEASE";
/// Where `tests/roots.sh` keeps its roots.
const ROOTS: &str = "LAB_ROOTS";

/// What a program sees in a root: the root as it is on disk, which it cannot change, an empty `/tmp`, and in it the lab's own folder under its
/// usual path. The mounts are in a namespace that ends with the program, so there is nothing to undo.
const ENTER: &str = r#"root=$1 scratch=$2; shift 2
mount --bind -o ro "$root" "$root" && mount -t tmpfs lab "$root/tmp" && mkdir -p "$root$scratch" &&
mount --rbind "$scratch" "$root$scratch" && mount --rbind /proc "$root/proc" && mount --rbind /dev "$root/dev" &&
exec chroot "$root" "$@""#;

/// Where servers are taken from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    suite: Option<String>,
    root: PathBuf,
}

impl Default for Release {
    /// The one that `LAB_RELEASE` names, else what is installed here.
    fn default() -> Self {
        match env::var(SUITE) {
            Ok(suite) if !suite.is_empty() => Self::of(&suite),
            _ => Self::installed(),
        }
    }
}

impl Release {
    /// This machine.
    pub fn installed() -> Self {
        Self { suite: None, root: PathBuf::from("/") }
    }

    /// A suite of Debian, in the root that `tests/roots.sh` has made.
    pub fn of(suite: &str) -> Self {
        let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")));
        let roots = env::var_os(ROOTS).map(PathBuf::from);
        let roots = roots.unwrap_or_else(|| cache.unwrap_or_default().join("ephemerd/roots"));
        Self { suite: Some(suite.to_owned()), root: roots.join(suite) }
    }

    /// The suite's name, unless this is the machine itself.
    pub fn suite(&self) -> Option<&str> {
        self.suite.as_deref()
    }

    /// A package's version as its authors number it, without Debian's revision; nothing if it is not installed.
    pub fn version(&self, package: &str) -> Result<Option<String>> {
        let status = fs::read_to_string(self.path("/var/lib/dpkg/status"));
        let status = status.context("reading which packages are installed")?;
        Ok(version(&status, package))
    }

    /// A server's file as it is found from here. One that is missing is an error that says how to get it.
    pub(crate) fn installed_file(&self, file: &str, package: &str) -> Result<PathBuf> {
        let path = self.path(file);
        let missing = || match &self.suite {
            None => LabError::new(format!("{file} is missing: apt-get install {package}")),
            Some(suite) => {
                LabError::new(format!("{} is missing: run tests/roots.sh {suite}", path.display()))
            }
        };
        if path.exists() { Ok(path) } else { Err(missing()) }
    }

    /// A file of the release, as it is found from here.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.root.join(file.trim_start_matches('/'))
    }

    /// The folders below this one whose names begin like this, as the release's own programs find them.
    pub(crate) fn folders(&self, below: &str, prefix: &str) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.path(below)).context(format!("looking into {below}"))? {
            let name = entry?.file_name();
            if name.to_string_lossy().starts_with(prefix) {
                found.push(Path::new(below).join(name));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Where the newest PostgreSQL's programs are.
    pub(crate) fn postgres_programs(&self) -> Result<PathBuf> {
        let number = |it: &PathBuf| it.file_name().and_then(|it| it.to_str()?.parse::<u32>().ok());
        let versions = self.folders("/usr/lib/postgresql", "").unwrap_or_default();
        let whole = |it: &PathBuf| self.path(&it.join("bin/initdb").to_string_lossy()).exists();
        let newest = versions.into_iter().filter(whole).max_by_key(number);
        newest
            .map(|it| it.join("bin"))
            .ok_or_else(|| LabError::new("PostgreSQL is not installed: apt-get install postgresql"))
    }

    /// The user that a server's package made for it: `None` if we are not root and run it as ourselves.
    pub(crate) fn service_user(&self, name: &str, package: &str) -> Result<Option<User>> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let user = match self.suite {
            None => User::from_name(name).context(format!("looking for the user {name}"))?,
            Some(_) => user(&fs::read_to_string(self.path("/etc/passwd"))?, name),
        };
        let missing =
            || LabError::new(format!("there is no user {name}: apt-get install {package}"));
        user.ok_or_else(missing).map(Some)
    }

    /// What goes before a command line, so that the command runs in this release.
    pub(crate) fn entrance(&self) -> Result<Vec<std::ffi::OsString>> {
        if self.suite.is_none() {
            return Ok(Vec::new());
        }
        let mut line: Vec<_> =
            ["unshare", "--mount", "--", "sh", "-c", ENTER, "sh"].map(Into::into).into();
        line.extend([self.root.clone().into(), scratch::root()?.into()]);
        Ok(line)
    }
}

/// The version in dpkg's list.
fn version(status: &str, package: &str) -> Option<String> {
    let name = format!("Package: {package}");
    let paragraph = status.split("\n\n").find(|it| it.lines().any(|line| line == name))?;
    let version = paragraph.lines().find_map(|line| line.strip_prefix("Version: "))?;
    let version = version.split_once(':').map_or(version, |(_, version)| version);
    let version = version.rsplit_once('-').map_or(version, |(version, _)| version);
    Some(version.split(['+', '~']).next().unwrap_or(version).to_owned())
}

/// The user in a root's list, with what the lab needs of it.
fn user(passwd: &str, name: &str) -> Option<User> {
    let line = passwd.lines().find(|it| it.split(':').next() == Some(name))?;
    let fields: Vec<_> = line.split(':').collect();
    let number = |at: usize| fields.get(at)?.parse::<u32>().ok();
    Some(User {
        name: name.to_owned(),
        passwd: CString::default(),
        uid: Uid::from_raw(number(2)?),
        gid: Gid::from_raw(number(3)?),
        gecos: CString::default(),
        dir: PathBuf::from(fields.get(5)?),
        shell: PathBuf::from(fields.get(6)?),
    })
}

#[cfg(test)]
mod tests {
    use super::{user, version};

    const STATUS: &str = "Package: prosody-modules\nVersion: 0.0~hg1\n\n\
        Package: prosody\nStatus: install ok installed\nVersion: 13.0.1-1+deb13u1\n\n\
        Package: erlang-base\nVersion: 1:27.3.4.1+dfsg-1\n";

    #[test]
    fn a_version_is_the_authors_own() {
        assert_eq!(version(STATUS, "prosody").as_deref(), Some("13.0.1"));
        assert_eq!(version(STATUS, "erlang-base").as_deref(), Some("27.3.4.1"));
        assert_eq!(version(STATUS, "ejabberd"), None);
    }

    #[test]
    fn a_user_is_read_as_the_root_has_it() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nprosody:x:101:104::/var/lib/prosody:/bin/no\n";
        let found = user(passwd, "prosody").unwrap();
        assert_eq!((found.uid.as_raw(), found.gid.as_raw()), (101, 104));
        assert_eq!(user(passwd, "pros"), None);
    }
}
