use std::borrow::Cow;

use super::Flaw;

/// White space as defined by XML 1.0 §2.3: less than Unicode's.
pub(super) const fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// Only white space, or nothing.
pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(is_space)
}

/// A character that XML 1.0 §2.2 allows.
pub(super) const fn is_allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{fffd}' | '\u{10000}'..)
}

/// Position of the first character that XML forbids.
pub(super) fn first_forbidden(xml: &str) -> Option<usize> {
    const HIGHEST: u8 = 0xef; // first byte of U+F000 to U+FFFF
    let is_control = |b: u8| b < 0x20 && !matches!(b, b'\t' | b'\n' | b'\r');
    // Without an early exit the compiler vectorises this.
    let suspect = xml.bytes().fold(false, |seen, b| seen | is_control(b) | (b == HIGHEST));
    if !suspect {
        return None;
    }
    xml.char_indices().find(|&(_, c)| !is_allowed(c)).map(|(at, _)| at)
}

/// What a reference means; `name` is the part between `&` and `;`.
pub(super) fn referenced(name: &str) -> Result<char, Flaw> {
    let Some(number) = name.strip_prefix('#') else {
        return match name {
            "lt" => Ok('<'),
            "gt" => Ok('>'),
            "amp" => Ok('&'),
            "quot" => Ok('"'),
            "apos" => Ok('\''),
            _ => Err(Flaw::UndeclaredEntity),
        };
    };
    let (digits, radix) = match number.strip_prefix('x') {
        Some(digits) => (digits, 16),
        None => (number, 10),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Err(Flaw::Malformed);
    }
    u32::from_str_radix(digits, radix)
        .ok()
        .and_then(char::from_u32)
        .filter(|&c| is_allowed(c))
        .ok_or(Flaw::ForbiddenCharacter)
}

/// An attribute's value: references resolved, white space normalised (XML 1.0 §2.11 and §3.3.3).
pub(super) fn attribute_value(raw: &str) -> Result<Cow<'_, str>, Flaw> {
    let is_special = |b: u8| matches!(b, b'&' | b'<' | b'\t' | b'\n' | b'\r');
    if !raw.bytes().fold(false, |seen, b| seen | is_special(b)) {
        return Ok(Cow::Borrowed(raw));
    }
    let mut value = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(c) = rest.chars().next() {
        let mut after = rest.split_at(c.len_utf8()).1;
        value.push(match c {
            '<' => return Err(Flaw::Malformed),
            '&' => {
                let (name, tail) = after.split_once(';').ok_or(Flaw::Malformed)?;
                after = tail;
                referenced(name)?
            }
            '\r' => {
                after = after.strip_prefix('\n').unwrap_or(after);
                ' '
            }
            '\t' | '\n' => ' ',
            other => other,
        });
        rest = after;
    }
    Ok(Cow::Owned(value))
}

/// Escapes `value` for an attribute in single quotes, so that it reads back unchanged.
pub(super) fn push_escaped(out: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            '\t' => out.push_str("&#9;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            other => out.push(other),
        }
    }
}
