//! What belongs to which project at Google: files, caches, batches, operations, interactions.
//!
//! Owns the map from a resource's name to the key that made it, and from there to a project. A key
//! never changes its Google project, but what people call that project may change: so what a key made
//! follows the key as long as it is in the pool, and stays with the last name of its project after that.
//! Refuses to know paths and bodies. Its invariants: it is bounded, nobody owns what has expired, and
//! every owner has a key.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    event::{Event, Recorded, ResourceBound},
    id::{ClientId, KeyId, Millis, Seq},
    keys::Keys,
};

/// Resources kept; more of them push out the one that was bound first.
const KEPT: usize = 100_000;

/// The collection of ephemeral tokens, which let their holder in.
pub const TOKENS: &str = "auth_tokens";

/// Something at Google.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Its name, as bound.
    pub name: String,
    /// The key that made it, or was shown it.
    pub key: KeyId,
    /// When Google deletes it; none: not by itself.
    pub expires: Option<Millis>,
    /// The client that made it, where that is known.
    #[serde(default)]
    pub client: Option<ClientId>,
    /// The event that told of it.
    #[serde(default)]
    pub seq: Seq,
}

impl Resource {
    fn is_live(&self, now: Millis) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

/// The collection that a resource is listed in: its name without the last part.
#[must_use]
pub fn collection_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(collection, _)| collection)
}

/// What one key made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Holding {
    /// Its project.
    project: String,
    /// How many, by collection.
    counts: BTreeMap<String, u32>,
}

/// Every resource that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// In the order in which they were bound.
    entries: BTreeMap<u64, Resource>,
    by_name: BTreeMap<String, u64>,
    expiring: BTreeSet<(Millis, u64)>,
    holdings: BTreeMap<KeyId, Holding>,
    last: u64,
}

impl Resources {
    /// How many are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// One of them, unless it has expired.
    #[must_use]
    pub fn get(&self, name: &str, now: Millis) -> Option<&Resource> {
        self.entries.get(self.by_name.get(name)?).filter(|resource| resource.is_live(now))
    }

    /// All that have not expired, in the order in which they were bound.
    pub fn live(&self, now: Millis) -> impl Iterator<Item = &Resource> {
        self.entries.values().filter(move |resource| resource.is_live(now))
    }

    /// Likewise, behind one of them, each with its place in that order; 0 is before the first.
    pub fn live_after(&self, place: u64, now: Millis) -> impl Iterator<Item = (u64, &Resource)> {
        let behind = self.entries.range(place.saturating_add(1)..);
        behind.map(|(place, resource)| (*place, resource)).filter(move |(_, resource)| resource.is_live(now))
    }

    /// The project that one of them belongs to, unless it has expired.
    #[must_use]
    pub fn owner(&self, name: &str, now: Millis) -> Option<&str> {
        self.project_of(self.get(name, now)?)
    }

    /// The project of a resource that is known.
    #[must_use]
    pub fn project_of(&self, resource: &Resource) -> Option<&str> {
        self.holdings.get(&resource.key).map(|holding| holding.project.as_str())
    }

    /// The projects that have something in a collection, by name.
    #[must_use]
    pub fn projects_with(&self, collection: &str) -> BTreeSet<&str> {
        let holders = self.holdings.values().filter(|holding| holding.counts.contains_key(collection));
        holders.map(|holding| holding.project.as_str()).collect()
    }

    /// Folds one event in.
    pub fn apply(&mut self, recorded: &Recorded, keys: &Keys) {
        while let Some((_, entry)) = self.expiring.first().filter(|(at, _)| *at <= recorded.at).copied() {
            self.forget(entry);
        }
        match &recorded.event {
            Event::ResourceBound(event) => self.bind(event, recorded, keys),
            Event::ResourceReleased(event) => {
                if let Some(entry) = self.by_name.get(&event.name).copied() {
                    self.forget(entry);
                }
            }
            Event::ClientRemoved(event) => self.end_tokens(event.client),
            Event::ClientKeyReplaced(event) => self.end_tokens(event.client),
            // A token may be tied to a model that is not among them any more; which one, only Google knows.
            Event::ClientUpdated(event) if event.models.is_some() => self.end_tokens(event.client),
            // Nothing about which key is whose.
            Event::Attempted(_) | Event::Answered(_) | Event::GateClosed(_) | Event::GateOpened(_) => {}
            _ => self.follow(keys),
        }
    }

    /// A token lets its holder in for the client that made it, and no longer than the access key that it was made with.
    fn end_tokens(&mut self, client: ClientId) {
        let tokens = self.entries.iter().filter(|(_, resource)| {
            resource.client == Some(client) && collection_of(&resource.name) == TOKENS
        });
        let tokens: Vec<u64> = tokens.map(|(entry, _)| *entry).collect();
        tokens.into_iter().for_each(|entry| self.forget(entry));
    }

    /// Follows keys to what their projects are called now, and forgets what no key can reach: its own is
    /// gone, and its project has no other.
    fn follow(&mut self, keys: &Keys) {
        let mut lost = BTreeSet::new();
        for (id, holding) in &mut self.holdings {
            match keys.get(*id) {
                Some(key) if key.project != holding.project => holding.project.clone_from(&key.project),
                None if keys.project(&holding.project).is_none() => {
                    lost.insert(*id);
                }
                _ => {}
            }
        }
        if lost.is_empty() {
            return;
        }
        let entries = self.entries.iter().filter(|(_, resource)| lost.contains(&resource.key));
        let entries: Vec<u64> = entries.map(|(entry, _)| *entry).collect();
        entries.into_iter().for_each(|entry| self.forget(entry));
    }

    fn bind(&mut self, event: &ResourceBound, recorded: &Recorded, keys: &Keys) {
        if let Some(entry) = self.by_name.get(&event.name).copied() {
            self.forget(entry);
        }
        let project = keys.get(event.key).map_or(&event.project, |key| &key.project);
        if event.expires.is_some_and(|expires| expires <= recorded.at) || keys.project(project).is_none() {
            return;
        }
        if self.entries.len() >= KEPT
            && let Some((&oldest, _)) = self.entries.first_key_value()
        {
            self.forget(oldest);
        }
        self.last = self.last.saturating_add(1);
        let entry = self.last;
        let ResourceBound { name, key, expires, client, .. } = event.clone();
        let holding = self.holdings.entry(key).or_default();
        holding.project.clone_from(project);
        *holding.counts.entry(collection_of(&name).to_owned()).or_default() += 1;
        self.by_name.insert(name.clone(), entry);
        self.expiring.extend(expires.map(|at| (at, entry)));
        self.entries.insert(entry, Resource { name, key, expires, client, seq: recorded.seq });
    }

    fn forget(&mut self, entry: u64) {
        let Some(resource) = self.entries.remove(&entry) else {
            // Never so; but the loop over what expires must end.
            self.expiring.retain(|(_, other)| *other != entry);
            return;
        };
        self.by_name.remove(&resource.name);
        if let Some(expires) = resource.expires {
            self.expiring.remove(&(expires, entry));
        }
        let Some(holding) = self.holdings.get_mut(&resource.key) else { return };
        let collection = collection_of(&resource.name);
        if let Some(count) = holding.counts.get_mut(collection) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                holding.counts.remove(collection);
            }
        }
        if holding.counts.is_empty() {
            self.holdings.remove(&resource.key);
        }
    }
}
