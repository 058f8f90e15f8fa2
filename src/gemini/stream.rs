//! Reads a copy of an answer as it goes by: tokens, how it finished, and errors in it.
//!
//! Owns the framings (SSE, JSON array, JSON) and what an answer says of itself. Refuses to
//! change, delay or keep the answer. One invariant: how the bytes are cut into chunks
//! makes no difference. It follows the structure of the JSON, so neither the text of a
//! model (whose quotes are escaped) nor the arguments of its function calls (which are
//! JSON themselves) can pass for Google's own count. No line is too long: one of 1.3 MB
//! has been seen.

mod frame;
mod peek;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;
use projections::event::Tokens;
use serde_json::Value;

use super::{
    json::{Member, Visit},
    scrub::{Forms, Hunt},
    target::Shape,
};
pub(super) use frame::Frames;
pub use peek::{Peek, peek};

/// How an answer is cut into JSON documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events.
    Sse,
    /// One array, an element for each chunk of the answer.
    JsonArray,
    /// One document.
    Json,
    /// Not looked into.
    Opaque,
}

impl Framing {
    /// The framing of an answer with this content type. `streamed`: the request asked for
    /// a stream.
    #[must_use]
    pub fn of(content_type: Option<&str>, shape: Shape, streamed: bool) -> Self {
        let media = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if media.eq_ignore_ascii_case("text/event-stream") {
            Self::Sse
        } else if !media.eq_ignore_ascii_case("application/json") {
            Self::Opaque
        } else if streamed && shape == Shape::Native {
            Self::JsonArray
        } else {
            Self::Json
        }
    }
}

/// What an answer said of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// The last count in it (numbers may shrink on the way); 0 where it said nothing.
    pub tokens: Tokens,
    /// Its last `finishReason`, `finish_reason`, or status of the interaction.
    pub finish_reason: Option<String>,
    /// `responseId`, or `id`.
    pub response_id: Option<String>,
    /// The first error object inside a stream, as `{"error":…}`. At most 64 KiB: of a
    /// larger one only that much is told that there was one. It may be cut.
    pub error: Option<Vec<u8>>,
    /// It ended as its framing demands: SSE with a blank line, JSON with its last bracket.
    /// (A stream that ends in a bare error has not.) Always so where nothing is looked into.
    pub whole: bool,
    /// It had not one byte.
    pub empty: bool,
}

/// Longest count that is read, in bytes of JSON.
const LONGEST_USAGE: usize = 16 * 1024;
/// Longest error that is kept, in bytes of JSON.
const LONGEST_ERROR: usize = 64 * 1024;
/// Longest finish reason or id that is kept, in bytes of JSON.
const LONGEST_WORD: usize = 256;

/// Reads a copy of an answer.
#[derive(Debug)]
pub struct Reader(Inner);

#[derive(Debug)]
enum Inner {
    Plain(Box<Frames<Answer>>),
    Gzip { decoder: Box<MultiGzDecoder<Unpacked>>, torn: bool },
}

/// What comes out of a packed answer.
#[derive(Debug)]
struct Unpacked {
    frames: Frames<Answer>,
    /// Nothing but a secret is looked for in it.
    opaque: bool,
    hunt: Option<Hunt>,
}

impl Write for Unpacked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(hunt) = &mut self.hunt {
            hunt.feed(bytes);
        }
        if !self.opaque {
            self.frames.feed(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Reader {
    /// Before the first byte. `gzip`: the bytes are compressed.
    #[must_use]
    pub fn new(framing: Framing, shape: Shape, gzip: bool) -> Self {
        let errors = matches!(framing, Framing::Sse | Framing::JsonArray);
        let frames = Frames::new(framing, Answer { shape, errors, ..Answer::default() });
        Self(if gzip {
            let unpacked = Unpacked { frames, opaque: framing == Framing::Opaque, hunt: None };
            Inner::Gzip { decoder: Box::new(MultiGzDecoder::new(unpacked)), torn: false }
        } else {
            Inner::Plain(Box::new(frames))
        })
    }

    /// Looks for a secret too, where the answer is packed: in there nobody can mask it.
    #[must_use]
    pub fn hunting(mut self, secret: &Forms) -> Self {
        if let Inner::Gzip { decoder, .. } = &mut self.0 {
            decoder.get_mut().hunt = Some(Hunt::new(secret));
        }
        self
    }

    /// Goes on by a chunk, as it came.
    pub fn feed(&mut self, chunk: &[u8]) {
        match &mut self.0 {
            Inner::Plain(frames) => frames.feed(chunk),
            // After an error nothing that comes can be decoded. Flushed, or a part of it would be seen with the next
            // chunk only.
            Inner::Gzip { decoder, torn } => {
                let unpacked = decoder.get_mut();
                if unpacked.opaque {
                    unpacked.frames.feed(chunk);
                }
                *torn = *torn || decoder.write_all(chunk).and_then(|()| decoder.flush()).is_err();
            }
        }
    }

    /// Whether the secret that it looks for has gone by.
    #[must_use]
    pub fn found(&self) -> bool {
        match &self.0 {
            Inner::Plain(_) => false,
            Inner::Gzip { decoder, .. } => decoder.get_ref().hunt.as_ref().is_some_and(Hunt::found),
        }
    }

    /// After the last byte.
    #[must_use]
    pub fn finish(self) -> Read {
        match self.0 {
            Inner::Plain(mut frames) => read(&mut frames),
            Inner::Gzip { mut decoder, torn } => {
                let torn = decoder.try_finish().is_err() || torn;
                let unpacked = decoder.get_mut();
                let read = read(&mut unpacked.frames);
                Read { whole: read.whole && (unpacked.opaque || !torn), ..read }
            }
        }
    }
}

fn read(frames: &mut Frames<Answer>) -> Read {
    let cut = match frames.partial() {
        Some((Tag::Error, raw)) => Some(error_object(raw)),
        _ => None,
    };
    let (whole, empty) = (frames.whole(), frames.empty());
    let answer = std::mem::take(frames.visitor_mut());
    Read {
        tokens: serde_json::from_slice(&answer.usage).map(|usage| tokens(&usage)).unwrap_or_default(),
        finish_reason: serde_json::from_slice(&answer.finish).ok(),
        response_id: serde_json::from_slice(&answer.id).ok(),
        error: answer.error.or(cut),
        whole,
        empty,
    }
}

/// What is wanted of an answer, raw; parsed once, at its end.
#[derive(Debug, Default)]
struct Answer {
    shape: Shape,
    /// A member `error` is one. (In a single document it is part of an operation that
    /// failed, and the answer about it is good.)
    errors: bool,
    usage: Vec<u8>,
    finish: Vec<u8>,
    id: Vec<u8>,
    error: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Level {
    #[default]
    Top,
    Candidate,
    Interaction,
}

#[derive(Clone, Copy, Debug)]
enum Tag {
    Usage,
    Finish,
    Id,
    Error,
}

impl Visit for Answer {
    type Level = Level;
    type Tag = Tag;

    fn member(&mut self, level: Level, name: &str) -> Member<Level, Tag> {
        let word = |tag| Member::Take { tag, limit: LONGEST_WORD };
        let usage = Member::Take { tag: Tag::Usage, limit: LONGEST_USAGE };
        match (self.shape, level, name) {
            (_, Level::Top, "error") if self.errors && self.error.is_none() => {
                Member::Take { tag: Tag::Error, limit: LONGEST_ERROR }
            }
            (Shape::Native, Level::Top, "usageMetadata") => usage,
            (Shape::Native, Level::Top, "responseId") => word(Tag::Id),
            (Shape::Native, Level::Top, "candidates") => Member::Enter(Level::Candidate),
            (Shape::Native, Level::Candidate, "finishReason") => word(Tag::Finish),
            (Shape::OpenAi, Level::Top, "usage") => usage,
            (Shape::OpenAi, Level::Top, "id") => word(Tag::Id),
            (Shape::OpenAi, Level::Top, "choices") => Member::Enter(Level::Candidate),
            (Shape::OpenAi, Level::Candidate, "finish_reason") => word(Tag::Finish),
            // Whole, it is the outermost object; in a stream, events carry it.
            (Shape::Interactions, Level::Top, "interaction") => Member::Enter(Level::Interaction),
            (Shape::Interactions, Level::Top | Level::Interaction, "usage") => usage,
            (Shape::Interactions, Level::Top | Level::Interaction, "id") => word(Tag::Id),
            (Shape::Interactions, Level::Top | Level::Interaction, "status") => word(Tag::Finish),
            _ => Member::Skip,
        }
    }

    fn value(&mut self, tag: Tag, raw: Option<&[u8]>) {
        let (place, first) = match tag {
            Tag::Error => {
                if let Some(error) = error_value(raw) {
                    self.error = Some(error);
                }
                return;
            }
            Tag::Usage => (&mut self.usage, b'{'),
            Tag::Finish => (&mut self.finish, b'"'),
            Tag::Id => (&mut self.id, b'"'),
        };
        // Many chunks carry a null where the last has a value.
        if let Some(raw) = raw.filter(|raw| raw.first() == Some(&first)) {
            place.clear();
            place.extend_from_slice(raw);
        }
    }
}

/// The value of a member `error`, if it is one; an empty one in place of one too large.
fn error_value(raw: Option<&[u8]>) -> Option<Vec<u8>> {
    match raw {
        None => Some(error_object(b"{}")),
        Some(raw) => matches!(raw.first(), Some(b'{' | b'"')).then(|| error_object(raw)),
    }
}

fn error_object(raw: &[u8]) -> Vec<u8> {
    // A value that is cut leaves the object around it open as well: that is how a reader
    // of cut JSON sees that something is missing.
    let close: &[u8] = if serde_json::from_slice::<serde::de::IgnoredAny>(raw).is_ok() { b"}" } else { b"" };
    [b"{\"error\":", raw, close].concat()
}

/// Counts, by whichever names they go: Google's, OpenAI's, or those of interactions.
fn tokens(usage: &Value) -> Tokens {
    let count = |names: &[&str]| {
        let found = names.iter().find_map(|name| usage.pointer(name));
        let number = found.and_then(|it| it.as_u64().or_else(|| it.as_str()?.parse().ok()));
        u32::try_from(number.unwrap_or(0)).unwrap_or(u32::MAX)
    };
    let mut tokens = Tokens {
        prompt: count(&["/promptTokenCount", "/prompt_tokens", "/total_input_tokens"]),
        output: count(&[
            "/candidatesTokenCount",
            "/responseTokenCount",
            "/completion_tokens",
            "/total_output_tokens",
        ]),
        thoughts: count(&[
            "/thoughtsTokenCount",
            "/completion_tokens_details/reasoning_tokens",
            "/total_thought_tokens",
        ]),
        cached: count(&[
            "/cachedContentTokenCount",
            "/prompt_tokens_details/cached_tokens",
            "/total_cached_tokens",
        ]),
        tool_use: count(&["/toolUsePromptTokenCount", "/total_tool_use_tokens"]),
        total: count(&["/totalTokenCount", "/total_tokens"]),
    };
    // OpenAI counts thoughts among the completion and Google beside the answer. The sum
    // tells which of the two was meant.
    let completion = usage.get("completion_tokens").is_some();
    if completion && tokens.prompt.saturating_add(tokens.output) == tokens.total {
        tokens.output = tokens.output.saturating_sub(tokens.thoughts);
    }
    tokens
}
