//! Servers with uploads (XEP-0363), clients that share files, and which of them go with their messages.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ephemerd_lab::ejabberd::{EjabberdConfig, Schema};
use ephemerd_lab::xmpp::Client;
use ephemerd_lab::{
    DaemonConfig, Ejabberd, Lab, PATIENCE, Prosody, ProsodyConfig, Result, Server, eventually,
    free_address, http,
};

pub(crate) const TIMER: &str = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='3'/>";

/// A server that takes uploads and has our module.
pub(crate) struct Site<S> {
    pub(crate) lab: Lab<S>,
    pub(crate) at: SocketAddr,
    /// What URLs of its files begin with.
    pub(crate) url: String,
    /// The host whose module removes files.
    pub(crate) module: String,
    /// Where its files are.
    pub(crate) data: PathBuf,
}

pub(crate) async fn prosody() -> Result<Site<Prosody>> {
    let at = free_address()?;
    let globals = [
        "modules_disabled = { \"s2s\"; \"tls\" }".to_owned(),
        format!("http_ports = {{ {} }}; http_interfaces = {{ \"127.0.0.1\" }}", at.port()),
        format!("http_default_host = \"upload.localhost\"; http_external_url = \"http://{at}/\""),
    ];
    let hosts =
        "Component \"upload.localhost\" \"http_file_share\"\n\tmodules_enabled = { \"ephemerd\" }";
    let config = ProsodyConfig {
        globals: globals.to_vec(),
        hosts: vec![hosts.to_owned()],
        ..ProsodyConfig::default()
    };
    let lab = Lab::prosody_with(&config.with_companion()).await?;
    let (url, data) = (format!("http://{at}/file_share/"), lab.server.data());
    Ok(Site { lab, at, url, module: "upload.localhost".to_owned(), data })
}

/// With the second schema, URLs have the users' names.
pub(crate) async fn ejabberd(schema: Schema) -> Result<Site<Ejabberd>> {
    let at = free_address()?;
    let config = EjabberdConfig {
        companion: true,
        uploads: Some(at),
        uploads_by_name: schema == Schema::MultiHost,
        ..EjabberdConfig::default()
    };
    let lab = Lab::ejabberd(&config.schema(schema)).await?;
    let (url, data) = (format!("http://{at}/upload/"), lab.server.data());
    Ok(Site { lab, at, url, module: "localhost".to_owned(), data })
}

impl<S: Server> Site<S> {
    pub(crate) fn config(&self) -> DaemonConfig {
        let config = self.lab.daemon_config().set("archive.poll", "100ms");
        config
            .set("uploads.urls", vec![self.url.clone()])
            .set("uploads.hosts", vec![self.module.clone()])
    }

    /// Asks for a slot; returns the URL and the headers of the upload.
    pub(crate) async fn slot(
        &self,
        client: &mut Client,
        name: &str,
        size: usize,
    ) -> Result<(String, Vec<(String, String)>)> {
        const NS: &str = "urn:xmpp:http:upload:0";
        let request = format!(
            "<request xmlns='{NS}' filename='{name}' size='{size}' content-type='image/jpeg'/>"
        );
        let answer = client.iq("get", Some("upload.localhost"), &request).await?;
        let slot = answer.child(NS, "slot").expect("a slot");
        let url = slot.child(NS, "get").and_then(|it| it.attribute("url")).expect("a URL");
        let put = slot.child(NS, "put").expect("where to upload");
        assert_eq!(put.attribute("url"), Some(url));
        let header = |it: &ephemerd_lab::xmpp::Element| {
            (it.attribute("name").unwrap_or_default().to_owned(), it.text.clone())
        };
        let mut headers: Vec<_> = put.children.iter().map(header).collect();
        headers.push(("Content-Type".to_owned(), "image/jpeg".to_owned()));
        Ok((url.to_owned(), headers))
    }

    /// Uploads a file; returns its URL.
    pub(crate) async fn upload(&self, client: &mut Client, content: &str) -> Result<String> {
        let (url, headers) = self.slot(client, "picture.jpg", content.len()).await?;
        let put = http::put(self.at, self.path(&url), &headers, content).await?;
        assert_eq!(put.status, 201, "{}", put.body);
        assert_eq!(http::get(self.at, self.path(&url)).await?.body, content);
        Ok(url)
    }

    pub(crate) fn path<'a>(&self, url: &'a str) -> &'a str {
        let rest = url.split_once("://").expect("a URL").1;
        &rest[rest.find('/').expect("a path")..]
    }

    /// What the server answers to whoever fetches this.
    pub(crate) async fn status(&self, url: &str) -> Result<u16> {
        Ok(http::get(self.at, self.path(url)).await?.status)
    }

    /// Waits until the server says that it has no such file (any more).
    pub(crate) async fn gone(&self, url: &str) -> Result<()> {
        eventually(&format!("{url} is gone"), PATIENCE, async || {
            Ok(matches!(self.status(url).await?, 404 | 410).then_some(()))
        })
        .await
    }

    /// Which of these are still there.
    pub(crate) async fn standing<'a>(&self, urls: &[(&'a str, &str)]) -> Result<BTreeSet<&'a str>> {
        let mut standing = BTreeSet::new();
        for (name, url) in urls {
            if self.status(url).await? == 200 {
                standing.insert(*name);
            }
        }
        Ok(standing)
    }

    /// How many of the server's files contain this, in their text or their names.
    pub(crate) fn on_disk(&self, text: &str) -> usize {
        found_below(&self.data, text.as_bytes())
    }
}

fn found_below(folder: &Path, text: &[u8]) -> usize {
    let mut found = 0;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        found += usize::from(holds(path.as_os_str().as_encoded_bytes(), text));
        if path.is_dir() {
            found += found_below(&path, text);
        } else if let Ok(content) = std::fs::read(&path) {
            found += usize::from(holds(&content, text));
        }
    }
    found
}

fn holds(content: &[u8], text: &[u8]) -> bool {
    content.windows(text.len()).any(|it| it == text)
}

/// A picture of this many bytes that is like no other.
pub(crate) fn picture(bytes: usize) -> String {
    let mut text = String::new();
    while text.len() < bytes {
        text.push_str(&format!("{:016x}", rand::random::<u64>()));
    }
    text.truncate(bytes);
    text
}

/// As clients share a file: out of band (XEP-0066).
pub(crate) fn out_of_band(url: &str) -> String {
    format!("<body>{url}</body><x xmlns='jabber:x:oob'><url>{url}</url></x>")
}

/// As sources of a shared file (XEP-0447).
pub(crate) fn sources(url: &str) -> String {
    format!(
        "<body>a picture</body><file-sharing xmlns='urn:xmpp:sfs:0'><sources>\
         <url-data xmlns='http://jabber.org/protocol/url-data' target='{url}'/></sources></file-sharing>"
    )
}

pub(crate) async fn send(client: &mut Client, to: &str, content: &str) -> Result<()> {
    let id = picture(8);
    client.send(&format!("<message to='{to}' type='chat' id='{id}'>{content}</message>")).await?;
    client.sync().await
}
