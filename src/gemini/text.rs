//! Small things done to text: percent-decoding, strict and lenient, and cutting.
//!
//! One invariant: whatever comes in, what comes out is UTF-8.

use std::borrow::Cow;

/// Why a path cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Undecodable {
    /// A `%` without two hexadecimal digits.
    Escape,
    /// Not UTF-8 once decoded.
    Utf8,
}

/// The byte that `%XX` at the start of this stands for.
fn escaped(text: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*text.get(at)?).to_digit(16);
    u8::try_from(digit(1)? * 16 + digit(2)?).ok()
}

/// Decodes a path. Every escape must be whole, and the result UTF-8.
pub(super) fn decode(text: &str) -> Result<Cow<'_, str>, Undecodable> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            decoded.push(escaped(rest).ok_or(Undecodable::Escape)?);
            rest = rest.get(3..).unwrap_or_default();
        } else {
            decoded.push(byte);
            rest = after;
        }
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| Undecodable::Utf8)
}

/// Decodes a name or value of a query: `+` is a space, and what is no escape stays.
pub(super) fn decode_lossy(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        match (byte, escaped(rest)) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                rest = rest.get(3..).unwrap_or_default();
                continue;
            }
            (b'+', _) => decoded.push(b' '),
            _ => decoded.push(byte),
        }
        rest = after;
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

/// At most `longest` bytes of a text, cut between characters.
pub(super) fn cut(text: &str, longest: usize) -> String {
    let end = (0..=longest.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
}
