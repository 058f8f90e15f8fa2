//! What a set keeps in order, slot by slot.

use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*};

use super::*;

impl Ready {
    /// The list, the places and the counts say the same, and nothing grows without bound.
    pub(in crate::scheduler) fn assert_whole(&self) {
        let listed: BTreeSet<u32> = self.ready.iter().copied().collect();
        assert_eq!(listed.len(), self.ready.len(), "a slot is listed twice");
        for (place, slot) in self.places.iter().zip(0..) {
            assert_eq!(listed.contains(&slot), place.standing == Standing::Ready);
            if place.standing == Standing::Ready {
                assert_eq!(self.ready[place.position as usize], slot);
            }
            let wakes = self.wake.iter().any(|Reverse(entry)| *entry == (place.wake, slot));
            assert!(place.wake == NEVER || wakes, "slot {slot} would sleep for ever");
        }
        let PassedOver { disabled, key_gate, project_gate, model_gate, tried, .. } = self.passed_over;
        let all = disabled + key_gate + project_gate + model_gate + tried + self.ready.len() as u32;
        assert_eq!(all as usize, self.places.len());
        assert!(self.wake.len() <= 2 * self.places.len(), "{} entries to wake up", self.wake.len());
    }
}

fn open() -> Until {
    Until::default()
}

#[test]
fn gates_that_close_again_and_again_leave_nothing_behind() {
    let mut set = Ready::new(vec![open(); 4].into_iter(), 0);
    for round in 1..10_000 {
        set.close_model(1, 100_000 - round, open(), 0);
        set.close_model(2, 100_000 + round, open(), 0);
        // Opened by a success and closed again until the same time, as a day's quota is.
        set.close_model(3, 0, open(), 0);
        set.close_model(3, 200_000, open(), 0);
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
    let set = Ready::new(vec![closed; 100].into_iter(), 0);
    let mut copy = set.clone();
    assert!(copy.ready.capacity() >= 100);
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
        let mut set = Ready::new(times.iter().map(|(until, ..)| *until), 0);
        let mut now = 0;
        for (slot, disabled, key, project, model, method, wait) in steps {
            now += wait;
            let until = Until { disabled: disabled && key % 3 == 0, key, project };
            times[slot as usize] = (until, model, method);
            set.close_model(slot, model, until, now);
            set.close_method(slot, method, until, now);
            set.advance(now, |slot| times[slot as usize].0);
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
