//! A headless Chromium that opens pages, evaluates expressions in them and takes screenshots. It speaks the
//! DevTools protocol over two pipes.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::pipe;
use tokio::time::timeout;

use crate::launch::Launch;
use crate::process::Process;
use crate::wait::timed_out;
use crate::{LabError, Result, scratch};

const PROGRAM: &str = "/usr/bin/chromium";

/// Timeout for one answer: starting takes a while on a busy machine.
const WITHIN: Duration = Duration::from_secs(60);

/// How a page is displayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// CSS pixels.
    pub width: u32,
    /// The dark theme is preferred.
    pub dark: bool,
}

/// A browser of Debian's package with one page, ended and removed when dropped.
pub struct Chromium {
    process: Process,
    to: pipe::Sender,
    from: BufReader<pipe::Receiver>,
    last: u64,
    session: Value,
    complaints: Vec<String>,
    _folder: TempDir,
}

impl Chromium {
    /// Starts it with an empty page.
    pub async fn start() -> Result<Self> {
        if !Path::new(PROGRAM).exists() {
            return Err(LabError::new(format!("{PROGRAM} is missing: apt-get install chromium")));
        }
        let folder = scratch::folder("chromium")?;
        let [to, from] = ["to", "from"].map(|name| folder.path().join(name));
        for path in [&to, &from] {
            nix::unistd::mkfifo(path, Mode::S_IRWXU).map_err(std::io::Error::from)?;
        }
        let script = format!(
            "exec {PROGRAM} --headless=new --no-sandbox --disable-gpu --hide-scrollbars \
             --user-data-dir='{}' --remote-debugging-pipe about:blank 3<'{}' 4>'{}'",
            folder.path().join("profile").display(),
            to.display(),
            from.display(),
        );
        let process = Launch::new("Chromium", "/bin/sh", Signal::SIGTERM)
            .args(["-c", &script])
            .spawn(&folder.path().join("log"))?;
        // Both ends, so that neither waits for the other to be opened.
        let mut options = pipe::OpenOptions::new();
        options.read_write(true);
        let (to, from) = (options.open_sender(&to)?, options.open_receiver(&from)?);
        let from = BufReader::new(from);
        let (session, complaints) = (Value::Null, Vec::new());
        let mut chromium =
            Self { process, to, from, last: 0, session, complaints, _folder: folder };
        let target = chromium.ask("Target.createTarget", json!({"url": "about:blank"})).await?;
        let attach = json!({"targetId": at(&target, "/targetId"), "flatten": true});
        let attached = chromium.ask("Target.attachToTarget", attach).await?;
        chromium.session = at(&attached, "/sessionId").clone();
        chromium.ask("Page.enable", json!({})).await?;
        chromium.ask("Log.enable", json!({})).await?;
        Ok(chromium)
    }

    /// Opens a page in this way, and waits until it and its style sheets are loaded.
    pub async fn open(&mut self, url: &str, look: Look) -> Result<()> {
        let size = json!({"width": look.width, "height": 800, "deviceScaleFactor": 1,
            "mobile": look.width < 600});
        self.ask("Emulation.setDeviceMetricsOverride", size).await?;
        let theme = if look.dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": theme}]});
        self.ask("Emulation.setEmulatedMedia", media).await?;
        let gone = self.ask("Page.navigate", json!({"url": url})).await?;
        if let Some(error) = at(&gone, "/errorText").as_str() {
            return Err(LabError::new(format!("Chromium cannot open {url}: {error}")));
        }
        while at(&self.event().await?, "/method") != "Page.loadEventFired" {}
        Ok(())
    }

    /// Evaluates an expression in the page, whatever the page's own policy says about scripts.
    pub async fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let what = json!({"expression": expression, "returnByValue": true});
        let answer = self.ask("Runtime.evaluate", what).await?;
        match answer.get("exceptionDetails") {
            Some(failed) => Err(LabError::new(format!("the page's answer: {failed}"))),
            None => Ok(at(&answer, "/result/value").clone()),
        }
    }

    /// The whole page as a PNG.
    pub async fn picture(&mut self) -> Result<Vec<u8>> {
        let metrics = self.ask("Page.getLayoutMetrics", json!({})).await?;
        let [width, height] =
            ["/cssContentSize/width", "/cssContentSize/height"].map(|it| at(&metrics, it));
        let clip = json!({"x": 0, "y": 0, "width": width, "height": height, "scale": 1});
        let whole = json!({"captureBeyondViewport": true, "clip": clip});
        let answer = self.ask("Page.captureScreenshot", whole).await?;
        let data = at(&answer, "/data").as_str().unwrap_or_default();
        BASE64_STANDARD.decode(data).map_err(|error| LabError::new(format!("no picture: {error}")))
    }

    /// The browser's complaints about the pages so far, such as policy violations.
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    async fn ask(&mut self, method: &str, params: Value) -> Result<Value> {
        self.last += 1;
        let mut call = json!({"id": self.last, "method": method, "params": params});
        if let (Some(call), Value::String(_)) = (call.as_object_mut(), &self.session) {
            call.insert("sessionId".to_owned(), self.session.clone());
        }
        self.to.write_all(format!("{call}\0").as_bytes()).await?;
        loop {
            let answer = self.event().await?;
            if at(&answer, "/id") != self.last {
                continue;
            }
            return match answer.get("error") {
                Some(error) => Err(LabError::new(format!("Chromium refuses {method}: {error}"))),
                None => Ok(at(&answer, "/result").clone()),
            };
        }
    }

    /// The next message: an answer or an event.
    async fn event(&mut self) -> Result<Value> {
        let mut message = Vec::new();
        let read = timeout(WITHIN, self.from.read_until(0, &mut message)).await;
        read.map_err(|_| self.process.complain(&timed_out("Chromium", WITHIN).to_string()))??;
        message.pop();
        let message: Value = serde_json::from_slice(&message)
            .map_err(|error| self.process.complain(&format!("no JSON: {error}")))?;
        if at(&message, "/method") == "Log.entryAdded" {
            self.complaints.push(at(&message, "/params/entry/text").to_string());
        }
        Ok(message)
    }
}

/// The value at a JSON pointer; null if there is none.
fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}
