//! Whose trace a request belongs to (W3C Trace Context, `traceparent`). Pure.

use http::HeaderValue;
use projections::RequestId;

/// A trace, and the span in it that the request is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) trace: u128,
    /// The caller's span; none: the request began the trace.
    pub(super) parent: Option<u64>,
    /// Whether the caller records it.
    pub(super) sampled: bool,
}

/// Lower-case hexadecimal of exactly this length, and not all zeros.
fn number(text: &str, length: usize) -> Option<u128> {
    let hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let number = u128::from_str_radix(text, 16).ok().filter(|_| hex && text.len() == length)?;
    (number != 0).then_some(number)
}

impl Context {
    /// What a caller says; none, where it says nothing that makes sense.
    pub(super) fn of(header: &HeaderValue) -> Option<Self> {
        let mut parts = header.to_str().ok()?.trim().split('-');
        let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = version.len() == 2 && version.bytes().all(|byte| byte.is_ascii_hexdigit());
        let version = u8::from_str_radix(version, 16).ok().filter(|_| hex)?;
        // Version 0 has these four parts; later ones may have more, ff is none.
        if version == 0xff || (version == 0 && parts.next().is_some()) || flags.len() != 2 {
            return None;
        }
        Some(Self {
            trace: number(trace, 32)?,
            parent: Some(u64::try_from(number(parent, 16)?).ok()?),
            sampled: u8::from_str_radix(flags, 16).ok()? & 1 == 1,
        })
    }

    /// A request's own trace has its number.
    pub(super) fn own(request: RequestId) -> Self {
        Self { trace: request.0, parent: None, sampled: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static str) -> Option<Context> {
        Context::of(&HeaderValue::from_static(text))
    }

    #[test]
    fn what_the_standard_allows_is_read_and_all_else_is_not() {
        let trace = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
        let parent = Some(0x00f0_67aa_0ba9_02b7);
        let context = |sampled| Some(Context { trace, parent, sampled });
        for (text, expected) in [
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", context(true)),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", context(false)),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03", context(true)),
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later", context(true)),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later", None),
            ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None),
            ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", None),
            ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", None),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", None),
            ("00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01", None),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", None),
            ("+0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None),
            ("", None),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }
}
