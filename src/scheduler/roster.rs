//! The roster: the keys as the chooser wants them, kept beside the state that the log gives.

use std::{
    cell::Cell,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use projections::{
    Event, Fingerprint, KeyId, Millis, Recorded, Seq,
    event::{Scope, Strategy, Why},
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

#[derive(Debug)]
struct Slot {
    key: KeyId,
    fingerprint: Fingerprint,
    project: Arc<str>,
    until: Until,
    /// Methods that the key may not call, and until when. Nearly always empty.
    methods: Vec<(String, Millis)>,
    load: Arc<Load>,
}

/// See the module.
#[derive(Debug)]
pub struct Roster {
    strategy: Strategy,
    slots: Vec<Slot>,
    by_key: HashMap<KeyId, u32>,
    by_project: HashMap<Arc<str>, Vec<u32>>,
    /// Requests for models without gates.
    any: Ready,
    models: HashMap<String, Ready>,
    /// Where round-robin goes on.
    turn: u32,
    seq: Seq,
}

fn time_of(gate: Option<&Gate>) -> Millis {
    gate.map_or(0, |gate| gate.until.unwrap_or(NEVER))
}

fn until_of(keys: &Keys, key: &Key) -> Until {
    let project = keys.project(&key.project).and_then(|project| project.gate.as_ref());
    Until { disabled: !key.enabled, key: time_of(key.gate.as_ref()), project: time_of(project) }
}

fn methods_of(key: &Key) -> Vec<(String, Millis)> {
    key.methods.iter().map(|(method, gate)| (method.clone(), time_of(Some(gate)))).collect()
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
            any: Ready::default(),
            models: HashMap::new(),
            turn: 0,
            seq: 0,
        }
    }

    /// Begins anew; what keys have under way is kept.
    pub fn rebuild(&mut self, keys: &Keys, seq: Seq, now: Millis) {
        let mut loads: HashMap<KeyId, Arc<Load>> =
            self.slots.drain(..).map(|slot| (slot.key, slot.load)).collect();
        self.by_key.clear();
        self.by_project.clear();
        self.models.clear();
        self.seq = seq;
        for (key, slot) in keys.iter().zip(0..) {
            let project: Arc<str> = Arc::from(key.project.as_str());
            self.by_key.insert(key.id, slot);
            self.by_project.entry(Arc::clone(&project)).or_default().push(slot);
            let load: Arc<Load> = loads.remove(&key.id).unwrap_or_default();
            load.set_proven(key.proven);
            self.slots.push(Slot {
                key: key.id,
                fingerprint: key.fingerprint,
                project,
                until: until_of(keys, key),
                methods: methods_of(key),
                load,
            });
        }
        self.any = self.fresh_set(now);
        let models: BTreeMap<&str, Vec<&str>> =
            keys.projects().fold(BTreeMap::new(), |mut models, (name, project)| {
                project.models.keys().for_each(|model| models.entry(model.as_str()).or_default().push(name));
                models
            });
        for (model, projects) in models {
            projects.into_iter().for_each(|project| self.refresh_model(keys, project, model, now));
        }
    }

    /// Follows events that `keys` already holds.
    pub fn folded(&mut self, keys: &Keys, seq: Seq, now: Millis, events: &[Recorded]) {
        let membership = |event: &Event| {
            matches!(
                event,
                Event::KeyAdded(_)
                    | Event::KeyDisabled(_)
                    | Event::KeyEnabled(_)
                    | Event::KeyReset(_)
                    | Event::KeyRemoved(_)
            )
        };
        if events.iter().any(|recorded| membership(&recorded.event)) {
            return self.rebuild(keys, seq, now);
        }
        self.seq = seq;
        for recorded in events {
            match &recorded.event {
                Event::GateClosed(event) => self.refresh(keys, &event.scope, now),
                Event::GateOpened(event) => self.refresh(keys, &event.scope, now),
                _ => {}
            }
        }
    }

    fn refresh(&mut self, keys: &Keys, scope: &Scope, now: Millis) {
        match scope {
            Scope::Key(key) | Scope::Method { key, .. } => {
                if let Some(&slot) = self.by_key.get(key) {
                    self.refresh_slot(keys, slot, now);
                }
            }
            Scope::Project(project) => {
                for slot in self.by_project.get(project.as_str()).cloned().unwrap_or_default() {
                    self.refresh_slot(keys, slot, now);
                }
            }
            Scope::Model { project, model, .. } => self.refresh_model(keys, project, model, now),
        }
    }

    fn refresh_slot(&mut self, keys: &Keys, index: u32, now: Millis) {
        let Some(slot) = self.slots.get_mut(index as usize) else { return };
        let Some(key) = keys.get(slot.key) else { return };
        slot.until = until_of(keys, key);
        slot.methods = methods_of(key);
        slot.load.set_proven(key.proven);
        let until = slot.until;
        self.any.update(index, until, now);
        self.models.values_mut().for_each(|set| set.update(index, until, now));
    }

    fn refresh_model(&mut self, keys: &Keys, project: &str, model: &str, now: Millis) {
        let windows = keys.project(project).and_then(|project| project.models.get(model));
        let until = windows
            .and_then(|windows| windows.values().map(|gate| time_of(Some(gate))).max())
            .unwrap_or_default();
        if !self.models.contains_key(model) {
            if self.models.len() >= MODELS_KEPT {
                self.models.retain(|_, set| set.has_model_gates());
            }
            let set = self.fresh_set(now);
            self.models.insert(model.to_owned(), set);
        }
        let Some(set) = self.models.get_mut(model) else { return };
        for &index in self.by_project.get(project).map(Vec::as_slice).unwrap_or_default() {
            if let Some(slot) = self.slots.get(index as usize) {
                set.close_model(index, until, slot.until, now);
            }
        }
    }

    fn fresh_set(&self, now: Millis) -> Ready {
        let mut set = Ready::new(self.slots.len());
        self.slots.iter().zip(0..).for_each(|(slot, index)| set.update(index, slot.until, now));
        set
    }

    /// Keys that could serve a request without a model at `now`, and all keys.
    pub fn ready(&mut self, now: Millis) -> (usize, usize) {
        let Self { slots, any, .. } = self;
        any.advance(now, |slot| slots.get(slot as usize).map(|slot| slot.until).unwrap_or_default());
        (any.ready().len(), slots.len())
    }

    /// Chooses a key and takes its place. Allocates nothing.
    ///
    /// # Errors
    /// [`Nobody`].
    pub fn choose(&mut self, ask: &Ask<'_>, now: Millis, mut random: u64) -> Result<Choice, Nobody> {
        let Self { strategy, slots, by_key, any, models, turn, seq, .. } = self;
        let set = models.get_mut(ask.model).unwrap_or(any);
        set.advance(now, |slot| slots.get(slot as usize).map(|slot| slot.until).unwrap_or_default());
        let opening = set.next_opening(|slot| slots.get(slot as usize).map(|slot| slot.until).unwrap_or_default());
        let set = &*set;
        let busy = Cell::new(false);
        let fits = |index: u32| {
            slots.get(index as usize).filter(|slot| {
                if ask.tried.contains(&slot.key)
                    || slot.methods.iter().any(|(method, until)| method == ask.method && now < *until)
                {
                    return false;
                }
                let waits = slot.load.is_on_trial() && slot.load.in_flight() > 0;
                busy.set(busy.get() || waits);
                !waits
            })
        };
        let mut passed_over = set.passed_over();
        let tried = ask.tried.iter().filter_map(|key| by_key.get(key));
        passed_over.tried = tried.filter(|slot| set.contains(**slot)).count() as u32;
        let ready = set.ready();
        let at = |place: usize| ready.get(place % ready.len().max(1)).copied().and_then(fits);
        let from = |start: usize| (0..ready.len()).find_map(|step| at(start + step));
        let found = match ask.from {
            From::All if ready.is_empty() => None,
            From::All => match strategy {
                Strategy::RoundRobin => {
                    *turn = turn.wrapping_add(1);
                    from(*turn as usize)
                }
                Strategy::LeastLoaded => {
                    let mut draws = (0..DRAWS).filter_map(|_| at(draw(&mut random, ready.len())));
                    let first = draws.next();
                    let second = draws.next();
                    match (first, second) {
                        (Some(one), Some(other)) if other.load.score() < one.load.score() => Some(other),
                        (Some(one), _) => Some(one),
                        (None, _) => from(draw(&mut random, ready.len())),
                    }
                }
            },
            From::Keeper => {
                let keeps =
                    |slot: &Slot| !slot.until.disabled && slot.until.key.max(slot.until.project) != NEVER;
                let keeper = slots.iter().zip(0..).find(|(slot, _)| keeps(slot));
                keeper.filter(|(_, index)| set.contains(*index)).and_then(|(_, index)| fits(index))
            }
            From::Only(key) => by_key.get(&key).filter(|slot| set.contains(**slot)).and_then(|slot| fits(*slot)),
        };
        let Some(slot) = found else {
            let opens = match ask.from {
                From::Only(key) => by_key.get(&key).and_then(|index| {
                    slots.get(*index as usize).and_then(|slot| set.opens(*index, slot.until))
                }),
                From::All | From::Keeper => opening,
            };
            return Err(Nobody { opens, passed_over, on_trial: busy.get() });
        };
        let why = Why {
            strategy: *strategy,
            seq: *seq,
            eligible: (ready.len() as u32).saturating_sub(passed_over.tried),
            passed_over,
            in_flight: slot.load.in_flight(),
        };
        Ok(Choice {
            key: slot.key,
            fingerprint: slot.fingerprint,
            project: Arc::clone(&slot.project),
            lease: Lease::take(&slot.load),
            why,
        })
    }
}

#[cfg(test)]
mod tests;
