//! The payloads of ad-hoc commands (XEP-0050), with data forms (XEP-0004) inside.

use xmpp_parsers::ns;
use xso::{AsXml, FromXml};

/// The namespace of commands, which is also the node that lists them.
pub(in crate::component) const COMMANDS: &str = "http://jabber.org/protocol/commands";

/// A request, as a client writes it.
#[derive(Debug, PartialEq, FromXml)]
#[xml(
    namespace = COMMANDS,
    name = "command",
    on_unknown_attribute = Discard,
    on_unknown_child = Discard
)]
pub(in crate::component) struct Command {
    #[xml(attribute(default))]
    pub(super) node: Option<String>,
    #[xml(attribute(default))]
    pub(super) action: Option<String>,
    #[xml(attribute(name = "sessionid", default))]
    pub(super) session: Option<String>,
    #[xml(attribute(name = "xml:lang", default))]
    language: Option<String>,
    #[xml(child(n = ..))]
    forms: Vec<Filled>,
}

/// A form that was filled in.
#[derive(Debug, PartialEq, FromXml)]
#[xml(
    namespace = ns::DATA_FORMS,
    name = "x",
    on_unknown_attribute = Discard,
    on_unknown_child = Discard
)]
struct Filled {
    #[xml(attribute(name = "type", default))]
    kind: Option<String>,
    #[xml(child(n = ..))]
    fields: Vec<FilledField>,
}

#[derive(Debug, PartialEq, FromXml)]
#[xml(
    namespace = ns::DATA_FORMS,
    name = "field",
    on_unknown_attribute = Discard,
    on_unknown_child = Discard
)]
struct FilledField {
    #[xml(attribute(default))]
    var: Option<String>,
    #[xml(extract(n = .., name = "value", fields(text(type_ = String))))]
    values: Vec<String>,
}

/// A form does not say what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadPayload;

impl Command {
    /// The language that it asks for.
    pub(in crate::component) fn language(&self) -> Option<&str> {
        self.language.as_deref()
    }

    /// The one value of a field; `None` if the form does not have it, or if there is no form.
    pub(super) fn value(&self, var: &str) -> Result<Option<&str>, BadPayload> {
        let form = match self.forms.as_slice() {
            [] => return Ok(None),
            [form] if form.kind.as_deref() == Some("submit") => form,
            _ => return Err(BadPayload),
        };
        let mut fields = form.fields.iter().filter(|it| it.var.as_deref() == Some(var));
        match (fields.next().map(|it| it.values.as_slice()), fields.next()) {
            (None | Some([]), None) => Ok(None),
            (Some([value]), None) => Ok(Some(value)),
            _ => Err(BadPayload),
        }
    }
}

/// An answer.
#[derive(Debug, AsXml)]
#[xml(namespace = COMMANDS, name = "command")]
pub(in crate::component) struct Reply {
    #[xml(attribute)]
    pub(super) node: &'static str,
    #[xml(attribute(name = "sessionid"))]
    pub(super) session: String,
    #[xml(attribute)]
    pub(super) status: &'static str,
    #[xml(attribute = "xml:lang")]
    pub(super) language: &'static str,
    #[xml(child)]
    pub(super) actions: Option<Actions>,
    #[xml(child)]
    pub(super) form: Option<Form>,
}

/// A form that is to be filled in, or that shows something. xmpp-parsers' own leaves out a field's type if it is the usual
/// one, and then Profanity shows no value.
#[derive(Debug, AsXml)]
#[xml(namespace = ns::DATA_FORMS, name = "x")]
pub(super) struct Form {
    #[xml(attribute = "type")]
    pub(super) kind: &'static str,
    #[xml(extract(fields(text(type_ = String))))]
    pub(super) title: String,
    #[xml(extract(fields(text(type_ = String))))]
    pub(super) instructions: Option<String>,
    #[xml(child(n = ..))]
    pub(super) fields: Vec<Field>,
}

/// A field of a form, in the order of XEP-0004's schema.
#[derive(Debug, AsXml)]
#[xml(namespace = ns::DATA_FORMS, name = "field")]
pub(super) struct Field {
    #[xml(attribute)]
    pub(super) var: String,
    #[xml(attribute = "type")]
    pub(super) kind: &'static str,
    #[xml(attribute)]
    pub(super) label: Option<String>,
    #[xml(flag)]
    pub(super) required: bool,
    #[xml(extract(fields(text(type_ = String))))]
    pub(super) value: Option<String>,
    #[xml(child(n = ..))]
    pub(super) options: Vec<Choice>,
}

/// What a user may choose.
#[derive(Debug, AsXml)]
#[xml(namespace = ns::DATA_FORMS, name = "option")]
pub(super) struct Choice {
    #[xml(attribute)]
    pub(super) label: String,
    #[xml(extract(fields(text(type_ = String))))]
    pub(super) value: String,
}

/// What may follow.
#[derive(Debug, AsXml)]
#[xml(namespace = COMMANDS, name = "actions")]
pub(super) struct Actions {
    /// What `execute` means.
    #[xml(attribute)]
    execute: &'static str,
    #[xml(flag)]
    prev: bool,
    #[xml(flag)]
    next: bool,
    #[xml(flag)]
    complete: bool,
}

impl Actions {
    /// At the first stage of several.
    pub(super) const fn first() -> Self {
        Self { execute: "complete", prev: false, next: true, complete: true }
    }

    /// At the first stage of several, none of which may be left out.
    pub(super) const fn only_next() -> Self {
        Self { execute: "next", prev: false, next: true, complete: false }
    }

    /// At a stage between others, none of which may be left out.
    pub(super) const fn only_back_and_next() -> Self {
        Self { execute: "next", prev: true, next: true, complete: false }
    }

    /// At the last stage of several.
    pub(super) const fn last() -> Self {
        Self { execute: "complete", prev: true, next: false, complete: true }
    }
}

/// What is wrong with a request, as XEP-0050, 3.5, names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, AsXml)]
#[xml(namespace = COMMANDS, exhaustive)]
pub(in crate::component) enum Fault {
    #[xml(name = "malformed-action")]
    MalformedAction,
    #[xml(name = "bad-action")]
    BadAction,
    #[xml(name = "bad-payload")]
    BadPayload,
    #[xml(name = "bad-sessionid")]
    BadSession,
    #[xml(name = "session-expired")]
    SessionExpired,
}

/// What a client asks to happen. `None` if there is no such action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// The default of the stage; at first, to begin.
    Execute,
    Next,
    Prev,
    Complete,
    Cancel,
}

impl Action {
    pub(super) fn of(name: Option<&str>) -> Option<Self> {
        Some(match name {
            None | Some("execute") => Self::Execute,
            Some("next") => Self::Next,
            Some("prev") => Self::Prev,
            Some("complete") => Self::Complete,
            Some("cancel") => Self::Cancel,
            Some(_) => return None,
        })
    }
}
