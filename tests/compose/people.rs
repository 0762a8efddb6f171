//! People who use the server from outside over TLS, and whether their messages vanish.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use ephemerd_lab::xmpp::{Client, MamQuery};
use ephemerd_lab::{Endpoints, Result, eventually};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::clone::DOMAIN;
use crate::engine::{Engine, OUTSIDE};

/// Long, because everything else on a small machine starts at the same time.
pub(crate) const WITHIN: Duration = Duration::from_secs(120);

pub(crate) const PASSWORD: &str = "a-password";

/// Accepts connections here and forwards each, through STARTTLS, to the server's published port as seen from
/// outside. The certificate must be the server's own, and for its domain.
async fn tunnel(engine: &Engine, certificate: &str) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let mut openssl = Command::from(engine.inside("openssl"));
    openssl.args(["s_client", "-quiet", "-starttls", "xmpp", "-xmpphost", DOMAIN]);
    openssl.args(["-connect", &format!("{OUTSIDE}:5222"), "-CAfile", certificate]);
    openssl.args(["-verify_return_error", "-verify_hostname", DOMAIN]);
    openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    tokio::spawn(async move {
        if let Ok((mut socket, _)) = listener.accept().await
            && let Ok(mut child) = openssl.spawn()
            && let (Some(mut to), Some(mut from)) = (child.stdin.take(), child.stdout.take())
        {
            let (mut read, mut write) = socket.split();
            tokio::select! {
                _ = tokio::io::copy(&mut read, &mut to) => {}
                _ = tokio::io::copy(&mut from, &mut write) => {}
            }
        }
    });
    Ok(address)
}

/// Logs in as soon as the server accepts it.
pub(crate) async fn login(engine: &Engine, certificate: &str, user: &str) -> Result<Client> {
    eventually(&format!("{user} to log in"), WITHIN, async || {
        let clients = tunnel(engine, certificate).await?;
        let server = Endpoints {
            domain: DOMAIN.to_owned(),
            rooms: format!("conference.{DOMAIN}"),
            clients,
            components: clients,
            component_jid: String::new(),
            component_secret: String::new(),
            other_component: String::new(),
            password: PASSWORD.to_owned(),
        };
        Ok(Client::login(&server, user, "phone").await.ok())
    })
    .await
}

/// The bodies in somebody's own archive.
pub(crate) async fn bodies(client: &mut Client) -> Result<Vec<String>> {
    let items = client.query_all(&MamQuery::default()).await?;
    Ok(items.iter().filter_map(|it| it.body()).map(str::to_owned).collect())
}

/// Alice writes to Bob, who is online: one message that stays and one for two seconds.
pub(crate) async fn talk(engine: &Engine, certificate: &str, about: &str) -> Result<()> {
    let mut alice = login(engine, certificate, "alice").await?;
    let mut bob = login(engine, certificate, "bob").await?;
    bob.send_presence().await?;
    bob.sync().await?;
    let (stays, goes) = (format!("{about} stays"), format!("{about} goes"));
    let to = format!("bob@{DOMAIN}");
    alice.chat(&to, &stays, "").await?;
    alice.chat(&to, &goes, "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='2'/>").await?;
    bob.wait_for_body(&goes).await?;
    eventually(&format!("{goes:?} to be gone"), WITHIN, async || {
        let left = bodies(&mut bob).await?;
        assert!(left.contains(&stays), "{left:?}");
        Ok((!left.contains(&goes)).then_some(()))
    })
    .await
}
