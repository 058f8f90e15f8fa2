//! Who is ready: a set of slots from which one can be drawn at once.
//!
//! Adding, removing and drawing cost the same whatever the size; slots that
//! reopen by themselves wake up from a heap. One set is for requests at large,
//! and one for each model or method that has gates of its own. Within a set the
//! ready stand in groups: of one tier, and of weights alike within a factor of two.

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

/// What a slot is in every set: its group, and its weight in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rank {
    pub(super) group: u16,
    pub(super) weight: u16,
}

/// What a group is in every set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// The lower are used first.
    pub(super) tier: u8,
    /// The largest weight in it; every other one is at least half of it.
    pub(super) most: u16,
    /// Whether all weights in it are the same.
    pub(super) even: bool,
    /// How many slots belong to it, ready or not.
    pub(super) size: usize,
}

/// The ready of one group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) shape: Shape,
    ready: Vec<u32>,
    /// Those of them that have served.
    proven: Vec<u32>,
    /// Of the ready, together.
    pub(super) weight: u64,
    /// The position among the ready at which round-robin goes on.
    pub(super) turn: Cell<usize>,
    /// What round-robin owes it, beside the other groups of its tier.
    pub(super) credit: Cell<i64>,
}

impl Group {
    fn new(shape: Shape) -> Self {
        // With room for every slot, so that nothing is allocated when they wake up.
        let (ready, proven) = (Vec::with_capacity(shape.size), Vec::with_capacity(shape.size));
        Self { shape, ready, proven, weight: 0, turn: Cell::default(), credit: Cell::default() }
    }

    /// Its slots that are ready, in no order that means anything.
    pub(super) fn ready(&self) -> &[u32] {
        &self.ready
    }

    /// Those of them that have served.
    pub(super) fn proven(&self) -> &[u32] {
        &self.proven
    }
}

impl Clone for Group {
    fn clone(&self) -> Self {
        let mut group = Self::new(self.shape);
        group.ready.extend_from_slice(&self.ready);
        group.proven.extend_from_slice(&self.proven);
        Self { weight: self.weight, turn: self.turn.clone(), credit: self.credit.clone(), ..group }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Ready,
    Disabled,
    /// It is not for this set's model.
    OtherModels,
    KeyGate,
    ProjectGate,
    /// Closed for this set's model, or its method.
    ModelGate,
    /// Predicted to be out of this set's model.
    Budget,
}

impl Standing {
    /// A slot's standing at `now`, and when to look again.
    fn at(until: Until, place: &Place, now: Millis) -> (Self, Millis) {
        let here = place.model.max(place.method);
        if until.disabled {
            (Self::Disabled, NEVER)
        } else if place.barred {
            (Self::OtherModels, NEVER)
        } else if now < until.key {
            (Self::KeyGate, until.key)
        } else if now < until.project {
            (Self::ProjectGate, until.project)
        } else if now < here {
            (Self::ModelGate, here)
        } else if now < place.budget {
            (Self::Budget, place.budget)
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
            Self::OtherModels => Some(&mut counts.other_models),
            Self::Budget => Some(&mut counts.budget),
        }
    }
}

#[derive(Clone, Debug)]
struct Place {
    /// Until when the slot's project is closed for this set's model.
    model: Millis,
    /// Until when the slot is closed for this set's method.
    method: Millis,
    /// Until when the slot's project is predicted to be out of this set's model.
    budget: Millis,
    /// Whether the slot is not for this set's model at all.
    barred: bool,
    rank: Rank,
    /// What round-robin owes it, beside the others of its group.
    credit: Cell<u16>,
    standing: Standing,
    /// Its position among the ready of its group.
    position: u32,
    /// Whether its key has served.
    proven: bool,
    /// Its position among those of the ready that have.
    among_proven: u32,
    /// When to look at it again: an entry of the heap with another time is stale.
    wake: Millis,
    /// When the last of its gates opens; [`NEVER`] where none does by itself.
    opens: Millis,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Ready {
    /// In the order of their tiers.
    groups: Vec<Group>,
    places: Vec<Place>,
    passed_over: PassedOver,
    wake: BinaryHeap<Reverse<(Millis, u32)>>,
    /// When the first of the closed slots opens: worked out when asked for, kept until a slot changes.
    opening: OnceCell<Millis>,
}

impl Ready {
    /// A set of slots, open for its model and its method, each with whether its key has served; `shapes`: the
    /// groups, in the order of their tiers.
    pub(super) fn new(
        shapes: &[Shape],
        slots: impl ExactSizeIterator<Item = (Until, Rank, bool)>,
        now: Millis,
    ) -> Self {
        let size = slots.len();
        let mut set = Self {
            groups: shapes.iter().map(|shape| Group::new(*shape)).collect(),
            places: Vec::with_capacity(size),
            passed_over: PassedOver { disabled: size as u32, ..PassedOver::default() },
            ..Self::default()
        };
        for ((until, rank, proven), slot) in slots.zip(0..) {
            set.places.push(Place {
                model: 0,
                method: 0,
                budget: 0,
                barred: false,
                rank,
                credit: Cell::new(0),
                standing: Standing::Disabled,
                position: ABSENT,
                proven,
                among_proven: ABSENT,
                wake: NEVER,
                opens: NEVER,
            });
            set.update(slot, until, now);
        }
        set
    }

    /// How many slots are ready.
    pub(super) fn count(&self) -> usize {
        self.groups.iter().map(|group| group.ready.len()).sum()
    }

    /// The groups of one tier after the other, the first to be used first.
    pub(super) fn tiers(&self) -> impl Iterator<Item = &[Group]> {
        self.groups.chunk_by(|one, other| one.shape.tier == other.shape.tier)
    }

    /// Goes on with the turns of another set.
    pub(super) fn take_turns(&self, other: &Self) {
        for (group, other) in self.groups.iter().zip(&other.groups) {
            group.turn.swap(&other.turn);
            group.credit.swap(&other.credit);
        }
    }

    pub(super) fn weight(&self, slot: u32) -> u16 {
        self.places.get(slot as usize).map_or(0, |place| place.rank.weight)
    }

    /// Round-robin came to a slot in a group whose largest weight is `most`: whether it takes the turn.
    /// It does as often as its weight is of that.
    pub(super) fn takes_turn(&self, slot: u32, most: u16) -> bool {
        let Some(place) = self.places.get(slot as usize) else { return false };
        let credit = u32::from(place.credit.get()) + u32::from(place.rank.weight);
        let takes = credit >= u32::from(most);
        place.credit.set(if takes { credit - u32::from(most) } else { credit } as u16);
        takes
    }

    pub(super) fn contains(&self, slot: u32) -> bool {
        self.places.get(slot as usize).is_some_and(|place| place.standing == Standing::Ready)
    }

    pub(super) fn passed_over(&self) -> PassedOver {
        self.passed_over
    }

    /// Whether a slot is for this set's model at all.
    pub(super) fn is_barred(&self, slot: u32) -> bool {
        self.places.get(slot as usize).is_none_or(|place| place.barred)
    }

    /// Until when a slot is closed for this set's method.
    pub(super) fn method(&self, slot: u32) -> Millis {
        self.places.get(slot as usize).map_or(NEVER, |place| place.method)
    }

    /// Whether some slot is closed for this set's method, perhaps behind a gate that counts first.
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

    /// Closes a slot for this set's model by a gate and by its budget, each until a time; 0 opens it.
    pub(super) fn close_model(
        &mut self,
        slot: u32,
        (model, budget): (Millis, Millis),
        until: Until,
        now: Millis,
    ) {
        if let Some(place) = self.places.get_mut(slot as usize) {
            (place.model, place.budget) = (model, budget);
        }
        self.update(slot, until, now);
    }

    /// A slot is not for this set's model.
    pub(super) fn bar(&mut self, slot: u32, until: Until, now: Millis) {
        if let Some(place) = self.places.get_mut(slot as usize) {
            place.barred = true;
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
        let (standing, look_again) = Standing::at(until, place, now);
        let here = place.model.max(place.method).max(place.budget);
        let never = until.disabled || place.barred;
        place.opens = if never { NEVER } else { until.key.max(until.project).max(here) };
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

    /// A slot's key has served, or has to show again that it does.
    pub(super) fn prove(&mut self, slot: u32, proven: bool) {
        if let Some(place) = self.places.get_mut(slot as usize) {
            place.proven = proven;
        }
        self.list_proven(slot);
    }

    /// Keeps the list of the ready that have served, after one or the other changed for a slot.
    fn list_proven(&mut self, slot: u32) {
        let Some(place) = self.places.get_mut(slot as usize) else { return };
        let Some(group) = self.groups.get_mut(place.rank.group as usize) else { return };
        let belongs = place.proven && place.standing == Standing::Ready;
        if belongs && place.among_proven == ABSENT {
            place.among_proven = group.proven.len() as u32;
            group.proven.push(slot);
        } else if !belongs && place.among_proven != ABSENT {
            let position = std::mem::replace(&mut place.among_proven, ABSENT);
            group.proven.swap_remove(position as usize);
            if let Some(&moved) = group.proven.get(position as usize)
                && let Some(place) = self.places.get_mut(moved as usize)
            {
                place.among_proven = position;
            }
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
        let Some(group) = self.groups.get_mut(place.rank.group as usize) else { return };
        if standing == Standing::Ready {
            place.position = group.ready.len() as u32;
            group.ready.push(slot);
            group.weight += u64::from(place.rank.weight);
        } else if before == Standing::Ready {
            let position = std::mem::replace(&mut place.position, ABSENT);
            group.ready.swap_remove(position as usize);
            group.weight -= u64::from(place.rank.weight);
            // The last one moved into the gap.
            if let Some(&moved) = group.ready.get(position as usize)
                && let Some(place) = self.places.get_mut(moved as usize)
            {
                place.position = position;
            }
        }
        self.list_proven(slot);
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
