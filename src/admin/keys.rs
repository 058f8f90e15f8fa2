//! Upstream keys.

pub(super) mod transfer;
mod wishes;

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

use self::wishes::{KeyPatch, KeysPatch, NewKeys};
use super::{Tag, Token, problem::Problem};
use crate::{
    health::prober::{self, Checked},
    ledger::{
        clock::rfc3339,
        rules::{Added, KeyChange},
    },
    pool::{GivenKey, GivenResult, Pool, Wanted},
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
    note: String,
    tags: Vec<String>,
    /// The Google project that owns its quota.
    project: String,
    /// Whether an operator named the project.
    declared: bool,
    /// Its share of the requests beside others of its priority.
    weight: u16,
    /// Its tier: keys of a lower one are used first.
    priority: u8,
    /// Models it may be used for; empty: all.
    models: Vec<String>,
    /// Its own outbound proxy, without user name and password, or `direct`; none: the pool's.
    proxy: Option<String>,
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

/// How to test a key.
#[derive(Default, Object)]
#[oai(deny_unknown_fields, default)]
struct KeyTest {
    /// A model to ask by the smallest call there is, which spends a little of its quota; none: the key alone, by a
    /// list of models, which spends nothing.
    model: Option<String>,
}

/// What a test came to.
#[derive(Object)]
struct TestedKey {
    /// Whether Google served.
    passed: bool,
    /// What it came to, in the log's words.
    verdict: String,
    /// The HTTP status; 0 where none arrived.
    status: u16,
    /// What Google said.
    reason: Option<String>,
    latency_ms: u32,
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
        note: key.note.clone(),
        tags: key.tags.clone(),
        project: key.project.clone(),
        declared: key.declared,
        weight: key.weight,
        priority: key.priority,
        models: key.models.clone(),
        proxy: key.proxy.clone(),
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
        let (all, keys) = body.0.wanted()?;
        if keys.len() > MOST {
            return Err(Problem::bad_request(format!("at most {MOST} keys in one call")));
        }
        let given = keys.into_iter().map(|key| {
            let (secret, own) = key.wanted()?;
            Ok(GivenKey { secret: SecretString::from(secret), wanted: own.or(&all) })
        });
        let given = given.collect::<Result<Vec<_>, Problem>>()?;
        let results = pool.add_keys(given, actor).await?;
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

    /// Change a key
    ///
    /// What is left out stays as it is.
    #[oai(path = "/keys/:key_id", method = "patch", tag = "Tag::Keys", operation_id = "update_key")]
    async fn update(
        &self,
        token: Token,
        key_id: Path<u32>,
        body: Json<KeyPatch>,
    ) -> Result<Json<KeyView>, Problem> {
        let pool = self.set(&token, vec![key_id.0], body.0).await?;
        let state = pool.ledger.state();
        let key = state.keys.get(KeyId(key_id.0));
        let key = key.ok_or_else(|| Problem::not_found(format!("there is no key {}", key_id.0)))?;
        Ok(Json(view(&state.keys, key, pool.clock.now())))
    }

    /// Change keys: all of them, or none
    #[oai(path = "/keys/bulk_update", method = "post", tag = "Tag::Keys", operation_id = "update_keys")]
    async fn update_many(&self, token: Token, body: Json<KeysPatch>) -> Result<Json<KeyIds>, Problem> {
        let KeysPatch { ids, set } = body.0;
        self.set(&token, ids.clone(), set).await?;
        Ok(Json(KeyIds { ids }))
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

    /// Test a key now
    ///
    /// One that passes is used again at once.
    #[oai(path = "/keys/:key_id/test", method = "post", tag = "Tag::Keys", operation_id = "test_key")]
    async fn test(
        &self,
        token: Token,
        key_id: Path<u32>,
        body: Json<KeyTest>,
    ) -> Result<Json<TestedKey>, Problem> {
        let pool = super::serving(self.0.as_ref())?;
        let actor = token.actor(pool)?;
        let model = body.0.model.filter(|model| !model.is_empty());
        if let Some(bad) = model.as_ref().filter(|model| !prober::is_plain(model)) {
            return Err(Problem::bad_request(format!(
                "`{bad}` is no name of a model: letters, digits, `-`, `.` and `_`, up to 128"
            )));
        }
        let checked = pool.prober.test(KeyId(key_id.0), model, actor).await?;
        let Checked { verdict, status, reason, latency_ms } = checked;
        let verdict_word = serde_json::to_value(verdict).ok();
        let word = verdict_word.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        Ok(Json(TestedKey { passed: verdict.is_success(), verdict: word, status, reason, latency_ms }))
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
    async fn set(&self, token: &Token, ids: Vec<u32>, patch: KeyPatch) -> Result<&Arc<Pool>, Problem> {
        let pool = super::serving(self.0.as_ref())?;
        let actor = token.actor(pool)?;
        let (wanted,) = patch.wanted()?;
        if wanted == Wanted::default() {
            return Err(Problem::bad_request("nothing to change: say at least one of its fields"));
        }
        pool.update_keys(ids.into_iter().map(KeyId).collect(), wanted, actor).await?;
        Ok(pool)
    }

    async fn change(&self, token: &Token, ids: Vec<u32>, change: KeyChange) -> Result<Json<KeyIds>, Problem> {
        let pool = super::serving(self.0.as_ref())?;
        let actor = token.actor(pool)?;
        pool.change_keys(ids.iter().copied().map(KeyId).collect(), change, actor).await?;
        Ok(Json(KeyIds { ids }))
    }
}
