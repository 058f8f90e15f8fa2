//! Which events somebody wants to see, and what an event is about.
//!
//! Owns one question to one event, and keeps nothing. Refuses to look at the state: what an event is about is
//! what it names itself. Its invariant: an event that names a key, a client or a request is found by it.

use crate::{
    event::{Class, Event, Scope},
    id::{ClientId, KeyId, RequestId},
};

/// What is wanted. All that is said must hold; of several types, one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Names of types, as [`Event::name`] gives them; empty: any.
    pub types: Vec<String>,
    /// Classes; empty: any.
    pub classes: Vec<Class>,
    /// About this key.
    pub key: Option<KeyId>,
    /// And if not about the key itself, then about one of these projects of its.
    pub projects: Vec<String>,
    /// About this client.
    pub client: Option<ClientId>,
    /// About this request.
    pub request: Option<RequestId>,
}

impl Filter {
    /// Whether nothing is left out.
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether an event is wanted.
    #[must_use]
    pub fn wants(&self, event: &Event) -> bool {
        let ours = |project: &str| self.projects.iter().any(|ours| ours == project);
        (self.types.is_empty() || self.types.iter().any(|name| name == event.name()))
            && (self.classes.is_empty() || self.classes.contains(&event.class()))
            && self.key.is_none_or(|key| about_key(event, key) || project_of(event).is_some_and(ours))
            && self.client.is_none_or(|client| client_of(event) == Some(client))
            && self.request.is_none_or(|request| request_of(event) == Some(request))
    }
}

/// Whether an event names a key.
fn about_key(event: &Event, key: KeyId) -> bool {
    match event {
        Event::KeyAdded(event) => event.key == key,
        Event::KeyUpdated(event) => event.key == key,
        Event::KeyDisabled(event) => event.key == key,
        Event::KeyEnabled(event) => event.key == key,
        Event::KeyReset(event) => event.key == key,
        Event::KeyRemoved(event) => event.key == key,
        Event::KeyRevealed(event) => event.key == key,
        Event::KeysExported(event) => event.keys.contains(&key),
        Event::KeyChecked(event) => event.key == key,
        Event::GateClosed(event) => event.key == key || of_key(&event.scope, key),
        Event::GateOpened(event) => of_key(&event.scope, key),
        Event::ResourceBound(event) => event.key == key,
        Event::ProjectLearned(event) => event.key == key,
        Event::Attempted(event) => event.key == key,
        _ => false,
    }
}

fn of_key(scope: &Scope, key: KeyId) -> bool {
    match scope {
        Scope::Key(of) | Scope::Method { key: of, .. } => *of == key,
        Scope::Project(_) | Scope::Model { .. } | Scope::Upstream { .. } => false,
    }
}

/// The project whose gate it closes or opens.
fn project_of(event: &Event) -> Option<&str> {
    let scope = match event {
        Event::GateClosed(event) => &event.scope,
        Event::GateOpened(event) => &event.scope,
        _ => return None,
    };
    match scope {
        Scope::Project(project) | Scope::Model { project, .. } => Some(project),
        Scope::Key(_) | Scope::Method { .. } | Scope::Upstream { .. } => None,
    }
}

fn client_of(event: &Event) -> Option<ClientId> {
    match event {
        Event::ClientAdded(event) => Some(event.client),
        Event::ClientUpdated(event) => Some(event.client),
        Event::ClientRemoved(event) => Some(event.client),
        Event::ClientKeyReplaced(event) => Some(event.client),
        Event::Attempted(event) => event.client,
        Event::Answered(event) => event.client,
        Event::ResourceBound(event) => event.client,
        _ => None,
    }
}

/// The client request that an event is about.
#[must_use]
pub fn request_of(event: &Event) -> Option<RequestId> {
    match event {
        Event::Attempted(event) => Some(event.request),
        Event::Answered(event) => Some(event.request),
        Event::GateClosed(event) => event.request,
        Event::ResourceBound(event) => event.request,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{
        Actor, Attempted, ClientRemoved, GateClosed, KeyDisabled, KeysExported, Verdict, Window,
    };

    fn gate(scope: Scope) -> Event {
        let cause = Verdict::QuotaDay;
        GateClosed { scope, cause, until: None, probe: None, request: Some(RequestId(5)), key: KeyId(1) }
            .into()
    }

    fn events() -> Vec<Event> {
        let actor = Actor::Cli;
        let model = Scope::Model { project: "p".to_owned(), model: "m".to_owned(), window: Window::Day };
        vec![
            KeyDisabled { key: KeyId(2), actor: actor.clone() }.into(),
            KeysExported { keys: vec![KeyId(1), KeyId(2)], actor: actor.clone(), address: String::new() }
                .into(),
            ClientRemoved { client: ClientId(2), actor }.into(),
            gate(model),
            gate(Scope::Key(KeyId(2))),
            Attempted {
                request: RequestId(5),
                client: Some(ClientId(2)),
                key: KeyId(1),
                project: "p".to_owned(),
                ..Attempted::default()
            }
            .into(),
        ]
    }

    fn found(filter: &Filter) -> Vec<usize> {
        let events = events();
        events.iter().enumerate().filter(|(_, event)| filter.wants(event)).map(|(at, _)| at).collect()
    }

    #[test]
    fn an_event_is_found_by_all_that_it_names_and_by_nothing_else() {
        let all = Filter::default();
        assert!(all.is_all());
        assert_eq!(found(&all), [0, 1, 2, 3, 4, 5]);
        let key = |key| Filter { key: Some(KeyId(key)), ..Filter::default() };
        assert_eq!(found(&key(1)), [1, 3, 4, 5]);
        assert_eq!(found(&key(2)), [0, 1, 4]);
        assert_eq!(found(&Filter { projects: vec!["p".to_owned()], ..key(2) }), [0, 1, 3, 4]);
        let client = Filter { client: Some(ClientId(2)), ..Filter::default() };
        assert_eq!(found(&client), [2, 5]);
        assert_eq!(found(&Filter { request: Some(RequestId(5)), ..Filter::default() }), [3, 4, 5]);
        let types = vec!["Attempted".to_owned(), "KeyDisabled".to_owned()];
        assert_eq!(found(&Filter { types: types.clone(), ..Filter::default() }), [0, 5]);
        assert_eq!(found(&Filter { types, ..client }), [5]);
        let classes = vec![Class::Control];
        assert_eq!(found(&Filter { classes: classes.clone(), ..key(2) }), [0, 1]);
        assert!(!Filter { classes, ..Filter::default() }.is_all());
    }
}
