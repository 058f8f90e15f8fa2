//! Changes made against what their asker saw: `ETag` and `If-Match`.
//!
//! A thing's revision is the sequence number of the last control event that changed it. Owns how revisions are
//! written in headers. Refuses to compare them: the rules do, against the newest state.

use projections::Seq;

use super::problem::{Code, Problem};

/// What an `If-Match` header asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IfMatch(pub(super) Option<Seq>);

impl IfMatch {
    /// Reads the header; without one, and with `*`, any revision is fine.
    pub(super) fn parse(header: Option<&str>) -> Result<Self, Problem> {
        let Some(text) = header.map(str::trim).filter(|text| *text != "*") else { return Ok(Self(None)) };
        let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let digits = quoted.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        match digits.and_then(|digits| digits.parse().ok()) {
            Some(seq) => Ok(Self(Some(seq))),
            None => Err(Problem::of(
                Code::BadParameter,
                "`If-Match` wants an ETag as an answer gave it, such as \"12\" with its quotes, or *",
            )),
        }
    }
}

/// A revision, as the header says it.
pub(super) fn etag(revision: Seq) -> String {
    format!("\"{revision}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_gave_is_read_back_and_nothing_else() {
        assert_eq!(IfMatch::parse(Some(&etag(12))), Ok(IfMatch(Some(12))));
        assert_eq!(IfMatch::parse(None), Ok(IfMatch(None)));
        assert_eq!(IfMatch::parse(Some(" * ")), Ok(IfMatch(None)));
        for text in
            ["12", "\"\"", "\"+1\"", "\"x\"", "W/\"12\"", "\"1\", \"2\"", "\"99999999999999999999\"", ""]
        {
            assert!(IfMatch::parse(Some(text)).is_err(), "{text}");
        }
    }
}
