//! Why a connection failed or ended, and what to do about it.

use std::io;

use xmpp_parsers::stream_error::DefinedCondition;

use crate::model::Finding;

/// Why a connection failed or ended. Never names a JID or a secret.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(super) enum Failure {
    #[error("the XMPP server cannot be reached: {0}")]
    Unreachable(String),
    #[error("the XMPP server did not answer in time")]
    TimedOut,
    #[error("the XMPP server has no component with our name")]
    HostUnknown,
    #[error("the XMPP server refused our secret")]
    WrongSecret,
    #[error("another connection uses our name")]
    Conflict,
    #[error("the XMPP server refused the stream: {0}")]
    Refused(DefinedCondition),
    #[error("what answers is not an XMPP server's component port")]
    NotComponentPort,
    #[error("what the XMPP server sent cannot be read: {0}")]
    NotXml(#[from] NotXml),
    #[error("the XMPP server closed the stream")]
    Closed,
    #[error("the connection to the XMPP server broke: {0}")]
    Broken(io::ErrorKind),
    #[error("the XMPP server stopped answering")]
    Silent,
    #[error("the XMPP server has stopped reading what we send")]
    Stalled,
}

/// Why bytes are not an XMPP stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotXml {
    #[error("it is not well-formed XML")]
    IllFormed,
    #[error("it has comments, processing instructions or a document type")]
    Restricted,
    #[error("its stream header is too long")]
    LongHeader,
}

impl Failure {
    /// What a stream error (RFC 6120, 4.9.3) means for a component.
    pub(super) fn from_stream_error(condition: Option<DefinedCondition>) -> Self {
        match condition {
            Some(DefinedCondition::HostUnknown) => Self::HostUnknown,
            Some(DefinedCondition::NotAuthorized) => Self::WrongSecret,
            Some(DefinedCondition::Conflict) => Self::Conflict,
            Some(DefinedCondition::InvalidNamespace) => Self::NotComponentPort,
            Some(other) => Self::Refused(other),
            None => Self::Refused(DefinedCondition::UndefinedCondition),
        }
    }

    /// The operator must change something; retrying does not help.
    pub(super) fn needs_the_operator(&self) -> bool {
        matches!(self, Self::WrongSecret | Self::HostUnknown | Self::NotComponentPort)
    }

    /// What the operator can do, in one sentence.
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => {
                "check that component.server is right and that the XMPP server listens there for components"
            }
            Self::TimedOut => {
                "check that component.server is the XMPP server's component port and that no firewall is in between"
            }
            Self::HostUnknown => {
                "name component.jid as an external component in the XMPP server's configuration, and set component.server to its port for components"
            }
            // ejabberd says the same about a name that it does not know.
            Self::WrongSecret => {
                "compare component.jid and component.secret with the component's name and secret in the XMPP server's configuration"
            }
            Self::Conflict => {
                "nothing, if that is the daemon running; otherwise stop whatever else connects under this name"
            }
            Self::NotComponentPort => {
                "set component.server to the port for components (usually 5347), not the one for clients or servers"
            }
            Self::Refused(_) | Self::NotXml(_) => "see the XMPP server's log for the reason",
            Self::Closed | Self::Broken(_) | Self::Silent | Self::Stalled => {
                "see the XMPP server's log; it may be restarting"
            }
        }
    }

    /// The line of `check`.
    pub(super) fn finding(&self) -> Finding {
        let what = format!("component: {self}");
        match self {
            Self::Conflict => Finding::warning(what, self.remedy()),
            _ => Finding::problem(what, self.remedy()),
        }
    }
}
