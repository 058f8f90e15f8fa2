//! Looks at the beginning of a stream of status 200: is its first event an error?
//!
//! As long as nothing went to the client another key may answer instead. One invariant:
//! it asks for more only while what is there could still be an error.

use super::{Framing, LONGEST_ERROR, LONGEST_WORD, error_object, error_value, frame::Frames};
use crate::gemini::json::{Member, Visit};

/// What the beginning of a stream shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peek {
    /// It cannot be told yet.
    More,
    /// An answer, or nothing that could be told from one.
    Answer,
    /// An error, as `{"error":…}`. It is cut where the stream was.
    Error(Vec<u8>),
}

/// Looks at the beginning of a stream, decoded; `ended`: there is no more of it.
///
/// At most 64 KiB are needed to tell. Of nothing at all nothing can be told, even at the
/// end: the caller knows what an empty answer is.
#[must_use]
pub fn peek(head: &[u8], framing: Framing, ended: bool) -> Peek {
    if matches!(framing, Framing::Json | Framing::Opaque) {
        return Peek::Answer;
    }
    let mut frames = Frames::new(framing, First::default());
    frames.feed(head);
    let cut = frames.partial().and_then(|(tag, raw)| matches!(tag, Tag::Error).then(|| error_object(raw)));
    let nothing = frames.over();
    match std::mem::take(&mut frames.visitor_mut().found) {
        Some(found) => found,
        None if head.is_empty() => Peek::More,
        None if nothing => Peek::Answer,
        None if ended || head.len() > LONGEST_ERROR => cut.map_or(Peek::Answer, Peek::Error),
        None => Peek::More,
    }
}

/// Decides by the first members of the first document.
#[derive(Debug, Default)]
struct First {
    found: Option<Peek>,
    /// It says that it is an error (interactions), and the error is to come.
    announced: bool,
}

#[derive(Clone, Copy, Debug)]
enum Tag {
    EventType,
    Error,
}

impl Visit for First {
    type Level = ();
    type Tag = Tag;

    fn member(&mut self, (): (), name: &str) -> Member<(), Tag> {
        match name {
            _ if self.found.is_some() => {}
            "error" => return Member::Take { tag: Tag::Error, limit: LONGEST_ERROR },
            "event_type" => return Member::Take { tag: Tag::EventType, limit: LONGEST_WORD },
            _ if self.announced => {}
            _ => self.found = Some(Peek::Answer),
        }
        Member::Skip
    }

    fn value(&mut self, tag: Tag, raw: Option<&[u8]>) {
        if self.found.is_some() {
            return;
        }
        match tag {
            Tag::EventType if raw == Some(b"\"error\"") => self.announced = true,
            Tag::EventType => self.found = Some(Peek::Answer),
            Tag::Error => self.found = Some(error_value(raw).map_or(Peek::Answer, Peek::Error)),
        }
    }
}
