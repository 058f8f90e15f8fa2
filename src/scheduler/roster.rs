//! The roster: the keys as the chooser wants them, kept beside the state that the log gives.

use std::{
    cell::Cell,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use projections::{
    Event, Fingerprint, KeyId, Millis, Recorded, Seq,
    event::{PassedOver, Scope, Strategy, Why, Window},
    keys::{Gate, Key, Keys},
};

use super::{
    Ask, Choice, From, Lease, Load, Nobody,
    ready::{NEVER, Ready, Until},
};

/// Two candidates are compared; this many draws may miss before the ready are gone through in turn.
const DRAWS: u32 = 8;
/// Models with a set of their own, before those without closed gates are dropped.
const MODELS_KEPT: usize = 256;
/// Methods with sets of their own, likewise.
const METHODS_KEPT: usize = 16;

#[derive(Debug)]
struct Slot {
    key: KeyId,
    fingerprint: Fingerprint,
    project: Arc<str>,
    until: Until,
    load: Arc<Load>,
}

/// Who is ready, by model.
#[derive(Clone, Debug, Default)]
struct Sets {
    /// For models without gates.
    any: Ready,
    models: HashMap<String, Ready>,
}

impl Sets {
    fn of(&mut self, model: &str) -> &mut Ready {
        self.models.get_mut(model).unwrap_or(&mut self.any)
    }

    fn each(&mut self) -> impl Iterator<Item = &mut Ready> {
        std::iter::once(&mut self.any).chain(self.models.values_mut())
    }

    /// Makes a set for a model that has none.
    fn add(&mut self, model: &str, now: Millis) {
        if self.models.len() >= MODELS_KEPT {
            self.models.retain(|_, set| set.has_model_gates(now));
        }
        self.models.insert(model.to_owned(), self.any.clone());
    }
}

/// See the module.
#[derive(Debug)]
pub struct Roster {
    strategy: Strategy,
    slots: Vec<Slot>,
    by_key: HashMap<KeyId, u32>,
    by_project: HashMap<Arc<str>, Vec<u32>>,
    /// For methods that every key may call.
    sets: Sets,
    /// For methods that some key may not call: nearly always empty.
    methods: HashMap<String, Sets>,
    seq: Seq,
    /// The latest time heard of. It never goes back, whatever the machine's clock does:
    /// what has opened stays open, as it does in the log.
    now: Millis,
}

fn time_of(gate: Option<&Gate>) -> Millis {
    gate.map_or(0, |gate| gate.until.unwrap_or(NEVER))
}

/// A model is back when the last of its windows is.
fn latest(windows: &BTreeMap<Window, Gate>) -> Millis {
    windows.values().map(|gate| time_of(Some(gate))).max().unwrap_or_default()
}

fn until_of(keys: &Keys, key: &Key) -> Until {
    let project = keys.project(&key.project).and_then(|project| project.gate.as_ref());
    Until { disabled: !key.enabled, key: time_of(key.gate.as_ref()), project: time_of(project) }
}

/// The times of every slot, as the sets ask for them.
fn times(slots: &[Slot]) -> impl Fn(u32) -> Until {
    |slot| slots.get(slot as usize).map(|slot| slot.until).unwrap_or_default()
}

/// Numbers from a number: SplitMix64, which is small, quick, and good enough to spread load.
fn draw(random: &mut u64, below: usize) -> usize {
    *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *random;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    ((u128::from(mixed) * below as u128) >> 64) as usize
}

impl Roster {
    /// An empty roster.
    #[must_use]
    pub fn new(strategy: Strategy) -> Self {
        Self {
            strategy,
            slots: Vec::new(),
            by_key: HashMap::new(),
            by_project: HashMap::new(),
            sets: Sets::default(),
            methods: HashMap::new(),
            seq: 0,
            now: 0,
        }
    }

    /// Begins anew; what keys have under way, and what they proved meanwhile, is kept.
    pub fn rebuild(&mut self, keys: &Keys, seq: Seq, now: Millis) {
        let mut loads: HashMap<KeyId, Arc<Load>> =
            self.slots.drain(..).map(|slot| (slot.key, slot.load)).collect();
        self.by_key.clear();
        self.by_project.clear();
        self.methods.clear();
        self.seq = seq;
        self.now = self.now.max(now);
        for (key, slot) in keys.iter().zip(0..) {
            let project: Arc<str> = Arc::from(key.project.as_str());
            self.by_key.insert(key.id, slot);
            self.by_project.entry(Arc::clone(&project)).or_default().push(slot);
            let load: Arc<Load> = loads.remove(&key.id).unwrap_or_default();
            if key.proven {
                load.set_proven(true);
            }
            let until = until_of(keys, key);
            self.slots.push(Slot { key: key.id, fingerprint: key.fingerprint, project, until, load });
        }
        let any = Ready::new(self.slots.iter().map(|slot| slot.until), self.now);
        any.turn.swap(&self.sets.any.turn);
        self.sets = Sets { any, models: HashMap::new() };
        // Model by model, because that is one set after the other.
        let mut gates = BTreeMap::<&str, Vec<(&str, Millis)>>::new();
        for (name, project) in keys.projects() {
            for (model, windows) in &project.models {
                gates.entry(model).or_default().push((name, latest(windows)));
            }
        }
        gates.iter().for_each(|(model, gates)| self.close_model(model, gates));
        for (key, slot) in keys.iter().zip(0..).filter(|(key, _)| !key.methods.is_empty()) {
            self.refresh_methods(key, slot);
        }
    }

    /// Follows events that `keys` already holds.
    pub fn folded(&mut self, keys: &Keys, seq: Seq, now: Millis, events: &[Recorded]) {
        events.iter().for_each(|recorded| self.learn(&recorded.event));
        let anew =
            |event: &Event| matches!(event, Event::KeyAdded(_) | Event::KeyReset(_) | Event::KeyRemoved(_));
        if events.iter().any(|recorded| anew(&recorded.event)) {
            return self.rebuild(keys, seq, now);
        }
        self.seq = seq;
        self.now = self.now.max(now);
        for recorded in events {
            match &recorded.event {
                Event::KeyDisabled(event) => self.refresh_key(keys, event.key),
                Event::KeyEnabled(event) => self.refresh_key(keys, event.key),
                Event::GateClosed(event) => self.refresh(keys, &event.scope),
                Event::GateOpened(event) => self.refresh(keys, &event.scope),
                _ => {}
            }
        }
    }

    /// Whether keys are good, event by event and by the same rules as the fold. It is not read from
    /// the state, because a lease says so when an answer begins and the log only when it has ended.
    fn learn(&self, event: &Event) {
        let (key, proven) = match event {
            Event::Attempted(event) if event.verdict.is_success() => (event.key, true),
            Event::KeyAdded(event) => (event.key, false),
            Event::KeyReset(event) => (event.key, false),
            Event::GateClosed(event) if event.until.is_none() => match event.scope {
                Scope::Key(key) => (key, false),
                _ => return,
            },
            _ => return,
        };
        let slot = self.by_key.get(&key).and_then(|slot| self.slots.get(*slot as usize));
        if let Some(slot) = slot {
            slot.load.set_proven(proven);
        }
    }

    fn refresh(&mut self, keys: &Keys, scope: &Scope) {
        match scope {
            Scope::Key(key) | Scope::Method { key, .. } => self.refresh_key(keys, *key),
            Scope::Project(project) => {
                for slot in self.by_project.get(project.as_str()).cloned().unwrap_or_default() {
                    self.refresh_slot(keys, slot);
                }
            }
            Scope::Model { project, model, .. } => {
                let windows = keys.project(project).and_then(|project| project.models.get(model));
                self.close_model(model, &[(project, windows.map_or(0, latest))]);
            }
        }
    }

    fn refresh_key(&mut self, keys: &Keys, key: KeyId) {
        if let Some(&slot) = self.by_key.get(&key) {
            self.refresh_slot(keys, slot);
        }
    }

    fn refresh_slot(&mut self, keys: &Keys, index: u32) {
        let Some(slot) = self.slots.get_mut(index as usize) else { return };
        let Some(key) = keys.get(slot.key) else { return };
        let until = until_of(keys, key);
        slot.until = until;
        self.sets.each().for_each(|set| set.update(index, until, self.now));
        self.refresh_methods(key, index);
    }

    /// Brings the sets of methods up to date for a slot whose times are.
    fn refresh_methods(&mut self, key: &Key, index: u32) {
        let Some(until) = self.slots.get(index as usize).map(|slot| slot.until) else { return };
        let now = self.now;
        for (method, _) in key.methods.iter().filter(|(_, gate)| gate.is_closed(now)) {
            if !self.methods.contains_key(method) {
                if self.methods.len() >= METHODS_KEPT {
                    self.methods.retain(|_, sets| sets.any.has_method_gates(now));
                }
                self.methods.insert(method.clone(), self.sets.clone());
            }
        }
        for (method, sets) in &mut self.methods {
            let closed = time_of(key.methods.get(method));
            sets.each().for_each(|set| set.close_method(index, closed, until, now));
        }
    }

    /// Closes projects for a model, each until its time; 0 opens one.
    fn close_model(&mut self, model: &str, gates: &[(&str, Millis)]) {
        let now = self.now;
        let closes = gates.iter().any(|(_, closed)| now < *closed);
        for sets in std::iter::once(&mut self.sets).chain(self.methods.values_mut()) {
            if closes && !sets.models.contains_key(model) {
                sets.add(model, now);
            }
            let Some(set) = sets.models.get_mut(model) else { continue };
            for (project, closed) in gates {
                for &index in self.by_project.get(*project).map(Vec::as_slice).unwrap_or_default() {
                    let until = self.slots.get(index as usize).map(|slot| slot.until).unwrap_or_default();
                    set.close_model(index, *closed, until, now);
                }
            }
        }
    }

    /// Keys that could serve a request without a model at `now`, and all keys.
    pub fn ready(&mut self, now: Millis) -> (usize, usize) {
        self.now = self.now.max(now);
        self.sets.any.advance(self.now, times(&self.slots));
        (self.sets.any.ready().len(), self.slots.len())
    }

    /// Chooses a key and takes its place. Allocates nothing.
    ///
    /// # Errors
    /// [`Nobody`].
    pub fn choose(&mut self, ask: &Ask<'_>, now: Millis, random: u64) -> Result<Choice, Nobody> {
        self.now = self.now.max(now);
        let set = self.methods.get_mut(ask.method).unwrap_or(&mut self.sets).of(ask.model);
        set.advance(self.now, times(&self.slots));
        let (slots, by_key) = (self.slots.as_slice(), &self.by_key);
        let project = match ask.from {
            From::Project(name) => self.by_project.get(name).map(Vec::as_slice).unwrap_or_default(),
            _ => &[],
        };
        let question =
            Question { ask, now: self.now, slots, by_key, project, set, on_trial: Cell::new(false) };
        let passed_over = question.passed_over();
        let found = match (ask.from, self.strategy) {
            (From::All, Strategy::RoundRobin) => question.next_in_turn(),
            (From::All, Strategy::LeastLoaded) => question.less_busy_of_two(random),
            (From::Project(_), _) => question.less_busy_of_project(),
            (From::Keeper | From::Only(_), _) => question
                .named()
                .filter(|slot| question.set.contains(*slot))
                .and_then(|slot| question.usable(slot)),
        };
        let Some(slot) = found else {
            return Err(Nobody { opens: question.opens(), passed_over, on_trial: question.on_trial.get() });
        };
        let eligible = match ask.from {
            From::All => (question.set.ready().len() as u32).saturating_sub(passed_over.tried),
            From::Project(_) => question.untried_of_project().count() as u32,
            From::Keeper | From::Only(_) => 1,
        };
        let in_flight = slot.load.in_flight();
        Ok(Choice {
            key: slot.key,
            fingerprint: slot.fingerprint,
            project: Arc::clone(&slot.project),
            lease: Lease::take(&slot.load),
            why: Why { strategy: self.strategy, seq: self.seq, eligible, passed_over, in_flight },
        })
    }
}

/// A question, and what the roster knows of it at one time.
struct Question<'a> {
    ask: &'a Ask<'a>,
    now: Millis,
    slots: &'a [Slot],
    by_key: &'a HashMap<KeyId, u32>,
    /// The keys of the one project that may serve, where it is only one.
    project: &'a [u32],
    /// Who is ready for the model and the method.
    set: &'a Ready,
    /// Whether a key was left alone because it is on trial with another request.
    on_trial: Cell<bool>,
}

impl<'a> Question<'a> {
    fn passed_over(&self) -> PassedOver {
        let tried = self.ask.tried.iter().filter_map(|key| self.by_key.get(key));
        let tried = tried.filter(|slot| self.set.contains(**slot)).count() as u32;
        PassedOver { tried, ..self.set.passed_over() }
    }

    /// A slot that is ready, if it was not tried and may take a request more.
    fn usable(&self, index: u32) -> Option<&'a Slot> {
        let slot = self.slots.get(index as usize)?;
        if self.ask.tried.contains(&slot.key) {
            return None;
        }
        let waits = !self.ask.crowd && slot.load.is_on_trial() && slot.load.in_flight() > 0;
        self.on_trial.set(self.on_trial.get() || waits);
        (!waits).then_some(slot)
    }

    fn usable_at(&self, position: usize) -> Option<&'a Slot> {
        self.set.ready().get(position).and_then(|index| self.usable(*index))
    }

    /// The first usable one from a position on, all the way round.
    fn usable_from(&self, start: usize) -> Option<(usize, &'a Slot)> {
        let ready = self.set.ready().len();
        let start = start % ready.max(1);
        (start..ready).chain(0..start).find_map(|position| Some((position, self.usable_at(position)?)))
    }

    fn next_in_turn(&self) -> Option<&'a Slot> {
        let (position, slot) = self.usable_from(self.set.turn.get())?;
        self.set.turn.set(position + 1);
        Some(slot)
    }

    fn less_busy_of_two(&self, mut random: u64) -> Option<&'a Slot> {
        let ready = self.set.ready().len();
        let mut draws = (0..DRAWS).filter_map(|_| self.usable_at(draw(&mut random, ready)));
        let Some(first) = draws.next() else {
            drop(draws);
            return self.usable_from(draw(&mut random, ready)).map(|(_, slot)| slot);
        };
        let Some(second) = draws.find(|slot| slot.key != first.key) else { return Some(first) };
        let (winner, loser) =
            if second.load.score() < first.load.score() { (second, first) } else { (first, second) };
        loser.load.forgive();
        Some(winner)
    }

    fn untried_of_project(&self) -> impl Iterator<Item = u32> {
        let ready = self.project.iter().copied().filter(|index| self.set.contains(*index));
        ready.filter(|index| {
            self.slots.get(*index as usize).is_some_and(|slot| !self.ask.tried.contains(&slot.key))
        })
    }

    fn less_busy_of_project(&self) -> Option<&'a Slot> {
        let usable = self.untried_of_project().filter_map(|index| self.usable(index));
        usable.min_by_key(|slot| slot.load.score())
    }

    /// Which one it has to be, where the question leaves no choice.
    fn named(&self) -> Option<u32> {
        let good = |slot: &Slot| !slot.until.disabled && slot.until.key.max(slot.until.project) != NEVER;
        match self.ask.from {
            From::All | From::Project(_) => None,
            From::Keeper => self.slots.iter().zip(0..).find(|(slot, _)| good(slot)).map(|(_, index)| index),
            From::Only(key) => self.by_key.get(&key).copied(),
        }
    }

    /// See [`Nobody::opens`].
    fn opens(&self) -> Option<Millis> {
        let opens = match self.ask.from {
            From::All if self.set.ready().is_empty() => self.set.opening(),
            From::All => self.now,
            From::Project(_) => {
                self.project.iter().map(|index| self.set.opens(*index)).min().unwrap_or(NEVER)
            }
            From::Keeper | From::Only(_) => self.named().map_or(NEVER, |index| self.set.opens(index)),
        };
        (opens != NEVER).then_some(opens.max(self.now))
    }
}

#[cfg(test)]
mod tests;
