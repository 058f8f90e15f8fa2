//! A question, and who of the ready answers it best.

use std::{cell::Cell, collections::HashMap};

use projections::{
    KeyId, Millis,
    event::{PassedOver, Strategy},
};

use super::{
    lanes::{Cell as ProjectCell, Lane},
    slots::{Slot, Slots},
};
use crate::scheduler::{
    Ask, From,
    lease::Claim,
    ready::{Group, NEVER, Ready},
};

/// Two candidates are compared; this many draws may miss before the ready are gone through in turn.
const DRAWS: u32 = 8;
/// Cells that are due for a probe and not to be reached by this request, before it gives up.
const LOOKS: usize = 16;

/// A question, and what the roster knows of it at one time.
#[derive(Clone)]
pub(super) struct Question<'a> {
    pub(super) ask: &'a Ask<'a>,
    pub(super) now: Millis,
    pub(super) slots: &'a Slots,
    /// Who is ready for the model and the method.
    pub(super) set: &'a Ready,
    /// Whether some key is closed for the method.
    pub(super) by_method: bool,
    /// Whether a key was left alone because it is on trial with another request.
    pub(super) on_trial: Cell<bool>,
    /// The projects that are special for the model, where their room for tokens is asked for.
    pub(super) cells: Option<&'a HashMap<u32, ProjectCell>>,
    /// When the first key that was left alone for want of room has room again; [`NEVER`]: none was.
    pub(super) roomy: Cell<Millis>,
}

/// Numbers from a number: SplitMix64, which is small, quick, and good enough to spread load.
fn draw(random: &mut u64, below: u64) -> u64 {
    *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *random;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    ((u128::from(mixed) * u128::from(below)) >> 64) as u64
}

impl<'a> Question<'a> {
    pub(super) fn new(ask: &'a Ask<'a>, now: Millis, slots: &'a Slots, set: &'a Ready) -> Self {
        Self {
            ask,
            now,
            slots,
            set,
            by_method: false,
            on_trial: Cell::new(false),
            cells: None,
            roomy: Cell::new(NEVER),
        }
    }

    pub(super) fn passed_over(&self) -> PassedOver {
        let tried = self.ask.tried.iter().filter_map(|key| self.slots.index(*key));
        let tried = tried.filter(|slot| self.set.contains(*slot)).count() as u32;
        PassedOver { tried, ..self.set.passed_over() }
    }

    /// Who it is to be, among the ready.
    pub(super) fn find(&self, strategy: Strategy, home: Option<KeyId>, random: u64) -> Option<&'a Slot> {
        match self.ask.from {
            From::All => {
                let home = home.and_then(|key| self.at_home(key));
                let proven = || {
                    let mut tiers = self.set.tiers().filter(|_| self.ask.proven);
                    tiers.find_map(|tier| self.proven_of_two(tier, random))
                };
                home.or_else(proven).or_else(|| {
                    self.set.tiers().find_map(|tier| match (strategy, tier) {
                        (Strategy::RoundRobin, _) => self.next_in_turn(tier),
                        (_, [group]) if group.shape.even => self.less_busy_of_two(group, random),
                        _ => self.less_busy_by_weight(tier, random),
                    })
                })
            }
            From::Project(name) => self.least_busy_of(*self.slots.by_project.get(name)?),
            From::Keeper | From::Only(_) => {
                self.named().filter(|slot| self.set.contains(*slot)).and_then(|slot| self.usable(slot))
            }
        }
    }

    /// How many it could choose among, `tried` ones left out.
    pub(super) fn eligible(&self, tried: u32) -> u32 {
        match self.ask.from {
            From::All => (self.set.count() as u32).saturating_sub(tried),
            From::Project(name) => self.slots.by_project.get(name).map_or(0, |row| {
                let untried = |index: &u32| {
                    self.slots.get(*index).is_some_and(|slot| !self.ask.tried.contains(&slot.key))
                };
                let ready = self.slots.of(*row).iter().filter(|index| self.set.contains(**index));
                ready.filter(|index| untried(index)).count() as u32
            }),
            From::Keeper | From::Only(_) => 1,
        }
    }

    /// A slot that is ready, if it was not tried and may take a request more.
    fn usable(&self, index: u32) -> Option<&'a Slot> {
        let slot = self.slots.get(index)?;
        if self.ask.tried.contains(&slot.key) {
            return None;
        }
        let cell = self.cells.and_then(|cells| cells.get(&slot.row));
        let roomy = cell.and_then(|cell| cell.budget.as_ref());
        let roomy = roomy.map_or(0, |meters| meters.fits(self.ask.tokens, self.now));
        if self.now < roomy {
            self.roomy.set(self.roomy.get().min(roomy));
            return None;
        }
        let waits = !self.ask.crowd && slot.load.is_on_trial() && slot.load.in_flight() > 0;
        self.on_trial.set(self.on_trial.get() || waits);
        (!waits).then_some(slot)
    }

    fn usable_at(&self, group: &Group, position: usize) -> Option<&'a Slot> {
        group.ready().get(position).and_then(|index| self.usable(*index))
    }

    /// The first usable one from a position on, all the way round.
    fn usable_from(&self, group: &Group, start: usize) -> Option<(usize, &'a Slot)> {
        let ready = group.ready().len();
        let start = start % ready.max(1);
        (start..ready).chain(0..start).find_map(|position| Some((position, self.usable_at(group, position)?)))
    }

    /// Of the groups of a tier each has turns by the weight of its ready (smooth weighted round-robin).
    fn next_in_turn(&self, tier: &[Group]) -> Option<&'a Slot> {
        let [group] = tier else {
            let all: u64 = tier.iter().map(|group| group.weight).sum();
            let due = |group: &&Group| group.credit.get().saturating_add(group.weight as i64);
            let next = tier.iter().filter(|group| group.weight > 0).max_by_key(due)?;
            tier.iter().for_each(|group| group.credit.set(due(&group)));
            next.credit.set(next.credit.get().saturating_sub(all as i64));
            let others = tier.iter().filter(|group| !std::ptr::eq(*group, next));
            return std::iter::once(next).chain(others).find_map(|group| self.next_of(group));
        };
        self.next_of(group)
    }

    fn next_of(&self, group: &Group) -> Option<&'a Slot> {
        let ready = group.ready().len();
        let start = group.turn.get();
        let (position, slot) = if group.shape.even {
            self.usable_from(group, start)?
        } else {
            // In two rounds everybody who is usable has a turn: no weight is less than half of another.
            (0..2 * ready).find_map(|step| {
                let position = (start % ready + step) % ready;
                let index = *group.ready().get(position)?;
                let slot = self.usable(index)?;
                self.set.takes_turn(index, group.shape.most).then_some((position, slot))
            })?
        };
        group.turn.set(position + 1);
        Some(slot)
    }

    fn less_busy_of_two(&self, group: &Group, mut random: u64) -> Option<&'a Slot> {
        let ready = group.ready().len() as u64;
        let mut draws = (0..DRAWS).filter_map(|_| self.usable_at(group, draw(&mut random, ready) as usize));
        let Some(first) = draws.next() else {
            drop(draws);
            return self.usable_from(group, draw(&mut random, ready) as usize).map(|(_, slot)| slot);
        };
        let Some(second) = draws.find(|slot| slot.key != first.key) else { return Some(first) };
        Some(preferred(first, second, |slot| slot.load.score()))
    }

    /// The less busy of two that have served; weights are not looked at.
    fn proven_of_two(&self, tier: &[Group], mut random: u64) -> Option<&'a Slot> {
        let all: usize = tier.iter().map(|group| group.proven().len()).sum();
        let at = |mut position: usize| {
            let index = tier.iter().find_map(|group| {
                let index = group.proven().get(position).copied();
                position = position.saturating_sub(group.proven().len());
                index
            });
            self.usable(index?)
        };
        let start = draw(&mut random, all as u64) as usize;
        let first = (start..all).chain(0..start).find_map(at)?;
        let second = at(draw(&mut random, all as u64) as usize).filter(|slot| slot.key != first.key);
        Some(second.map_or(first, |second| preferred(first, second, |slot| slot.load.score())))
    }

    /// The same, where keys are to be drawn as often as their weights say.
    fn less_busy_by_weight(&self, tier: &[Group], mut random: u64) -> Option<&'a Slot> {
        let most = tier.iter().map(|group| group.shape.most).max()?;
        let mut draws = (0..DRAWS)
            .filter_map(|_| self.drawn(tier, &mut random))
            .filter_map(|index| Some((self.usable(index)?, self.set.weight(index))));
        let Some(first) = draws.next() else {
            drop(draws);
            let start = draw(&mut random, u64::from(u32::MAX)) as usize;
            return tier.iter().find_map(|group| Some(self.usable_from(group, start)?.1));
        };
        let Some(second) = draws.find(|(slot, _)| slot.key != first.0.key) else { return Some(first.0) };
        let score = |slot: &Slot| {
            let weight = if slot.key == first.0.key { first.1 } else { second.1 };
            slot.load.weighed(weight, most)
        };
        Some(preferred(first.0, second.0, score))
    }

    /// One of the ready of a tier, each as likely as its weight says.
    fn drawn(&self, tier: &[Group], random: &mut u64) -> Option<u32> {
        let mut left = draw(random, tier.iter().map(|group| group.weight).sum());
        let group = tier.iter().find(|group| {
            let here = left < group.weight;
            left = left.saturating_sub(group.weight);
            here
        })?;
        let mut index = 0;
        // Each is taken at least every second time: that eight miss is next to impossible.
        for _ in 0..DRAWS {
            let position = draw(random, group.ready().len() as u64) as usize;
            index = *group.ready().get(position)?;
            let weight = u64::from(self.set.weight(index));
            if group.shape.even || draw(random, u64::from(group.shape.most)) < weight {
                break;
            }
        }
        Some(index)
    }

    /// The least busy of the ready of a project, in its lowest tier.
    fn least_busy_of(&self, row: u32) -> Option<&'a Slot> {
        let ready = self.slots.of(row).iter().filter(|index| self.set.contains(**index));
        let unknown = |slot: &Slot| self.ask.proven && slot.load.is_on_trial();
        ready
            .filter_map(|index| self.usable(*index))
            .min_by_key(|slot| (unknown(slot), slot.tier, slot.load.score()))
    }

    /// A key of the project that a conversation went to; not where that would pass over a lower tier.
    fn at_home(&self, key: KeyId) -> Option<&'a Slot> {
        let home = self.slots.index(key).and_then(|index| self.slots.get(index))?;
        let slot = self.least_busy_of(home.row)?;
        let first = self.set.tiers().flatten().find(|group| !group.ready().is_empty())?;
        (slot.tier <= first.shape.tier).then_some(slot)
    }

    /// Which one it has to be, where the question leaves no choice.
    fn named(&self) -> Option<u32> {
        let good = |slot: &Slot| !slot.until.disabled && slot.until.key.max(slot.until.project) != NEVER;
        match self.ask.from {
            From::All | From::Project(_) => None,
            From::Keeper => {
                self.slots.all.iter().zip(0..).find(|(slot, _)| good(slot)).map(|(_, index)| index)
            }
            From::Only(key) => self.slots.index(key),
        }
    }

    /// The slots it may be, where those are some of one project.
    fn some_of_one(&self) -> Option<(u32, Option<u32>)> {
        match self.ask.from {
            From::All => None,
            From::Project(name) => Some((*self.slots.by_project.get(name).unwrap_or(&u32::MAX), None)),
            From::Keeper | From::Only(_) => {
                let named = self.named();
                let row = named.and_then(|index| self.slots.get(index)).map_or(u32::MAX, |slot| slot.row);
                Some((row, Some(named.unwrap_or(u32::MAX))))
            }
        }
    }

    /// When a slot is free of every gate that is not its project's for the model.
    fn reachable(&self, index: u32) -> Millis {
        match self.slots.get(index) {
            Some(slot) if !slot.until.disabled && !self.set.is_barred(index) => {
                slot.until.key.max(slot.until.project).max(self.set.method(index))
            }
            _ => NEVER,
        }
    }

    /// With which key a project would be probed.
    pub(super) fn prober_of(&self, row: u32, only: Option<u32>) -> Option<&'a Slot> {
        let slots = self.slots.of(row).iter().filter(|index| only.is_none_or(|only| only == **index));
        slots
            .filter(|index| self.reachable(**index) <= self.now)
            .filter_map(|index| self.usable(*index))
            .min_by_key(|slot| (slot.tier, slot.load.score()))
    }

    /// Nobody is ready: a project whose gate may be tried is, by this request alone.
    pub(super) fn half_open(&self, lane: &mut Lane) -> Option<(&'a Slot, Claim)> {
        let now = self.now;
        if let Some((row, only)) = self.some_of_one() {
            lane.cells.get(&row).filter(|cell| cell.is_due(now))?;
            let slot = self.prober_of(row, only)?;
            return lane.claim(row, now).map(|claim| (slot, claim));
        }
        let mut aside = [None; LOOKS];
        let mut found = None;
        for place in &mut aside {
            let Some(row) = lane.pop_due(now) else { break };
            // Claimed or not, it is to stand in the queue again.
            if let Some(slot) = self.prober_of(row, None) {
                found = lane.claim(row, now).map(|claim| (slot, claim));
                break;
            }
            *place = Some(row);
        }
        aside.into_iter().flatten().for_each(|row| lane.put_back(row));
        found
    }

    /// See [`super::super::Nobody::for_sure`].
    pub(super) fn for_sure(&self) -> Option<Millis> {
        let opens = match self.some_of_one() {
            None if self.set.count() > 0 => self.now,
            None => self.set.opening(),
            Some((row, only)) => {
                let slots = self.slots.of(row).iter().filter(|index| only.is_none_or(|only| only == **index));
                slots.map(|index| self.set.opens(*index)).min().unwrap_or(NEVER)
            }
        };
        (opens != NEVER).then_some(opens.max(self.now))
    }

    /// See [`super::super::Nobody::opens`]; the circuit apart.
    pub(super) fn opens(&self, mut lane: Option<&mut Lane>) -> Option<Millis> {
        let opens = match self.some_of_one() {
            None if self.set.count() > 0 && self.roomy.get() == NEVER => self.now,
            None => {
                let probe = match &mut lane {
                    Some(lane) if self.by_method => {
                        let cells = lane.cells.iter().filter(|(_, cell)| cell.next != NEVER);
                        let first = cells.flat_map(|(row, cell)| {
                            self.slots.of(*row).iter().map(|index| self.reachable(*index).max(cell.next))
                        });
                        first.min()
                    }
                    Some(lane) => lane.first().map(|(next, _)| next),
                    None => None,
                };
                self.set.opening().min(probe.unwrap_or(NEVER)).min(self.roomy.get())
            }
            Some((row, only)) => {
                let next = lane.and_then(|lane| lane.cells.get(&row)).map_or(NEVER, |cell| cell.next);
                let slots = self.slots.of(row).iter().filter(|index| only.is_none_or(|only| only == **index));
                slots
                    .map(|index| self.set.opens(*index).min(next.max(self.reachable(*index))))
                    .min()
                    .unwrap_or(NEVER)
            }
        };
        (opens != NEVER).then_some(opens.max(self.now))
    }
}

/// The one with the lower score; the other is forgiven a little.
fn preferred<'a>(first: &'a Slot, second: &'a Slot, score: impl Fn(&Slot) -> u64) -> &'a Slot {
    let (winner, loser) = if score(second) < score(first) { (second, first) } else { (first, second) };
    loser.load.forgive();
    winner
}
