//! Who is ready, by model, for the methods that share it.

use std::collections::HashMap;

use projections::Millis;

use super::slots::Slots;
use crate::scheduler::ready::Ready;

/// Sets for models without gates, by the keys that are for them; more of them begin anew.
const MASKS_KEPT: usize = 64;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Sets {
    /// For models without gates that every key is for.
    pub(super) any: Ready,
    /// For models without gates that some key is not for.
    masks: HashMap<Box<[u64]>, Ready>,
    /// For each lane, in their order.
    pub(super) lanes: Vec<Ready>,
}

impl Sets {
    pub(super) fn new(any: Ready) -> Self {
        Self { any, ..Self::default() }
    }

    /// The set for a model, which has the lane of this number or none.
    pub(super) fn of(
        &mut self,
        lane: Option<usize>,
        model: &str,
        slots: &Slots,
        mask: &mut Vec<u64>,
        now: Millis,
    ) -> &mut Ready {
        match lane.and_then(|lane| self.lanes.get_mut(lane)) {
            Some(set) => set,
            None if slots.differ_by_model() && !model.is_empty() => {
                slots.mask(model, mask);
                if !self.masks.contains_key(mask.as_slice()) {
                    if self.masks.len() >= MASKS_KEPT {
                        self.masks.clear();
                    }
                    let mut set = self.any.clone();
                    slots.bar(mask, &mut set, now);
                    self.masks.insert(mask.as_slice().into(), set);
                }
                self.masks.get_mut(mask.as_slice()).unwrap_or(&mut self.any)
            }
            None => &mut self.any,
        }
    }

    pub(super) fn each(&mut self) -> impl Iterator<Item = &mut Ready> {
        std::iter::once(&mut self.any).chain(self.masks.values_mut()).chain(&mut self.lanes)
    }

    /// Makes the set of a new lane: closed for nobody yet.
    pub(super) fn add(&mut self, model: &str, slots: &Slots, mask: &mut Vec<u64>, now: Millis) {
        let mut set = self.any.clone();
        if slots.differ_by_model() {
            slots.mask(model, mask);
            slots.bar(mask, &mut set, now);
        }
        self.lanes.push(set);
    }
}
