//! The same messages as in `sent`, through a real ejabberd: the second table of docs/semantics.md.

use ephemerd_lab::ejabberd::EjabberdConfig;
use ephemerd_lab::{Lab, Result};

use crate::sent::{Talk, see_documented};
use crate::sent_watch::Watch;

/// Rows of archives are deleted; in the queue, whose order must not change, placeholders take their place.
#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_sent_through_ejabberd_goes_or_stays_as_documented() -> Result<()> {
    let lab = Lab::ejabberd(&EjabberdConfig::default()).await?;
    let watch = Watch::ejabberd(lab.database.superuser());
    let mut talk = Talk::begin(lab).await?;
    let _daemon = talk.daemon().await?;
    talk.say_all().await?;
    talk.outlast().await?;
    see_documented("sent, with ejabberd", &watch, &["offline"]);
    Ok(())
}
