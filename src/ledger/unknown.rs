//! Control events that this program does not know, because a newer one wrote them.
//!
//! Owns what is known of them: what kind they are, how many, and where. A start meets them while it folds the log, and
//! keeps a row for each kind beside it, since the next start begins behind them. It refuses to guess what they mean. Its
//! invariant: **whoever runs an older program on a newer one's log is told at each start what is not in force**.

use std::{collections::BTreeMap, fmt};

use projections::{Class, Event, Recorded, Seq, event::TYPES};

use crate::journal::{self, Journal, derived::Put};

pub(super) const SPACE: &str = "unknown-events";
/// Kinds that are told; a newer program knows a few more than this one.
const MOST: usize = 64;

/// Events of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownEvents {
    /// The number of the kind.
    pub kind: u16,
    /// How many.
    pub events: u64,
    /// The first of them.
    pub first: Seq,
    /// The last of them.
    pub last: Seq,
}

impl fmt::Display for UnknownEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, events, first, last } = self;
        write!(f, "kind {kind}: {events} (events {first} to {last})")
    }
}

/// What a fold of the log meets.
#[derive(Debug, Default)]
pub(super) struct Met(BTreeMap<u16, UnknownEvents>);

impl Met {
    pub(super) fn see(&mut self, recorded: &Recorded) {
        let Event::Unknown(unknown) = &recorded.event else { return };
        if unknown.class == Class::Control && (self.0.len() < MOST || self.0.contains_key(&unknown.kind)) {
            self.add(UnknownEvents {
                kind: unknown.kind,
                events: 1,
                first: recorded.seq,
                last: recorded.seq,
            });
        }
    }

    /// Adds what comes behind what is there.
    fn add(&mut self, more: UnknownEvents) {
        let UnknownEvents { kind, first, .. } = more;
        let known = self.0.entry(kind).or_insert(UnknownEvents { kind, events: 0, first, last: 0 });
        if more.last > known.last {
            known.events = known.events.saturating_add(more.events);
            known.last = more.last;
        }
    }

    /// Together with what earlier starts met: all of it, and kept for the next.
    pub(super) fn keep(self, journal: &dyn Journal) -> Result<Vec<UnknownEvents>, journal::Error> {
        let mut all = Self::default();
        for (key, value) in journal.scan(SPACE, &[], &[u8::MAX; 3], false, MOST)? {
            all.0.extend(read(&key, &value).map(|known| (known.kind, known)));
        }
        // A program that knows them has read them itself.
        all.0.retain(|kind, known| {
            !TYPES.iter().any(|(type_of, ..)| type_of == kind) && known.last <= journal.last()
        });
        if !self.0.is_empty() {
            self.0.into_values().for_each(|met| all.add(met));
            let rows: Vec<Put> = all.0.values().map(row).collect();
            journal.write(SPACE, &rows)?;
        }
        Ok(all.0.into_values().collect())
    }
}

fn row(known: &UnknownEvents) -> Put {
    let numbers = [known.events, known.first, known.last].map(u64::to_be_bytes);
    (known.kind.to_be_bytes().to_vec(), Some(numbers.concat()))
}

fn read(key: &[u8], value: &[u8]) -> Option<UnknownEvents> {
    let number = |at: usize| Some(u64::from_be_bytes(*value.get(at..)?.first_chunk()?));
    let kind = u16::from_be_bytes(key.try_into().ok()?);
    Some(UnknownEvents { kind, events: number(0)?, first: number(8)?, last: number(16)? })
}

/// All of them in one line; none, where there is none.
#[must_use]
pub fn told(unknown: &[UnknownEvents]) -> Option<String> {
    let each: Vec<_> = unknown.iter().map(ToString::to_string).collect();
    (!each.is_empty()).then(|| each.join(", "))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use projections::event::{ServerStopped, Unknown};

    use super::*;
    use crate::{
        journal::{
            codec::{self, ChainHash},
            memory::MemoryJournal,
        },
        ledger::{Ledger, clock::Clock},
    };

    fn newer(kind: u16, class: Class) -> Event {
        Event::Unknown(Unknown { kind, version: 1, class, codec: 1, payload: vec![1, 2, 3] })
    }

    #[tokio::test]
    async fn what_a_newer_program_changed_is_told_at_each_start() {
        let journal = Arc::new(MemoryJournal::new());
        let stopped = || Event::from(ServerStopped { abandoned: 0 });
        let newer_ones = [
            stopped(),
            newer(900, Class::Control),
            newer(901, Class::Traffic),
            newer(900, Class::Control),
            newer(902, Class::Control),
        ];
        let mut hash = ChainHash::START;
        for (seq, event) in (1..).zip(newer_ones) {
            let (frame, next) = codec::encode(seq, 5, &event, &hash).unwrap();
            hash = next;
            journal.adopt(&[(seq, frame.into())], &[]).unwrap();
        }
        let words = "kind 900: 2 (events 2 to 4), kind 902: 1 (events 5 to 5)";
        // From the second start on a checkpoint is behind them.
        for round in 0..3 {
            let ledger = Ledger::open(journal.clone() as _, Clock::driven(|| 9), || 3, Vec::new()).unwrap();
            assert_eq!(told(ledger.unknown()).as_deref(), Some(words), "start {round}");
            ledger.note(stopped()).await.unwrap();
            ledger.close().await;
        }
        journal.cut(3).unwrap();
        let ledger = Ledger::open(journal as _, Clock::driven(|| 9), || 3, Vec::new()).unwrap();
        assert_eq!(told(ledger.unknown()).as_deref(), Some("kind 900: 1 (events 2 to 2)"));
    }
}
