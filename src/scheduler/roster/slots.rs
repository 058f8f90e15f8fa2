//! The keys as slots, and the projects that they are in as rows.
//!
//! Owns who is in which project, and what every set must know of a slot: its times,
//! its group, and the models it is for. Its invariant: a slot is in the one row that
//! its key's project has.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use projections::{
    Fingerprint, KeyId, Millis,
    keys::{Gate, Key, Keys},
    pattern::matches,
};

use crate::scheduler::{
    lease::Load,
    ready::{NEVER, Rank, Ready, Shape, Until},
};

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) key: KeyId,
    pub(super) fingerprint: Fingerprint,
    /// The number of its project.
    pub(super) row: u32,
    pub(super) until: Until,
    pub(super) load: Arc<Load>,
    /// Whether the sets know it as one whose key has served.
    pub(super) proven: bool,
    pub(super) tier: u8,
    rank: Rank,
    /// Which list of patterns its model must match; none: any model will do.
    patterns: Option<usize>,
}

/// A project.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: Arc<str>,
    pub(super) slots: Vec<u32>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Slots {
    pub(super) all: Vec<Slot>,
    pub(super) by_key: HashMap<KeyId, u32>,
    pub(super) rows: Vec<Row>,
    pub(super) by_project: HashMap<Arc<str>, u32>,
    /// Rows whose last key went to another project.
    vacant: Vec<u32>,
    shapes: Vec<Shape>,
    /// Every list of patterns once.
    patterns: Vec<Vec<String>>,
}

/// Until when a gate closes; 0 where there is none.
pub(super) fn time_of(gate: Option<&Gate>) -> Millis {
    gate.map_or(0, |gate| gate.until.unwrap_or(NEVER))
}

fn until_of(keys: &Keys, key: &Key) -> Until {
    let project = keys.project(&key.project).and_then(|project| project.gate.as_ref());
    Until { disabled: !key.enabled, key: time_of(key.gate.as_ref()), project: time_of(project) }
}

/// Tiers, and in each the weights by powers of two: whoever is drawn in a group is taken at least every
/// second time.
fn class_of(key: &Key) -> (u8, u32) {
    (key.priority, key.weight.max(1).ilog2())
}

impl Slots {
    pub(super) fn new(keys: &Keys, mut loads: HashMap<KeyId, Arc<Load>>) -> Self {
        let mut groups = BTreeMap::<(u8, u32), Shape>::new();
        for key in keys.iter() {
            let (tier, _) = class_of(key);
            let weight = key.weight.max(1);
            let new = || Shape { tier, most: weight, even: true, size: 0 };
            let shape = groups.entry(class_of(key)).or_insert_with(new);
            shape.even &= shape.most == weight;
            shape.most = shape.most.max(weight);
            shape.size += 1;
        }
        let numbers: HashMap<(u8, u32), u16> = groups.keys().copied().zip(0..).collect();
        let mut lists = HashMap::<&[String], usize>::new();
        let mut slots = Self { shapes: groups.into_values().collect(), ..Self::default() };
        for (key, index) in keys.iter().zip(0..) {
            let row = slots.row(&key.project);
            slots.enter(row, index);
            slots.by_key.insert(key.id, index);
            let load: Arc<Load> = loads.remove(&key.id).unwrap_or_default();
            if key.proven {
                load.set_proven(true);
            }
            let patterns = (!key.models.is_empty()).then(|| {
                *lists.entry(&key.models).or_insert_with(|| {
                    slots.patterns.push(key.models.clone());
                    slots.patterns.len() - 1
                })
            });
            let group = numbers.get(&class_of(key)).copied().unwrap_or_default();
            slots.all.push(Slot {
                key: key.id,
                fingerprint: key.fingerprint,
                row,
                until: until_of(keys, key),
                proven: !load.is_on_trial(),
                load,
                tier: key.priority,
                rank: Rank { group, weight: key.weight.max(1) },
                patterns,
            });
        }
        slots
    }

    /// A set of all slots.
    pub(super) fn ready(&self, now: Millis) -> Ready {
        Ready::new(&self.shapes, self.all.iter().map(|slot| (slot.until, slot.rank, slot.proven)), now)
    }

    pub(super) fn get(&self, index: u32) -> Option<&Slot> {
        self.all.get(index as usize)
    }

    pub(super) fn index(&self, key: KeyId) -> Option<u32> {
        self.by_key.get(&key).copied()
    }

    /// The times of every slot, as the sets ask for them.
    pub(super) fn until(&self, index: u32) -> Until {
        self.get(index).map(|slot| slot.until).unwrap_or_default()
    }

    /// Reads a slot's times again.
    pub(super) fn refresh(&mut self, keys: &Keys, index: u32) {
        if let Some(slot) = self.all.get_mut(index as usize)
            && let Some(key) = keys.get(slot.key)
        {
            slot.until = until_of(keys, key);
        }
    }

    /// The slots of a project.
    pub(super) fn of(&self, row: u32) -> &[u32] {
        self.rows.get(row as usize).map(|row| row.slots.as_slice()).unwrap_or_default()
    }

    pub(super) fn name(&self, row: u32) -> Option<&Arc<str>> {
        self.rows.get(row as usize).map(|row| &row.name)
    }

    /// The row of a project, made if there is none.
    fn row(&mut self, project: &str) -> u32 {
        if let Some(&row) = self.by_project.get(project) {
            return row;
        }
        let name: Arc<str> = Arc::from(project);
        let new = Row { name: Arc::clone(&name), slots: Vec::new() };
        let vacant = self.vacant.pop();
        let row = match vacant.and_then(|row| Some((row, self.rows.get_mut(row as usize)?))) {
            Some((row, place)) => {
                *place = new;
                row
            }
            None => {
                self.rows.push(new);
                self.rows.len() as u32 - 1
            }
        };
        self.by_project.insert(name, row);
        row
    }

    fn enter(&mut self, row: u32, index: u32) {
        if let Some(row) = self.rows.get_mut(row as usize) {
            row.slots.push(index);
        }
    }

    /// Takes a slot to another project; gives the one it left, and whether that has no slot any more.
    pub(super) fn change_project(&mut self, index: u32, project: &str) -> Option<(u32, bool)> {
        let old = self.get(index)?.row;
        let new = self.row(project);
        if old == new {
            return None;
        }
        self.enter(new, index);
        self.all.get_mut(index as usize)?.row = new;
        let row = self.rows.get_mut(old as usize)?;
        row.slots.retain(|slot| *slot != index);
        let deserted = row.slots.is_empty();
        if deserted {
            self.by_project.remove(&row.name);
            self.vacant.push(old);
        }
        Some((old, deserted))
    }

    /// Whether keys differ in the models they are for.
    pub(super) fn differ_by_model(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// Writes down which lists of patterns a model matches. Allocates nothing once `mask` has its size.
    pub(super) fn mask(&self, model: &str, mask: &mut Vec<u64>) {
        mask.clear();
        mask.resize(self.patterns.len().div_ceil(64), 0);
        for (list, number) in self.patterns.iter().zip(0_usize..) {
            // Where no model is named, none is excluded.
            let fits = model.is_empty() || list.iter().any(|pattern| matches(pattern, model));
            if let Some(word) = mask.get_mut(number / 64) {
                *word |= u64::from(fits) << (number % 64);
            }
        }
    }

    /// Takes the slots that are not for the models of a mask out of a set.
    pub(super) fn bar(&self, mask: &[u64], set: &mut Ready, now: Millis) {
        for (slot, index) in self.all.iter().zip(0..) {
            let Some(number) = slot.patterns else { continue };
            if mask.get(number / 64).is_none_or(|word| word >> (number % 64) & 1 == 0) {
                set.bar(index, slot.until, now);
            }
        }
    }
}
