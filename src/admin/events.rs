//! The log, as it is.

use std::sync::Arc;

use poem_openapi::{
    Object, OpenApi,
    param::Query,
    payload::Json,
    types::{Any, ToJSON},
};

use super::{
    Tag, Token,
    problem::{AUTH, Code, Failure, INPUT, LOG, Problem},
};
use crate::{ledger::clock::rfc3339, pool::Pool};

/// Events in one answer, at most.
const MOST: u32 = 10_000;
/// The farthest position that every reader of JSON can hold.
const FARTHEST: u64 = (1 << 53) - 1;

pub(super) struct EventsApi(pub(super) Option<Arc<Pool>>);

/// An event of the log.
#[derive(Object)]
pub(super) struct EventView {
    /// Its position; the first is 1.
    seq: u64,
    /// When it was recorded (RFC 3339).
    at: String,
    /// Its type, such as `KeyAdded`.
    r#type: String,
    /// `control`, `health` or `traffic`.
    class: String,
    /// What it says; its fields depend on the type.
    event: Any<serde_json::Value>,
}

/// Some events, in order.
#[derive(Object)]
struct EventPage {
    events: Vec<EventView>,
    /// Where to go on: the next page's `after`.
    next: u64,
    /// The last event in the log.
    head: u64,
}

impl EventView {
    fn new(recorded: &projections::Recorded) -> Self {
        let class = serde_json::to_value(recorded.event.class()).unwrap_or_default();
        Self {
            seq: recorded.seq,
            at: rfc3339(recorded.at),
            r#type: recorded.event.name().to_owned(),
            class: class.as_str().unwrap_or_default().to_owned(),
            event: Any(serde_json::to_value(&recorded.event).unwrap_or_default()),
        }
    }
}

#[OpenApi]
impl EventsApi {
    /// Events after a position, in order
    #[oai(path = "/events", method = "get", tag = "Tag::Events", operation_id = "list_events")]
    async fn list(
        &self,
        token: Token,
        /// The position to begin after; 0 begins with the first event.
        #[oai(default)]
        after: Query<u64>,
        /// How many at most, 1 to 10,000.
        #[oai(default = "default_limit", validator(minimum(value = "1"), maximum(value = "10000")))]
        limit: Query<u32>,
    ) -> Result<Json<EventPage>, Failure<{ INPUT | AUTH | LOG }>> {
        let pool = Arc::clone(super::serving(self.0.as_ref())?);
        token.actor(&pool)?;
        if after.0 > FARTHEST {
            let text = format!("parameter `after`: wants a number from 0 to {FARTHEST}");
            return Err(Problem::of(Code::BadParameter, text).into());
        }
        let (after, limit) = (after.0, limit.0.min(MOST) as usize);
        let read = tokio::task::spawn_blocking(move || {
            let head = *pool.ledger.head().borrow();
            pool.ledger.events(after, limit).map(|events| (head, events))
        });
        let (head, events) =
            read.await.map_err(|_| Problem::unavailable("the events could not be read"))??;
        let next = events.last().map_or(after, |recorded| recorded.seq);
        Ok(Json(EventPage { events: events.iter().map(EventView::new).collect(), next, head }))
    }
}

fn default_limit() -> u32 {
    100
}

const _: fn(&EventPage) -> Option<serde_json::Value> = ToJSON::to_json;
