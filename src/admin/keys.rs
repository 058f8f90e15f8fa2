//! Upstream keys, one by one.
//!
//! Owns the shapes of one key, and the list. Its invariant: a secret goes out once the log says to whom, and
//! no other call shows one. (Many at once: [`bulk`].)

pub(super) mod bulk;
pub(super) mod find;
mod given;
pub(super) mod transfer;
pub(super) mod view;
mod wishes;

use std::sync::Arc;

use poem::Request;
use poem_openapi::{
    ApiResponse, Object, OpenApi,
    param::{Header, Path, Query},
    payload::Json,
};
use projections::KeyId;
use secrecy::SecretString;

use self::{
    find::{Filter, KeySort, Order},
    view::{KeyState, KeyView, view, word},
    wishes::{KeyEntry, KeyPatch},
};
use super::{
    Tag, Token,
    page::default_limit,
    precondition::{IfMatch, etag},
    problem::{AUTH, BODY, CONFLICT, Code, FRESH, Failure, INPUT, LOG, MISSING, Problem, REUSED, STALE},
};
use crate::{
    health::prober::{self, Checked},
    ledger::rules::{Added, KeyChange},
    pool::{GivenKey, GivenResult, Pool, Wanted},
};

pub(super) struct KeysApi(pub(super) Option<Arc<Pool>>);

/// Keys, in order.
#[derive(Object)]
struct KeyList {
    keys: Vec<KeyView>,
    /// Where to go on: the next page's `cursor`; none: this is the last page.
    next: Option<String>,
    /// How many keys the filters leave, on all pages.
    matching: u64,
    /// How many keys there are in all, whatever the filters.
    total: u64,
}

/// A key's secret.
#[derive(Object)]
struct RevealedKey {
    /// Its number.
    id: u32,
    label: String,
    /// The secret itself.
    key: String,
    /// The event that says that it was shown, and to whom.
    seq: u64,
}

/// How to test a key.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct KeyTest {
    /// A model to ask by the smallest call there is, which spends a little of its quota; none: the key alone, by a
    /// list of models, which spends nothing.
    model: Option<String>,
}

/// What a test came to.
#[derive(Object)]
pub(super) struct TestedKey {
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

impl From<Checked> for TestedKey {
    fn from(checked: Checked) -> Self {
        let Checked { verdict, status, reason, latency_ms } = checked;
        Self { passed: verdict.is_success(), verdict: word(verdict), status, reason, latency_ms }
    }
}

/// A name of a model that a test may ask.
fn testable(model: Option<String>) -> Result<Option<String>, Problem> {
    let model = model.filter(|model| !model.is_empty());
    match model.as_ref().filter(|model| !prober::is_plain(model)) {
        Some(_) => Err(Problem::bad_request(
            "`model` is no name of a model: letters, digits, `-`, `.` and `_`, up to 128",
        )),
        None => Ok(model),
    }
}

#[derive(ApiResponse)]
enum KeyAnswer {
    /// The key.
    #[oai(status = 200)]
    Known(
        Json<KeyView>,
        /// Its revision, for If-Match.
        #[oai(header = "ETag")]
        String,
    ),
}

#[derive(ApiResponse)]
enum AddedAnswer {
    /// The key is in the pool now.
    #[oai(status = 201)]
    Added(
        Json<KeyView>,
        /// Its revision, for If-Match.
        #[oai(header = "ETag")]
        String,
        /// Where it is found.
        #[oai(header = "Location")]
        String,
    ),
}

#[derive(ApiResponse)]
enum RevealedAnswer {
    /// The secret.
    #[oai(status = 200)]
    Revealed(
        Json<RevealedKey>,
        /// Nobody may keep it on the way.
        #[oai(header = "Cache-Control")]
        String,
    ),
}

/// A key that was removed.
#[derive(Object)]
struct RemovedKey {
    /// Its number.
    id: u32,
}

type Change = Failure<{ INPUT | AUTH | MISSING | STALE | BODY | LOG }>;

#[OpenApi]
impl KeysApi {
    /// List keys
    ///
    /// Without their secrets; filtered, in order, page by page. Filters hold together.
    #[oai(path = "/keys", method = "get", tag = "Tag::Keys", operation_id = "list_keys")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the call")]
    async fn list(
        &self,
        token: Token,
        /// Part of a label, tail, fingerprint, note, project or tag, in small or capital letters.
        #[oai(validator(max_length = 200))]
        q: Query<Option<String>>,
        /// Only keys in this state.
        state: Query<Option<KeyState>>,
        /// Only keys of this project.
        project: Query<Option<String>>,
        /// Only keys with this tag.
        tag: Query<Option<String>>,
        /// Only keys that may be used for this model.
        model: Query<Option<String>>,
        /// Only keys of this tier.
        priority: Query<Option<u8>>,
        /// What to order them by.
        #[oai(default)]
        sort: Query<KeySort>,
        /// Which way.
        #[oai(default)]
        order: Query<Order>,
        /// Also each key's last day in half hours, as its usage has it.
        #[oai(default)]
        heartbeat: Query<bool>,
        /// How many at most.
        #[oai(default = "default_limit", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<u32>,
        /// Where to go on: what `next` said, with the same `sort` and `order`.
        cursor: Query<Option<String>>,
    ) -> Result<Json<KeyList>, Failure<{ INPUT | AUTH }>> {
        let pool = super::serving(self.0.as_ref())?;
        token.actor(pool)?;
        let filter = Filter {
            q: q.0,
            state: state.0,
            project: project.0,
            tag: tag.0,
            model: model.0,
            priority: priority.0,
        };
        let (state, now) = (pool.ledger.state(), pool.clock.now());
        let recheck = pool.settings.now().key_recheck_interval;
        let wanted = (limit.0, cursor.0.as_deref());
        let find::Found { keys, next, matching } =
            find::page(&state, &filter, (sort.0, order.0), wanted, now)?;
        let keys = keys.into_iter().map(|key| view(&state, key, now, recheck));
        let keys = if heartbeat.0 {
            keys.map(|key| key.with_heartbeat(&state, now)).collect()
        } else {
            keys.collect()
        };
        Ok(Json(KeyList { keys, next, matching, total: state.keys.len() as u64 }))
    }

    /// Show a key's secret
    ///
    /// That it was shown, to whom and where, is an event on the disk before the secret goes out. By cookie it is shown
    /// for five minutes after a login; a bearer token is as good as ever.
    #[oai(path = "/keys/:key_id", method = "get", tag = "Tag::Keys", operation_id = "get_key")]
    async fn reveal(
        &self,
        request: &Request,
        token: Token,
        /// The key's number.
        key_id: Path<u32>,
    ) -> Result<RevealedAnswer, Failure<{ INPUT | AUTH | FRESH | MISSING | LOG }>> {
        let pool = super::serving(self.0.as_ref())?;
        let actor = token.actor_just_now(pool, request)?;
        let address = super::session::whence(request, pool).0.map(|address| address.to_string());
        let revealed = pool.reveal_key(KeyId(key_id.0), actor, address.unwrap_or_default()).await?;
        let key = revealed.secret.to_str().unwrap_or_default().to_owned();
        let answer = RevealedKey { id: key_id.0, label: revealed.label, key, seq: revealed.seq };
        Ok(RevealedAnswer::Revealed(Json(answer), "no-store".to_owned()))
    }

    /// Show a key without its secret
    #[oai(
        path = "/keys/:key_id/summary",
        method = "get",
        tag = "Tag::Keys",
        operation_id = "get_key_summary"
    )]
    async fn summary(
        &self,
        token: Token,
        /// The key's number.
        key_id: Path<u32>,
    ) -> Result<KeyAnswer, Failure<{ INPUT | AUTH | MISSING }>> {
        let pool = super::serving(self.0.as_ref())?;
        token.actor(pool)?;
        Ok(known(pool, key_id.0)?)
    }

    /// Add a key
    ///
    /// One that is in the pool already is refused, and left as it is.
    #[oai(path = "/keys", method = "post", tag = "Tag::Keys", operation_id = "add_key")]
    async fn add(
        &self,
        token: Token,
        /// A word of the caller's: a repetition with the same word and body gets the first answer again and adds
        /// nothing. Kept for a day, and forgotten at a restart.
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 255))]
        _idempotency_key: Header<Option<String>>,
        body: Json<KeyEntry>,
    ) -> Result<AddedAnswer, Failure<{ AUTH | CONFLICT | BODY | REUSED | LOG }>> {
        let pool = super::serving(self.0.as_ref())?;
        let actor = token.actor(pool)?;
        let (wanted, secret) = body.0.wanted()?;
        let given = GivenKey { secret: SecretString::from(secret), wanted };
        match pool.add_keys(vec![given], actor).await?.into_iter().next() {
            Some(GivenResult::Taken(Added::New(key))) => {
                let KeyAnswer::Known(view, etag) = known(pool, key.0)?;
                Ok(AddedAnswer::Added(view, etag, format!("/api/keys/{key}/summary")))
            }
            Some(GivenResult::Taken(Added::Known(key))) => {
                let text = format!("it is in the pool already, as key {key}");
                Err(Problem::of(Code::DuplicateKey, text).into())
            }
            Some(GivenResult::Taken(Added::Removed) | GivenResult::NotAKey) | None => Err(Problem::of(
                Code::NotAKey,
                "`key` wants 8 to 512 letters, digits, `.`, `_` and `-`, as every upstream key has",
            )
            .into()),
        }
    }

    /// Change a key
    ///
    /// What is left out stays as it is.
    #[oai(path = "/keys/:key_id", method = "patch", tag = "Tag::Keys", operation_id = "update_key")]
    async fn update(
        &self,
        token: Token,
        /// The key's number.
        key_id: Path<u32>,
        /// The ETag of the key that the change is about: another one is refused.
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
        body: Json<KeyPatch>,
    ) -> Result<KeyAnswer, Change> {
        let pool = super::serving(self.0.as_ref())?;
        let actor = token.actor(pool)?;
        let IfMatch(expected) = IfMatch::parse(if_match.0.as_deref())?;
        let (wanted,) = body.0.wanted()?;
        said_something(&wanted)?;
        pool.update_keys_if(vec![KeyId(key_id.0)], expected, wanted, actor).await?;
        Ok(known(pool, key_id.0)?)
    }

    /// Remove a key and destroy its secret
    ///
    /// Not the last of a project where files and the like still live at Google, unless `force` is true.
    #[oai(path = "/keys/:key_id", method = "delete", tag = "Tag::Keys", operation_id = "remove_key")]
    async fn remove(
        &self,
        token: Token,
        /// The key's number.
        key_id: Path<u32>,
        /// Also where files and the like at Google could not be reached any more.
        force: Query<Option<bool>>,
        /// The ETag of the key that is to go: another one is refused.
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
    ) -> Result<Json<RemovedKey>, Failure<{ INPUT | AUTH | MISSING | CONFLICT | STALE | LOG }>> {
        let pool = super::serving(self.0.as_ref())?;
        let actor = token.actor(pool)?;
        let IfMatch(expected) = IfMatch::parse(if_match.0.as_deref())?;
        let change = removal(force.0.unwrap_or_default());
        pool.change_keys_if(vec![KeyId(key_id.0)], expected, change, actor).await?;
        Ok(Json(RemovedKey { id: key_id.0 }))
    }

    /// Test a key now
    ///
    /// One that passes is used again at once.
    #[oai(path = "/keys/:key_id/test", method = "post", tag = "Tag::Keys", operation_id = "test_key")]
    async fn test(
        &self,
        token: Token,
        /// The key's number.
        key_id: Path<u32>,
        body: Json<KeyTest>,
    ) -> Result<Json<TestedKey>, Failure<{ INPUT | AUTH | MISSING | BODY | LOG }>> {
        let pool = super::serving(self.0.as_ref())?;
        let actor = token.actor(pool)?;
        let model = testable(body.0.model)?;
        Ok(Json(pool.prober.test(KeyId(key_id.0), model, actor).await?.into()))
    }

    /// Forgive a key: its gates and its project's open
    #[oai(path = "/keys/:key_id/reset", method = "post", tag = "Tag::Keys", operation_id = "reset_key")]
    async fn reset(
        &self,
        token: Token,
        /// The key's number.
        key_id: Path<u32>,
    ) -> Result<KeyAnswer, Failure<{ INPUT | AUTH | MISSING | LOG }>> {
        let pool = super::serving(self.0.as_ref())?;
        let actor = token.actor(pool)?;
        pool.change_keys(vec![KeyId(key_id.0)], KeyChange::Reset, actor).await?;
        Ok(known(pool, key_id.0)?)
    }
}

fn removal(force: bool) -> KeyChange {
    if force { KeyChange::RemoveByForce } else { KeyChange::Remove }
}

fn said_something(wanted: &Wanted) -> Result<(), Problem> {
    if *wanted == Wanted::default() {
        return Err(Problem::bad_request("nothing to change: say at least one of its fields"));
    }
    Ok(())
}

fn known(pool: &Pool, id: u32) -> Result<KeyAnswer, Problem> {
    let state = pool.ledger.state();
    let key = state.keys.get(KeyId(id)).ok_or_else(|| Problem::not_found(format!("there is no key {id}")))?;
    Ok(KeyAnswer::Known(
        Json(view(&state, key, pool.clock.now(), pool.settings.now().key_recheck_interval)),
        etag(key.revision),
    ))
}
