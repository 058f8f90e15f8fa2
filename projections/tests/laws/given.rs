//! Words in which the examples are told.

use projections::{
    ClientId, Digest, Event, Fingerprint, KeyId, Millis, Recorded, RequestId, State,
    event::{
        Actor, Answered, Attempted, ClientAdded, GateClosed, KeyAdded, KeyUpdated, Outcome, Scope, Tokens,
        Verdict, Window,
    },
};

/// A history in the making: each event comes at a time that the test says.
#[derive(Default)]
pub(crate) struct Given {
    pub(crate) state: State,
}

impl Given {
    /// A pool of keys 1, 2, … in projects of these names; empty: in one of its own.
    pub(crate) fn keys(projects: &[&str]) -> Self {
        let mut given = Self::default();
        for (number, project) in (1..).zip(projects) {
            given.when(0, added(number, number, project));
        }
        given
    }

    /// Something happens.
    pub(crate) fn when(&mut self, at: Millis, event: impl Into<Event>) -> &mut Self {
        self.state.apply(&Recorded { seq: self.state.seq + 1, at, event: event.into() });
        self
    }

    /// A key's gate, or another, by its scope.
    pub(crate) fn until(&self, scope: &Scope) -> Option<Option<Millis>> {
        self.state.keys.gate(scope).map(|gate| gate.until)
    }

    pub(crate) fn streak(&self, scope: &Scope) -> u32 {
        self.state.keys.gate(scope).map_or(0, |gate| gate.streak)
    }
}

pub(crate) fn fingerprint(of: u32) -> Fingerprint {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&of.to_be_bytes());
    Fingerprint(bytes)
}

/// A key with the secret of this number joins a project.
pub(crate) fn added(number: u32, secret: u32, project: &str) -> KeyAdded {
    KeyAdded {
        key: KeyId(number),
        label: format!("key {number}"),
        tail: "tail".to_owned(),
        fingerprint: fingerprint(secret),
        project: (!project.is_empty()).then(|| project.to_owned()),
        actor: Actor::Cli,
    }
}

/// Nothing is said of a key; a test says what it wants to.
pub(crate) fn updated(key: u32) -> KeyUpdated {
    KeyUpdated {
        key: KeyId(key),
        actor: Actor::Cli,
        label: None,
        note: None,
        tags: None,
        project: None,
        weight: None,
        priority: None,
        models: None,
        proxy: None,
    }
}

pub(crate) fn client_added(number: u32, secret: u32, actor: Actor) -> ClientAdded {
    let mut digest = [0; 32];
    digest[..4].copy_from_slice(&secret.to_be_bytes());
    let (client, name, tail) = (ClientId(number), format!("app {number}"), "tail".to_owned());
    ClientAdded { client, name, tail, digest: Digest(digest), actor }
}

pub(crate) fn closed(scope: Scope, cause: Verdict, until: Option<Millis>) -> GateClosed {
    GateClosed { scope, cause, until, probe: None, request: None, key: KeyId(1) }
}

pub(crate) fn method(key: u32, method: &str) -> Scope {
    Scope::Method { key: KeyId(key), method: method.to_owned() }
}

pub(crate) fn model(project: &str, model: &str, window: Window) -> Scope {
    Scope::Model { project: project.to_owned(), model: model.to_owned(), window }
}

/// A try with key 1, for model `flash`, by the method `generateContent`.
pub(crate) fn attempted(key: u32, verdict: Verdict) -> Attempted {
    Attempted {
        request: RequestId(1),
        attempt: 1,
        client: Some(ClientId(1)),
        key: KeyId(key),
        project: "alpha".to_owned(),
        model: "flash".to_owned(),
        method: "generateContent".to_owned(),
        started: 0,
        latency_ms: 10,
        first_byte_ms: Some(5),
        status: 200,
        verdict,
        tokens: Tokens { prompt: 5, output: 7, thoughts: 2, cached: 3, tool_use: 1, total: 15 },
        bytes_sent: 1,
        bytes_received: 1,
        ..Attempted::default()
    }
}

pub(crate) fn answered(request: u128, outcome: Outcome, status: u16) -> Answered {
    Answered {
        request: RequestId(request),
        client: Some(ClientId(1)),
        address: "::1".to_owned(),
        verb: "POST".to_owned(),
        path: "/".to_owned(),
        model: "flash".to_owned(),
        method: "generateContent".to_owned(),
        streamed: false,
        started: 0,
        duration_ms: 20,
        first_byte_ms: None,
        status,
        attempts: 1,
        outcome,
        reason: None,
        bytes: 0,
        waited_ms: 0,
    }
}
