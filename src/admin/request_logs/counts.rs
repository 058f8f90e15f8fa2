//! Counts of requests, as the admin API gives them.

use poem_openapi::Object;
use projections::ClientId;

use super::shapes::{
    RequestClient, RequestIndexProgress, RequestKey, RequestOutcome, RequestTokens, client_of, key_of,
};
use crate::{
    pool::Pool,
    request_log::{Indexing, Tally},
};

/// Values of each kind that are told; the others are in `total` alone.
const FACETS: usize = 1_000;

#[derive(Object)]
struct RequestOutcomeCount {
    outcome: RequestOutcome,
    count: u64,
}

#[derive(Object)]
struct RequestStatusCount {
    /// 0: the client saw none.
    status: u16,
    count: u64,
}

#[derive(Object)]
struct RequestModelCount {
    /// Empty: none was named.
    model: String,
    count: u64,
}

#[derive(Object)]
struct RequestClientCount {
    /// None: requests of no client.
    client: Option<RequestClient>,
    count: u64,
}

#[derive(Object)]
struct RequestKeyCount {
    key: RequestKey,
    count: u64,
}

/// How many requests there are. Of each kind at most 1,000 values, the most frequent first.
#[derive(Object)]
pub(super) struct RequestCounts {
    total: u64,
    outcomes: Vec<RequestOutcomeCount>,
    statuses: Vec<RequestStatusCount>,
    models: Vec<RequestModelCount>,
    clients: Vec<RequestClientCount>,
    /// A request counts once for each key that it was tried with.
    keys: Vec<RequestKeyCount>,
    /// Of all tries.
    tokens: RequestTokens,
    /// Only while the index is being made.
    #[oai(skip_serializing_if_is_none)]
    indexing: Option<RequestIndexProgress>,
}

impl RequestCounts {
    pub(super) fn of(pool: &Pool, tally: Tally, indexing: Option<Indexing>) -> Self {
        let state = pool.ledger.state();
        let [prompt, output, thoughts, cached] = tally.tokens;
        let (clients, keys) = (tally.clients.into_iter(), tally.keys.into_iter());
        let client = |client: ClientId| (client.0 != 0).then(|| client_of(&state, client));
        Self {
            total: tally.total,
            outcomes: tally
                .outcomes
                .into_iter()
                .map(|(outcome, count)| RequestOutcomeCount { outcome: outcome.into(), count })
                .collect(),
            statuses: tally
                .statuses
                .into_iter()
                .take(FACETS)
                .map(|(status, count)| RequestStatusCount { status, count })
                .collect(),
            models: tally
                .models
                .into_iter()
                .take(FACETS)
                .map(|(model, count)| RequestModelCount { model, count })
                .collect(),
            clients: clients
                .take(FACETS)
                .map(|(id, count)| RequestClientCount { client: client(id), count })
                .collect(),
            keys: keys
                .take(FACETS)
                .map(|(id, count)| RequestKeyCount { key: key_of(&state, id), count })
                .collect(),
            tokens: RequestTokens { prompt, output, thoughts, cached },
            indexing: indexing.map(Into::into),
        }
    }
}
