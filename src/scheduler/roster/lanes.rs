//! What is special about a model: the projects that are closed for it or may run
//! out of it, those that a probe may try, and its circuit at Google.
//!
//! Owns a [`Cell`] for each (project, model) that has a gate or a budget. Its
//! invariant: of the requests under way at most one goes through a cell's closed
//! gate, and between two such at least [`PACE_MS`] go by, unless Google said
//! something new of it meanwhile.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
};

use projections::{
    Millis, Seq,
    budget::Budget,
    event::Window,
    keys::{Gate, QuotaDay},
};

use super::{budget::Meters, slots::time_of};
use crate::scheduler::{
    lease::{Claim, Pass},
    ready::NEVER,
};

/// A probe that ends without a verdict, because its client left, is not followed by the next at once. Short enough
/// that a request may wait for what comes of it.
const PACE_MS: Millis = 3_000;
/// Lanes, before those without anything closed are dropped.
pub(super) const LANES_KEPT: usize = 256;

/// A gate, or some in one place, as a chooser sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shut {
    /// Until when; 0: open.
    pub(super) until: Millis,
    /// From when on one may try it; [`NEVER`]: nobody.
    probe: Millis,
    /// The last event that closed it.
    seq: Seq,
}

impl Default for Shut {
    fn default() -> Self {
        Self { until: 0, probe: NEVER, seq: 0 }
    }
}

impl Shut {
    /// Gates of which every one is in the way until it opens or may be tried.
    pub(super) fn by<'a>(gates: impl Iterator<Item = &'a Gate>) -> Self {
        let (mut until, mut free, mut seq) = (0, 0, 0);
        for gate in gates {
            let opens = time_of(Some(gate));
            until = until.max(opens);
            free = free.max(gate.probe.unwrap_or(NEVER).min(opens));
            seq = seq.max(gate.seq);
        }
        Self { until, probe: if free < until { free } else { NEVER }, seq }
    }

    pub(super) fn by_windows(windows: Option<&BTreeMap<Window, Gate>>) -> Self {
        windows.map(|windows| Self::by(windows.values())).unwrap_or_default()
    }
}

/// A closed gate that lets one through now and then.
#[derive(Debug, Default)]
pub(super) struct HalfOpen {
    pub(super) shut: Shut,
    /// The next one may not go before.
    paced: Millis,
    pass: Pass,
}

impl HalfOpen {
    /// What the gate is now. What Google said anew counts from when it said it.
    pub(super) fn set(&mut self, shut: Shut) {
        if shut.seq != self.shut.seq {
            self.paced = 0;
        }
        self.shut = shut;
    }

    pub(super) fn is_closed(&self, now: Millis) -> bool {
        now < self.shut.until
    }

    pub(super) fn is_taken(&self) -> bool {
        self.pass.is_taken()
    }

    /// Whether it says nothing any more.
    pub(super) fn is_over(&self, now: Millis) -> bool {
        !self.is_closed(now) && !self.is_taken()
    }

    /// When the next may go through; [`NEVER`]: before it opens, none.
    pub(super) fn next(&self) -> Millis {
        let next = self.shut.probe.max(self.paced);
        if next < self.shut.until { next } else { NEVER }
    }

    /// Goes through; none, where somebody is on the way.
    pub(super) fn claim(&mut self, now: Millis) -> Option<Claim> {
        self.paced = now.saturating_add(PACE_MS);
        self.pass.take()
    }
}

/// One project for one model.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) gate: HalfOpen,
    pub(super) budget: Option<Meters>,
    /// Until when the sets have the project's slots closed: by the gate, and by the budget.
    pub(super) applied: (Millis, Millis),
    /// When some key of the project is free of every other gate.
    reachable: Millis,
    /// When the next probe may go: an entry of the heap with another time is stale.
    pub(super) next: Millis,
}

impl Default for Cell {
    fn default() -> Self {
        Self { gate: HalfOpen::default(), budget: None, applied: (0, 0), reachable: 0, next: NEVER }
    }
}

impl Cell {
    /// As it is in another place, where no set and no queue has heard of it.
    pub(super) fn moved(self) -> Self {
        Self { applied: (0, 0), next: NEVER, ..self }
    }

    /// Whether a probe may go at `now`, if nobody is on the way.
    pub(super) fn is_due(&self, now: Millis) -> bool {
        self.next <= now && self.gate.is_closed(now)
    }

    /// Whether it knows something that the state does not.
    pub(super) fn is_live(&self, now: Millis) -> bool {
        self.budget.is_some() || self.gate.is_taken() || now < self.gate.paced
    }

    fn is_over(&self, now: Millis) -> bool {
        self.budget.is_none() && self.gate.is_over(now)
    }
}

/// What is special about one model.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) model: String,
    /// By the number of the project.
    pub(super) cells: HashMap<u32, Cell>,
    /// Whether Google ever named a limit here: where it did not, nothing is counted.
    pub(super) limited: bool,
    /// The model at Google, for everybody.
    pub(super) circuit: HalfOpen,
    /// Of the last probe that went through a cell's gate.
    trying: Pass,
    probes: BinaryHeap<Reverse<(Millis, u32)>>,
}

impl Lane {
    /// Brings a cell up to what the state says. What was on the way, or went out, stays counted.
    /// Gives what the sets are to be told: until when it is closed, where that is news.
    pub(super) fn sync(
        &mut self,
        row: u32,
        shut: Shut,
        budget: Option<&Budget>,
        day: &QuotaDay,
        now: Millis,
    ) -> Option<(Millis, Millis)> {
        if budget.is_none() && shut.until == 0 && !self.cells.contains_key(&row) {
            return None;
        }
        self.limited |= budget.is_some();
        let cell = self.cells.entry(row).or_default();
        cell.gate.set(shut);
        match budget {
            Some(budget) => cell.budget.get_or_insert_default().sync(budget),
            None => cell.budget = None,
        }
        let spent = cell.budget.as_mut().map_or(0, |meters| meters.opens(day, now));
        let closed = (shut.until, spent);
        let before = std::mem::replace(&mut cell.applied, closed);
        if cell.is_over(now) {
            self.cells.remove(&row);
        }
        (before != closed).then_some(closed)
    }

    /// A cell's project can be reached, but for its own gate, from a time on.
    pub(super) fn reach(&mut self, row: u32, reachable: Millis) {
        if let Some(cell) = self.cells.get_mut(&row) {
            cell.reachable = reachable;
            self.queue(row);
        }
    }

    /// Puts a cell where its next probe is due.
    fn queue(&mut self, row: u32) {
        let Some(cell) = self.cells.get_mut(&row) else { return };
        let next = cell.gate.next();
        let next = if next == NEVER { NEVER } else { next.max(cell.reachable) };
        let next = if next < cell.gate.shut.until { next } else { NEVER };
        let before = std::mem::replace(&mut cell.next, next);
        if next != NEVER && next != before {
            self.push(next, row);
        }
    }

    fn push(&mut self, next: Millis, row: u32) {
        // What is stale is dropped before it is more than the rest. Room is made when cells come, so that
        // choosing allocates nothing.
        let most = 2 * self.cells.len() + 1;
        if self.probes.len() >= most {
            self.probes.clear();
            let due = self.cells.iter().filter(|(_, cell)| cell.next != NEVER);
            self.probes.extend(due.map(|(row, cell)| Reverse((cell.next, *row))));
        } else {
            self.probes.push(Reverse((next, row)));
        }
        if self.probes.capacity() <= most {
            self.probes.reserve(most + 1 - self.probes.len());
        }
    }

    /// The cell that is due first, and when; what is stale is forgotten.
    pub(super) fn first(&mut self) -> Option<(Millis, u32)> {
        while let Some(&Reverse((at, row))) = self.probes.peek() {
            if self.cells.get(&row).is_some_and(|cell| cell.next == at) {
                return Some((at, row));
            }
            self.probes.pop();
        }
        None
    }

    /// Takes the cell that is due first out of the queue; it must be put back or claimed.
    pub(super) fn pop_due(&mut self, now: Millis) -> Option<u32> {
        while let Some((at, row)) = self.first().filter(|(at, _)| *at <= now) {
            self.probes.pop();
            let cell = self.cells.get_mut(&row)?;
            cell.next = NEVER;
            if !cell.gate.is_closed(now) {
                continue;
            }
            if !cell.gate.is_taken() {
                // As it was, for whoever looks at it.
                cell.next = at;
                return Some(row);
            }
            cell.gate.paced = now.saturating_add(PACE_MS);
            self.queue(row);
        }
        None
    }

    pub(super) fn put_back(&mut self, row: u32) {
        if let Some(cell) = self.cells.get(&row) {
            self.push(cell.next, row);
        }
    }

    /// The right to be the one request through a cell's gate.
    pub(super) fn claim(&mut self, row: u32, now: Millis) -> Option<Claim> {
        let cell = self.cells.get_mut(&row)?;
        let claim = cell.gate.claim(now);
        self.trying = cell.gate.pass.clone();
        self.queue(row);
        claim
    }

    /// Whether a probe is on the way, which may open a gate at any moment.
    pub(super) fn is_trying(&self) -> bool {
        self.trying.is_taken()
    }

    fn is_over(&self, now: Millis) -> bool {
        self.circuit.is_over(now) && self.cells.values().all(|cell| cell.is_over(now))
    }
}

/// Every lane, by its model.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    ids: HashMap<String, usize>,
    pub(super) all: Vec<Lane>,
}

impl Lanes {
    pub(super) fn find(&self, model: &str) -> Option<usize> {
        self.ids.get(model).copied()
    }

    pub(super) fn add(&mut self, model: &str) -> usize {
        self.all.push(Lane { model: model.to_owned(), ..Lane::default() });
        self.ids.insert(model.to_owned(), self.all.len() - 1);
        self.all.len() - 1
    }

    /// Drops the lanes that say nothing any more; gives their places, each as they were before it left and
    /// the last one took it.
    pub(super) fn forget(&mut self, now: Millis) -> Vec<usize> {
        let over = self.all.iter().enumerate().filter(|(_, lane)| lane.is_over(now));
        let places: Vec<usize> = over.map(|(place, _)| place).rev().collect();
        for place in &places {
            self.all.swap_remove(*place);
        }
        self.ids = self.all.iter().map(|lane| lane.model.clone()).zip(0..).collect();
        places
    }
}
