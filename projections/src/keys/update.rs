//! What operators say of a key after it was added.
//!
//! Its invariant: a key that moves to another project leaves the old one's gates
//! behind and finds the new one's, because quota belongs to projects.

use super::{Key, Keys, own_project};
use crate::{
    event::{Change, KeyUpdated},
    id::KeyId,
    pattern,
};

impl Key {
    /// Whether it may be used for a model; for a request that names none, every key may.
    #[must_use]
    pub fn serves(&self, model: &str) -> bool {
        model.is_empty()
            || self.models.is_empty()
            || self.models.iter().any(|pattern| pattern::matches(pattern, model))
    }
}

impl Keys {
    pub(super) fn update(&mut self, event: &KeyUpdated) {
        if let Some(project) = &event.project {
            self.declare(event.key, project);
        }
        let Some(key) = self.keys.get_mut(&event.key) else { return };
        set(&mut key.label, &event.label);
        set(&mut key.note, &event.note);
        set(&mut key.tags, &event.tags);
        set(&mut key.weight, &event.weight);
        set(&mut key.priority, &event.priority);
        set(&mut key.models, &event.models);
        match &event.proxy {
            None => {}
            Some(Change::Cleared) => key.proxy = None,
            Some(Change::To(proxy)) => key.proxy = Some(proxy.clone()),
        }
    }

    fn declare(&mut self, id: KeyId, project: &Change) {
        let Some(key) = self.keys.get_mut(&id) else { return };
        let (name, declared) = match project {
            Change::Cleared => (own_project(id), false),
            Change::To(name) => (name.clone(), true),
        };
        key.declared = declared;
        if key.project == name {
            return;
        }
        let (old, consumer) = (key.project.clone(), key.consumer.clone());
        key.project.clone_from(&name);
        drop(self.leave(id, &old));
        // Google's name for the project stands for the operator's from now on.
        if declared && let Some(consumer) = consumer {
            self.consumers.insert(consumer, name.clone());
        }
        self.projects.entry(name).or_default().keys.insert(id);
    }
}

fn set<T: Clone>(value: &mut T, new: &Option<T>) {
    if let Some(new) = new {
        value.clone_from(new);
    }
}
