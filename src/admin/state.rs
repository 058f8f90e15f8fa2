//! The pool as it was: keys, projects, models, clients and settings after an event or at a time; and what changed between two
//! such moments.
//!
//! Owns the shapes. Refuses to show a digest. Its invariant: the same moment gives the same answer for ever,
//! and the present is one of them.

mod diff;
mod settings;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use poem_openapi::{Object, OpenApi, param::Query, payload::Json, types::ToJSON};
use projections::{
    ClientId, KeyId, Millis, State,
    keys::{Gate, Key, Keys},
};
use serde_json::json;

use self::{
    diff::{ChangeView, Things, changes},
    settings::SettingThen,
};
use super::{
    Tag, Token,
    keys::view::word,
    past::{Failed, Moment, fold, look, state_at},
    problem::{AUTH, CONFLICT, Failure, GONE, INPUT, LOG, MISSING, Problem},
    projects::{ModelView, ProjectView, gate_view, models_in_trouble, project_view},
};
use crate::{
    ledger::{Ledger, clock::rfc3339},
    pool::Pool,
};

pub(super) struct StateApi(pub(super) Option<Arc<Pool>>);

/// A gate in front of a key.
#[derive(Object)]
struct KeyGate {
    /// The method that it is closed for; none: for all.
    method: Option<String>,
    cause: String,
    /// When it opens by itself (RFC 3339); none: not by itself.
    until: Option<String>,
    /// From when on one request at a time may try it (RFC 3339); none: nobody.
    probe: Option<String>,
    /// The event that closed it.
    seq: u64,
}

/// A key, then.
#[derive(Object)]
struct KeyThen {
    id: u32,
    label: String,
    /// The last four characters of the secret.
    tail: String,
    /// Tells equal keys.
    fingerprint: String,
    note: String,
    tags: Vec<String>,
    project: String,
    /// Whether an operator had named the project.
    declared: bool,
    weight: u16,
    priority: u8,
    /// Models it may be used for; empty: all.
    models: Vec<String>,
    proxy: Option<String>,
    /// `ready`, `cooling`, `failed` or `disabled`; single models and methods apart.
    state: String,
    /// Its own gates that were closed; those of its project are with that.
    gates: Vec<KeyGate>,
    /// When it was added (RFC 3339).
    added_at: String,
}

/// A client, then.
#[derive(Object)]
struct ClientThen {
    id: u32,
    name: String,
    /// The last four characters of its access key.
    tail: String,
    /// When it was added (RFC 3339).
    added_at: String,
}

/// The pool at a moment.
#[derive(Object)]
struct StateView {
    /// The last event that had happened.
    seq: u64,
    /// The moment (RFC 3339).
    at: String,
    /// How many keys there were in all.
    keys_in_all: u32,
    /// How many clients there were in all.
    clients_in_all: u32,
    /// Keys, by number.
    keys: Vec<KeyThen>,
    /// The projects of these keys.
    projects: Vec<ProjectView>,
    /// Models that were in trouble at Google.
    models: Vec<ModelView>,
    /// Clients, by number; they come after the last key.
    clients: Vec<ClientThen>,
    /// Settings that operators had said; what the environment said of the others is in no log. On every page.
    settings: Vec<SettingThen>,
    /// Where to go on: the next page's `cursor`; none: that was all.
    next: Option<String>,
}

/// What changed between two moments.
#[derive(Object)]
struct StateDiff {
    /// The last event before the first moment.
    from: u64,
    /// The last event before the second.
    to: u64,
    changes: Vec<ChangeView>,
    /// Where to go on: the next page's `cursor`; none: that was all.
    next: Option<String>,
}

fn key_then(keys: &Keys, key: &Key, now: Millis) -> KeyThen {
    let gate = |method: Option<&String>, gate: &Gate| KeyGate {
        method: method.cloned(),
        cause: word(gate.cause),
        until: gate.until.map(rfc3339),
        probe: gate.probe.map(rfc3339),
        seq: gate.seq,
    };
    let methods = key.methods.iter().map(|(method, gate)| (Some(method), gate));
    let gates = key.gate.iter().map(|gate| (None, gate)).chain(methods);
    let gates = gates.filter(|(_, gate)| gate.is_closed(now));
    KeyThen {
        id: key.id.0,
        label: key.label.clone(),
        tail: key.tail.clone(),
        fingerprint: key.fingerprint.to_string(),
        note: key.note.clone(),
        tags: key.tags.clone(),
        project: key.project.clone(),
        declared: key.declared,
        weight: key.weight,
        priority: key.priority,
        models: key.models.clone(),
        proxy: key.proxy.clone(),
        state: word(keys.condition(key, now)),
        gates: gates.map(|(method, closed)| gate(method, closed)).collect(),
        added_at: rfc3339(key.added),
    }
}

fn clients(state: &State) -> impl Iterator<Item = ClientThen> {
    state.access.iter().map(|client| ClientThen {
        id: client.id.0,
        name: client.name.clone(),
        tail: client.tail.clone(),
        added_at: rfc3339(client.added),
    })
}

/// Where a page of the state ended: behind a key, or, after the last of those, behind a client.
#[derive(Clone, Copy)]
enum Place {
    Key(KeyId),
    Client(ClientId),
}

impl Place {
    fn read(text: &str) -> Result<Self, Problem> {
        let key = text.strip_prefix("key-").and_then(|id| id.parse().ok()).map(Self::Key);
        let client = || text.strip_prefix("client-").and_then(|id| id.parse().ok()).map(Self::Client);
        key.or_else(client).ok_or_else(Problem::bad_cursor)
    }
}

fn view(state: &State, now: Millis, place: Place, limit: usize) -> StateView {
    let all = &state.keys;
    let rest = match place {
        Place::Key(after) => all.iter().filter(|key| key.id > after).collect(),
        Place::Client(_) => Vec::new(),
    };
    let page = rest.get(..limit.min(rest.len())).unwrap_or_default();
    let keys: Vec<KeyThen> = page.iter().map(|key| key_then(all, key, now)).collect();
    let behind = match place {
        Place::Key(_) => 0,
        Place::Client(after) => after.0,
    };
    let rest_of_clients: Vec<ClientThen> = clients(state).filter(|client| client.id > behind).collect();
    let room = limit - keys.len();
    let next = match (keys.last(), rest_of_clients.get(room.wrapping_sub(1))) {
        (Some(key), _) if rest.len() > page.len() || (room == 0 && !rest_of_clients.is_empty()) => {
            Some(format!("key-{}", key.id))
        }
        (_, Some(client)) if rest_of_clients.len() > room => Some(format!("client-{}", client.id)),
        _ => None,
    };
    let projects: BTreeSet<&str> = page.iter().map(|key| key.project.as_str()).collect();
    let projects = projects.into_iter().filter_map(|name| Some((name, all.project(name)?)));
    StateView {
        seq: state.seq,
        at: rfc3339(now),
        keys_in_all: u32::try_from(all.len()).unwrap_or(u32::MAX),
        clients_in_all: u32::try_from(state.access.iter().len()).unwrap_or(u32::MAX),
        projects: projects.map(|(name, project)| project_view(all, name, project, now)).collect(),
        models: models_in_trouble(all, now).collect(),
        clients: rest_of_clients.into_iter().take(room).collect(),
        settings: settings::said(state),
        keys,
        next,
    }
}

/// Everything, thing by thing, for comparison.
fn things(state: &State, now: Millis) -> Things {
    let mut things = BTreeMap::new();
    for key in state.keys.iter() {
        things.insert(("key", key.id.0, key.id.to_string()), key_then(&state.keys, key, now).to_json());
    }
    for (name, project) in state.keys.projects() {
        let mut shown = project_view(&state.keys, name, project, now).to_json();
        // What was used of a quota changes with every request.
        if let Some(fields) = shown.as_mut().and_then(|shown| shown.as_object_mut()) {
            fields.remove("quotas");
        }
        things.insert(("project", 0, name.to_owned()), shown);
    }
    for client in clients(state) {
        things.insert(("client", client.id, client.id.to_string()), client.to_json());
    }
    for (name, value) in settings::all(state) {
        things.insert(("setting", 0, name), Some(json!({ "value": value })));
    }
    for (model, upstream) in state.keys.upstreams() {
        if let Some(gate) = upstream.gate.as_ref().filter(|gate| gate.is_closed(now)) {
            let name = ("model", 0, model.to_owned());
            things.insert(name, gate_view(Some(model), None, gate).to_json());
        }
    }
    things
}

/// Looks at the pool at a moment.
fn at<R>(
    ledger: &Ledger,
    moment: Moment,
    now: Millis,
    look: impl FnOnce(&State, Millis) -> R,
) -> Result<R, Failed> {
    if moment == Moment::Now {
        return Ok(look(&ledger.state(), now));
    }
    let state = state_at(ledger, moment.seq(ledger)?)?;
    let now = moment.millis(&state, now);
    Ok(look(&state, now))
}

#[OpenApi]
impl StateApi {
    /// The pool as it was
    ///
    /// Keys with their gates, their projects, models in trouble, clients, and settings that operators had said: after an event, at a time, or now.
    #[oai(path = "/state", method = "get", tag = "Tag::Past", operation_id = "get_state")]
    async fn state(
        &self,
        token: Token,
        /// An event's number, or a time (RFC 3339); left out: now.
        at: Query<Option<String>>,
        /// Where to go on: `next` of the page before. Say `at` with it, or the pool moves on in between.
        cursor: Query<Option<String>>,
        /// How many keys and clients at most, 1 to 1,000.
        #[oai(default = "default_limit", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<u32>,
    ) -> Result<Json<StateView>, Failure<{ INPUT | AUTH | MISSING | CONFLICT | GONE | LOG }>> {
        let pool = super::serving(self.0.as_ref())?;
        token.actor(pool)?;
        let moment = Moment::read(at.0.as_deref())?;
        let place = cursor.0.as_deref().map(Place::read).transpose()?.unwrap_or(Place::Key(KeyId(0)));
        let (now, limit) = (pool.clock.now(), limit.0 as usize);
        let seen = move |state: &State, now| view(state, now, place, limit);
        let look_at = move |ledger: &Ledger| self::at(ledger, moment, now, seen);
        // The present is at hand, and does not wait for those who make the past.
        let seen = if moment == Moment::Now { look(pool, look_at).await } else { fold(pool, look_at).await };
        Ok(Json(seen?))
    }

    /// What changed between two moments
    ///
    /// Key by key, project by project, client by client, setting by setting: what came, what went, and which fields are
    /// different. What was used of quotas is left out. A setting's `value` is null while no operator has said it.
    #[oai(path = "/state/diff", method = "get", tag = "Tag::Past", operation_id = "diff_states")]
    async fn diff(
        &self,
        token: Token,
        /// An event's number, or a time (RFC 3339).
        from: Query<String>,
        /// Likewise; left out: now.
        to: Query<Option<String>>,
        /// Where to go on: `next` of the page before. Say `to` with it, or the pool moves on in between.
        cursor: Query<Option<String>>,
        /// How many changed things at most, 1 to 1,000.
        #[oai(default = "default_limit", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<u32>,
    ) -> Result<Json<StateDiff>, Failure<{ INPUT | AUTH | MISSING | CONFLICT | GONE | LOG }>> {
        let pool = super::serving(self.0.as_ref())?;
        token.actor(pool)?;
        let (from, to) = (Moment::read(Some(&from.0))?, Moment::read(to.0.as_deref())?);
        let now = pool.clock.now();
        let both = fold(pool, move |ledger| {
            let seen = |state: &State, now| (state.seq, things(state, now));
            Ok((at(ledger, from, now, seen)?, at(ledger, to, now, seen)?))
        });
        let ((from, before), (to, after)) = both.await?;
        let (changes, next) = changes(before, after, cursor.0.as_deref(), limit.0 as usize)?;
        Ok(Json(StateDiff { from, to, changes, next }))
    }
}

fn default_limit() -> u32 {
    100
}
