use super::chars::is_space;

/// The meaning of a `timer` attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// This many seconds, at least one.
    Seconds(u32),
    /// Zero, which deployed clients use for "off".
    Zero,
    /// Not a number of seconds.
    Invalid,
}

impl Timer {
    /// Reads XEP-0466's `timer`: an `xs:unsignedInt`, or a decimal as Xabber writes it, rounded up. Values
    /// above the type's maximum count as the maximum.
    pub(super) fn parse(text: &str) -> Self {
        let text = text.trim_matches(is_space);
        let text = text.strip_prefix('+').unwrap_or(text);
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let is_number = |it: &str| it.bytes().all(|b| b.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) || (whole.is_empty() && fraction.is_empty()) {
            return Self::Invalid;
        }
        let seconds = whole
            .bytes()
            .fold(0_u32, |sum, b| sum.saturating_mul(10).saturating_add(u32::from(b - b'0')));
        let more = fraction.bytes().any(|b| b != b'0');
        match seconds.saturating_add(u32::from(more)) {
            0 => Self::Zero,
            seconds => Self::Seconds(seconds),
        }
    }
}
