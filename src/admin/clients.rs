//! Clients: the apps that hold access keys, below the original system's name `allowed_keys`.
//!
//! Owns the shapes. An access key is in the answer that makes it, and in no other.

mod shapes;

use std::sync::Arc;

use poem_openapi::{
    OpenApi,
    param::{Header, Path, Query},
    payload::Json,
};
use projections::{ClientId, access::Client, event::Actor};
use secrecy::{ExposeSecret, SecretString};

use self::shapes::{
    ClientChange, ClientList, ClientView, MadeClient, MadeClientAnswer, NewClient, NewSecret, OneClient,
    Origin, RemovedClient, ReplacedKeyAnswer,
};
use super::{
    Tag, Token,
    precondition::{IfMatch, etag},
    problem::{AUTH, BODY, CONFLICT, Failure, INPUT, LOG, MISSING, Problem, REUSED, STALE},
};
use crate::{
    ledger::rules::ClientWishes,
    pool::{AccessKey, Pool},
};

/// Marks the cursors of this list.
const CURSOR: &str = "k";

pub(super) struct ClientsApi(pub(super) Option<Arc<Pool>>);

fn view(pool: &Pool, id: ClientId) -> Result<ClientView, Problem> {
    let client = pool.ledger.state().access.get(id).cloned();
    let client = client.ok_or_else(|| Problem::not_found(format!("there is no access key {id}")))?;
    let now = pool.clock.now();
    Ok(ClientView::new(&client, pool.access.usage(id, now), now))
}

fn made(pool: &Pool, key: AccessKey) -> Result<(Json<MadeClient>, String), Problem> {
    let client = view(pool, key.client)?;
    let tag = etag(client.revision);
    let secret = key.made.map(|made| made.expose_secret().to_owned());
    Ok((Json(MadeClient { secret, client }), tag))
}

#[OpenApi]
impl ClientsApi {
    /// Access keys, by number
    #[oai(path = "/allowed_keys", method = "get", tag = "Tag::Clients", operation_id = "list_allowed_keys")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the query")]
    async fn list(
        &self,
        token: Token,
        /// How many at most, 1 to 1,000.
        #[oai(default = "usual", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<u32>,
        /// Where to go on: the `next` of the answer before.
        cursor: Query<Option<String>>,
        /// Only those whose name holds this, in any case of letters, or whose key ends in it.
        search: Query<Option<String>>,
        /// Only those that are turned on, or only those turned off.
        enabled: Query<Option<bool>>,
        /// Only those whose time is over, or only the others.
        expired: Query<Option<bool>>,
        /// Only those that came this way.
        origin: Query<Option<Origin>>,
    ) -> Result<Json<ClientList>, Failure<{ INPUT | AUTH }>> {
        let pool = super::serving(self.0.as_ref())?;
        token.actor(pool)?;
        let after = match cursor.0.as_deref() {
            None => 0,
            Some(cursor) => {
                let number = cursor.strip_prefix(CURSOR).and_then(|number| number.parse().ok());
                number.ok_or_else(Problem::bad_cursor)?
            }
        };
        let now = pool.clock.now();
        let search = search.0.unwrap_or_default();
        let lower = search.to_lowercase();
        let fits = |client: &&Client| {
            let found = client.name.to_lowercase().contains(&lower) || client.tail.ends_with(&search);
            let over = client.expires.is_some_and(|end| end <= now);
            client.id.0 > after
                && (search.is_empty() || found)
                && enabled.0.is_none_or(|wanted| client.enabled == wanted)
                && expired.0.is_none_or(|wanted| over == wanted)
                && origin.0.is_none_or(|wanted| Origin::of(&client.actor) == wanted)
        };
        let limit = limit.0.clamp(1, 1_000) as usize;
        let mut found: Vec<Client> = {
            let state = pool.ledger.state();
            state.access.iter().filter(fits).take(limit + 1).cloned().collect()
        };
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|last| format!("{CURSOR}{}", last.id));
        let views =
            found.iter().map(|client| ClientView::new(client, pool.access.usage(client.id, now), now));
        Ok(Json(ClientList { allowed_keys: views.collect(), next }))
    }

    /// Make an access key
    ///
    /// Without `secret` one of 32 random bytes is made, and shown in this answer only.
    #[oai(path = "/allowed_keys", method = "post", tag = "Tag::Clients", operation_id = "create_allowed_key")]
    async fn create(
        &self,
        token: Token,
        /// A word for this request: a repetition with it and the same body gets the first answer again, for a day.
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 255))]
        idempotency_key: Header<Option<String>>,
        body: Json<NewClient>,
    ) -> Result<MadeClientAnswer, Failure<{ AUTH | BODY | CONFLICT | REUSED | LOG }>> {
        // The door looks at it, before and after.
        let _ = idempotency_key;
        let pool = super::serving(self.0.as_ref())?;
        let actor = token.actor(pool)?;
        let (wishes, secret) = body.0.wanted()?;
        let key = pool.add_client(secret.map(SecretString::from), wishes, actor).await?;
        let (body, tag) = made(pool, key)?;
        Ok(MadeClientAnswer::Created(body, tag, "no-store".to_owned()))
    }

    /// One access key
    #[oai(
        path = "/allowed_keys/:key_id",
        method = "get",
        tag = "Tag::Clients",
        operation_id = "get_allowed_key"
    )]
    async fn get(
        &self,
        token: Token,
        /// Its number.
        key_id: Path<u32>,
    ) -> Result<OneClient, Failure<{ INPUT | AUTH | MISSING }>> {
        let pool = super::serving(self.0.as_ref())?;
        token.actor(pool)?;
        let client = view(pool, ClientId(key_id.0))?;
        let tag = etag(client.revision);
        Ok(OneClient::Ok(Json(client), tag))
    }

    /// Change an access key
    ///
    /// What is left out stays as it is; `null` lifts a limit or the end of access.
    #[oai(
        path = "/allowed_keys/:key_id",
        method = "put",
        tag = "Tag::Clients",
        operation_id = "update_allowed_key"
    )]
    async fn update(
        &self,
        token: Token,
        /// Its number.
        key_id: Path<u32>,
        /// Change it only if it is still at this revision.
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
        body: Json<ClientChange>,
    ) -> Result<OneClient, Failure<{ AUTH | BODY | MISSING | STALE | LOG }>> {
        let pool = super::serving(self.0.as_ref())?;
        let actor = token.actor(pool)?;
        let seen = IfMatch::parse(if_match.0.as_deref())?.0;
        let (wishes,) = body.0.wanted()?;
        if wishes == ClientWishes::default() {
            return Err(Problem::bad_request("nothing to change: say at least one of its fields").into());
        }
        pool.update_client(ClientId(key_id.0), wishes, seen, actor).await?;
        let client = view(pool, ClientId(key_id.0))?;
        let tag = etag(client.revision);
        Ok(OneClient::Ok(Json(client), tag))
    }

    /// Replace the secret of an access key
    ///
    /// The one before opens nothing any more. Those of ALLOWED_API_KEYS are replaced there.
    #[oai(
        path = "/allowed_keys/:key_id/rotate",
        method = "post",
        tag = "Tag::Clients",
        operation_id = "rotate_allowed_key"
    )]
    async fn rotate(
        &self,
        token: Token,
        /// Its number.
        key_id: Path<u32>,
        /// Replace it only if it is still at this revision.
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
        /// A word of the caller's: a repetition with the same word and body gets the first answer again and replaces
        /// nothing.
        /// Kept for a day, and forgotten at a restart.
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 255))]
        _idempotency_key: Header<Option<String>>,
        body: Json<NewSecret>,
    ) -> Result<ReplacedKeyAnswer, Failure<{ AUTH | BODY | MISSING | CONFLICT | STALE | REUSED | LOG }>> {
        let pool = super::serving(self.0.as_ref())?;
        let actor = token.actor(pool)?;
        let seen = IfMatch::parse(if_match.0.as_deref())?.0;
        let secret = body.0.secret.map(SecretString::from);
        let key = pool.replace_client_key(ClientId(key_id.0), secret, seen, actor).await?;
        let (body, tag) = made(pool, key)?;
        Ok(ReplacedKeyAnswer::Ok(body, tag, "no-store".to_owned()))
    }

    /// Revoke an access key
    ///
    /// One of ALLOWED_API_KEYS stays revoked although the environment still names it.
    #[oai(
        path = "/allowed_keys/:key_id",
        method = "delete",
        tag = "Tag::Clients",
        operation_id = "remove_allowed_key"
    )]
    async fn remove(
        &self,
        token: Token,
        /// Its number.
        key_id: Path<u32>,
        /// Revoke it only if it is still at this revision.
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
    ) -> Result<Json<RemovedClient>, Failure<{ INPUT | AUTH | MISSING | STALE | LOG }>> {
        let pool = super::serving(self.0.as_ref())?;
        let actor: Actor = token.actor(pool)?;
        let seen = IfMatch::parse(if_match.0.as_deref())?.0;
        pool.remove_client(ClientId(key_id.0), seen, actor).await?;
        Ok(Json(RemovedClient { id: key_id.0 }))
    }
}

fn usual() -> u32 {
    100
}
