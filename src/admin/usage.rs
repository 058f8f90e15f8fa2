//! What one key did lately: its sums, its last failure, its heartbeat.

use std::sync::Arc;

use poem_openapi::{
    Object, OpenApi,
    param::{Path, Query},
    payload::Json,
};
use projections::{
    KeyId, Millis, State,
    statistics::{Range, Track, track},
};

use super::{
    Tag, Token,
    problem::{AUTH, Failure, INPUT, MISSING, Problem},
    status::traffic::{LastError, RangeName, Use, last_error},
};
use crate::{ledger::clock::rfc3339, pool::Pool};

pub(super) struct UsageApi(pub(super) Option<Arc<Pool>>);

/// Half an hour.
#[derive(Debug, Object)]
struct BeatView {
    /// Tries and checks that went well.
    ok: u32,
    /// Those that failed, and not by the client's doing.
    failed: u32,
}

/// The last day of a key, in half hours.
#[derive(Debug, Object)]
pub(super) struct Heartbeat {
    /// When the first cell begins (RFC 3339).
    since: String,
    /// How long a cell is.
    cell_seconds: u64,
    /// Oldest first; the last one is not over yet.
    cells: Vec<BeatView>,
}

/// The last day of a key, up to now.
pub(super) fn heartbeat(state: &State, key: KeyId, now: Millis) -> Heartbeat {
    let nothing = Track::default();
    let (since, beats) = state.statistics.keys.get(&key).unwrap_or(&nothing).heartbeat(now);
    let cells = beats.into_iter().map(|beat| BeatView { ok: beat.ok, failed: beat.failed });
    Heartbeat {
        since: rfc3339(since),
        cell_seconds: u64::try_from(track::BEAT.width / 1_000).unwrap_or(0),
        cells: cells.collect(),
    }
}

/// What a key did.
#[derive(Debug, Object)]
struct KeyUsage {
    key: u32,
    range: RangeName,
    /// When the range begins (RFC 3339): with a whole bucket, so it may be a little earlier than its name says.
    since: String,
    #[oai(flatten)]
    sums: Use,
    /// The same since the key was added.
    total: Use,
    last_error: Option<LastError>,
    heartbeat: Heartbeat,
}

#[OpenApi]
impl UsageApi {
    /// A key's usage
    ///
    /// Without a range: the last 24 hours.
    #[oai(path = "/keys/:key_id/usage", method = "get", tag = "Tag::Keys", operation_id = "get_key_usage")]
    async fn key(
        &self,
        token: Token,
        /// Its number.
        key_id: Path<u32>,
        /// How far back.
        range: Query<Option<RangeName>>,
    ) -> Result<Json<KeyUsage>, Failure<{ INPUT | AUTH | MISSING }>> {
        let pool = super::serving(self.0.as_ref())?;
        token.actor(pool)?;
        let (now, id) = (pool.clock.now(), KeyId(key_id.0));
        let range = range.0.map_or(Range::Day, Range::from);
        let state = pool.ledger.state();
        if state.keys.get(id).is_none() {
            return Err(Problem::not_found(format!("there is no key {id}")).into());
        }
        let nothing = Track::default();
        let own = state.statistics.keys.get(&id).unwrap_or(&nothing);
        Ok(Json(KeyUsage {
            key: id.0,
            range: range.into(),
            since: rfc3339(track::since(range, now)),
            sums: own.sums(range, now).into(),
            total: own.total.into(),
            last_error: last_error(own),
            heartbeat: heartbeat(&state, id, now),
        }))
    }
}
