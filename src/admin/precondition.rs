//! `ETag` and `If-Match`: nobody overwrites what somebody else changed meanwhile.
//!
//! A thing's revision is the event that changed it last. Comparing is the rules' work; here is only the wording.

use projections::Seq;

use super::problem::Problem;

/// What an `If-Match` header wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IfMatch(Option<Seq>);

impl IfMatch {
    /// Reads the header; without one, and with `*`, any revision will do.
    pub(super) fn read(header: Option<&str>) -> Result<Self, Problem> {
        let Some(text) = header.map(str::trim).filter(|text| *text != "*") else { return Ok(Self(None)) };
        let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        let seq = quoted.and_then(|digits| digits.parse().ok());
        seq.map(|seq| Self(Some(seq))).ok_or_else(|| {
            Problem::bad_request("`If-Match` wants one ETag as this API gives them, such as \"17\"")
        })
    }

    /// The revision that was seen; none: it does not matter.
    pub(super) fn seen(self) -> Option<Seq> {
        self.0
    }
}

/// A revision, as an ETag.
pub(super) fn etag(revision: Seq) -> String {
    format!("\"{revision}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_comes_back_as_it_went_and_all_else_is_refused() {
        assert_eq!(IfMatch::read(Some(&etag(17))).unwrap().seen(), Some(17));
        assert_eq!(IfMatch::read(None).unwrap().seen(), None);
        assert_eq!(IfMatch::read(Some(" * ")).unwrap().seen(), None);
        for bad in ["17", "W/\"17\"", "\"17\", \"18\"", "\"\"", "\"x\"", "\""] {
            assert!(IfMatch::read(Some(bad)).is_err(), "{bad}");
        }
    }
}
