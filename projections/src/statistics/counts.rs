//! Counts of few things among many possible: sparse, in order, merged by adding.
//!
//! Owns the histogram of times. Sixteen cells for each power of two of milliseconds: what a cell stands for is
//! within 3.2 % of what was measured, and times below 32 ms are kept as they are. Its invariant: a histogram that
//! was merged from parts is the histogram of all.

use serde::{Deserialize, Serialize};

/// Cells for each power of two.
const CELLS: u32 = 16;
/// The power of two from which on a cell holds more than one number.
const EXACT_BITS: u32 = 4;

/// How often each of some things was counted; what was never counted takes no room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts<K>(Vec<(K, u64)>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord + Copy> Counts<K> {
    /// Counts a thing so many times more.
    pub fn add(&mut self, what: K, more: u64) {
        match self.0.binary_search_by_key(&what, |(known, _)| *known) {
            Ok(at) => {
                if let Some((_, count)) = self.0.get_mut(at) {
                    *count = count.saturating_add(more);
                }
            }
            Err(at) => self.0.insert(at, (what, more)),
        }
    }

    /// Counts all that another counted.
    pub fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(what, count)| self.add(*what, *count));
    }

    /// How often a thing was counted.
    #[must_use]
    pub fn get(&self, what: K) -> u64 {
        let found = self.0.binary_search_by_key(&what, |(known, _)| *known);
        found.ok().and_then(|at| self.0.get(at)).map_or(0, |(_, count)| *count)
    }

    /// What was counted, in order.
    pub fn iter(&self) -> impl Iterator<Item = (K, u64)> {
        self.0.iter().copied()
    }

    /// All counts together.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.0.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }
}

/// How long things took, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    cells: Counts<u16>,
    sum_ms: u64,
}

/// The cell of a time.
fn cell(ms: u32) -> u16 {
    let shift = ms.checked_ilog2().unwrap_or(0).saturating_sub(EXACT_BITS);
    // 32 bits make 28 rows of 16 and the exact ones: 464 cells.
    u16::try_from(CELLS * shift + (ms >> shift)).unwrap_or(u16::MAX)
}

/// The least time of a cell, and how many milliseconds it spans.
fn span(cell: u16) -> (u64, u64) {
    let cell = u64::from(cell);
    let shift = (cell / u64::from(CELLS)).saturating_sub(1).min(32);
    ((cell - u64::from(CELLS) * shift) << shift, 1 << shift)
}

impl Histogram {
    /// Counts one.
    pub fn record(&mut self, ms: u32) {
        self.cells.add(cell(ms), 1);
        self.sum_ms = self.sum_ms.saturating_add(u64::from(ms));
    }

    /// Counts all that another counted.
    pub fn merge(&mut self, other: &Self) {
        self.cells.merge(&other.cells);
        self.sum_ms = self.sum_ms.saturating_add(other.sum_ms);
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.cells.sum()
    }

    /// All of them together, in milliseconds.
    #[must_use]
    pub fn sum_ms(&self) -> u64 {
        self.sum_ms
    }

    /// The time that so many of a thousand did not exceed, within 3.2 %; none, where nothing was counted.
    #[must_use]
    pub fn quantile(&self, per_mille: u64) -> Option<u64> {
        let rank = u128::from(self.count()) * u128::from(per_mille.min(1_000));
        let rank = u64::try_from(rank.div_ceil(1_000)).unwrap_or(u64::MAX).max(1);
        let mut seen = 0u64;
        let found = self.cells.iter().find(|(_, count)| {
            seen = seen.saturating_add(*count);
            seen >= rank
        });
        found.map(|(cell, _)| {
            let (least, width) = span(cell);
            least + (width - 1) / 2
        })
    }

    /// How many took less than this. Exact where `ms` is the first of a cell, as every power of two is.
    #[must_use]
    pub fn below(&self, ms: u64) -> u64 {
        let less = self.cells.iter().take_while(|(cell, _)| span(*cell).0 < ms);
        less.fold(0, |sum, (_, count)| sum.saturating_add(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A few numbers of every size.
    fn numbers() -> impl Iterator<Item = u32> {
        (0..200).chain((0..32).flat_map(|bit| {
            let power = 1u32 << bit;
            [power.wrapping_sub(1), power, power.saturating_add(1), power.saturating_add(power / 3)]
        }))
    }

    #[test]
    fn every_time_lies_in_its_cell_and_its_cell_is_narrow() {
        for ms in numbers().chain([u32::MAX]) {
            let (least, width) = span(cell(ms));
            assert!((least..least + width).contains(&u64::from(ms)), "{ms} in {least} and {width}");
            assert!(width == 1 || width * 16 <= least, "{ms}: {width} at {least}");
        }
    }

    #[test]
    fn longer_times_lie_in_later_cells() {
        let mut all: Vec<_> = numbers().collect();
        all.sort_unstable();
        assert!(all.windows(2).all(|two| cell(two[0]) <= cell(two[1])));
    }

    #[test]
    fn quantiles_are_near_what_sorting_says() {
        let mut times: Vec<u32> = (0u32..5_000).map(|n| n.wrapping_mul(2_654_435_761) >> (n % 20)).collect();
        let mut histogram = Histogram::default();
        times.iter().for_each(|ms| histogram.record(*ms));
        times.sort_unstable();
        for per_mille in [1, 100, 500, 950, 990, 1_000] {
            let exact = f64::from(times[(times.len() * per_mille).div_ceil(1_000) - 1]);
            let told = histogram.quantile(per_mille as u64).unwrap() as f64;
            assert!((told - exact).abs() <= exact * 0.032 + 0.5, "{per_mille} ‰: {told} for {exact}");
        }
        assert_eq!(Histogram::default().quantile(500), None);
    }

    #[test]
    fn powers_of_two_part_it_exactly() {
        let mut histogram = Histogram::default();
        numbers().for_each(|ms| histogram.record(ms));
        for bit in 0..33 {
            let edge = 1u64 << bit;
            let exact = numbers().filter(|ms| u64::from(*ms) < edge).count() as u64;
            assert_eq!(histogram.below(edge), exact, "below {edge}");
        }
    }

    #[test]
    fn parts_merged_are_the_whole() {
        let (mut whole, mut one, mut other) = <(Histogram, Histogram, Histogram)>::default();
        for (n, ms) in numbers().enumerate() {
            whole.record(ms);
            if n % 3 == 0 { one.record(ms) } else { other.record(ms) }
        }
        one.merge(&other);
        assert_eq!(one, whole);
    }
}
