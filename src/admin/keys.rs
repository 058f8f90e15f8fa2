//! Upstream keys.

use std::sync::Arc;

use poem_openapi::{
    Enum, Object, OpenApi,
    param::{Path, Query},
    payload::Json,
};
use projections::{
    KeyId, Millis,
    keys::{Condition, Key, Keys},
};
use secrecy::SecretString;

use super::{Tag, Token, problem::Problem};
use crate::{
    ledger::{
        clock::rfc3339,
        rules::{Added, KeyChange},
    },
    pool::{GivenKey, GivenResult, Pool},
};

/// Keys in one call, at most.
const MOST: usize = 20_000;

pub(super) struct KeysApi(pub(super) Option<Arc<Pool>>);

/// How a key is.
#[derive(Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
enum KeyState {
    /// It can serve.
    Ready,
    /// It rests until a time.
    Cooling,
    /// Its credential or its project failed.
    Failed,
    /// An operator disabled it.
    Disabled,
}

/// Something closed.
#[derive(Object)]
struct GateView {
    /// The model it is closed for; none: for all.
    model: Option<String>,
    /// Why.
    cause: String,
    /// When it opens by itself (RFC 3339); none: not by itself.
    until: Option<String>,
    /// The event that closed it.
    seq: u64,
}

/// A key. Its secret is not shown.
#[derive(Object)]
struct KeyView {
    /// Its number.
    id: u32,
    label: String,
    /// The last four characters of the secret.
    tail: String,
    /// Tells equal keys.
    fingerprint: String,
    /// The Google project that owns its quota.
    project: String,
    state: KeyState,
    /// What stands in its way, now.
    gates: Vec<GateView>,
    /// When it was added (RFC 3339).
    added_at: String,
}

/// Keys.
#[derive(Object)]
struct KeyList {
    keys: Vec<KeyView>,
}

/// Keys to add.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct NewKeys {
    /// The secrets.
    keys: Vec<String>,
    /// The Google project that all of them belong to, where known.
    project: Option<String>,
}

/// What became of one given key.
#[derive(Enum)]
#[oai(rename_all = "snake_case")]
enum AddResult {
    /// It is in the pool now.
    Added,
    /// It was in the pool already.
    Duplicate,
    /// It holds characters that no key has.
    Invalid,
}

/// What became of one given key.
#[derive(Object)]
struct AddedKey {
    result: AddResult,
    /// Its number, where it has one.
    id: Option<u32>,
}

/// What became of the given keys, in their order.
#[derive(Object)]
struct AddedKeys {
    results: Vec<AddedKey>,
}

/// Which keys.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct KeyIds {
    /// Their numbers.
    ids: Vec<u32>,
}

/// Which keys to remove.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct KeysToRemove {
    /// Their numbers.
    ids: Vec<u32>,
    /// Also where files and the like at Google could not be reached any more.
    #[oai(default)]
    force: bool,
}

/// A change to a key; what is left out stays as it is.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct KeyPatch {
    /// Whether it may be used.
    enabled: Option<bool>,
}

fn removal(force: bool) -> KeyChange {
    if force { KeyChange::RemoveByForce } else { KeyChange::Remove }
}

fn view(keys: &Keys, key: &Key, now: Millis) -> KeyView {
    let project = keys.project(&key.project);
    let whole =
        key.gate.iter().chain(project.and_then(|project| project.gate.as_ref())).map(|gate| (None, gate));
    let models = project.into_iter().flat_map(|project| &project.models);
    let models =
        models.flat_map(|(model, windows)| windows.values().map(move |gate| (Some(model.clone()), gate)));
    let gates = whole.chain(models).filter(|(_, gate)| gate.is_closed(now));
    KeyView {
        id: key.id.0,
        label: key.label.clone(),
        tail: key.tail.clone(),
        fingerprint: key.fingerprint.to_string(),
        project: key.project.clone(),
        state: match keys.condition(key, now) {
            Condition::Ready => KeyState::Ready,
            Condition::Cooling => KeyState::Cooling,
            Condition::Failed => KeyState::Failed,
            Condition::Disabled => KeyState::Disabled,
        },
        gates: gates
            .map(|(model, gate)| GateView {
                model,
                cause: serde_json::to_value(gate.cause)
                    .ok()
                    .and_then(|cause| cause.as_str().map(str::to_owned))
                    .unwrap_or_default(),
                until: gate.until.map(rfc3339),
                seq: gate.seq,
            })
            .collect(),
        added_at: rfc3339(key.added),
    }
}

#[OpenApi]
impl KeysApi {
    /// All keys
    #[oai(path = "/keys", method = "get", tag = "Tag::Keys", operation_id = "list_keys")]
    async fn list(&self, token: Token) -> Result<Json<KeyList>, Problem> {
        let pool = super::serving(self.0.as_ref())?;
        token.actor(pool)?;
        let state = pool.ledger.state();
        let now = pool.clock.now();
        Ok(Json(KeyList { keys: state.keys.iter().map(|key| view(&state.keys, key, now)).collect() }))
    }

    /// Add keys
    ///
    /// Known ones are left as they are. All are added, or none.
    #[oai(path = "/keys/bulk_add", method = "post", tag = "Tag::Keys", operation_id = "add_keys")]
    async fn add(&self, token: Token, body: Json<NewKeys>) -> Result<Json<AddedKeys>, Problem> {
        let pool = super::serving(self.0.as_ref())?;
        let actor = token.actor(pool)?;
        let NewKeys { keys, project } = body.0;
        if keys.len() > MOST {
            return Err(Problem::bad_request(format!("at most {MOST} keys in one call")));
        }
        let project = project.filter(|project| !project.is_empty());
        let given = keys.into_iter().map(|key| GivenKey {
            secret: SecretString::from(key),
            label: String::new(),
            project: project.clone(),
        });
        let results = pool.add_keys(given.collect(), actor).await?;
        let view = |result: GivenResult| match result {
            GivenResult::Taken(Added::New(key)) => AddedKey { result: AddResult::Added, id: Some(key.0) },
            GivenResult::Taken(Added::Known(key)) => {
                AddedKey { result: AddResult::Duplicate, id: Some(key.0) }
            }
            GivenResult::Taken(Added::Removed) | GivenResult::NotAKey => {
                AddedKey { result: AddResult::Invalid, id: None }
            }
        };
        Ok(Json(AddedKeys { results: results.into_iter().map(view).collect() }))
    }

    /// Enable or disable a key
    #[oai(path = "/keys/:key_id", method = "patch", tag = "Tag::Keys", operation_id = "update_key")]
    async fn update(
        &self,
        token: Token,
        key_id: Path<u32>,
        body: Json<KeyPatch>,
    ) -> Result<Json<KeyView>, Problem> {
        let change = match body.0.enabled {
            Some(true) => KeyChange::Enable,
            Some(false) => KeyChange::Disable,
            None => return Err(Problem::bad_request("nothing to change: say `enabled`")),
        };
        self.change(&token, vec![key_id.0], change).await?;
        let pool = super::serving(self.0.as_ref())?;
        let state = pool.ledger.state();
        let key = state.keys.get(KeyId(key_id.0));
        let key = key.ok_or_else(|| Problem::not_found(format!("there is no key {}", key_id.0)))?;
        Ok(Json(view(&state.keys, key, pool.clock.now())))
    }

    /// Remove a key and destroy its secret
    ///
    /// Not the last of a project where files and the like still live at Google, unless `force` is true.
    #[oai(path = "/keys/:key_id", method = "delete", tag = "Tag::Keys", operation_id = "remove_key")]
    async fn remove(
        &self,
        token: Token,
        key_id: Path<u32>,
        /// Also where files and the like at Google could not be reached any more.
        force: Query<Option<bool>>,
    ) -> Result<Json<KeyIds>, Problem> {
        self.change(&token, vec![key_id.0], removal(force.0.unwrap_or_default())).await
    }

    /// Remove keys: all of them, or none
    ///
    /// Not the last of a project where files and the like still live at Google, unless `force` is true.
    #[oai(path = "/keys/bulk_delete", method = "post", tag = "Tag::Keys", operation_id = "remove_keys")]
    async fn remove_many(&self, token: Token, body: Json<KeysToRemove>) -> Result<Json<KeyIds>, Problem> {
        self.change(&token, body.0.ids, removal(body.0.force)).await
    }

    /// Forgive a key: its gates and its project's open
    #[oai(path = "/keys/:key_id/reset", method = "post", tag = "Tag::Keys", operation_id = "reset_key")]
    async fn reset(&self, token: Token, key_id: Path<u32>) -> Result<Json<KeyIds>, Problem> {
        self.change(&token, vec![key_id.0], KeyChange::Reset).await
    }

    /// Forgive keys: all of them, or none
    #[oai(path = "/keys/bulk_reset", method = "post", tag = "Tag::Keys", operation_id = "reset_keys")]
    async fn reset_many(&self, token: Token, body: Json<KeyIds>) -> Result<Json<KeyIds>, Problem> {
        self.change(&token, body.0.ids, KeyChange::Reset).await
    }
}

impl KeysApi {
    async fn change(&self, token: &Token, ids: Vec<u32>, change: KeyChange) -> Result<Json<KeyIds>, Problem> {
        let pool = super::serving(self.0.as_ref())?;
        let actor = token.actor(pool)?;
        pool.change_keys(ids.iter().copied().map(KeyId).collect(), change, actor).await?;
        Ok(Json(KeyIds { ids }))
    }
}
