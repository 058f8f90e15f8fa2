//! Who may ask for a key next: lines of waiting requests, one for each thing asked for. Pure.
//!
//! Owns order and pace, and knows no keys. **Order**: whoever came first asks first;
//! only the head of a line asks, and who arrives while others wait goes behind them.
//! **Pace**: when something opens, nobody knows how much it bears. So the head goes
//! alone; the next one goes when the first byte of its answer is there, or it was
//! under way for [`SETTLED`] (a refusal comes sooner). Each such success lets one more
//! be on the way at once, so that the pace doubles from round to round; a refusal
//! halves it; and when nobody can be chosen any more it begins anew with one. So one
//! refusal closes the gate before the rest of a line runs into it. **Places**: one client
//! alone may have all of them; where none is left and others want some, the newest of the
//! client with most makes room ([`crate::fair`]). Its invariants: at most `most` wait, at
//! most `pace` of a line are on their way without a word, nobody who may ask is left
//! asleep, and no client is refused a place while its share is smaller than an equal one.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    time::Duration,
};

use projections::Millis;

use crate::fair::{Full, Shares};

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

/// A request that waits: whose it is, and how to wake it.
#[derive(Debug)]
struct Waits<C, W> {
    client: C,
    waker: W,
}

#[derive(Debug)]
struct Line<C, W> {
    /// Who waits.
    waiting: BTreeMap<Ticket, Waits<C, W>>,
    /// Who was let go and has no word yet, and since when.
    out: BTreeMap<Ticket, Duration>,
    /// How many may be out at once; [`usize::MAX`] where nothing was seen closed.
    pace: usize,
    /// When something opens, as the head was last told.
    opens: Option<Millis>,
}

impl<C, W> Line<C, W> {
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

/// See the module. `K` is the thing asked for, `C` a client, `W` wakes a request.
#[derive(Debug)]
pub(crate) struct Lines<K, C, W> {
    lines: HashMap<K, Line<C, W>>,
    /// One place each for those that wait.
    places: Shares<C, Ticket>,
    most: usize,
    next: u64,
}

impl<K: Clone + Eq + Hash, C: Copy + Ord, W: Clone> Lines<K, C, W> {
    pub(crate) fn new(most: usize) -> Self {
        Self { lines: HashMap::new(), places: Shares::new(most), most, next: 0 }
    }

    /// How many lines there are: none is the usual case.
    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }

    /// How many wait, in all lines together.
    pub(crate) fn waiting(&self) -> usize {
        self.most - self.places.free()
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

    /// Joins the line; false: it is in it already. Those in `woken` are to be woken: who had to make room (it joins
    /// again, or is told that there is none), and who is the first now where that one was.
    ///
    /// # Errors
    /// [`Full`].
    pub(crate) fn join(
        &mut self,
        key: &K,
        (client, ticket): (C, Ticket),
        waker: &W,
        now: Duration,
        woken: &mut Vec<W>,
    ) -> Result<bool, Full> {
        if self.lines.get(key).is_some_and(|line| line.waiting.contains_key(&ticket)) {
            return Ok(false);
        }
        for (_, last) in self.places.take(client, ticket, 1, now)? {
            self.make_room(last, now, woken);
        }
        let line = self.lines.entry(key.clone()).or_insert_with(Line::new);
        line.waiting.insert(ticket, Waits { client, waker: waker.clone() });
        Ok(true)
    }

    /// Takes one out of its line, whichever that is; its place has gone to another one already.
    fn make_room(&mut self, ticket: Ticket, now: Duration, woken: &mut Vec<W>) {
        let line = self.lines.iter().find(|(_, line)| line.waiting.contains_key(&ticket));
        let Some(key) = line.map(|(key, _)| key.clone()) else { return };
        let last = self.lines.get_mut(&key).and_then(|line| line.waiting.remove(&ticket));
        woken.extend(last.map(|last| last.waker));
        woken.extend(self.awake(&key, now));
        self.forget(&key);
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
        if let Some(left) = line.waiting.remove(&ticket) {
            self.places.leave(left.client, ticket);
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
        let (first, waits) = line.waiting.first_key_value()?;
        (line.turn(*first) != Turn::Behind).then(|| waits.waker.clone())
    }
}

#[cfg(test)]
mod tests;
