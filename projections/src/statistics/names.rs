//! Tracks by name, so many of them and no more; the rest share one.
//!
//! A name that did nothing for as long as anything is remembered of it makes room, once a day.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    range::{DAY, Range},
    track::{Sums, Track},
};
use crate::id::Millis;

/// Older than this, nothing is left of what a track's buckets held.
const FORGOTTEN: Millis = 35 * DAY;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "K: Ord + Deserialize<'de>"))]
pub struct Names<K> {
    // Boxed: a tree's nodes have room for eleven, used or not.
    tracks: BTreeMap<K, Box<Track>>,
    other: Box<Track>,
}

impl<K> Default for Names<K> {
    fn default() -> Self {
        Self { tracks: BTreeMap::new(), other: Box::default() }
    }
}

impl<K: Ord> Names<K> {
    /// The track of a name, or of all others; `make` gives the name where it is to have a track of its own.
    pub(super) fn track<Q>(&mut self, name: &Q, most: usize, make: impl FnOnce() -> Option<K>) -> &mut Track
    where
        K: std::borrow::Borrow<Q>,
        Q: Ord + ?Sized,
    {
        if !self.tracks.contains_key(name)
            && self.tracks.len() < most
            && let Some(own) = make()
        {
            self.tracks.insert(own, Box::default());
        }
        self.tracks.get_mut(name).unwrap_or(&mut self.other)
    }

    /// One name's.
    #[must_use]
    pub fn get<Q>(&self, name: &Q) -> Option<&Track>
    where
        K: std::borrow::Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.tracks.get(name).map(|track| &**track)
    }

    /// Every name that has a track of its own.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&K, &Track)> {
        self.tracks.iter().map(|(name, track)| (name, &**track))
    }

    /// What all others did together.
    #[must_use]
    pub fn other(&self) -> &Track {
        &self.other
    }

    /// The busiest in a range, most first, and all the rest summed up.
    #[must_use]
    pub fn top(&self, range: Range, now: Millis, most: usize) -> (Vec<(&K, &Track, Sums)>, Sums) {
        let mut all: Vec<_> =
            self.iter().map(|(name, track)| (name, track, track.sums(range, now))).collect();
        all.retain(|(_, _, sums)| *sums != Sums::default());
        all.sort_by_key(|(_, _, sums)| std::cmp::Reverse(sums.count));
        let mut rest = self.other.sums(range, now);
        all.drain(most.min(all.len())..).for_each(|(_, _, sums)| rest.merge(&sums));
        (all, rest)
    }

    pub(super) fn remove(&mut self, name: &K) {
        self.tracks.remove(name);
    }

    pub(super) fn sweep(&mut self, now: Millis) {
        self.tracks.retain(|_, track| now.saturating_sub(track.last) < FORGOTTEN);
    }
}
