//! Who may ask for a key next: lines of waiting requests, one for each thing asked for. Pure.
//!
//! Owns order and pace, and knows no keys. **Order**: whoever came first asks first;
//! only the head of a line asks, and who arrives while others wait goes behind them.
//! **Pace**: when something opens, nobody knows how much it bears. So the head goes
//! alone; the next one goes when the first byte of its answer is there, or it was
//! under way for [`SETTLED`] (a refusal comes sooner). Each such success lets one more
//! be on the way at once, so that the pace doubles from round to round; a refusal
//! halves it; and when nobody can be chosen any more it begins anew with one. So one
//! refusal closes the gate before the rest of a line runs into it. Its invariants: at
//! most `most` wait, at most `pace` of a line are on their way without a word, and
//! nobody who may ask is left asleep.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    time::Duration,
};

use projections::Millis;

/// A request under way for so long was not refused.
pub(crate) const SETTLED: Duration = Duration::from_millis(500);
/// A line that has come to this pace is none any more: whatever opened bears what comes.
const FREE: usize = 64;

/// A request's place in the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// Whether a request may ask for a key now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It may.
    Ask,
    /// Others are before it.
    Behind,
    /// It is the first, and those before it have no word yet; at this time one will count as settled.
    Paced(Duration),
}

/// What became of a request that was let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// Google serves it.
    Served,
    /// Google refused it at the door: what had opened is closed again.
    Refused,
    /// Neither is known, or will be.
    Gone,
}

/// As many wait as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

#[derive(Debug)]
struct Line<W> {
    /// Who waits, and how to wake them.
    waiting: BTreeMap<Ticket, W>,
    /// Who was let go and has no word yet, and since when.
    out: BTreeMap<Ticket, Duration>,
    /// How many may be out at once; [`usize::MAX`] where nothing was seen closed.
    pace: usize,
    /// When something opens, as the head was last told.
    opens: Option<Millis>,
}

impl<W> Line<W> {
    fn new() -> Self {
        Self { waiting: BTreeMap::new(), out: BTreeMap::new(), pace: usize::MAX, opens: None }
    }

    /// Those that were not refused in time are served.
    fn settle(&mut self, now: Duration) {
        let before = self.out.len();
        self.out.retain(|_, since| now < since.saturating_add(SETTLED));
        self.pace = self.pace.saturating_add(before - self.out.len());
    }

    fn is_over(&self) -> bool {
        self.waiting.is_empty() && (self.out.is_empty() || self.pace >= FREE)
    }

    fn turn(&self, ticket: Ticket) -> Turn {
        if self.waiting.keys().next().is_some_and(|first| *first < ticket) {
            return Turn::Behind;
        }
        match self.out.values().min() {
            Some(first) if self.out.len() >= self.pace => Turn::Paced(first.saturating_add(SETTLED)),
            _ => Turn::Ask,
        }
    }
}

/// See the module. `K` is the thing asked for, `W` wakes a request.
#[derive(Debug)]
pub(crate) struct Lines<K, W> {
    lines: HashMap<K, Line<W>>,
    waiting: usize,
    most: usize,
    next: u64,
}

impl<K: Clone + Eq + Hash, W: Clone> Lines<K, W> {
    pub(crate) fn new(most: usize) -> Self {
        Self { lines: HashMap::new(), waiting: 0, most, next: 0 }
    }

    /// How many lines there are: none is the usual case.
    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }

    /// How many wait, in all lines together.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// A place behind everybody who has one.
    pub(crate) fn ticket(&mut self) -> Ticket {
        self.next += 1;
        Ticket(self.next)
    }

    /// Whether a request may ask now.
    pub(crate) fn turn(&mut self, key: &K, ticket: Ticket, now: Duration) -> Turn {
        let Some(line) = self.lines.get_mut(key) else { return Turn::Ask };
        line.settle(now);
        let turn = line.turn(ticket);
        self.forget(key);
        turn
    }

    /// When something opens, as the head of the line was last told.
    pub(crate) fn opens(&self, key: &K) -> Option<Millis> {
        self.lines.get(key)?.opens
    }

    /// Whether the line waits for something that is closed, or was a moment ago.
    pub(crate) fn is_paced(&self, key: &K) -> bool {
        self.lines.get(key).is_some_and(|line| line.pace < usize::MAX)
    }

    /// Joins the line; false: it is in it already.
    ///
    /// # Errors
    /// [`Full`].
    pub(crate) fn join(&mut self, key: &K, ticket: Ticket, waker: &W) -> Result<bool, Full> {
        if self.lines.get(key).is_some_and(|line| line.waiting.contains_key(&ticket)) {
            return Ok(false);
        }
        if self.waiting >= self.most {
            return Err(Full);
        }
        self.waiting += 1;
        let line = self.lines.entry(key.clone()).or_insert_with(Line::new);
        line.waiting.insert(ticket, waker.clone());
        Ok(true)
    }

    /// The head was told that nobody can be chosen until something opens.
    pub(crate) fn closed(&mut self, key: &K, opens: Option<Millis>) {
        if let Some(line) = self.lines.get_mut(key) {
            (line.pace, line.opens) = (1, opens);
        }
    }

    /// A request got its key. True: a word is wanted of what becomes of it.
    pub(crate) fn let_go(&mut self, key: &K, ticket: Ticket, now: Duration) -> bool {
        let Some(line) = self.lines.get_mut(key) else { return false };
        line.opens = None;
        let paced = line.pace < usize::MAX;
        if paced {
            line.out.insert(ticket, now);
        }
        self.leave(key, ticket);
        paced
    }

    /// What became of one that was let go.
    pub(crate) fn word(&mut self, key: &K, ticket: Ticket, word: Word) {
        let Some(line) = self.lines.get_mut(key) else { return };
        let was_out = line.out.remove(&ticket).is_some();
        match word {
            Word::Served if was_out => line.pace = line.pace.saturating_add(1),
            // Also when it comes late: then it took back a success.
            Word::Refused if line.pace < usize::MAX => line.pace = (line.pace / 2).max(1),
            _ => {}
        }
        self.forget(key);
    }

    /// A request waits no more.
    pub(crate) fn leave(&mut self, key: &K, ticket: Ticket) {
        let Some(line) = self.lines.get_mut(key) else { return };
        if line.waiting.remove(&ticket).is_some() {
            self.waiting -= 1;
        }
        self.forget(key);
    }

    fn forget(&mut self, key: &K) {
        if self.lines.get(key).is_some_and(Line::is_over) {
            self.lines.remove(key);
        }
    }

    /// Who is to be woken after a change: the head, to ask, or to learn until when it is held back.
    pub(crate) fn awake(&mut self, key: &K, now: Duration) -> Option<W> {
        let line = self.lines.get_mut(key)?;
        line.settle(now);
        let (first, waker) = line.waiting.first_key_value()?;
        (line.turn(*first) != Turn::Behind).then(|| waker.clone())
    }
}

#[cfg(test)]
mod tests;
