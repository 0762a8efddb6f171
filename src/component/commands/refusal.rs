//! Refusals, in words.

use xmpp_parsers::stanza_error::{DefinedCondition, ErrorType};

use super::payload::Fault;
use crate::component::outgoing::Error;
use crate::metrics::CommandOutcome;
use crate::words::{Language, Message, say};

/// A refusal, and how it is counted.
pub(super) type Refusal = (CommandOutcome, Error);

/// Refuses in a language.
#[derive(Clone, Copy)]
pub(super) struct Refusing(pub(super) Language);

impl Refusing {
    fn error(self, kind: ErrorType, condition: DefinedCondition, text: Message) -> Error {
        Error { kind, condition, text: Some((say(self.0, text, &[]), self.0).into()), fault: None }
    }

    /// No user of a listed host.
    pub(super) fn foreign(self) -> Refusal {
        let condition = DefinedCondition::Forbidden;
        (CommandOutcome::Forbidden, self.error(ErrorType::Auth, condition, Message::ErrorForeign))
    }

    /// Somebody who asked too often.
    pub(super) fn limited(self) -> Refusal {
        let condition = DefinedCondition::PolicyViolation;
        (CommandOutcome::Limited, self.error(ErrorType::Wait, condition, Message::ErrorLimited))
    }

    /// Too much is asked at once.
    pub(super) fn busy(self) -> Refusal {
        let condition = DefinedCondition::ResourceConstraint;
        (CommandOutcome::Busy, self.error(ErrorType::Wait, condition, Message::ErrorBusy))
    }

    /// The ledger did not answer.
    pub(super) fn failed(self) -> Refusal {
        let condition = DefinedCondition::InternalServerError;
        (CommandOutcome::Failed, self.error(ErrorType::Wait, condition, Message::ErrorFailed))
    }

    /// What is wrong with the request.
    pub(super) fn fault(self, fault: Fault) -> Refusal {
        let text = match fault {
            Fault::MalformedAction | Fault::BadAction => Message::ErrorAction,
            Fault::BadPayload => Message::ErrorPayload,
            Fault::BadSession => Message::ErrorSession,
            Fault::SessionExpired => Message::ErrorExpired,
        };
        let (kind, condition) = match fault {
            Fault::SessionExpired => (ErrorType::Cancel, DefinedCondition::NotAllowed),
            _ => (ErrorType::Modify, DefinedCondition::BadRequest),
        };
        let error = Error { fault: Some(fault), ..self.error(kind, condition, text) };
        (CommandOutcome::Invalid, error)
    }

    /// A request that is not one at all, or for something that does not exist.
    pub(super) fn invalid(condition: DefinedCondition) -> Refusal {
        (CommandOutcome::Invalid, condition.into())
    }
}
