//! The framings: finds the JSON documents in an answer.
//!
//! Owns lines and events of SSE, with the bare JSON that Google puts behind them when a
//! stream fails. Refuses to buffer: what of a line is data goes straight to the walk.

use std::io;

use super::Framing;
use crate::gemini::json::{Visit, Walk};

/// The fields of SSE. What begins otherwise is bare JSON.
const FIELDS: &[&[u8]] = &[b"data:", b"event:", b"id:", b"retry:", b":"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// Too little of it is there to tell.
    Start,
    /// After `data:`.
    Data,
    /// JSON without a field.
    Bare,
    /// Another field, or a comment.
    Other,
}

/// Finds the documents in an answer and walks over each.
#[derive(Debug)]
pub(crate) struct Frames<V: Visit> {
    framing: Framing,
    walk: Walk<V>,
    empty: bool,
    line: Line,
    /// The beginning of a line that cannot be told yet; at most six bytes.
    start: Vec<u8>,
    /// The last line ended in CR, and an LF would belong to it.
    after_cr: bool,
    /// The document under way is bare.
    bare: bool,
    /// The last line was blank.
    blank: bool,
}

impl<V: Visit> Frames<V> {
    pub(crate) fn new(framing: Framing, visitor: V) -> Self {
        Self {
            framing,
            walk: Walk::new(visitor),
            empty: true,
            line: Line::Start,
            start: Vec::new(),
            after_cr: false,
            bare: false,
            blank: false,
        }
    }

    pub(crate) fn visitor_mut(&mut self) -> &mut V {
        self.walk.visitor_mut()
    }

    /// See [`Walk::partial`].
    pub(super) fn partial(&self) -> Option<(V::Tag, &[u8])> {
        self.walk.partial()
    }

    /// The document under way can say nothing more.
    pub(super) fn over(&self) -> bool {
        self.walk.over()
    }

    pub(super) fn empty(&self) -> bool {
        self.empty
    }

    /// It may end here.
    pub(super) fn whole(&self) -> bool {
        match self.framing {
            Framing::Sse => self.blank,
            Framing::JsonArray | Framing::Json => self.walk.whole(),
            Framing::Opaque => true,
        }
    }

    /// Goes on by a chunk.
    pub(crate) fn feed(&mut self, chunk: &[u8]) {
        self.empty &= chunk.is_empty();
        match self.framing {
            Framing::Sse => self.feed_lines(chunk),
            Framing::JsonArray | Framing::Json => self.walk.feed(chunk),
            Framing::Opaque => {}
        }
    }

    fn feed_lines(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            let half = std::mem::take(&mut self.after_cr) && byte == b'\n';
            if half {
                bytes = rest;
                continue;
            }
            if self.line == Line::Start && !matches!(byte, b'\r' | b'\n') {
                self.start.push(byte);
                self.blank = false;
                self.tell();
                bytes = rest;
                continue;
            }
            let end = memchr::memchr2(b'\r', b'\n', bytes);
            let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            if matches!(self.line, Line::Data | Line::Bare) {
                self.walk.feed(part);
            }
            if let Some((&ending, rest)) = rest.split_first() {
                self.after_cr = ending == b'\r';
                self.end_line();
                bytes = rest;
            } else {
                bytes = rest;
            }
        }
    }

    /// Tells what a line is, once its beginning is enough for that.
    fn tell(&mut self) {
        let start = self.start.as_slice();
        if start == b"data:" {
            self.line = Line::Data;
            // Usually a blank line came before. An event may have several lines of data,
            // but not several documents.
            if self.bare || self.walk.over() {
                self.walk.restart();
            }
            self.bare = false;
        } else if FIELDS.contains(&start) {
            self.line = Line::Other;
        } else if !FIELDS.iter().any(|field| field.starts_with(start)) {
            self.line = Line::Bare;
            if !self.bare {
                self.walk.restart();
            }
            self.bare = true;
            self.walk.feed(&self.start);
        } else {
            return;
        }
        self.start.clear();
    }

    fn end_line(&mut self) {
        match self.line {
            Line::Start if self.start.is_empty() => {
                // The end of an event, but not that of bare JSON under way.
                if !self.bare || self.walk.over() {
                    self.walk.restart();
                    self.bare = false;
                }
                self.blank = true;
            }
            Line::Data | Line::Bare => self.walk.feed(b"\n"),
            Line::Start | Line::Other => {}
        }
        self.start.clear();
        self.line = Line::Start;
    }
}

impl<V: Visit> io::Write for Frames<V> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.feed(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
