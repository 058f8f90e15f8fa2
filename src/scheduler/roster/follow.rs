//! How the roster follows the log: which event touches which slots, cells and sets.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use projections::{
    Event, KeyId, Millis, Recorded, Seq,
    event::{Attempted, Class, Scope, Verdict},
    keys::{Key, Keys, Project},
};

use super::{
    Roster,
    lanes::{Cell, LANES_KEPT, Lane, Shut},
    sets::Sets,
    slots::{Slots, time_of},
};
use crate::scheduler::lease::Load;

/// Methods with sets of their own, before those that nobody is closed for are dropped.
pub(super) const METHODS_KEPT: usize = 16;

/// Whether an event leaves which keys there are, and what operators say of them, as it was. An event that is
/// not known here may have changed anything.
fn leaves_keys(event: &Event) -> bool {
    match event {
        Event::KeyDisabled(_)
        | Event::KeyEnabled(_)
        | Event::KeyRevealed(_)
        | Event::KeysExported(_)
        | Event::MasterKeyChanged(_)
        | Event::ClientAdded(_)
        | Event::ClientUpdated(_)
        | Event::ClientKeyReplaced(_)
        | Event::ClientRemoved(_)
        | Event::AdminLoggedIn(_)
        | Event::AdminLoggedOut(_)
        | Event::AdminLoginFailed(_)
        | Event::AdminLoginsDelayed(_)
        | Event::AdminPasswordChanged(_)
        | Event::SettingsChanged(_)
        | Event::BackupMade(_)
        | Event::LogTrimmed(_)
        | Event::LogGap(_)
        | Event::ServerStarted(_)
        | Event::ServerStopped(_)
        | Event::Unknown(_) => true,
        other => other.class() != Class::Control,
    }
}

/// The models that a project has gates or budgets for.
fn models_of(project: &Project) -> impl Iterator<Item = &String> {
    project.models.keys().chain(project.budgets.keys().filter(|model| !project.models.contains_key(*model)))
}

impl Roster {
    /// Begins anew. What keys have under way and what they proved meanwhile is kept, and so is what went out
    /// under a budget and who is on the way through a gate.
    pub fn rebuild(&mut self, keys: &Keys, seq: Seq, now: Millis) {
        let loads: HashMap<KeyId, Arc<Load>> =
            self.slots.all.drain(..).map(|slot| (slot.key, slot.load)).collect();
        let old_rows = std::mem::take(&mut self.slots.by_project);
        let old_lanes = std::mem::take(&mut self.lanes).all;
        self.methods.clear();
        self.seq = seq;
        self.now = self.now.max(now);
        self.day = *keys.day();
        self.slots = Slots::new(keys, loads);
        let any = self.slots.ready(self.now);
        any.take_turns(&self.sets.any);
        self.sets = Sets::new(any);
        self.keep(keys, &old_rows, old_lanes);
        // Model by model, because that is one set after the other.
        let mut cells = BTreeMap::<&str, Vec<(u32, &Project)>>::new();
        for (name, project) in keys.projects() {
            let Some(&row) = self.slots.by_project.get(name) else { continue };
            models_of(project).for_each(|model| cells.entry(model).or_default().push((row, project)));
        }
        for (model, projects) in cells {
            projects.into_iter().for_each(|(row, project)| self.refresh_of(row, model, Some(project)));
        }
        for (model, _) in keys.upstreams() {
            self.refresh_circuit(keys, model);
        }
        for (key, slot) in keys.iter().zip(0..).filter(|(key, _)| !key.methods.is_empty()) {
            self.refresh_methods(key, slot);
        }
    }

    /// Claims and counts live on, also where the state says nothing at the moment.
    fn keep(&mut self, keys: &Keys, old_rows: &HashMap<Arc<str>, u32>, mut old_lanes: Vec<Lane>) {
        let row_of = |(name, old): (_, &u32)| Some((*old, *self.slots.by_project.get(name)?));
        let rows: HashMap<u32, u32> = old_rows.iter().filter_map(row_of).collect();
        // In an order that is always the same: the same log makes the same choices.
        old_lanes.sort_unstable_by(|one, other| one.model.cmp(&other.model));
        let mut circuits = Vec::new();
        for Lane { model, cells, circuit, .. } in old_lanes {
            let live = cells.into_iter().filter(|(_, cell)| cell.is_live(self.now));
            let live = live.filter_map(|(old, cell)| Some((*rows.get(&old)?, cell.moved())));
            let live: BTreeMap<u32, Cell> = live.collect();
            if !live.is_empty() {
                let (id, rows) = (self.lane(&model), live.keys().copied().collect::<Vec<_>>());
                if let Some(lane) = self.lanes.all.get_mut(id) {
                    lane.cells.extend(live);
                }
                rows.into_iter().for_each(|row| self.refresh_cell(keys, row, &model));
            }
            if !circuit.is_over(self.now) {
                circuits.push((model, circuit));
            }
        }
        for (model, circuit) in circuits {
            let id = self.lane(&model);
            if let Some(lane) = self.lanes.all.get_mut(id) {
                lane.circuit = circuit;
            }
            self.refresh_circuit(keys, &model);
        }
    }

    /// Follows events that `keys` already holds.
    pub fn folded(&mut self, keys: &Keys, seq: Seq, now: Millis, events: &[Recorded]) {
        self.hear();
        for recorded in events {
            self.learn(&recorded.event);
            if let Event::Attempted(event) = &recorded.event {
                self.give_back(event);
            }
        }
        if !events.iter().all(|recorded| leaves_keys(&recorded.event)) {
            return self.rebuild(keys, seq, now);
        }
        self.seq = seq;
        self.now = self.now.max(now);
        // What probes found of days decides how much their budgets count.
        if self.day.is_short() != keys.day().is_short() {
            self.turn_day(keys);
        }
        self.day = *keys.day();
        for recorded in events {
            match &recorded.event {
                Event::KeyDisabled(event) => self.refresh_key(keys, event.key),
                Event::KeyEnabled(event) => self.refresh_key(keys, event.key),
                Event::GateClosed(event) => self.refresh(keys, &event.scope),
                Event::GateOpened(event) => self.refresh(keys, &event.scope),
                Event::ProjectLearned(event) => self.move_key(keys, event.key),
                Event::Attempted(event) => self.refresh_found(keys, event.key, &event.model),
                Event::KeyChecked(event) => self.refresh_found(keys, event.key, &event.model),
                Event::QuotaDayBegan(_) => self.turn_day(keys),
                _ => {}
            }
        }
    }

    /// Whether keys are good, event by event and by the same rules as the fold. It is not read from
    /// the state, because a lease says so when an answer begins and the log only when it has ended.
    fn learn(&mut self, event: &Event) {
        let (key, proven) = match event {
            Event::Attempted(event) if event.verdict.is_success() => (event.key, true),
            Event::KeyChecked(event) if event.verdict.is_success() => (event.key, true),
            Event::KeyAdded(event) => (event.key, false),
            Event::KeyReset(event) => (event.key, false),
            Event::GateClosed(event) if event.until.is_none() => match event.scope {
                Scope::Key(key) => (key, false),
                _ => return,
            },
            _ => return,
        };
        let Some(index) = self.slots.index(key) else { return };
        if let Some(slot) = self.slots.get(index) {
            slot.load.set_proven(proven);
        }
        self.prove(index, proven);
    }

    /// Takes in what leases said of keys that began to serve.
    pub(super) fn hear(&mut self) {
        while let Some(key) = self.news.next() {
            let slot = self.slots.index(key).and_then(|index| Some((index, self.slots.get(index)?)));
            if let Some((index, proven)) = slot.map(|(index, slot)| (index, !slot.load.is_on_trial())) {
                self.prove(index, proven);
            }
        }
    }

    /// Tells the sets whether a slot's key has served, where that is news.
    fn prove(&mut self, index: u32, proven: bool) {
        let Some(slot) = self.slots.all.get_mut(index as usize).filter(|slot| slot.proven != proven) else {
            return;
        };
        slot.proven = proven;
        for sets in std::iter::once(&mut self.sets).chain(self.methods.values_mut()) {
            sets.each().for_each(|set| set.prove(index, proven));
        }
    }

    /// A request that Google did not take uses up no quota. (One that broke, failed by Google's own fault, or
    /// was left by its client may have been taken: gemini-wire §3.2.)
    fn give_back(&mut self, event: &Attempted) {
        if !(400..500).contains(&event.status) && event.verdict != Verdict::ConnectFailed {
            return;
        }
        let Some(slot) = self.slots.index(event.key).and_then(|slot| self.slots.get(slot)) else { return };
        // It went out in the name of this project, and not of another that the key had then.
        let row =
            Some(slot.row).filter(|row| self.slots.name(*row).is_some_and(|name| **name == *event.project));
        let lane = self.lanes.find(&event.model).and_then(|id| self.lanes.all.get_mut(id));
        let meters = row
            .zip(lane)
            .and_then(|(row, lane)| lane.cells.get_mut(&row))
            .and_then(|cell| cell.budget.as_mut());
        if let Some(meters) = meters {
            meters.give_back(event.started, &self.day);
        }
    }

    fn refresh(&mut self, keys: &Keys, scope: &Scope) {
        match scope {
            Scope::Key(key) | Scope::Method { key, .. } => self.refresh_key(keys, *key),
            Scope::Project(project) => {
                if let Some(&row) = self.slots.by_project.get(project.as_str()) {
                    self.refresh_row(keys, row);
                }
            }
            Scope::Model { project, model, .. } => {
                if let Some(&row) = self.slots.by_project.get(project.as_str()) {
                    self.refresh_cell(keys, row, model);
                }
            }
            Scope::Upstream { model } => self.refresh_circuit(keys, model),
        }
    }

    fn refresh_key(&mut self, keys: &Keys, key: KeyId) {
        let Some(index) = self.slots.index(key) else { return };
        self.refresh_slot(keys, index);
        if let Some(row) = self.slots.get(index).map(|slot| slot.row) {
            self.reach(row);
        }
    }

    fn refresh_row(&mut self, keys: &Keys, row: u32) {
        for index in self.slots.of(row).to_vec() {
            self.refresh_slot(keys, index);
        }
        self.reach(row);
    }

    fn refresh_slot(&mut self, keys: &Keys, index: u32) {
        self.slots.refresh(keys, index);
        let until = self.slots.until(index);
        self.sets.each().for_each(|set| set.update(index, until, self.now));
        if let Some(key) = self.slots.get(index).and_then(|slot| keys.get(slot.key)) {
            self.refresh_methods(key, index);
        }
    }

    /// Brings the sets of methods up to date for a slot whose times are.
    fn refresh_methods(&mut self, key: &Key, index: u32) {
        let until = self.slots.until(index);
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

    /// An attempt or a check ended: it may have told a limit, or used some of one.
    fn refresh_found(&mut self, keys: &Keys, key: KeyId, model: &str) {
        if let Some(row) = self.slots.index(key).and_then(|index| self.slots.get(index)).map(|slot| slot.row)
        {
            self.refresh_cell(keys, row, model);
        }
    }

    /// Brings a project's cell for a model up to what the state says.
    fn refresh_cell(&mut self, keys: &Keys, row: u32, model: &str) {
        let project = self.slots.name(row).and_then(|name| keys.project(name));
        self.refresh_of(row, model, project);
    }

    /// The same, of a project that is at hand.
    fn refresh_of(&mut self, row: u32, model: &str, project: Option<&Project>) {
        let shut = Shut::by_windows(project.and_then(|project| project.models.get(model)));
        let budget = project.and_then(|project| project.budgets.get(model));
        let id = match self.lanes.find(model) {
            Some(id) => id,
            None if self.now < shut.until || budget.is_some() => self.lane(model),
            None => return,
        };
        let lane = self.lanes.all.get_mut(id);
        if let Some(closed) = lane.and_then(|lane| lane.sync(row, shut, budget, &self.day, self.now)) {
            self.apply(id, row, closed);
        }
        self.reach_in(id, row);
    }

    fn refresh_lane(&mut self, keys: &Keys, id: usize) {
        let Some(lane) = self.lanes.all.get(id) else { return };
        let (model, mut rows) = (lane.model.clone(), lane.cells.keys().copied().collect::<Vec<_>>());
        // In an order that is always the same: the same log makes the same choices.
        rows.sort_unstable();
        rows.into_iter().for_each(|row| self.refresh_cell(keys, row, &model));
    }

    /// The lane of a model, made if there is none.
    fn lane(&mut self, model: &str) -> usize {
        if let Some(id) = self.lanes.find(model) {
            return id;
        }
        let forgotten =
            if self.lanes.all.len() >= LANES_KEPT { self.lanes.forget(self.now) } else { Vec::new() };
        for sets in std::iter::once(&mut self.sets).chain(self.methods.values_mut()) {
            for place in &forgotten {
                sets.lanes.swap_remove(*place);
            }
            sets.add(model, &self.slots, &mut self.mask, self.now);
        }
        self.lanes.add(model)
    }

    fn refresh_circuit(&mut self, keys: &Keys, model: &str) {
        let gate = keys.upstream(model).and_then(|upstream| upstream.gate.as_ref());
        let shut = Shut::by(gate.into_iter());
        let id = match self.lanes.find(model) {
            Some(id) => id,
            None if self.now < shut.until => self.lane(model),
            None => return,
        };
        if let Some(lane) = self.lanes.all.get_mut(id) {
            lane.circuit.set(shut);
        }
    }

    /// Works out anew when a project can be probed, after something changed about its keys.
    fn reach(&mut self, row: u32) {
        (0..self.lanes.all.len()).for_each(|id| self.reach_in(id, row));
    }

    fn reach_in(&mut self, id: usize, row: u32) {
        let Some(lane) = self.lanes.all.get_mut(id).filter(|lane| lane.cells.contains_key(&row)) else {
            return;
        };
        let Some(set) = self.sets.lanes.get(id) else { return };
        let slots = self.slots.of(row).iter().filter(|index| !set.is_barred(**index));
        let times = slots.map(|index| self.slots.until(*index)).filter(|until| !until.disabled);
        let first = times.map(|until| until.key.max(until.project)).min();
        lane.reach(row, first.unwrap_or(Millis::MAX));
    }

    /// A key is in another project than it was: its slot moves, and nothing else, unless the state of the
    /// project it comes to changed with it.
    fn move_key(&mut self, keys: &Keys, key: KeyId) {
        let (Some(key), Some(index)) = (keys.get(key), self.slots.index(key)) else { return };
        let Some((old, deserted)) = self.slots.change_project(index, &key.project) else { return };
        let Some(row) = self.slots.get(index).map(|slot| slot.row) else { return };
        for lane in &mut self.lanes.all {
            // What a project had for itself alone goes with its key, as it does in the state.
            if deserted && let Some(cell) = lane.cells.remove(&old) {
                lane.cells.entry(row).or_insert(cell.moved());
            }
        }
        let project = keys.project(&key.project);
        let gate = time_of(project.and_then(|project| project.gate.as_ref()));
        let others = self.slots.of(row).iter().find(|other| **other != index);
        if others.is_some_and(|other| self.slots.until(*other).project != gate) {
            self.refresh_row(keys, row);
        } else {
            self.refresh_slot(keys, index);
        }
        for model in project.into_iter().flat_map(models_of) {
            self.refresh_cell(keys, row, model);
        }
        let until = self.slots.until(index);
        for id in 0..self.lanes.all.len() {
            let cell = self.lanes.all.get(id).and_then(|lane| lane.cells.get(&row));
            let closed = cell.map_or((0, 0), |cell| cell.applied);
            for sets in std::iter::once(&mut self.sets).chain(self.methods.values_mut()) {
                if let Some(set) = sets.lanes.get_mut(id) {
                    set.close_model(index, closed, until, self.now);
                }
            }
        }
        self.reach(old);
        self.reach(row);
    }

    /// A quota day began: what went out in the one before is of no interest any more.
    fn turn_day(&mut self, keys: &Keys) {
        self.day = *keys.day();
        (0..self.lanes.all.len()).for_each(|id| self.refresh_lane(keys, id));
    }
}
