//! What one key, client or model did lately.
//!
//! Owns sums over the ranges that people ask for, in buckets about a sixth of a range wide, because there are
//! twenty thousand of these. A track takes its room when its name is first seen and none after that. On disk its
//! numbers are packed: most are small, and many are nothing.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    packed::{Reader, put},
    range::{DAY, Grain, HOUR, MINUTE, Range},
};
use crate::{
    event::Verdict,
    id::{Millis, Seq},
};

/// Sums over some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Requests of a client or for a model; tries with a key.
    pub count: u64,
    /// Of them, those that failed.
    pub errors: u64,
    /// Tokens that are paid for.
    pub tokens: u64,
    /// How long they took together, in milliseconds.
    pub latency_ms: u64,
}

impl Sums {
    /// Adds others.
    pub fn merge(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.errors = self.errors.saturating_add(other.errors);
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.latency_ms = self.latency_ms.saturating_add(other.latency_ms);
    }
}

/// The last thing that went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The event that tells it.
    pub seq: Seq,
    /// When.
    pub at: Millis,
    /// What a try came to; none, where it was a request.
    pub verdict: Option<Verdict>,
    /// The HTTP status; 0 where there was none.
    pub status: u16,
}

/// Half an hour of a key, checks included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    /// What went well.
    pub ok: u32,
    /// What failed, and not by the client's doing.
    pub failed: u32,
}

/// What goes into a bucket: small numbers, and how they are packed.
pub(super) trait Cell: Copy + Default {
    fn pack(&self, bytes: &mut Vec<u8>);
    fn unpack(reader: &mut Reader<'_>) -> Option<Self>;
}

impl Cell for Sums {
    /// One byte where there is nothing, and where there is no more than a count.
    fn pack(&self, bytes: &mut Vec<u8>) {
        let more = self.errors | self.tokens | self.latency_ms != 0;
        put(bytes, (u128::from(self.count) << 1) | u128::from(more));
        if more {
            put(bytes, self.errors.into());
            put(bytes, self.tokens.into());
            put(bytes, self.latency_ms.into());
        }
    }

    fn unpack(reader: &mut Reader<'_>) -> Option<Self> {
        let first = reader.number()?;
        let mut sums = Self { count: u64::try_from(first >> 1).ok()?, ..Self::default() };
        if first & 1 == 1 {
            (sums.errors, sums.tokens, sums.latency_ms) = (reader.u64()?, reader.u64()?, reader.u64()?);
        }
        Some(sums)
    }
}

impl Cell for Beat {
    fn pack(&self, bytes: &mut Vec<u8>) {
        put(bytes, (u128::from(self.ok) << 1) | u128::from(self.failed > 0));
        if self.failed > 0 {
            put(bytes, self.failed.into());
        }
    }

    fn unpack(reader: &mut Reader<'_>) -> Option<Self> {
        let first = reader.number()?;
        let failed = if first & 1 == 1 { u32::try_from(reader.number()?).ok()? } else { 0 };
        Some(Self { ok: u32::try_from(first >> 1).ok()?, failed })
    }
}

/// The latest buckets of one width, the empty ones too: as many as its grain keeps, or none yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ring<C> {
    newest: i64,
    cells: Vec<C>,
}

/// The place of a bucket.
fn slot(grain: Grain, index: i64) -> usize {
    let kept = i64::try_from(grain.kept).unwrap_or(i64::MAX);
    usize::try_from(index.rem_euclid(kept)).unwrap_or_default()
}

impl<C: Cell> Ring<C> {
    /// The cell of a time; none, where it is too old to be kept.
    fn cell(&mut self, grain: Grain, at: Millis) -> Option<&mut C> {
        let index = grain.index(at);
        if self.cells.is_empty() {
            self.cells = vec![C::default(); grain.kept];
            self.newest = index;
        }
        // What falls out makes room for what is new.
        let steps = usize::try_from(index.saturating_sub(self.newest)).unwrap_or(0);
        if steps >= grain.kept {
            self.cells.fill(C::default());
        } else {
            for passed in self.newest.saturating_add(1)..=index {
                if let Some(cell) = self.cells.get_mut(slot(grain, passed)) {
                    *cell = C::default();
                }
            }
        }
        self.newest = self.newest.max(index);
        let age = usize::try_from(self.newest.saturating_sub(index)).unwrap_or(usize::MAX);
        self.cells.get_mut(slot(grain, index)).filter(|_| age < grain.kept)
    }

    /// The cells from one bucket to another, oldest first; none stands for one that is empty or gone.
    fn between(&self, grain: Grain, first: i64, last: i64) -> impl Iterator<Item = Option<&C>> {
        (first..=last).map(move |index| {
            let age = self.newest.checked_sub(index).and_then(|age| usize::try_from(age).ok());
            age.filter(|age| *age < grain.kept).and_then(|_| self.cells.get(slot(grain, index)))
        })
    }

    fn pack(&self, bytes: &mut Vec<u8>) {
        bytes.push(u8::from(!self.cells.is_empty()));
        if !self.cells.is_empty() {
            bytes.extend(self.newest.to_be_bytes());
            self.cells.iter().for_each(|cell| cell.pack(bytes));
        }
    }

    fn unpack(grain: Grain, reader: &mut Reader<'_>) -> Option<Self> {
        if reader.bytes::<1>()? == [0] {
            return Some(Self::default());
        }
        let newest = i64::from_be_bytes(reader.bytes()?);
        let cells = (0..grain.kept).map(|_| C::unpack(reader)).collect::<Option<_>>()?;
        Some(Self { newest, cells })
    }
}

/// A quarter of an hour and an hour, a day, a week, a month.
const GRAINS: [Grain; 4] = [
    Grain { width: 5 * MINUTE, kept: 13 },
    Grain { width: 3 * HOUR, kept: 9 },
    Grain { width: DAY, kept: 8 },
    Grain { width: 5 * DAY, kept: 7 },
];
/// A heartbeat: two days of half hours would not fit on a screen.
pub const BEAT: Grain = Grain { width: 30 * MINUTE, kept: 48 };

fn grain(range: Range) -> usize {
    match range {
        Range::Quarter | Range::Hour => 0,
        Range::Day => 1,
        Range::Week => 2,
        Range::Month => 3,
    }
}

/// When the buckets begin that a track sums up for a range.
#[must_use]
pub fn since(range: Range, now: Millis) -> Millis {
    let grain = GRAINS.get(grain(range)).copied().unwrap_or(BEAT);
    grain.begins(grain.of(range, now).0)
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Track {
    /// Since it is known.
    pub total: Sums,
    /// When it last did something.
    pub last: Millis,
    /// The last thing that went wrong.
    pub failure: Option<Failure>,
    rings: [Ring<Sums>; 4],
    beats: Ring<Beat>,
}

impl Track {
    pub(super) fn add(&mut self, at: Millis, more: &Sums) {
        self.total.merge(more);
        self.last = self.last.max(at);
        for (ring, grain) in self.rings.iter_mut().zip(GRAINS) {
            if let Some(cell) = ring.cell(grain, at) {
                cell.merge(more);
            }
        }
    }

    pub(super) fn beat(&mut self, at: Millis, good: bool) {
        if let Some(beat) = self.beats.cell(BEAT, at) {
            let counter = if good { &mut beat.ok } else { &mut beat.failed };
            *counter = counter.saturating_add(1);
        }
    }

    /// The sums over a range that ends now; they begin at [`since`].
    #[must_use]
    pub fn sums(&self, range: Range, now: Millis) -> Sums {
        let at = grain(range);
        let mut sums = Sums::default();
        if let (Some(ring), Some(grain)) = (self.rings.get(at), GRAINS.get(at)) {
            let (first, last) = grain.of(range, now);
            ring.between(*grain, first, last).flatten().for_each(|cell| sums.merge(cell));
        }
        sums
    }

    /// The last 48 half hours, oldest first, the one that runs included; and when the first of them began.
    #[must_use]
    pub fn heartbeat(&self, now: Millis) -> (Millis, Vec<Beat>) {
        let last = BEAT.index(now);
        let first = last.saturating_sub(i64::try_from(BEAT.kept).unwrap_or(0)).saturating_add(1);
        let beats = self.beats.between(BEAT, first, last).map(|beat| beat.copied().unwrap_or_default());
        (BEAT.begins(first), beats.collect())
    }
}

impl Serialize for Track {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(320);
        self.total.pack(&mut bytes);
        self.rings.iter().for_each(|ring| ring.pack(&mut bytes));
        self.beats.pack(&mut bytes);
        (self.last, self.failure, bytes).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Track {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (last, failure, bytes) = <(Millis, Option<Failure>, Vec<u8>)>::deserialize(deserializer)?;
        let mut reader = Reader::new(&bytes);
        let mut read = || {
            let total = Sums::unpack(&mut reader)?;
            let mut rings = <[Ring<Sums>; 4]>::default();
            for (ring, grain) in rings.iter_mut().zip(GRAINS) {
                *ring = Ring::unpack(grain, &mut reader)?;
            }
            let beats = Ring::unpack(BEAT, &mut reader)?;
            reader.is_empty().then_some(Self { total, last, failure, rings, beats })
        };
        read().ok_or_else(|| serde::de::Error::custom("these bytes are no track of a name"))
    }
}
