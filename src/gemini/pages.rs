//! Pages of a list, put one behind the other over several projects.
//!
//! Owns the pool's page token (a project and Google's own token for it) and its place in a query and in an
//! answer. Refuses to touch anything else: the bytes of a page stay Google's but for `nextPageToken`. One
//! invariant: a token leads back to the very place it was made for.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::value::RawValue;

use super::text::decode_lossy;

/// What the pool's own tokens begin with.
const MARK: &str = "gp1.";
const NEXT: &str = "nextPageToken";

/// Where a list goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The project whose turn it is.
    pub project: String,
    /// Google's token for it; empty: its first page.
    pub inner: String,
}

impl Token {
    /// Reads a token; none where it is none of the pool's.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let (project, inner) = text.strip_prefix(MARK)?.split_once('.')?;
        let bytes: Option<Vec<u8>> = (0..project.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(project.get(at..at + 2)?, 16).ok())
            .collect();
        let project = String::from_utf8(bytes?).ok().filter(|project| !project.is_empty())?;
        Some(Self { project, inner: inner.to_owned() })
    }

    /// Writes it.
    #[must_use]
    pub fn write(&self) -> String {
        let project: String = self.project.bytes().map(|byte| format!("{byte:02x}")).collect();
        format!("{MARK}{project}.{}", self.inner)
    }
}

fn is_token(pair: &str) -> bool {
    let name = pair.split('=').next().unwrap_or(pair);
    matches!(decode_lossy(name).as_ref(), "pageToken" | "page_token")
}

/// The page token in a query, decoded; none where there is none, or an empty one.
#[must_use]
pub fn token_in(query: &str) -> Option<String> {
    let pair = query.split('&').rfind(|pair| is_token(pair))?;
    let value = pair.split_once('=').map(|(_, value)| decode_lossy(value).into_owned());
    value.filter(|value| !value.is_empty())
}

/// The query with another page token, or none where that is empty.
#[must_use]
pub fn with_token(query: &str, token: &str) -> String {
    let mut kept: Vec<Cow<'_, str>> =
        query.split('&').filter(|pair| !pair.is_empty() && !is_token(pair)).map(Cow::Borrowed).collect();
    if !token.is_empty() {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
        let encode = |byte: u8| {
            if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
        };
        kept.push(Cow::Owned(format!("pageToken={}", token.bytes().map(encode).collect::<String>())));
    }
    kept.join("&")
}

/// The query asks for another form of answer than a whole one as JSON, so that a page cannot be read.
#[must_use]
pub fn is_odd(query: &str) -> bool {
    query.split('&').any(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode_lossy(name);
        match name.strip_prefix('$').unwrap_or(&name) {
            "fields" | "callback" => true,
            "alt" => !decode_lossy(value).eq_ignore_ascii_case("json"),
            _ => false,
        }
    })
}

/// A page, read.
#[derive(Debug)]
pub struct Page<'a> {
    body: &'a [u8],
    members: BTreeMap<Cow<'a, str>, &'a RawValue>,
}

impl<'a> Page<'a> {
    /// Reads a page; none where it is no JSON object.
    #[must_use]
    pub fn read(body: &'a [u8]) -> Option<Self> {
        Some(Self { body, members: serde_json::from_slice(body).ok()? })
    }

    /// No list in it has an entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let filled = |value: &RawValue| {
            let inside = value.get().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            inside.is_some_and(|inside| !inside.trim().is_empty())
        };
        !self.members.values().any(|value| filled(value))
    }

    /// Google's token for the next page, where there is one.
    #[must_use]
    pub fn next(&self) -> Option<String> {
        let next = serde_json::from_str::<String>(self.members.get(NEXT)?.get()).ok();
        next.filter(|next| !next.is_empty())
    }

    /// The page with another token.
    #[must_use]
    pub fn leading_to(&self, token: &Token) -> Vec<u8> {
        let text = serde_json::Value::String(token.write()).to_string();
        let (before, between, after) = match self.members.get(NEXT) {
            Some(old) => {
                let old = old.get();
                let start = (old.as_ptr() as usize).saturating_sub(self.body.as_ptr() as usize);
                (self.body.get(..start), String::new(), self.body.get(start + old.len()..))
            }
            None => {
                let end = self.body.iter().rposition(|byte| *byte == b'}').unwrap_or(self.body.len());
                let comma = if self.members.is_empty() { "" } else { "," };
                (self.body.get(..end), format!("{comma}\"{NEXT}\": "), self.body.get(end..))
            }
        };
        [before.unwrap_or_default(), between.as_bytes(), text.as_bytes(), after.unwrap_or_default()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token { project: "王-alpha.1".to_owned(), inner: "page-2.\"x\"/+=".to_owned() }
    }

    #[test]
    fn a_token_leads_back_to_its_place() {
        assert_eq!(Token::read(&token().write()), Some(token()));
        let query = with_token("pageSize=2&page_token=old", &token().write());
        assert!(query.starts_with("pageSize=2&pageToken=gp1."), "{query}");
        assert_eq!(Token::read(&token_in(&query).unwrap()), Some(token()));
        assert_eq!(with_token("pageToken=x&a=b", ""), "a=b");
        for foreign in ["", "page-2", "gp1.", "gp1..x", "gp1.zz.x", "gp1.ff.x", "gp1.61", "gp1.é1.x"] {
            assert_eq!(Token::read(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn only_the_token_of_a_page_changes() {
        let body = br#" {"files": [ {"nextPageToken": "no"} ], "nextPageToken" : "page-1" , "x": 1 } "#;
        let page = Page::read(body).unwrap();
        assert_eq!((page.next().as_deref(), page.is_empty()), (Some("page-1"), false));
        let written = String::from_utf8(page.leading_to(&token())).unwrap();
        let theirs = String::from_utf8(body.to_vec()).unwrap();
        let wanted = serde_json::Value::String(token().write()).to_string();
        assert_eq!(written, theirs.replace("\"page-1\"", &wanted));
    }

    #[test]
    fn a_last_page_gets_a_token_where_another_project_follows() {
        let body = b"{\n  \"files\": [{}]\n}\n";
        let written = Page::read(body).unwrap().leading_to(&token());
        let page = Page::read(&written).unwrap();
        assert_eq!(Token::read(&page.next().unwrap()), Some(token()));
        assert!(written.starts_with(b"{\n  \"files\": [{}]\n"));
        assert_eq!(
            Page::read(b"{}").unwrap().leading_to(&Token { inner: String::new(), ..token() })[0],
            b'{'
        );
    }

    #[test]
    fn empty_pages_and_no_pages_are_told() {
        for empty in ["{}", "{\"files\": []}", "{\"files\": [ \n ], \"x\": 1}", "{\"nextPageToken\": \"a\"}"]
        {
            assert!(Page::read(empty.as_bytes()).unwrap().is_empty(), "{empty}");
        }
        assert!(Page::read(b"[]").is_none() && Page::read(b"no").is_none());
    }

    #[test]
    fn what_asks_for_another_form_is_odd() {
        for odd in ["fields=files", "$fields=files", "a=b&alt=media", "%24alt=proto", "callback=f"] {
            assert!(is_odd(odd), "{odd}");
        }
        assert!(!is_odd("pageSize=3&alt=json&$prettyPrint=false"));
    }
}
