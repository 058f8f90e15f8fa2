//! Times in the log: which event was the last by then, and how many there are in a while.
//!
//! Owns the search. Times never go back along the log, so a time is a place in it, and events in a while are
//! the way between two places: nobody reads what lies in between. Its invariant: what is read grows with the
//! logarithm of the log, not with the log.

use projections::{Class, Millis, Seq};

use super::{Ledger, OpenError, past::decoded};
use crate::journal::{
    Entry,
    codec::{self, Damage},
};

/// Events that are looked through one by one rather than searched.
const NEAR: u64 = 16;
/// Events that are looked at one by one to tell their classes, at most: some hundredths of a second.
const CLASSED: u64 = 50_000;
/// Read at once.
const PAGE: usize = 4_096;

/// An event that is there, and when it was recorded.
type Known = (Seq, Millis);

/// Events by how long they are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByClass {
    /// What operators did.
    pub control: u64,
    /// What the pool learned.
    pub health: u64,
    /// What clients asked.
    pub traffic: u64,
}

/// A while, and the events in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// When it begins.
    pub at: Millis,
    /// The first event in it.
    pub first: Option<Seq>,
    /// How many there are.
    pub events: u64,
    /// The same by class; none, where there are too many to look at.
    pub by_class: Option<ByClass>,
}

/// How dense events lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Density {
    /// When it begins.
    pub from: Millis,
    /// When it ends.
    pub to: Millis,
    /// How long each stretch is; the last one may be cut.
    pub width: Millis,
    /// Events up to this one are not counted: old traffic among them was dropped. 0: all are.
    pub after: Seq,
    /// The last event of the log.
    pub head: Seq,
    /// In order; none left out.
    pub stretches: Vec<Stretch>,
}

impl Ledger {
    /// The last event still there that was recorded at a time or before it; 0 where it is before the first.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn seq_at(&self, time: Millis) -> Result<Seq, OpenError> {
        // Where old traffic was dropped, the next that is there speaks for it.
        let head = *self.shared.head.borrow();
        let mut read = |after, limit| self.known(after, head, limit);
        Ok(places(&[time], (0, head), &mut read)?.first().copied().unwrap_or(0))
    }

    /// How many events there are from a time on (none said: from the first) until before another, in so many
    /// stretches at most. What lies before the last trim is not counted: the log does not know any more how much it was.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn density(&self, from: Option<Millis>, to: Millis, most: u32) -> Result<Density, OpenError> {
        let head = *self.shared.head.borrow();
        let after = self.state().trims.last.as_ref().map_or(0, |trim| trim.through);
        let from = match from {
            Some(from) => from,
            None => self.known(after, head, 1)?.first().map_or(to, |(_, at)| *at),
        };
        let (width, begins) = borders(from, to, most);
        // An event belongs to the stretch that begins with its time.
        let ends = begins.iter().chain([&to]).map(|at| at.saturating_sub(1)).collect::<Vec<_>>();
        // Some thousand looks: at when each was recorded, and no further.
        let mut read = |after, limit| self.glimpsed(after, head, limit);
        let places = places(&ends, (after, head), &mut read)?;
        let mut stretches = Vec::with_capacity(begins.len());
        for (at, two) in begins.iter().zip(places.windows(2)) {
            let [before, last] = two else { break };
            let events = last.saturating_sub(*before);
            let first = (events > 0).then(|| before + 1);
            stretches.push(Stretch { at: *at, first, events, by_class: None });
        }
        if let (Some(before), Some(last)) = (places.first(), places.last())
            && last.saturating_sub(*before) <= CLASSED
        {
            self.tell_classes(&mut stretches)?;
        }
        Ok(Density { from, to, width, after, head, stretches })
    }

    fn tell_classes(&self, stretches: &mut [Stretch]) -> Result<(), OpenError> {
        for stretch in stretches {
            let (mut counts, mut after) = (ByClass::default(), stretch.first.map_or(0, |first| first - 1));
            let last = after + stretch.events;
            while after < last {
                let left = usize::try_from(last - after).unwrap_or(PAGE).min(PAGE);
                let entries = self.shared.journal.read(after, left)?;
                let Some(read_to) = entries.last().map(|entry| entry.seq) else { break };
                for said in entries.iter().filter_map(|entry| codec::peek(&entry.frame)) {
                    *match said.class {
                        Class::Control => &mut counts.control,
                        Class::Health => &mut counts.health,
                        Class::Traffic => &mut counts.traffic,
                    } += 1;
                }
                after = read_to;
            }
            stretch.by_class = Some(counts);
        }
        Ok(())
    }

    fn glimpsed(&self, after: Seq, head: Seq, limit: usize) -> Result<Vec<Known>, OpenError> {
        let entries = self.shared.journal.read(after, limit)?;
        let there = entries.iter().take_while(|entry| entry.seq <= head);
        let known = |entry: &Entry| {
            let damaged = OpenError::Damaged { seq: entry.seq, damage: Damage::Length };
            Ok((entry.seq, codec::peek(&entry.frame).ok_or(damaged)?.at))
        };
        there.map(known).collect()
    }

    fn known(&self, after: Seq, head: Seq, limit: usize) -> Result<Vec<Known>, OpenError> {
        let entries = self.shared.journal.read(after, limit)?;
        let there = entries.iter().take_while(|entry| entry.seq <= head);
        there.map(|entry| decoded(entry).map(|recorded| (recorded.seq, recorded.at))).collect()
    }
}

/// How wide stretches are, and when each begins.
fn borders(from: Millis, to: Millis, most: u32) -> (Millis, Vec<Millis>) {
    let span = to.saturating_sub(from).max(0);
    let most = Millis::from(most.max(1));
    let width = (span / most + Millis::from(span % most > 0)).max(1);
    let begins = (0..most).map(|number| from.saturating_add(number.saturating_mul(width)));
    (width, begins.take_while(|at| *at < to).collect())
}

/// A place in the log, and about when that was.
type Point = (Seq, Millis);

/// For each of some times, in order, the last event that was recorded by then, of those after a place up to another;
/// that place, where there is none.
fn places<E>(
    times: &[Millis],
    (after, head): (Seq, Seq),
    read: &mut impl FnMut(Seq, usize) -> Result<Vec<Known>, E>,
) -> Result<Vec<Seq>, E> {
    let mut found = vec![after; times.len()];
    let Some(&(first, began)) = read(after, 1)?.first().filter(|(seq, _)| *seq <= head) else {
        return Ok(found);
    };
    let ended = read(head.saturating_sub(1).max(first - 1), 1)?.first().map_or(began, |(_, at)| *at);
    narrow(times, &mut found, ((after, began), (head.saturating_add(1), ended)), read)?;
    Ok(found)
}

/// The middle one's place bounds where all the others are.
fn narrow<E>(
    times: &[Millis],
    found: &mut [Seq],
    (low, ceiling): (Point, Point),
    read: &mut impl FnMut(Seq, usize) -> Result<Vec<Known>, E>,
) -> Result<(), E> {
    let middle = times.len() / 2;
    let ((before, rest), (found_before, found_rest)) = (times.split_at(middle), found.split_at_mut(middle));
    let (Some((time, behind)), Some((place, found_behind))) =
        (rest.split_first(), found_rest.split_first_mut())
    else {
        return Ok(());
    };
    *place = search(*time, low, ceiling, read)?;
    let place = *place;
    narrow(before, found_before, (low, (place.saturating_add(1), *time)), read)?;
    narrow(behind, found_behind, ((place, *time), ceiling), read)
}

/// The last event by a time, where that of `low` is, and whatever comes from `ceiling` on is not.
///
/// Events come about evenly, so the place is guessed by the time. A look at a guess tells on which side the place is;
/// the next one goes a little too far to that side, so that the place is between the two. Where two looks do not halve
/// what is left, one at its middle does.
fn search<E>(
    time: Millis,
    mut low: Point,
    mut ceiling: Point,
    read: &mut impl FnMut(Seq, usize) -> Result<Vec<Known>, E>,
) -> Result<Seq, E> {
    let mut look = |place: Seq, low: &mut Point, ceiling: &mut Point| {
        let side = match read(place - 1, 1)?.first() {
            Some(&(seq, at)) if seq < ceiling.0 && at <= time => {
                *low = (seq, at);
                Side::Behind
            }
            // There is nothing between the place and what was read.
            Some(&(seq, at)) if seq < ceiling.0 => {
                *ceiling = (place, at);
                Side::Before
            }
            _ => {
                ceiling.0 = place;
                Side::Before
            }
        };
        Ok(side)
    };
    let (mut side, left) = (Side::Unknown, |low: Point, ceiling: Point| ceiling.0.saturating_sub(low.0));
    while left(low, ceiling) > NEAR {
        let span = left(low, ceiling);
        for _ in 0..2 {
            if left(low, ceiling) <= NEAR {
                break;
            }
            let guess = guess(time, low, ceiling);
            let place = match side {
                Side::Unknown => guess,
                Side::Behind => guess + ((guess - low.0) / 4).max(NEAR / 2),
                Side::Before => guess.saturating_sub(((ceiling.0 - guess) / 4).max(NEAR / 2)),
            };
            side = look(place.clamp(low.0 + 1, ceiling.0 - 1), &mut low, &mut ceiling)?;
        }
        if left(low, ceiling) > NEAR.max(span / 2) {
            look(low.0 + left(low, ceiling) / 2, &mut low, &mut ceiling)?;
            side = Side::Unknown;
        }
    }
    let left = usize::try_from(left(low, ceiling).saturating_sub(1)).unwrap_or(0);
    let near = if left == 0 { Vec::new() } else { read(low.0, left)? };
    let by_then = near.into_iter().take_while(|(seq, at)| *seq < ceiling.0 && *at <= time).last();
    Ok(by_then.map_or(low.0, |(seq, _)| seq))
}

/// On which side of a place that was looked at what is looked for lies.
#[derive(Clone, Copy)]
enum Side {
    Unknown,
    Before,
    Behind,
}

/// Where a time would be, if time passed evenly between two points.
fn guess(time: Millis, low: Point, ceiling: Point) -> Seq {
    let way = |from: Millis, to: Millis| u128::try_from(i128::from(to) - i128::from(from)).unwrap_or(0);
    let (part, whole) = (way(low.1, time), way(low.1, ceiling.1).max(1));
    let span = ceiling.0.saturating_sub(low.0);
    let on = u128::from(span) * part.min(whole) / whole;
    low.0 + u64::try_from(on).unwrap_or(span)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    /// A log with holes, in which time stands still now and then.
    fn log() -> impl Strategy<Value = Vec<Known>> {
        proptest::collection::vec((1_u64..40, prop_oneof![Just(0_i64), 0_i64..5_000]), 0..400).prop_map(
            |steps| {
                let step = |(seq, at): &mut Known, (on, later): (u64, i64)| {
                    (*seq, *at) = (*seq + on, *at + later);
                    Some((*seq, *at))
                };
                steps.into_iter().scan((0, 1_000), step).collect()
            },
        )
    }

    /// Where the rate swings by day and by night, guesses take little more than half the looks that halving takes.
    #[test]
    fn places_of_a_long_log_take_few_looks() {
        const EVENTS: u64 = 10_000_000;
        let at = |seq: u64| {
            let days = seq as f64 * 20.0 / EVENTS as f64;
            (seq as f64 * 172.8 + 9_000_000.0 * (days * std::f64::consts::TAU).sin()) as Millis
        };
        for buckets in [30, 120, 500] {
            let (first, last) = (at(1), at(EVENTS));
            let times: Vec<Millis> =
                (0..=buckets).map(|bucket| first + (last - first) * bucket / buckets).collect();
            let mut looks = 0;
            let mut read = |after: Seq, limit: usize| {
                looks += 1;
                let there = (after + 1..=EVENTS).take(limit).map(|seq| (seq, at(seq)));
                Ok::<_, Infallible>(there.collect())
            };
            let found = places(&times, (0, EVENTS), &mut read).unwrap();
            for (time, place) in times.iter().zip(found) {
                assert!(at(place) <= *time && (place == EVENTS || at(place + 1) > *time), "{time}: {place}");
            }
            assert!(looks <= 9 * times.len(), "{looks} looks for {buckets} buckets");
        }
    }

    proptest! {
        #[test]
        fn a_place_is_the_last_event_by_then(log in log(), mut times in proptest::collection::vec(0_i64..300_000, 0..30)) {
            times.sort_unstable();
            let head = log.last().map_or(0, |(seq, _)| *seq);
            let mut reads = 0_u64;
            let mut read = |after: Seq, limit: usize| {
                reads += 1;
                let from = log.partition_point(|(seq, _)| *seq <= after);
                Ok::<_, Infallible>(log[from..].iter().take(limit).copied().collect())
            };
            let found = places(&times, (0, head), &mut read).unwrap();
            let by_then = |time: &Millis| log.iter().rfind(|(_, at)| at <= time).map_or(0, |(seq, _)| *seq);
            prop_assert_eq!(found, times.iter().map(by_then).collect::<Vec<_>>());
            prop_assert!(reads <= 2 + times.len() as u64 * (2 + 3 * u64::from(head.max(1).ilog2())));
        }

        #[test]
        fn stretches_cover_the_span_and_are_no_more_than_asked(from in -5_000_i64..5_000, span in -10_i64..9_000, most in 0_u32..600) {
            let (width, begins) = borders(from, from + span, most);
            prop_assert!(begins.len() <= most.max(1) as usize && width > 0);
            prop_assert_eq!(begins.is_empty(), span <= 0);
            if let (Some(first), Some(last)) = (begins.first(), begins.last()) {
                prop_assert_eq!(*first, from);
                prop_assert!(*last < from + span && last + width >= from + span);
            }
            prop_assert!(begins.windows(2).all(|two| two[1] - two[0] == width));
        }
    }
}
