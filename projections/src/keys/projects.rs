//! Which project a key belongs to: declared, or learned from Google's own words.
//!
//! Two keys of one project share its quota, so the pool must know. Google names the
//! project (`consumer: "projects/N"`) in some of its errors.

use std::collections::btree_map::Entry;

use super::{Gate, Keys, Project};
use crate::id::KeyId;

/// Names of Google's kept.
const CONSUMERS_KEPT: usize = 50_000;

impl Keys {
    /// The project that a key is in once Google's name for it is known: what an operator declared
    /// stays; else the project that has the name already; else one of that name.
    #[must_use]
    pub fn project_by(&self, key: KeyId, consumer: &str) -> Option<&str> {
        let known = self.keys.get(&key)?;
        if known.declared {
            return Some(&known.project);
        }
        let named = self.consumers.get(consumer).filter(|name| self.projects.contains_key(*name));
        named
            .or_else(|| known.consumer.as_ref().filter(|own| *own == consumer).map(|_| &known.project))
            .map(String::as_str)
    }

    pub(super) fn learn_project(&mut self, id: KeyId, consumer: &str) {
        let name = self.project_by(id, consumer).unwrap_or(consumer).to_owned();
        let Some(key) = self.keys.get_mut(&id) else { return };
        key.consumer = Some(consumer.to_owned());
        if self.consumers.len() >= CONSUMERS_KEPT {
            self.consumers.pop_first();
        }
        self.consumers.insert(consumer.to_owned(), name.clone());
        self.move_to(id, &name);
    }

    /// Takes a key to another project. What was known of a project that it had for itself alone goes with
    /// it, for it was learned with this key.
    pub(super) fn move_to(&mut self, id: KeyId, name: &str) {
        let Some(key) = self.keys.get_mut(&id).filter(|key| key.project != name) else { return };
        let old = std::mem::replace(&mut key.project, name.to_owned());
        let alone = self.leave(id, &old);
        let project = self.projects.entry(name.to_owned()).or_default();
        project.keys.insert(id);
        if let Some(alone) = alone {
            project.merge(alone);
        }
    }

    /// Takes a key out of its project; gives the project where that was its last one.
    pub(super) fn leave(&mut self, id: KeyId, name: &str) -> Option<Project> {
        let Entry::Occupied(mut entry) = self.projects.entry(name.to_owned()) else { return None };
        entry.get_mut().keys.remove(&id);
        if !entry.get().keys.is_empty() {
            return None;
        }
        self.consumers.retain(|_, project| project != name);
        Some(entry.remove())
    }
}

impl Project {
    /// Of two gates in one place the one that opens later stays.
    fn merge(&mut self, other: Self) {
        fn later(here: &mut Option<Gate>, there: Gate) {
            let opens = |gate: &Gate| gate.until.unwrap_or(i64::MAX);
            if here.as_ref().is_none_or(|here| opens(here) < opens(&there)) {
                *here = Some(there);
            }
        }
        if let Some(gate) = other.gate {
            later(&mut self.gate, gate);
        }
        for (model, windows) in other.models {
            let here = self.models.entry(model).or_default();
            for (window, gate) in windows {
                let mut slot = here.remove(&window);
                later(&mut slot, gate);
                here.extend(slot.map(|gate| (window, gate)));
            }
        }
        for (model, budget) in other.budgets {
            self.budgets.entry(model).or_insert(budget);
        }
    }
}
