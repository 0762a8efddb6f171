//! `[uploads]`: files that go with the messages that name them.

use super::{
    address::domain,
    error::ConfigError,
    judge::Judge,
    raw::RawUploads,
    types::{ArchiveConfig, ArchiveKind, UploadsConfig},
};
use crate::model::UploadRules;

const URLS: &str = "uploads.urls";
const HOSTS: &str = "uploads.hosts";
const MOST: usize = 20;
const MOST_URL_BYTES: usize = 500;

type Result<T> = std::result::Result<T, ConfigError>;

impl Judge<'_> {
    pub(super) fn uploads(
        &self,
        raw: RawUploads,
        archive: &ArchiveConfig,
    ) -> Result<UploadsConfig> {
        let remedy = "write what the URLs of uploaded files begin with: [\"https://upload.example.org/file_share/\"]";
        let urls = self.listed(URLS, raw.urls, ("URLs", remedy))?.unwrap_or_default();
        if urls.len() > MOST {
            return Err(self.invalid(URLS, "has more than 20 URLs", remedy));
        }
        for url in &urls {
            beginning(url).map_err(|problem| self.invalid(URLS, problem, remedy))?;
        }
        let listed = self.listed(HOSTS, raw.hosts, ("domains", HOSTS_REMEDY))?;
        let hosts = listed.clone().unwrap_or_else(|| hosts_of(&urls));
        if hosts.len() > MOST {
            return Err(self.invalid(HOSTS, "has more than 20 names", HOSTS_REMEDY));
        }
        for host in &hosts {
            domain(host).map_err(|problem| self.invalid(HOSTS, problem, HOSTS_REMEDY))?;
        }
        if !urls.is_empty() && hosts.is_empty() {
            return Err(self.invalid(HOSTS, "is empty, so nobody removes files", HOSTS_REMEDY));
        }
        if !urls.is_empty() && archive.kind == ArchiveKind::Component {
            return Err(self.invalid(
                URLS,
                "needs archives in PostgreSQL: behind a companion module it is not known what else names a file",
                "remove it, or keep the archives in PostgreSQL",
            ));
        }
        self.show(URLS, urls.clone());
        self.show(HOSTS, listed.unwrap_or_default());
        Ok(UploadsConfig { rules: UploadRules { urls }, hosts })
    }
}

const HOSTS_REMEDY: &str = "write hosts = [\"upload.example.org\"]: on Prosody the upload component, on ejabberd the virtual host";

/// The hosts that these URLs name, each once.
fn hosts_of(urls: &[String]) -> Vec<String> {
    let authority = |url: &String| url.split("://").nth(1)?.split('/').next().map(str::to_owned);
    let host = |it: String| it.rsplit_once(':').map_or(it.clone(), |(host, _)| host.to_owned());
    let hosts: std::collections::BTreeSet<_> =
        urls.iter().filter_map(authority).map(host).collect();
    hosts.into_iter().collect()
}

/// Checks what URLs begin with. The error is the end of a sentence.
fn beginning(url: &str) -> std::result::Result<(), &'static str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let is_plain =
        |c: char| c.is_ascii_graphic() && !matches!(c, '<' | '>' | '&' | '\'' | '"' | '#' | '?');
    match rest {
        _ if url.len() > MOST_URL_BYTES => Err("has a URL of more than 500 bytes"),
        None => Err("has a URL that begins with neither https:// nor http://"),
        Some(rest) if !rest.ends_with('/') => Err("has a URL that does not end with a slash"),
        Some(rest) if rest.starts_with('/') => Err("has a URL without a host"),
        Some(rest) if !rest.chars().all(is_plain) => {
            Err("has a URL with characters that no such URL begins with")
        }
        Some(_) => Ok(()),
    }
}
