//! Owns the record of the calls that reached the simulated Google. Refuses to grow without bound: beyond its
//! limit the oldest are forgotten, never the count. Invariant: a call whose head arrived is here exactly once,
//! whatever became of it or of its client.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

/// One call that reached the simulated Google.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Seen {
    /// Its number, from 0, in order of arrival.
    pub n: u64,
    /// When its head had arrived, in Unix milliseconds of the world's clock.
    pub at: i64,
    /// The key it brought in `x-goog-api-key`, or for an upload's keyless chunk the key that started it;
    /// empty without.
    pub key: String,
    /// The project of that key; empty when the key is unknown.
    pub project: String,
    /// The model it asked for, without `models/`; empty where there is none.
    pub model: String,
    /// The HTTP method.
    pub method: String,
    /// The name of the RPC behind the path, such as `StreamGenerateContent`; empty for an unknown path.
    pub rpc: &'static str,
    /// Path and query as received.
    pub path: String,
    /// The status sent; `None` while undecided, or when the connection was cut before the head.
    pub status: Option<u16>,
    /// What was decided.
    pub outcome: Outcome,
    /// How the sending went.
    pub end: End,
    /// How the client ended a Live session: code (1005 without one) and text.
    pub closed: Option<(u16, String)>,
    /// Bytes of the request's body, or of a session's messages.
    pub body_len: u64,
    /// That body, where [`super::World::keep_bodies`] asked for it.
    pub body: Option<Bytes>,
    /// The request's headers.
    pub headers: Arc<HeaderMap>,
    /// What should never have left a proxy: `Authorization`, `Cookie`, forwarding and hop-by-hop headers,
    /// `x-goog-user-project`, credentials in the URL. One `header: name` or `query: name` each.
    pub violations: Vec<String>,
}

/// What the simulated Google decided about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Nothing yet: the request's body is still coming, or never came whole.
    Arrived,
    /// A good answer.
    Served,
    /// An error status, and why, in a word or two: "key not valid", "leaked", "per day", "overloaded", …
    Refused(&'static str),
    /// An answer that was made to go wrong under way, and how: "cut", "stalled", "error in stream", …
    Broken(&'static str),
}

/// How far the sending of an answer got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// Still going on.
    Open,
    /// All of it was handed to the connection.
    Whole,
    /// The simulated Google cut the connection, as ordered.
    Cut,
    /// The client left first.
    ClientLeft,
}

/// The calls remembered, newest last.
#[derive(Debug)]
pub(super) struct Record {
    limit: usize,
    first: u64,
    calls: VecDeque<Seen>,
}

impl Record {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, first: 0, calls: VecDeque::new() }
    }

    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.trim();
    }

    pub(super) fn count(&self) -> u64 {
        self.first + self.calls.len() as u64
    }

    /// Adds a call and returns its number.
    pub(super) fn push(&mut self, make: impl FnOnce(u64) -> Seen) -> u64 {
        let n = self.count();
        self.calls.push_back(make(n));
        self.trim();
        n
    }

    pub(super) fn update(&mut self, n: u64, change: impl FnOnce(&mut Seen)) {
        let index = n.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(seen) = index.and_then(|index| self.calls.get_mut(index)) {
            change(seen);
        }
    }

    pub(super) fn all(&self) -> Vec<Seen> {
        self.calls.iter().cloned().collect()
    }

    fn trim(&mut self) {
        while self.calls.len() > self.limit {
            self.calls.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blank(n: u64) -> Seen {
        Seen {
            n,
            at: 0,
            key: String::new(),
            project: String::new(),
            model: String::new(),
            method: String::new(),
            rpc: "",
            path: String::new(),
            status: None,
            outcome: Outcome::Arrived,
            end: End::Open,
            closed: None,
            body_len: 0,
            body: None,
            headers: Arc::default(),
            violations: Vec::new(),
        }
    }

    #[test]
    fn the_oldest_are_forgotten_but_counted() {
        let mut record = Record::new(2);
        for _ in 0..5 {
            record.push(blank);
        }
        record.update(0, |seen| seen.status = Some(500));
        record.update(4, |seen| seen.status = Some(200));
        assert_eq!(record.count(), 5);
        let kept: Vec<_> = record.all().iter().map(|seen| (seen.n, seen.status)).collect();
        assert_eq!(kept, [(3, None), (4, Some(200))]);
        record.set_limit(0);
        assert_eq!((record.push(blank), record.count(), record.all().len()), (5, 6, 0));
    }
}
