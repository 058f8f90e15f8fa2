//! Places that callers share: so many in all, and of those a share for each.
//!
//! Owns who has how many. Its invariant: one caller never has more than its share, so another always finds room until
//! there are as many callers as shares.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use crate::locks::Mutex;

/// See the module.
#[derive(Clone, Debug)]
pub struct Shares<K: Hash + Eq + Clone = u128> {
    held: Arc<Mutex<Held<K>>>,
    all: usize,
    each: usize,
}

#[derive(Debug)]
struct Held<K> {
    by_caller: HashMap<K, usize>,
    sum: usize,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// All places are taken.
    All(usize),
    /// The caller has its share.
    Share(usize),
}

/// A place; given back when it is dropped.
#[derive(Debug)]
pub struct Share<K: Hash + Eq + Clone = u128> {
    held: Arc<Mutex<Held<K>>>,
    who: K,
}

impl<K: Hash + Eq + Clone> Shares<K> {
    /// So many places in all, and for each caller.
    #[must_use]
    pub fn new(all: usize, each: usize) -> Self {
        let held = Held { by_caller: HashMap::new(), sum: 0 };
        Self { held: Arc::new(Mutex::new(held)), all, each }
    }

    /// Takes a place for a caller.
    ///
    /// # Errors
    /// [`Full`].
    pub fn take(&self, who: K) -> Result<Share<K>, Full> {
        let mut held = self.held.lock();
        if held.by_caller.get(&who).is_some_and(|own| *own >= self.each) {
            return Err(Full::Share(self.each));
        }
        if held.sum >= self.all {
            return Err(Full::All(self.all));
        }
        held.sum += 1;
        *held.by_caller.entry(who.clone()).or_default() += 1;
        Ok(Share { held: Arc::clone(&self.held), who })
    }

    /// Places that are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.held.lock().sum
    }
}

impl<K: Hash + Eq + Clone> Drop for Share<K> {
    fn drop(&mut self) {
        let mut held = self.held.lock();
        held.sum = held.sum.saturating_sub(1);
        let own = held.by_caller.get_mut(&self.who).map(|own| {
            *own = own.saturating_sub(1);
            *own
        });
        if own == Some(0) {
            held.by_caller.remove(&self.who);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_fills_its_share_and_others_find_room() {
        let shares = Shares::new(5, 3);
        let mut first: Vec<_> = (0..3).map(|_| shares.take("a").unwrap()).collect();
        assert_eq!(shares.take("a").err(), Some(Full::Share(3)));
        let second: Vec<_> = (0..2).map(|_| shares.take("b").unwrap()).collect();
        assert_eq!(shares.take("c").err(), Some(Full::All(5)));
        first.pop();
        assert!(shares.take("c").is_ok());
        drop((first, second));
        assert_eq!((shares.taken(), shares.held.lock().by_caller.len()), (0, 0), "nobody is remembered");
    }
}
