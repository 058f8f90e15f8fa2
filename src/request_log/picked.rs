//! Rows of a block that are still asked for: one bit each.

use super::block::ROWS;

const WORDS: usize = ROWS / 64;

/// Some rows of a block.
#[derive(Clone, Debug)]
pub(super) struct Picked([u64; WORDS]);

impl Picked {
    /// The first `rows`.
    pub(super) fn all(rows: usize) -> Self {
        let mut words = [0; WORDS];
        for (word, before) in words.iter_mut().zip((0..).step_by(64)) {
            *word = match rows.saturating_sub(before) {
                0 => 0,
                left @ 1..64 => (1 << left) - 1,
                _ => u64::MAX,
            };
        }
        Self(words)
    }

    pub(super) fn none() -> Self {
        Self([0; WORDS])
    }

    /// Leaves only those that are good.
    pub(super) fn keep(&mut self, mut good: impl FnMut(usize) -> bool) {
        for (word, before) in self.0.iter_mut().zip((0..).step_by(64)) {
            let mut left = *word;
            while left != 0 {
                let bit = left.trailing_zeros() as usize;
                left &= left - 1;
                if !good(before + bit) {
                    *word &= !(1 << bit);
                }
            }
        }
    }

    pub(super) fn add(&mut self, row: usize) {
        if let Some(word) = self.0.get_mut(row / 64) {
            *word |= 1 << (row % 64);
        }
    }

    pub(super) fn has(&self, row: usize) -> bool {
        self.0.get(row / 64).is_some_and(|word| word & (1 << (row % 64)) != 0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Their numbers, the last first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().rev().flat_map(|(place, word)| {
            (0..64).rev().filter(move |bit| word & (1 << bit) != 0).map(move |bit| 64 * place + bit)
        })
    }
}
