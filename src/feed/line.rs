//! Events as they go out: the JSON that the API shows, and its frame in a stream (Server-Sent Events).
//!
//! Owns the bytes. Its invariant: an event has the same JSON in every answer.

use std::io::Write;

use bytes::Bytes;
use projections::{Class, Event, Recorded, Seq, filter::Filter};
use serde::Serialize;

use crate::ledger::clock::rfc3339;

/// An event as people see it.
#[derive(Serialize)]
struct Shown<'a> {
    seq: Seq,
    at: String,
    r#type: &'a str,
    class: Class,
    event: &'a Event,
}

/// Writes an event's block: its place as `id`, its type as `event`, and all of it as `data`.
fn write(recorded: &Recorded, into: &mut Vec<u8>) {
    let Recorded { seq, at, event } = recorded;
    let shown = Shown { seq: *seq, at: rfc3339(*at), r#type: event.name(), class: event.class(), event };
    // Writing to memory does not fail, and an event is always JSON.
    let _ = write!(into, "id: {seq}\nevent: {}\ndata: ", event.name());
    let _ = serde_json::to_writer(&mut *into, &shown);
    into.extend_from_slice(b"\n\n");
}

/// A place and nothing else: whoever comes back begins there, and no listener is woken.
pub(super) fn place(seq: Seq) -> Bytes {
    Bytes::from(format!("id: {seq}\n\n"))
}

/// How to come back, and from where.
pub(super) fn hello(seq: Seq) -> Bytes {
    Bytes::from(format!("retry: 2000\nid: {seq}\n\n"))
}

/// Something that says nothing, for whoever would take silence for a broken connection.
pub(super) fn heartbeat(seq: Seq) -> Bytes {
    Bytes::from(format!(": still here\nid: {seq}\n\n"))
}

/// One event and where its block ends.
struct Line {
    recorded: Recorded,
    end: usize,
}

/// Some events in a row, written once for all who read them.
pub(super) struct Chunk {
    /// The last event before it.
    pub(super) after: Seq,
    lines: Vec<Line>,
    bytes: Bytes,
}

impl Chunk {
    /// Writes events, of which `after` is the last before them.
    pub(super) fn new(after: Seq, events: Vec<Recorded>) -> Self {
        let mut bytes = Vec::with_capacity(events.len() * 512);
        let write = |recorded: Recorded| {
            write(&recorded, &mut bytes);
            Line { recorded, end: bytes.len() }
        };
        let lines = events.into_iter().map(write).collect();
        // It is kept as long as somebody reads it, with all the room it has.
        bytes.shrink_to_fit();
        Self { after, lines, bytes: bytes.into() }
    }

    /// The last event in it.
    pub(super) fn last(&self) -> Seq {
        self.lines.last().map_or(self.after, |line| line.recorded.seq)
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// What it weighs in memory, roughly.
    pub(super) fn weight(&self) -> usize {
        2 * self.bytes.len()
    }

    /// What somebody wants of what comes after a position. Copies nothing where that is one piece.
    pub(super) fn read(&self, after: Seq, filter: &Filter) -> Bytes {
        if after <= self.after && filter.is_all() {
            return self.bytes.clone();
        }
        let mut pieces: Vec<(usize, usize)> = Vec::new();
        let mut begin = 0;
        for Line { recorded, end } in &self.lines {
            if recorded.seq > after && filter.wants(&recorded.event) {
                match pieces.last_mut() {
                    Some((_, last)) if *last == begin => *last = *end,
                    _ => pieces.push((begin, *end)),
                }
            }
            begin = *end;
        }
        match pieces.as_slice() {
            [] => Bytes::new(),
            [(begin, end)] => self.bytes.slice(*begin..*end),
            pieces => {
                let parts = pieces.iter().filter_map(|(begin, end)| self.bytes.get(*begin..*end));
                parts.collect::<Vec<_>>().concat().into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use projections::event::{ServerStarted, ServerStopped};

    use super::*;

    fn chunk() -> Chunk {
        let started = |seq| {
            let event = ServerStarted { version: "1".to_owned(), address: "a\nb".to_owned() }.into();
            Recorded { seq, at: 0, event }
        };
        let stopped = |seq| Recorded { seq, at: 1, event: ServerStopped { abandoned: 0 }.into() };
        Chunk::new(4, vec![started(5), stopped(6), started(7), stopped(8), stopped(9)])
    }

    fn ids(bytes: &Bytes) -> Vec<&str> {
        let text = str::from_utf8(bytes).unwrap();
        text.lines().filter_map(|line| line.strip_prefix("id: ")).collect()
    }

    #[test]
    fn a_block_is_one_event_whatever_is_in_it() {
        let bytes = chunk().read(0, &Filter::default());
        let text = str::from_utf8(&bytes).unwrap();
        let first: Vec<&str> = text.split("\n\n").next().unwrap().split('\n').collect();
        assert_eq!(
            first,
            [
                "id: 5",
                "event: ServerStarted",
                "data: {\"seq\":5,\"at\":\"1970-01-01T00:00:00.000Z\",\"type\":\"ServerStarted\",\"class\":\"control\",\
                 \"event\":{\"type\":\"ServerStarted\",\"version\":\"1\",\"address\":\"a\\nb\"}}"
            ]
        );
    }

    #[test]
    fn whoever_is_in_the_middle_gets_the_rest_and_no_more_than_is_wanted() {
        let chunk = chunk();
        let stopped = Filter { types: vec!["ServerStopped".to_owned()], ..Filter::default() };
        for (after, filter, wanted) in [
            (0, &Filter::default(), &["5", "6", "7", "8", "9"][..]),
            (4, &Filter::default(), &["5", "6", "7", "8", "9"]),
            (6, &Filter::default(), &["7", "8", "9"]),
            (9, &Filter::default(), &[]),
            (4, &stopped, &["6", "8", "9"]),
            (6, &stopped, &["8", "9"]),
        ] {
            assert_eq!(ids(&chunk.read(after, filter)), wanted, "after {after}");
        }
        assert_eq!((chunk.last(), chunk.len()), (9, 5));
    }
}
