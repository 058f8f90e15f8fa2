//! Upstream keys, many at once.
//!
//! Owns the shapes. Its invariant: of the keys that a call names all are changed, or none, and the answer says
//! of each whether something became different.

use std::{collections::BTreeSet, sync::Arc};

use poem_openapi::{ApiResponse, Enum, Object, OpenApi, param::Header, payload::Json};
use projections::KeyId;
use secrecy::SecretString;

use super::{
    given::{self, Fate, MOST, Reason, flaw_of_key},
    removal, said_something, testable,
    wishes::{KeysPatch, NewKeys},
};
use crate::{
    admin::{
        Tag, Token,
        jobs::JobView,
        problem::{AUTH, BODY, BUSY, CONFLICT, Failure, LOG, MISSING, Problem, REUSED},
        serving,
    },
    ledger::rules::KeyChange,
    pool::{GivenKey, Pool},
};

pub(in crate::admin) struct BulkApi(pub(in crate::admin) Option<Arc<Pool>>);

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
    /// Why it was not added; none: it was.
    reason: Option<Reason>,
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
    #[oai(validator(max_items = 20000))]
    ids: Vec<u32>,
}

/// Which keys to remove.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct KeysToRemove {
    /// Their numbers.
    #[oai(validator(max_items = 20000))]
    ids: Vec<u32>,
    /// Also where files and the like at Google could not be reached any more.
    #[oai(default)]
    force: bool,
}

/// Which keys to tag, and how.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct KeysToTag {
    /// Their numbers.
    #[oai(validator(max_items = 20000))]
    ids: Vec<u32>,
    /// Tags that each is to have, behind those that it has.
    #[oai(default, validator(max_items = 20))]
    add: Vec<String>,
    /// Tags that none is to have.
    #[oai(default, validator(max_items = 20))]
    remove: Vec<String>,
}

/// Which keys to test, and how.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct KeysToTest {
    /// Their numbers.
    #[oai(validator(max_items = 20000))]
    ids: Vec<u32>,
    /// A model to ask by the smallest call there is, which spends a little of each key's quota; none: the keys alone,
    /// by a list of models, which spends nothing.
    #[oai(default)]
    model: Option<String>,
}

/// What became of one key.
#[derive(Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
enum ChangeResult {
    /// It is different now.
    Changed,
    /// It was so already.
    Unchanged,
}

/// What became of one key.
#[derive(Object)]
struct ChangedKey {
    /// Its number.
    id: u32,
    result: ChangeResult,
    /// The last event with which an operator changed it; none: it left the pool.
    revision: Option<u64>,
}

/// What became of the keys, in the order in which they were named, each once.
#[derive(Object)]
struct ChangedKeys {
    results: Vec<ChangedKey>,
}

#[derive(ApiResponse)]
enum JobAnswer {
    /// The job has begun.
    #[oai(status = 202)]
    Begun(
        Json<JobView>,
        /// Where to look how far it has come.
        #[oai(header = "Location")]
        String,
    ),
}

type Change = Failure<{ AUTH | MISSING | BODY | LOG }>;

#[OpenApi]
impl BulkApi {
    /// Add keys
    ///
    /// Known ones are left as they are. All are added, or none.
    #[oai(path = "/keys/bulk_add", method = "post", tag = "Tag::Keys", operation_id = "add_keys")]
    async fn add(
        &self,
        token: Token,
        /// A word of the caller's: a repetition with the same word and body gets the first answer again and adds
        /// nothing. Kept for a day, and forgotten at a restart.
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 255))]
        _idempotency_key: Header<Option<String>>,
        body: Json<NewKeys>,
    ) -> Result<Json<AddedKeys>, Failure<{ AUTH | BODY | REUSED | LOG }>> {
        let pool = serving(self.0.as_ref())?;
        let actor = token.actor(pool)?;
        let (all, keys) = body.0.wanted()?;
        if keys.len() > MOST {
            return Err(Problem::bad_request(format!("at most {MOST} keys in one call")).into());
        }
        let mut flaws = Vec::with_capacity(keys.len());
        let given = keys.into_iter().map(|key| {
            let (secret, own) = key.wanted()?;
            flaws.push(flaw_of_key(&secret));
            Ok(GivenKey { secret: SecretString::from(secret), wanted: own.or(&all) })
        });
        let given = given.collect::<Result<Vec<_>, Problem>>()?;
        let results = pool.add_keys(given, actor).await?;
        let view = |(fate, reason)| {
            let (result, id) = match fate {
                Fate::New(id) => (AddResult::Added, Some(id)),
                Fate::Known(id) => (AddResult::Duplicate, Some(id)),
                Fate::Invalid => (AddResult::Invalid, None),
            };
            AddedKey { result, id, reason }
        };
        Ok(Json(AddedKeys { results: given::told(results, flaws).map(view).collect() }))
    }

    /// Change keys: all of them, or none
    #[oai(path = "/keys/bulk_update", method = "post", tag = "Tag::Keys", operation_id = "update_keys")]
    async fn update(&self, token: Token, body: Json<KeysPatch>) -> Result<Json<ChangedKeys>, Change> {
        let pool = serving(self.0.as_ref())?;
        let actor = token.actor(pool)?;
        let KeysPatch { ids, set } = body.0;
        let (wanted,) = set.wanted()?;
        said_something(&wanted)?;
        let changed = pool.update_keys(numbers(&ids), wanted, actor).await?;
        Ok(Json(told(pool, &ids, &changed)))
    }

    /// Remove keys: all of them, or none
    ///
    /// Not the last of a project where files and the like still live at Google, unless `force` is true.
    #[oai(path = "/keys/bulk_delete", method = "post", tag = "Tag::Keys", operation_id = "remove_keys")]
    async fn remove(
        &self,
        token: Token,
        body: Json<KeysToRemove>,
    ) -> Result<Json<ChangedKeys>, Failure<{ AUTH | MISSING | CONFLICT | BODY | LOG }>> {
        let pool = serving(self.0.as_ref())?;
        let actor = token.actor(pool)?;
        let KeysToRemove { ids, force } = body.0;
        let changed = pool.change_keys(numbers(&ids), removal(force), actor).await?;
        Ok(Json(told(pool, &ids, &changed)))
    }

    /// Forgive keys: all of them, or none
    #[oai(path = "/keys/bulk_reset", method = "post", tag = "Tag::Keys", operation_id = "reset_keys")]
    async fn reset(&self, token: Token, body: Json<KeyIds>) -> Result<Json<ChangedKeys>, Change> {
        self.change(&token, &body.0.ids, KeyChange::Reset).await
    }

    /// Use keys again: all of them, or none
    #[oai(path = "/keys/bulk_enable", method = "post", tag = "Tag::Keys", operation_id = "enable_keys")]
    async fn enable(&self, token: Token, body: Json<KeyIds>) -> Result<Json<ChangedKeys>, Change> {
        self.change(&token, &body.0.ids, KeyChange::Enable).await
    }

    /// Stop using keys: all of them, or none
    #[oai(path = "/keys/bulk_disable", method = "post", tag = "Tag::Keys", operation_id = "disable_keys")]
    async fn disable(&self, token: Token, body: Json<KeyIds>) -> Result<Json<ChangedKeys>, Change> {
        self.change(&token, &body.0.ids, KeyChange::Disable).await
    }

    /// Tag keys: all of them, or none
    ///
    /// A tag that is to be removed and added is there in the end.
    #[oai(path = "/keys/bulk_tag", method = "post", tag = "Tag::Keys", operation_id = "tag_keys")]
    async fn tag(&self, token: Token, body: Json<KeysToTag>) -> Result<Json<ChangedKeys>, Change> {
        let pool = serving(self.0.as_ref())?;
        let actor = token.actor(pool)?;
        let KeysToTag { ids, add, remove } = body.0;
        let changed = pool.tag_keys(numbers(&ids), add, remove, actor).await?;
        Ok(Json(told(pool, &ids, &changed)))
    }

    /// Test keys, as a job
    ///
    /// A few at once; those that pass are used again at once. The answer names the job, which goes on by itself:
    /// look at it, or cancel it, at `/jobs/{job_id}`.
    #[oai(path = "/keys/bulk_test", method = "post", tag = "Tag::Keys", operation_id = "test_keys")]
    async fn test(
        &self,
        token: Token,
        /// A word of the caller's: a repetition with the same word and body gets the first answer again and begins
        /// nothing. Kept for a day, and forgotten at a restart.
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 255))]
        _idempotency_key: Header<Option<String>>,
        body: Json<KeysToTest>,
    ) -> Result<JobAnswer, Failure<{ AUTH | MISSING | BODY | BUSY | REUSED | LOG }>> {
        let pool = serving(self.0.as_ref())?;
        let session = token.session(pool)?;
        let KeysToTest { ids, model } = body.0;
        let (actor, caller) = (session.actor(), session.caller());
        let job = pool.checkups.begin(numbers(&ids), testable(model)?, actor, caller)?;
        let location = format!("/api/jobs/{}", job.id);
        Ok(JobAnswer::Begun(Json(job.into()), location))
    }
}

impl BulkApi {
    async fn change(
        &self,
        token: &Token,
        ids: &[u32],
        change: KeyChange,
    ) -> Result<Json<ChangedKeys>, Change> {
        let pool = serving(self.0.as_ref())?;
        let actor = token.actor(pool)?;
        let changed = pool.change_keys(numbers(ids), change, actor).await?;
        Ok(Json(told(pool, ids, &changed)))
    }
}

fn numbers(ids: &[u32]) -> Vec<KeyId> {
    ids.iter().copied().map(KeyId).collect()
}

fn told(pool: &Pool, ids: &[u32], changed: &BTreeSet<KeyId>) -> ChangedKeys {
    let state = pool.ledger.state();
    let mut seen = BTreeSet::new();
    let ids = ids.iter().filter(|id| seen.insert(**id));
    let results = ids.map(|&id| ChangedKey {
        id,
        result: if changed.contains(&KeyId(id)) { ChangeResult::Changed } else { ChangeResult::Unchanged },
        revision: state.keys.get(KeyId(id)).map(|key| key.revision),
    });
    ChangedKeys { results: results.collect() }
}
