//! What lives at Google, and to which project it belongs: files, caches, batches and the like.

use std::sync::Arc;

use poem_openapi::{Object, OpenApi, param::Query, payload::Json};
use projections::resources::collection_of;

use super::{
    Tag, Token,
    page::{self, default_limit},
    problem::{AUTH, Failure, INPUT},
};
use crate::{ledger::clock::rfc3339, pool::Pool};

const LIST: &str = "resources";

pub(super) struct ResourcesApi(pub(super) Option<Arc<Pool>>);

/// Something at Google.
#[derive(Object)]
struct ResourceView {
    /// Its name, such as `files/abc`.
    name: String,
    /// The collection that it is in, such as `files`.
    kind: String,
    /// The project that it belongs to: only that project's keys reach it.
    project: String,
    /// The key that made it, or was shown it.
    key: u32,
    /// The client whose request made it; none: it came without an access key, or it is not known.
    client: Option<u32>,
    /// When Google deletes it (RFC 3339); none: not by itself.
    expires_at: Option<String>,
    /// The event that told of it.
    seq: u64,
}

/// Resources, in the order in which the pool heard of them.
#[derive(Object)]
struct ResourceList {
    resources: Vec<ResourceView>,
    /// Where to go on: the next page's `cursor`; none: this is the last page.
    next: Option<String>,
}

#[OpenApi]
impl ResourcesApi {
    /// List resources at Google
    ///
    /// Those that the pool has seen in answers and that have not expired, in the order in which it heard of them.
    #[oai(path = "/resources", method = "get", tag = "Tag::Resources", operation_id = "list_resources")]
    async fn list(
        &self,
        token: Token,
        /// Only those in this collection, such as `files` or `cachedContents`.
        kind: Query<Option<String>>,
        /// Only those of this project.
        project: Query<Option<String>>,
        /// How many at most.
        #[oai(default = "default_limit", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<u32>,
        /// Where to go on: what `next` said.
        cursor: Query<Option<String>>,
    ) -> Result<Json<ResourceList>, Failure<{ INPUT | AUTH }>> {
        let pool = super::serving(self.0.as_ref())?;
        token.actor(pool)?;
        let after: Option<u64> = page::position(LIST, cursor.0.as_deref())?;
        let (state, now) = (pool.ledger.state(), pool.clock.now());
        let all = state.resources.live_after(after.unwrap_or_default(), now);
        let all = all
            .filter_map(|(place, resource)| Some((place, resource, state.resources.project_of(resource)?)));
        let wanted = all.filter(|(_, resource, owner)| {
            kind.0.as_ref().is_none_or(|kind| kind == collection_of(&resource.name))
                && project.0.as_ref().is_none_or(|project| project == owner)
        });
        let (shown, more) = page::take(wanted, limit.0);
        let next = shown.last().filter(|_| more).map(|(place, ..)| page::cursor(LIST, place));
        let view = shown.into_iter().map(|(_, resource, project)| ResourceView {
            name: resource.name.clone(),
            kind: collection_of(&resource.name).to_owned(),
            project: project.to_owned(),
            key: resource.key.0,
            client: resource.client.map(|client| client.0),
            expires_at: resource.expires.map(rfc3339),
            seq: resource.seq,
        });
        Ok(Json(ResourceList { resources: view.collect(), next }))
    }
}
