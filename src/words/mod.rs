//! Words for users, in their language: Fluent messages, one file for each language. What is for operators is in English.
//!
//! Texts are chosen by `xml:lang`. A message is named in [`Message`] with its variables; a test compares that with all files.

mod message;
mod moment;

use std::sync::LazyLock;

use fluent_bundle::{FluentArgs, FluentResource, FluentValue, concurrent::FluentBundle};

pub use message::Message;
pub use moment::{duration, moment};

/// A language that we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Language {
    /// Also for everybody whose language we do not speak.
    #[default]
    English,
    /// Deutsch.
    German,
    /// Français.
    French,
    /// Español.
    Spanish,
    /// Русский.
    Russian,
}

impl Language {
    /// All languages.
    pub const ALL: [Self; 5] =
        [Self::English, Self::German, Self::French, Self::Spanish, Self::Russian];

    /// The tag for `xml:lang` (BCP 47).
    pub const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
            Self::French => "fr",
            Self::Spanish => "es",
            Self::Russian => "ru",
        }
    }

    /// The language of this tag: only its first part counts, so that `de-AT` is German. English if we do not speak it.
    pub fn of(tag: Option<&str>) -> Self {
        let base = tag.and_then(|tag| tag.split(['-', '_']).next()).unwrap_or_default();
        let is_it = |it: &Self| it.tag().eq_ignore_ascii_case(base);
        Self::ALL.into_iter().find(is_it).unwrap_or_default()
    }

    const fn source(self) -> &'static str {
        match self {
            Self::English => include_str!("en.ftl"),
            Self::German => include_str!("de.ftl"),
            Self::French => include_str!("fr.ftl"),
            Self::Spanish => include_str!("es.ftl"),
            Self::Russian => include_str!("ru.ftl"),
        }
    }
}

type Bundle = FluentBundle<FluentResource>;

/// In the order of [`Language::ALL`].
static BUNDLES: LazyLock<[Bundle; 5]> = LazyLock::new(|| Language::ALL.map(bundle));

fn bundle(language: Language) -> Bundle {
    // A test reads all files, so none of them has a fault.
    let resource = FluentResource::try_new(language.source().to_owned()).unwrap_or_else(|it| it.0);
    let mut bundle = Bundle::new_concurrent(language.tag().parse().into_iter().collect());
    // The marks that isolate values are for mixed writing directions; clients show them as boxes.
    bundle.set_use_isolating(false);
    bundle.add_resource_overriding(resource);
    bundle
}

/// A message in this language, with the values of its variables.
pub fn say<'a>(
    language: Language,
    message: Message,
    values: &[(&'a str, FluentValue<'a>)],
) -> String {
    said(language, message, values).0
}

/// The same, and whether nothing was missing.
fn said<'a>(
    language: Language,
    message: Message,
    values: &[(&'a str, FluentValue<'a>)],
) -> (String, bool) {
    let bundle = BUNDLES.get(language as usize);
    let pattern = bundle.and_then(|it| it.get_message(message.id())?.value());
    let (Some(bundle), Some(pattern)) = (bundle, pattern) else {
        return (message.id().to_owned(), false);
    };
    let args: FluentArgs<'_> = values.iter().map(|(name, value)| (*name, value.clone())).collect();
    let mut faults = Vec::new();
    let text = bundle.format_pattern(pattern, Some(&args), &mut faults);
    (text.into_owned(), faults.is_empty())
}

#[cfg(test)]
mod tests;
