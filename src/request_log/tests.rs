//! Laws of the index: its answers are those of a plain look at every request.

mod laws;
mod living;
mod size;

use std::collections::HashMap;

use projections::{
    ClientId, Event, KeyId, Millis, Recorded, RequestId, Seq,
    event::{Answered, Attempted, Outcome, Tokens, Verdict},
};

use super::{
    Error,
    block::{Block, Column, Counts, Hit, encode},
    filter::{Filter, Statuses},
    header::Header,
    index::Index,
    row::{Gatherer, Note, Row},
    store,
};
use crate::{journal::memory::MemoryJournal, ledger::Derived};

/// The end of a request of which nothing else matters.
pub(super) fn answered(request: u128) -> Answered {
    Answered {
        request: RequestId(request),
        client: None,
        address: String::new(),
        verb: "POST".to_owned(),
        path: "/".to_owned(),
        model: "gemini-2.5-flash".to_owned(),
        method: "generateContent".to_owned(),
        streamed: false,
        started: 0,
        duration_ms: 1,
        first_byte_ms: None,
        status: 200,
        attempts: 1,
        outcome: Outcome::Complete,
        reason: None,
        bytes: 0,
        waited_ms: 0,
    }
}

/// Numbers that look random and are not.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

const START: Millis = 1_795_000_000_000;

/// Traffic as a pool of many keys has it: most requests go well, some are tried twice, a few fail.
struct Traffic {
    dice: Dice,
    seq: Seq,
    now: Millis,
    keys: u64,
}

impl Traffic {
    fn new(seed: u64, keys: u64) -> Self {
        Self { dice: Dice(seed), seq: 0, now: START, keys }
    }

    fn record(&mut self, event: impl Into<Event>) -> Recorded {
        self.seq += 1;
        Recorded { seq: self.seq, at: self.now, event: event.into() }
    }

    /// The events of one request.
    fn request(&mut self) -> Vec<Recorded> {
        let dice = &mut self.dice;
        self.now += dice.roll(40) as Millis;
        let id = RequestId(
            ((self.now as u128) << 80)
                | (u128::from(dice.roll(1 << 30)) << 32)
                | u128::from(dice.roll(1 << 31)),
        );
        let failing = match dice.roll(20) {
            0 => 2,
            1 | 2 => 1,
            _ => 0,
        };
        let refused = dice.roll(200) == 0;
        let model = ["gemini-2.5-flash", "gemini-2.5-pro", "gemini-2.5-flash-lite", ""]
            [[0, 0, 0, 1, 1, 2, 2, 2, 2, 3][dice.roll(10) as usize]];
        let client = ClientId(dice.roll(5) as u32);
        let duration_ms = (50 + dice.roll(400) * dice.roll(30)) as u32;
        let streamed = dice.roll(2) == 0;
        let tries = if refused { failing } else { failing + 1 };
        let (started, keys) = (self.now, self.keys);
        let mut events = Vec::new();
        for attempt in 1..=tries {
            let good = attempt == tries && !refused;
            let key = KeyId(1 + self.dice.roll(keys) as u32);
            let reason =
                (!good).then(|| format!("RESOURCE_EXHAUSTED: try again in {} s", self.dice.roll(60)));
            let attempted = Attempted {
                request: id,
                attempt: attempt as u8,
                client: (client.0 > 0).then_some(client),
                key,
                project: format!("key-{key}"),
                model: model.to_owned(),
                method: "generateContent".to_owned(),
                started,
                latency_ms: duration_ms / attempt as u32,
                status: if good { 200 } else { 429 },
                verdict: if good { Verdict::Success } else { Verdict::QuotaDay },
                reason,
                tokens: Tokens { prompt: 100, output: 7, thoughts: 3, cached: 1, tool_use: 0, total: 110 },
                ..Attempted::default()
            };
            events.push(self.record(attempted));
        }
        let answered = Answered {
            client: (client.0 > 0).then_some(client),
            model: model.to_owned(),
            streamed,
            started,
            duration_ms,
            first_byte_ms: (!refused).then_some(duration_ms / 2),
            status: if refused { 429 } else { 200 },
            attempts: tries as u8,
            outcome: if refused { Outcome::Refused } else { Outcome::Complete },
            reason: refused.then(|| "ALL_KEYS_OUT".to_owned()),
            ..answered(id.0)
        };
        events.push(self.record(answered));
        events
    }
}

/// Conditions, some or none of them.
fn some_filter(dice: &mut Dice, rows: &[Row]) -> Filter {
    let mut filter = Filter::default();
    let row = &rows[dice.roll(rows.len() as u64) as usize];
    for _ in 0..1 + dice.roll(3) {
        match dice.roll(13) {
            0 => filter.from = Some(row.started),
            1 => filter.to = Some(row.started),
            2 => filter.key = Some(KeyId(dice.roll(12) as u32)),
            3 => filter.client = Some(ClientId(dice.roll(6) as u32)),
            4 => filter.model = Some(row.model.clone()),
            5 => filter.statuses = Some(Statuses::One([200, 429, 0, 404][dice.roll(4) as usize])),
            6 => filter.statuses = Some(Statuses::Class(2 + dice.roll(4) as u16)),
            7 => filter.outcome = Some([Outcome::Refused, row.outcome][dice.roll(2) as usize]),
            8 => filter.least_ms = Some(row.duration_ms),
            9 => filter.most_ms = Some(row.duration_ms),
            10 => {
                let texts = ["in 4", "EXHAUSTED", "all_keys", "Quota_Day", "nothing of the kind", "s"];
                filter = filter.containing(texts[dice.roll(6) as usize]);
            }
            11 => filter.streamed = Some(row.streamed),
            _ => filter.least_tries = Some(dice.roll(5) as u8),
        }
    }
    filter
}

/// The index over a store in memory, without a ledger.
struct Bench<S> {
    store: S,
    index: Index,
}

impl<S: Derived> Bench<S> {
    fn follow(&mut self, recorded: &Recorded) {
        if let Some(note) = Note::of(recorded) {
            self.index.follow(note);
        }
        while let Some(block) = self.index.unwritten() {
            store::write(&self.store, &block, self.index.floor).unwrap();
            self.index.written();
        }
    }

    fn search(&self, filter: &Filter, before: Seq, limit: usize) -> Result<Vec<Hit>, Error> {
        let mut left = limit;
        let snapshot = self.index.look(|row| {
            let good = left > 0 && row.seq < before && filter.matches(row);
            left -= usize::from(good);
            good.then(|| Hit::of(row))
        });
        snapshot
            .search(filter, before, limit, &mut |number, column| store::column(&self.store, number, column))
    }

    fn count(&self, filter: &Filter) -> Counts {
        let mut counts = Counts::default();
        let snapshot = self.index.look(|row| -> Option<()> {
            if filter.matches(row) {
                counts.add(row);
            }
            None
        });
        snapshot
            .count(filter, &mut counts, &mut |number, column| -> Result<_, Error> {
                store::column(&self.store, number, column)
            })
            .unwrap();
        counts
    }
}
