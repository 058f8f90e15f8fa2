//! Pages of lists: `limit` and `cursor`.
//!
//! Owns how a position is written into a cursor and read back. Refuses offsets: a cursor names the last thing
//! that was shown, so a page goes on behind it whatever was added or removed meanwhile.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Serialize, de::DeserializeOwned};

use super::problem::{Code, Problem};

/// Longest cursor looked at, in bytes.
const LONGEST: usize = 2_048;

/// Things on a page where nobody said.
pub(super) fn default_limit() -> u32 {
    100
}

/// A position, for `next`; `list` names what it is a position in.
pub(super) fn cursor(list: &str, position: &impl Serialize) -> String {
    let text = serde_json::to_vec(&(list, position)).unwrap_or_default();
    BASE64_URL_SAFE_NO_PAD.encode(text)
}

/// The position that a cursor for `list` names.
pub(super) fn position<P: DeserializeOwned>(list: &str, cursor: Option<&str>) -> Result<Option<P>, Problem> {
    let Some(cursor) = cursor.filter(|cursor| !cursor.is_empty()) else { return Ok(None) };
    let read = || {
        let text = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (of, position) = serde_json::from_slice::<(String, P)>(&text).ok()?;
        (of == list).then_some(position)
    };
    match read().filter(|_| cursor.len() <= LONGEST) {
        Some(position) => Ok(Some(position)),
        None => Err(Problem::of(
            Code::BadCursor,
            "`cursor` wants what `next` of an answer of this list said, with the same order; without one, the list \
             begins anew",
        )),
    }
}

/// Takes at most `limit` things; gives them, and the last of them where more follow.
pub(super) fn take<T>(things: impl Iterator<Item = T>, limit: u32) -> (Vec<T>, bool) {
    let limit = limit as usize;
    let mut taken: Vec<T> = things.take(limit + 1).collect();
    let more = taken.len() > limit;
    taken.truncate(limit);
    (taken, more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_and_that_of_another_list_does_not() {
        let cursor = cursor("keys", &("label", 7u32));
        assert_eq!(position("keys", Some(&cursor)), Ok(Some(("label".to_owned(), 7u32))));
        assert_eq!(position::<u32>("keys", None), Ok(None));
        assert!(position::<(String, u32)>("models", Some(&cursor)).is_err());
        assert_eq!(position::<u32>("keys", Some("")), Ok(None), "as if nothing was said");
        for text in ["!", "bnVsbA", "\0"] {
            assert!(position::<u32>("keys", Some(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn the_last_page_says_so() {
        assert_eq!(take([1, 2, 3].into_iter(), 2), (vec![1, 2], true));
        assert_eq!(take([1, 2].into_iter(), 2), (vec![1, 2], false));
    }
}
