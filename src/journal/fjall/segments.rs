//! Records' keyspaces: `log` for what is kept for ever, and one for each segment of traffic.
//!
//! Owns which keyspace holds which stretch of the log. A segment's keyspace is named
//! `traffic-NUMBER`; its records lie between those of `log`, and a read merges the two by
//! their sequence numbers. Segments follow each other: whatever is in one comes before
//! everything in the next.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    iter::Peekable,
    time::{Duration, Instant},
};

use fjall::{Database, Keyspace, Slice};
use projections::Seq;

use super::options;
use crate::journal::{Entry, Segment, SegmentSpan};

/// Tag of log entries: leaves room for other kinds of rows.
const LOG_TAG: u8 = b'e';
/// What the names of segments' keyspaces begin with.
pub(super) const SEGMENTS: &str = "traffic-";
/// A segment that could not be made is not tried again for so long.
const UNMADE: Duration = Duration::from_secs(1);

pub(super) type Read = Result<Entry, fjall::Error>;

/// One segment.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) span: SegmentSpan,
    pub(super) rows: Keyspace,
}

/// Where every record is.
pub(super) struct Parts {
    pub(super) log: Keyspace,
    /// In order; each has a record.
    pub(super) traffic: Vec<Part>,
    /// Those that were made ahead, and have none yet.
    ready: BTreeMap<Segment, Keyspace>,
    /// When one could not be made.
    unmade: Option<Instant>,
}

impl Parts {
    /// With the segments in which nothing is: made ahead, or the machine died after that. They are for the caller to
    /// [keep](Self::keep_ready), once he is sure that nothing is missing.
    pub(super) fn open(
        db: &Database,
        log: Keyspace,
    ) -> Result<(Self, Vec<(Segment, Keyspace)>), fjall::Error> {
        let (mut traffic, mut empty) = (Vec::new(), Vec::new());
        for name in db.list_keyspace_names() {
            let Some(number) = name.strip_prefix(SEGMENTS).and_then(|number| number.parse().ok()) else {
                continue;
            };
            let rows = db.keyspace(&name, options::log)?;
            match span_of(number, &rows)? {
                Some(span) => traffic.push(Part { span, rows }),
                None => empty.push((number, rows)),
            }
        }
        traffic.sort_unstable_by_key(|part| part.span.number);
        Ok((Self { log, traffic, ready: BTreeMap::new(), unmade: None }, empty))
    }

    /// The last record's position; 0 where there is none.
    pub(super) fn last(&self) -> Result<Seq, fjall::Error> {
        let log =
            self.log.last_key_value().map_or(Ok(0), |last| Ok::<_, fjall::Error>(seq_of(&last.key()?)))?;
        Ok(self.traffic.last().map_or(log, |part| part.span.last.max(log)))
    }

    /// The newest segment, or a new one after it: what a record with this number goes into. With it the one that
    /// gets no more, if so.
    pub(super) fn for_number(
        &mut self,
        db: &Database,
        number: Segment,
        first: Seq,
    ) -> Result<(&mut Part, Option<Keyspace>), fjall::Error> {
        let newest = self.traffic.last();
        let mut over = None;
        let tired = newest.is_some() && self.unmade.is_some_and(|at| at.elapsed() < UNMADE);
        if !tired && newest.is_none_or(|newest| newest.span.number < number) {
            let newest = newest.map(|newest| newest.rows.clone());
            match self.ready.remove(&number).map_or_else(|| Self::make(db, number), Ok) {
                Ok(rows) => {
                    self.traffic.push(Part { span: SegmentSpan { number, first, last: first }, rows });
                    over = newest;
                }
                // The one before takes them in; others try again soon.
                Err(error) if newest.is_some() => {
                    self.unmade = Some(Instant::now());
                    tracing::warn!(%error, "a day's segment was not made; its first records go into the one before");
                }
                Err(error) => return Err(error),
            }
        }
        match self.traffic.last_mut() {
            Some(part) => Ok((part, over)),
            None => Err(fjall::Error::Unrecoverable),
        }
    }

    /// Makes the keyspace of a segment.
    pub(super) fn make(db: &Database, number: Segment) -> Result<Keyspace, fjall::Error> {
        db.keyspace(&format!("{SEGMENTS}{number}"), options::log)
    }

    /// Whether nobody would wait for a record that goes into this segment.
    pub(super) fn is_there(&self, number: Segment) -> bool {
        self.traffic.last().is_some_and(|newest| newest.span.number >= number)
            || self.ready.contains_key(&number)
    }

    /// Keeps those that were made ahead; gives those that are ready and will get no record any more.
    pub(super) fn keep_ready(&mut self, made: Vec<(Segment, Keyspace)>) -> Vec<Keyspace> {
        self.ready.extend(made);
        self.take_passed()
    }

    fn take_passed(&mut self) -> Vec<Keyspace> {
        let newest = self.traffic.last().map_or(0, |newest| newest.span.number + 1);
        let still = self.ready.split_off(&newest);
        std::mem::replace(&mut self.ready, still).into_values().collect()
    }

    fn within(&self, first: Seq, last: Seq) -> Vec<Part> {
        let within = |part: &&Part| part.span.last >= first && part.span.first <= last;
        self.traffic.iter().filter(within).cloned().collect()
    }

    /// One record.
    pub(super) fn record(&self, seq: Seq) -> Result<Option<Slice>, fjall::Error> {
        let parts = self.within(seq, seq);
        for rows in std::iter::once(&self.log).chain(parts.iter().map(|part| &part.rows)) {
            if let Some(frame) = rows.get(key_of(seq))? {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    /// The last record up to which none is missing, from `first` to `last`; the one before `first`, where that is.
    pub(super) fn unbroken(&self, first: Seq, last: Seq) -> Result<Seq, fjall::Error> {
        let mut end = first.saturating_sub(1);
        if first > last {
            return Ok(end);
        }
        for entry in self.forward(first, last) {
            if entry?.seq != end + 1 {
                break;
            }
            end += 1;
        }
        Ok(end)
    }

    /// The records from `first` to `last`, in order.
    pub(super) fn forward(&self, first: Seq, last: Seq) -> impl Iterator<Item = Read> + use<> {
        let range = key_of(first)..=key_of(last);
        let log = self.log.range(range.clone()).map(entry_of);
        let parts = self.within(first, last).into_iter();
        let traffic = parts.flat_map(move |part| part.rows.range(range.clone())).map(entry_of);
        Merged { one: log.peekable(), other: traffic.peekable(), next: Ordering::Less }
    }

    /// The same, the last one first.
    pub(super) fn backward(&self, first: Seq, last: Seq) -> impl Iterator<Item = Read> + use<> {
        let range = key_of(first)..=key_of(last);
        let log = self.log.range(range.clone()).rev().map(entry_of);
        let parts = self.within(first, last).into_iter().rev();
        let traffic = parts.flat_map(move |part| part.rows.range(range.clone()).rev()).map(entry_of);
        Merged { one: log.peekable(), other: traffic.peekable(), next: Ordering::Greater }
    }
}

/// The stretch that a segment's keyspace holds.
pub(super) fn span_of(number: Segment, rows: &Keyspace) -> Result<Option<SegmentSpan>, fjall::Error> {
    let (Some(first), Some(last)) = (rows.first_key_value(), rows.last_key_value()) else { return Ok(None) };
    Ok(Some(SegmentSpan { number, first: seq_of(&first.key()?), last: seq_of(&last.key()?) }))
}

/// Two runs of records as one.
struct Merged<A: Iterator, B: Iterator> {
    one: Peekable<A>,
    other: Peekable<B>,
    /// How the next record of the whole compares with the other run's.
    next: Ordering,
}

impl<A: Iterator<Item = Read>, B: Iterator<Item = Read>> Iterator for Merged<A, B> {
    type Item = Read;

    fn next(&mut self) -> Option<Read> {
        let one_is_next = match (self.one.peek(), self.other.peek()) {
            (Some(Ok(one)), Some(Ok(other))) => one.seq.cmp(&other.seq) == self.next,
            (one, other) => matches!(one, Some(Err(_))) || other.is_none(),
        };
        if one_is_next { self.one.next() } else { self.other.next() }
    }
}

pub(super) fn entry_of(row: fjall::Guard) -> Read {
    let (key, frame) = row.into_inner()?;
    Ok(Entry { seq: seq_of(&key), frame: frame.to_vec() })
}

pub(super) fn key_of(seq: Seq) -> [u8; 9] {
    let mut key = [LOG_TAG; 9];
    for (to, from) in key.iter_mut().skip(1).zip(seq.to_be_bytes()) {
        *to = from;
    }
    key
}

/// The place of a record, if this is a record's key.
pub(super) fn seq_of_key(key: &[u8]) -> Option<Seq> {
    match key {
        [LOG_TAG, seq @ ..] => seq.try_into().ok().map(Seq::from_be_bytes),
        _ => None,
    }
}

fn seq_of(key: &[u8]) -> Seq {
    key.iter().skip(1).take(8).fold(0, |seq, byte| (seq << 8) | Seq::from(*byte))
}
