//! Who is ready: a set of slots from which one can be drawn at once.
//!
//! Adding, removing and drawing cost the same whatever the size; slots that
//! reopen by themselves wake up from a heap. One set is for requests at large,
//! and one for each model that has gates of its own.

use std::{cmp::Reverse, collections::BinaryHeap};

use projections::{Millis, event::PassedOver};

/// Closed for as long as nobody opens it.
pub(super) const NEVER: Millis = Millis::MAX;
const ABSENT: u32 = u32::MAX;

/// Times until which a slot is closed, whatever the model; 0: open.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Until {
    pub(super) disabled: bool,
    pub(super) key: Millis,
    pub(super) project: Millis,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Ready,
    Disabled,
    KeyGate,
    ProjectGate,
    ModelGate,
}

impl Standing {
    /// A slot's standing at `now`, and when to look again.
    fn at(until: Until, model: Millis, now: Millis) -> (Self, Millis) {
        if until.disabled {
            (Self::Disabled, NEVER)
        } else if now < until.key {
            (Self::KeyGate, until.key)
        } else if now < until.project {
            (Self::ProjectGate, until.project)
        } else if now < model {
            (Self::ModelGate, model)
        } else {
            (Self::Ready, NEVER)
        }
    }

    fn counter(self, counts: &mut PassedOver) -> Option<&mut u32> {
        match self {
            Self::Ready => None,
            Self::Disabled => Some(&mut counts.disabled),
            Self::KeyGate => Some(&mut counts.key_gate),
            Self::ProjectGate => Some(&mut counts.project_gate),
            Self::ModelGate => Some(&mut counts.model_gate),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Place {
    /// Until when the slot's project is closed for the model of this set.
    model: Millis,
    standing: Standing,
    /// Its position among the ready.
    position: u32,
    /// When to look at it again: an entry of the heap with another time is stale.
    wake: Millis,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ready {
    ready: Vec<u32>,
    places: Vec<Place>,
    passed_over: PassedOver,
    wake: BinaryHeap<Reverse<(Millis, u32)>>,
}

impl Ready {
    /// A set of `size` slots, all to be [`Ready::update`]d before use.
    pub(super) fn new(size: usize) -> Self {
        let place = Place { model: 0, standing: Standing::Disabled, position: ABSENT, wake: NEVER };
        let passed_over = PassedOver { disabled: size as u32, ..PassedOver::default() };
        Self {
            ready: Vec::with_capacity(size),
            places: vec![place; size],
            passed_over,
            wake: BinaryHeap::new(),
        }
    }

    /// The slots that are ready, in no order that means anything.
    pub(super) fn ready(&self) -> &[u32] {
        &self.ready
    }

    pub(super) fn contains(&self, slot: u32) -> bool {
        self.places.get(slot as usize).is_some_and(|place| place.standing == Standing::Ready)
    }

    pub(super) fn passed_over(&self) -> PassedOver {
        self.passed_over
    }

    /// Whether some project is closed for this set's model.
    pub(super) fn has_model_gates(&self) -> bool {
        self.passed_over.model_gate > 0
    }

    /// When the next slot opens by itself; none: none does.
    pub(super) fn next_opening(&mut self, until: impl Fn(u32) -> Until) -> Option<Millis> {
        while let Some(&Reverse((at, slot))) = self.wake.peek() {
            if self.places.get(slot as usize).is_some_and(|place| place.wake == at) {
                return self.opens(slot, until(slot));
            }
            self.wake.pop();
        }
        None
    }

    /// Closes a slot's project for this set's model until a time; 0 opens it.
    pub(super) fn close_model(&mut self, slot: u32, until: Millis, slots: Until, now: Millis) {
        if let Some(place) = self.places.get_mut(slot as usize) {
            place.model = until;
        }
        self.update(slot, slots, now);
    }

    /// When this slot opens at the latest, as far as is known.
    pub(super) fn opens(&self, slot: u32, until: Until) -> Option<Millis> {
        let place = self.places.get(slot as usize)?;
        let opens = until.key.max(until.project).max(place.model);
        (!until.disabled && opens != NEVER).then_some(opens)
    }

    /// Looks at a slot again, after its times changed or one of them has come.
    pub(super) fn update(&mut self, slot: u32, until: Until, now: Millis) {
        let Some(place) = self.places.get_mut(slot as usize) else { return };
        let (standing, look_again) = Standing::at(until, place.model, now);
        let before = std::mem::replace(&mut place.standing, standing);
        if std::mem::replace(&mut place.wake, look_again) != look_again && look_again != NEVER {
            self.wake.push(Reverse((look_again, slot)));
        }
        if before == standing {
            return;
        }
        if let Some(counter) = before.counter(&mut self.passed_over) {
            *counter -= 1;
        }
        if let Some(counter) = standing.counter(&mut self.passed_over) {
            *counter += 1;
        }
        if standing == Standing::Ready {
            place.position = self.ready.len() as u32;
            self.ready.push(slot);
        } else if before == Standing::Ready {
            let position = std::mem::replace(&mut place.position, ABSENT);
            self.ready.swap_remove(position as usize);
            // The last one moved into the gap.
            if let Some(&moved) = self.ready.get(position as usize)
                && let Some(place) = self.places.get_mut(moved as usize)
            {
                place.position = position;
            }
        }
    }

    /// Wakes every slot whose time has come.
    pub(super) fn advance(&mut self, now: Millis, until: impl Fn(u32) -> Until) {
        while let Some(&Reverse((at, slot))) = self.wake.peek()
            && at <= now
        {
            self.wake.pop();
            if let Some(place) = self.places.get_mut(slot as usize).filter(|place| place.wake == at) {
                place.wake = NEVER;
                self.update(slot, until(slot), now);
            }
        }
    }
}
