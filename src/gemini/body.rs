//! What a request's body says about itself: its model, and whether it wants a stream.
//!
//! Owns the reading of those members where the path does not tell. Refuses to parse,
//! keep or change the body: it watches the bytes go by. One invariant: it says what a JSON
//! parser would say of the whole body (of two members with one name, the last).

#[cfg(test)]
mod tests;

use super::json::{Member, Visit, Walk};

/// Longest model name, in bytes.
const LONGEST_MODEL: usize = 128;

/// Watches a body go by.
#[derive(Debug)]
pub struct Scan {
    walk: Walk<Fields>,
    /// It is no object, so it has no members.
    other: bool,
}

#[derive(Debug, Default)]
struct Fields {
    model: Option<String>,
    stream: Option<bool>,
}

#[derive(Clone, Copy, Debug)]
enum Field {
    Model,
    Stream,
}

impl Visit for Fields {
    type Level = ();
    type Tag = Field;

    fn member(&mut self, (): (), name: &str) -> Member<(), Field> {
        match name {
            "model" => {
                self.model = None;
                // Each of its bytes may be written as six: `\u0061`. And two quotes.
                Member::Take { tag: Field::Model, limit: 6 * LONGEST_MODEL + 2 }
            }
            "stream" => {
                self.stream = None;
                Member::Take { tag: Field::Stream, limit: 8 }
            }
            _ => Member::Skip,
        }
    }

    fn value(&mut self, field: Field, raw: Option<&[u8]>) {
        let Some(raw) = raw else { return };
        match field {
            Field::Model => {
                let model = serde_json::from_slice::<String>(raw).ok();
                self.model = model.filter(|model| model.len() <= LONGEST_MODEL);
            }
            Field::Stream => self.stream = serde_json::from_slice(raw).ok(),
        }
    }
}

impl Default for Scan {
    fn default() -> Self {
        Self::new()
    }
}

impl Scan {
    /// Before the first byte.
    #[must_use]
    pub fn new() -> Self {
        Self { walk: Walk::new(Fields::default()), other: false }
    }

    /// Goes on by a chunk.
    pub fn feed(&mut self, chunk: &[u8]) {
        if self.walk.fresh() {
            self.other |= chunk.trim_ascii_start().first().is_some_and(|first| *first != b'{');
        }
        if !self.other {
            self.walk.feed(chunk);
        }
    }

    /// The member `model` of what has gone by, without `models/`; none where there is
    /// none, or it is no text, or longer than 128 bytes.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        let model = self.walk.visitor().model.as_deref()?;
        Some(model.strip_prefix("models/").unwrap_or(model))
    }

    /// The member `stream` of what has gone by.
    #[must_use]
    pub fn stream(&self) -> Option<bool> {
        self.walk.visitor().stream
    }

    /// Nothing that comes can change the answers.
    #[must_use]
    pub fn done(&self) -> bool {
        self.other || self.walk.over()
    }
}
