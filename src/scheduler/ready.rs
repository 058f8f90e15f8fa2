//! Who is ready: a set of slots from which one can be drawn at once.
//!
//! Adding, removing and drawing cost the same whatever the size; slots that
//! reopen by themselves wake up from a heap. One set is for requests at large,
//! and one for each model or method that has gates of its own.

use std::{
    cell::{Cell, OnceCell},
    cmp::Reverse,
    collections::BinaryHeap,
};

use projections::{Millis, event::PassedOver};

/// Closed for as long as nobody opens it.
pub(super) const NEVER: Millis = Millis::MAX;
const ABSENT: u32 = u32::MAX;

/// Times until which a slot is closed, whatever the model and the method; 0: open.
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
    /// Closed for this set's model, or its method.
    ModelGate,
}

impl Standing {
    /// A slot's standing at `now`, and when to look again; `here`: until when it is closed in this set alone.
    fn at(until: Until, here: Millis, now: Millis) -> (Self, Millis) {
        if until.disabled {
            (Self::Disabled, NEVER)
        } else if now < until.key {
            (Self::KeyGate, until.key)
        } else if now < until.project {
            (Self::ProjectGate, until.project)
        } else if now < here {
            (Self::ModelGate, here)
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
    /// Until when the slot's project is closed for this set's model.
    model: Millis,
    /// Until when the slot is closed for this set's method.
    method: Millis,
    standing: Standing,
    /// Its position among the ready.
    position: u32,
    /// When to look at it again: an entry of the heap with another time is stale.
    wake: Millis,
    /// When the last of its gates opens; [`NEVER`] where none does by itself.
    opens: Millis,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ready {
    ready: Vec<u32>,
    places: Vec<Place>,
    passed_over: PassedOver,
    wake: BinaryHeap<Reverse<(Millis, u32)>>,
    /// When the first of the closed slots opens: worked out when asked for, kept until a slot changes.
    opening: OnceCell<Millis>,
    /// The position among the ready at which round-robin goes on.
    pub(super) turn: Cell<usize>,
}

impl Clone for Ready {
    fn clone(&self) -> Self {
        // With room for every slot, so that nothing is allocated when they wake up.
        let mut ready = Vec::with_capacity(self.places.len());
        ready.extend_from_slice(&self.ready);
        Self {
            ready,
            places: self.places.clone(),
            passed_over: self.passed_over,
            wake: self.wake.clone(),
            opening: self.opening.clone(),
            turn: self.turn.clone(),
        }
    }
}

impl Ready {
    /// A set of slots, open for its model and its method.
    pub(super) fn new(slots: impl ExactSizeIterator<Item = Until>, now: Millis) -> Self {
        let size = slots.len();
        let closed = Place {
            model: 0,
            method: 0,
            standing: Standing::Disabled,
            position: ABSENT,
            wake: NEVER,
            opens: NEVER,
        };
        let mut set = Self {
            ready: Vec::with_capacity(size),
            places: vec![closed; size],
            passed_over: PassedOver { disabled: size as u32, ..PassedOver::default() },
            ..Self::default()
        };
        slots.zip(0..).for_each(|(until, slot)| set.update(slot, until, now));
        set
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

    /// Whether some slot is closed for this set's model, perhaps behind a gate that counts first.
    pub(super) fn has_model_gates(&self, now: Millis) -> bool {
        self.places.iter().any(|place| now < place.model)
    }

    /// Whether some slot is closed for this set's method, likewise.
    pub(super) fn has_method_gates(&self, now: Millis) -> bool {
        self.places.iter().any(|place| now < place.method)
    }

    /// When the last of a slot's gates opens; [`NEVER`] where none does by itself.
    pub(super) fn opens(&self, slot: u32) -> Millis {
        self.places.get(slot as usize).map_or(NEVER, |place| place.opens)
    }

    /// When the first of the closed slots opens; [`NEVER`] where none does by itself.
    pub(super) fn opening(&self) -> Millis {
        *self.opening.get_or_init(|| {
            let closed = self.places.iter().filter(|place| place.standing != Standing::Ready);
            closed.map(|place| place.opens).min().unwrap_or(NEVER)
        })
    }

    /// Closes a slot for this set's model until a time; 0 opens it.
    pub(super) fn close_model(&mut self, slot: u32, model: Millis, until: Until, now: Millis) {
        if let Some(place) = self.places.get_mut(slot as usize) {
            place.model = model;
        }
        self.update(slot, until, now);
    }

    /// Closes a slot for this set's method until a time; 0 opens it.
    pub(super) fn close_method(&mut self, slot: u32, method: Millis, until: Until, now: Millis) {
        if let Some(place) = self.places.get_mut(slot as usize) {
            place.method = method;
        }
        self.update(slot, until, now);
    }

    /// Looks at a slot again, after its times changed or one of them has come.
    pub(super) fn update(&mut self, slot: u32, until: Until, now: Millis) {
        let Some(place) = self.places.get_mut(slot as usize) else { return };
        let here = place.model.max(place.method);
        let (standing, look_again) = Standing::at(until, here, now);
        place.opens = if until.disabled { NEVER } else { until.key.max(until.project).max(here) };
        let before = std::mem::replace(&mut place.standing, standing);
        let wakes = std::mem::replace(&mut place.wake, look_again) != look_again && look_again != NEVER;
        self.opening.take();
        if before != standing {
            self.moved(slot, before, standing);
        }
        if wakes {
            self.wake.push(Reverse((look_again, slot)));
            self.forget_stale();
        }
    }

    /// Keeps the counts and the list of the ready, after a slot's standing changed.
    fn moved(&mut self, slot: u32, before: Standing, standing: Standing) {
        if let Some(counter) = before.counter(&mut self.passed_over) {
            *counter -= 1;
        }
        if let Some(counter) = standing.counter(&mut self.passed_over) {
            *counter += 1;
        }
        let Some(place) = self.places.get_mut(slot as usize) else { return };
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

    /// A gate that closes again and again leaves entries that nobody looks at: they are
    /// dropped before they are more than the slots themselves. Allocates nothing.
    fn forget_stale(&mut self) {
        if self.wake.len() > 2 * self.places.len() {
            self.wake.clear();
            let waking = self.places.iter().zip(0..).filter(|(place, _)| place.wake != NEVER);
            self.wake.extend(waking.map(|(place, slot)| Reverse((place.wake, slot))));
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

#[cfg(test)]
mod tests;
