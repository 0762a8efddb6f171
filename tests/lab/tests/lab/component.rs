//! A component on the real servers.

use ephemerd_lab::ejabberd::EjabberdConfig;
use ephemerd_lab::prosody::Storage;
use ephemerd_lab::xmpp::{Client, Component};
use ephemerd_lab::{Endpoints, Lab, PATIENCE, Prosody, ProsodyConfig, Result, Server as _};

#[tokio::test(flavor = "multi_thread")]
async fn a_component_speaks_through_prosody() -> Result<()> {
    let config = ProsodyConfig { storage: Storage::Files, ..ProsodyConfig::default() };
    let prosody = Prosody::start(&config, None).await?;
    prosody.register("peter").await?;
    speak(prosody.endpoints()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_speaks_through_ejabberd() -> Result<()> {
    let lab = Lab::ejabberd(&EjabberdConfig::default()).await?;
    lab.server.register("peter").await?;
    speak(lab.endpoints()).await
}

async fn speak(server: &Endpoints) -> Result<()> {
    let mut component = Component::connect(server).await?;
    let mut other = Component::connect_as(server, &server.other_component).await?;
    component.sync(&server.domain).await?;

    let said = "<body>one</body>";
    let to = component.jid().to_owned();
    other.send(&format!("<message from='{}' to='{to}'>{said}</message>", other.jid())).await?;
    let mut peter = Client::login(server, "peter", "lab").await?;
    peter.send(&format!("<message to='{to}'><body>two</body></message>")).await?;
    for (body, from) in [("two", peter.jid()), ("one", other.jid())] {
        let heard = component.wait_for(body, PATIENCE, |it| it.body() == Some(body)).await?;
        assert_eq!(heard.attribute("from"), Some(from));
    }

    let refused = component.iq("get", &server.domain, "<x xmlns='urn:none'/>").await.unwrap_err();
    assert!(refused.condition().is_some(), "{refused}");
    component.close().await?;
    let wrong = Endpoints { component_secret: "wrong".to_owned(), ..server.clone() };
    let refused = Component::connect(&wrong).await.err().unwrap().to_string();
    assert!(refused.contains("not-authorized"), "{refused}");
    Ok(())
}
