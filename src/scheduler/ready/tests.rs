//! What a set keeps in order, slot by slot.

use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*};

use super::*;

impl Ready {
    /// The list, the places and the counts say the same, and nothing grows without bound.
    pub(in crate::scheduler) fn assert_whole(&self) {
        let (mut listed, mut proven) = (BTreeSet::new(), BTreeSet::new());
        for (group, number) in self.groups.iter().zip(0..) {
            let mut weight = 0;
            for (slot, position) in group.ready().iter().zip(0..) {
                let place = &self.places[*slot as usize];
                assert!(listed.insert(*slot), "a slot is listed twice");
                assert_eq!((place.rank.group, place.position), (number, position));
                weight += u64::from(place.rank.weight);
            }
            assert_eq!(group.weight, weight);
            for (slot, position) in group.proven().iter().zip(0..) {
                assert!(proven.insert(*slot), "a slot is listed twice");
                let place = &self.places[*slot as usize];
                assert_eq!((place.rank.group, place.among_proven), (number, position));
            }
        }
        for (place, slot) in self.places.iter().zip(0..) {
            assert_eq!(listed.contains(&slot), place.standing == Standing::Ready);
            assert_eq!(proven.contains(&slot), place.standing == Standing::Ready && place.proven);
            let wakes = self.wake.iter().any(|Reverse(entry)| *entry == (place.wake, slot));
            assert!(place.wake == NEVER || wakes, "slot {slot} would sleep for ever");
        }
        let PassedOver { disabled, key_gate, project_gate, model_gate, tried, budget, other_models } =
            self.passed_over;
        let all = disabled + key_gate + project_gate + model_gate + tried + budget + other_models;
        assert_eq!(all as usize + self.count(), self.places.len());
        assert!(self.wake.len() <= 2 * self.places.len(), "{} entries to wake up", self.wake.len());
    }

    /// Slots of one group, and of one weight.
    fn alike(slots: impl ExactSizeIterator<Item = Until>) -> Self {
        let shape = Shape { tier: 0, most: 1, even: true, size: slots.len() };
        Self::new(&[shape], slots.map(|until| (until, Rank { group: 0, weight: 1 }, false)), 0)
    }

    fn ready(&self) -> &[u32] {
        self.groups[0].ready()
    }
}

fn open() -> Until {
    Until::default()
}

#[test]
fn gates_that_close_again_and_again_leave_nothing_behind() {
    let mut set = Ready::alike(vec![open(); 4].into_iter());
    for round in 1..10_000 {
        set.close_model(1, (100_000 - round, 0), open(), 0);
        set.close_model(2, (100_000 + round, 0), open(), 0);
        // Opened by a success and closed again until the same time, as a day's quota is.
        set.close_model(3, (0, 0), open(), 0);
        set.close_model(3, (200_000, 0), open(), 0);
        assert!(set.wake.len() <= 8);
    }
    set.assert_whole();
    assert_eq!((set.ready(), set.opening()), (&[0][..], 90_001));
    set.advance(109_999, |_| open());
    assert_eq!((set.ready().len(), set.opening()), (3, 200_000));
}

/// Whoever wakes up must find room in the list, or choosing would allocate.
#[test]
fn a_copy_has_room_for_all() {
    let closed = Until { key: 10, ..Until::default() };
    let set = Ready::alike(vec![closed; 100].into_iter());
    let mut copy = set.clone();
    assert!(copy.groups[0].ready.capacity().min(copy.groups[0].proven.capacity()) >= 100);
    copy.advance(10, |_| closed);
    copy.assert_whole();
    assert_eq!((copy.ready().len(), set.ready().len()), (100, 0));
}

proptest! {
    /// Whatever changes when: a slot stands as its times say, and opens when the last of them comes.
    #[test]
    fn a_slot_stands_as_its_times_say(
        steps in vec((0..6_u32, any::<bool>(), 0..50_i64, 0..50_i64, 0..50_i64, 0..50_i64, 0..8_i64), 1..80)
    ) {
        let mut times = vec![(open(), 0, 0); 6];
        let mut set = Ready::alike(times.iter().map(|(until, ..)| *until).collect::<Vec<_>>().into_iter());
        let mut now = 0;
        for (slot, disabled, key, project, model, method, wait) in steps {
            now += wait;
            let until = Until { disabled: disabled && key % 3 == 0, key, project };
            times[slot as usize] = (until, model, method);
            set.close_model(slot, (model, 0), until, now);
            set.close_method(slot, method, until, now);
            set.advance(now, |slot| times[slot as usize].0);
            set.prove((slot + 1) % 6, model % 3 > 0);
            set.assert_whole();
            let opens = |(until, model, method): &(Until, Millis, Millis)| {
                if until.disabled { NEVER } else { until.key.max(until.project).max(*model).max(*method) }
            };
            for (times, slot) in times.iter().zip(0..) {
                prop_assert_eq!(set.contains(slot), opens(times) <= now);
            }
            let first = times.iter().map(opens).filter(|opens| now < *opens).min();
            prop_assert_eq!(set.opening(), first.unwrap_or(NEVER));
        }
    }
}
