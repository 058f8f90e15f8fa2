//! Wrong tries in a row, by who makes them.
//!
//! Pure. Owns the count and when the next try may be. Bounded: what is old is forgotten, and where there are too many,
//! those with the fewest tries go first. Its invariant: whoever waits longest is forgotten last.

use std::{collections::HashMap, hash::Hash};

use projections::Millis;

/// Tries that cost nothing, the first wait, and the longest; each further try doubles it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) wrong: u32,
    pub(super) first: Millis,
    pub(super) longest: Millis,
}

impl Patience {
    /// What so many wrong tries cost; 0: nothing.
    pub(super) fn wait(&self, wrong: u32) -> Millis {
        let doublings = wrong.checked_sub(self.wrong).map(|more| more.min(20));
        doublings.map_or(0, |doublings| (self.first << doublings).min(self.longest))
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Wrong {
    count: u32,
    last: Millis,
    until: Millis,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Tally<K> {
    all: HashMap<K, Wrong>,
    most: usize,
    /// A try is forgotten after so long without another.
    forget: Millis,
}

impl<K: Hash + Eq + Clone> Tally<K> {
    pub(super) fn new(most: usize, forget: Millis) -> Self {
        Self { all: HashMap::new(), most, forget }
    }

    /// Counts a wrong try; gives their number, and what it costs.
    pub(super) fn count(&mut self, who: &K, patience: &Patience, now: Millis) -> (u32, Millis) {
        let count = self.recent(who, now).count.saturating_add(1);
        let wait = patience.wait(count);
        self.put(who, Wrong { count, last: now, until: now.saturating_add(wait) });
        (count, wait)
    }

    /// Milliseconds until the next try may be; 0: now.
    pub(super) fn wait(&self, who: &K, now: Millis) -> Millis {
        self.recent(who, now).until.saturating_sub(now).max(0)
    }

    /// Goes on from what was known of somebody before.
    pub(super) fn remember(&mut self, who: &K, count: u32, last: Millis, until: Millis) {
        self.put(who, Wrong { count, last, until });
    }

    pub(super) fn forgive(&mut self, who: &K) {
        self.all.remove(who);
    }

    fn recent(&self, who: &K, now: Millis) -> Wrong {
        let found = self.all.get(who).copied();
        found.filter(|wrong| now.saturating_sub(wrong.last) < self.forget).unwrap_or_default()
    }

    fn put(&mut self, who: &K, wrong: Wrong) {
        if self.all.len() >= self.most && !self.all.contains_key(who) {
            self.make_room(wrong.last);
        }
        self.all.insert(who.clone(), wrong);
    }

    /// A tenth goes at once, so that room is seldom made.
    fn make_room(&mut self, now: Millis) {
        self.all.retain(|_, wrong| now.saturating_sub(wrong.last) < self.forget);
        let keep = self.most - self.most / 10 - 1;
        if self.all.len() <= keep {
            return;
        }
        let mut worth: Vec<(u32, Millis)> =
            self.all.values().map(|wrong| (wrong.count, wrong.last)).collect();
        let too_many = worth.len() - keep;
        let (_, least, _) = worth.select_nth_unstable(too_many - 1);
        let least = *least;
        let mut left = too_many;
        self.all.retain(|_, wrong| {
            let goes = left > 0 && (wrong.count, wrong.last) <= least;
            left -= usize::from(goes);
            !goes
        });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { wrong: 3, first: 1_000, longest: 8_000 };

    #[test]
    fn each_try_doubles_the_wait_until_it_is_longest_and_time_forgets() {
        let mut tally = Tally::new(100, 60_000);
        let waits: Vec<_> = (0..8).map(|at| tally.count(&"a", &PATIENCE, at).1).collect();
        assert_eq!(waits, [0, 0, 1_000, 2_000, 4_000, 8_000, 8_000, 8_000]);
        assert_eq!((tally.wait(&"a", 7), tally.wait(&"a", 8_006), tally.wait(&"b", 7)), (8_000, 1, 0));
        assert_eq!(tally.count(&"a", &PATIENCE, 60_007), (1, 0), "forgotten");
        tally.forgive(&"a");
        assert_eq!(tally.count(&"a", &PATIENCE, 60_008), (1, 0));
    }

    #[test]
    fn however_many_there_are_room_is_bounded_and_the_worst_are_kept() {
        let mut tally = Tally::new(1_000, 60_000);
        for at in 0..5 {
            tally.count(&0, &PATIENCE, at);
        }
        for who in 1..100_000 {
            tally.count(&who, &PATIENCE, 10);
            assert!(tally.len() <= 1_000);
        }
        assert!(tally.len() > 800, "{}", tally.len());
        assert_eq!(tally.count(&0, &PATIENCE, 11).0, 6);
    }
}
