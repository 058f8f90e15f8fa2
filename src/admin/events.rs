//! The log, as it is: read both ways, one event at a time, and live.
//!
//! Owns the shapes of events and of questions to the log. Its invariant: one call reads a bounded part of the
//! log; a page may be short, or empty, and then says where to go on.

pub(super) mod density;
mod history;
mod live;
mod pages;

use std::sync::Arc;

use poem_openapi::{
    Enum, Object, OpenApi,
    param::{Header, Path, Query},
    payload::Json,
    types::{Any, ToJSON},
};
use projections::{Class, ClientId, KeyId, RequestId, Seq, event, filter::Filter};

use self::{
    live::LiveEvents,
    pages::{Order, Part, cursor, page},
};
use super::{
    Tag, Token,
    past::{fold, look, seq_at, time},
    problem::{AUTH, BUSY, CONFLICT, Code, Failure, INPUT, LOG, MISSING, Problem},
};
use crate::{feed::Feed, ledger::clock::rfc3339, pool::Pool};

pub(super) struct EventsApi(pub(super) Option<Arc<Pool>>);

/// How long an event is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub(super) enum ClassName {
    /// What operators did: for ever.
    Control,
    /// What the pool learned of its keys: for ever.
    Health,
    /// What clients asked: as long as LOG_RETENTION_DAYS says.
    Traffic,
}

impl From<Class> for ClassName {
    fn from(class: Class) -> Self {
        match class {
            Class::Control => Self::Control,
            Class::Health => Self::Health,
            Class::Traffic => Self::Traffic,
        }
    }
}

impl From<ClassName> for Class {
    fn from(class: ClassName) -> Self {
        match class {
            ClassName::Control => Self::Control,
            ClassName::Health => Self::Health,
            ClassName::Traffic => Self::Traffic,
        }
    }
}

/// An event of the log.
#[derive(Object)]
pub(super) struct EventView {
    /// Its position; the first is 1.
    seq: u64,
    /// When it was recorded (RFC 3339).
    at: String,
    /// Its type, such as `KeyAdded`.
    r#type: String,
    /// How long it is kept.
    class: ClassName,
    /// What it says; its fields depend on the type.
    event: Any<serde_json::Value>,
}

/// Some events, in the order that was asked for.
#[derive(Object)]
struct EventPage {
    events: Vec<EventView>,
    /// Where to go on: the next page's `cursor`, with the same other parameters. A page may be short, or even empty,
    /// and have a next one: one call looks at a part of the log only. None: that was all, for now.
    next: Option<String>,
    /// The last event in the log.
    head: u64,
}

impl EventView {
    pub(super) fn new(recorded: &projections::Recorded) -> Self {
        Self {
            seq: recorded.seq,
            at: rfc3339(recorded.at),
            r#type: recorded.event.name().to_owned(),
            class: recorded.event.class().into(),
            event: Any(serde_json::to_value(&recorded.event).unwrap_or_default()),
        }
    }
}

/// What is wanted, as it comes in.
#[derive(Default)]
struct Wanted {
    types: Vec<String>,
    class: Option<ClassName>,
    key: Option<u32>,
    client: Option<u32>,
    request: Option<String>,
}

impl Wanted {
    fn filter(self) -> Result<Filter, Problem> {
        let known = |name: &String| event::TYPES.iter().any(|(_, _, known, _)| known == name);
        if let Some(unknown) = self.types.iter().find(|name| !known(name) && *name != "Unknown") {
            let unknown: String = unknown.chars().take(64).collect();
            let known: Vec<&str> = event::TYPES.iter().map(|(_, _, name, _)| *name).collect();
            let text = format!("there are no events of type `{unknown}`; the types are {}", known.join(", "));
            return Err(Problem::bad_request(text));
        }
        let request = self.request.map(|text| text.parse::<RequestId>()).transpose();
        Ok(Filter {
            types: self.types,
            classes: self.class.map(Class::from).into_iter().collect(),
            key: self.key.map(KeyId),
            projects: Vec::new(),
            client: self.client.map(ClientId),
            request: request.map_err(|error| Problem::bad_request(format!("request_id: {error}")))?,
        })
    }
}

/// The farthest position that every reader of JSON can hold.
const FARTHEST: Seq = (1 << 53) - 1;

/// A position in a question, where one is told.
fn position(name: &str, told: Option<Seq>) -> Result<Option<Seq>, Problem> {
    if told.is_some_and(|seq| seq > FARTHEST) {
        let text = format!("parameter `{name}`: wants a number from 0 to {FARTHEST}");
        return Err(Problem::of(Code::BadParameter, text));
    }
    Ok(told)
}

#[OpenApi]
impl EventsApi {
    /// Events, in order
    ///
    /// Oldest first, or newest first with `order=desc`. What is said of the part that is wanted must all hold.
    #[oai(path = "/events", method = "get", tag = "Tag::Events", operation_id = "list_events")]
    #[expect(clippy::too_many_arguments, reason = "one for each parameter of the query")]
    async fn list(
        &self,
        token: Token,
        /// Only what comes after this position; the first event is 1.
        after: Query<Option<u64>>,
        /// Only what comes before this position.
        before: Query<Option<u64>>,
        /// Only what was recorded at this time or later (RFC 3339).
        from: Query<Option<String>>,
        /// Only what was recorded before this time (RFC 3339).
        to: Query<Option<String>>,
        /// Oldest first (`asc`), or newest first (`desc`).
        #[oai(default)]
        order: Query<Order>,
        /// Only events of this type; may be said several times.
        #[oai(default)]
        r#type: Query<Vec<String>>,
        /// Only events of this class.
        class: Query<Option<ClassName>>,
        /// Only events about this key.
        key: Query<Option<u32>>,
        /// Only events about this client.
        client: Query<Option<u32>>,
        /// Only events about this request.
        request_id: Query<Option<String>>,
        /// Where to go on: `next` of the page before.
        cursor: Query<Option<String>>,
        /// How many at most, 1 to 10,000.
        #[oai(default = "default_limit", validator(minimum(value = "1"), maximum(value = "10000")))]
        limit: Query<u32>,
    ) -> Result<Json<EventPage>, Failure<{ INPUT | AUTH | LOG }>> {
        let pool = super::serving(self.0.as_ref())?;
        token.actor(pool)?;
        let filter =
            Wanted { types: r#type.0, class: class.0, key: key.0, client: client.0, request: request_id.0 };
        let filter = filter.filter()?;
        let (from, to) = (from.0.as_deref().map(time).transpose()?, to.0.as_deref().map(time).transpose()?);
        let (after, before) = (position("after", after.0)?, position("before", before.0)?);
        let mut part = Part { after: after.unwrap_or(0), before: before.unwrap_or(Seq::MAX) };
        let (order, limit) = (order.0, limit.0 as usize);
        let place = cursor.0.as_deref().map(|text| self::cursor::read(text, order)).transpose()?;
        let found = look(pool, move |ledger| {
            // Times never go back in the log, so a span of time is a part of it.
            if let Some(from) = from {
                part.after = part.after.max(seq_at(ledger, from.saturating_sub(1))?);
            }
            if let Some(to) = to {
                part.before = part.before.min(seq_at(ledger, to.saturating_sub(1))?.saturating_add(1));
            }
            page(ledger, part.beyond(place, order), order, &filter, limit, |_| false)
        });
        Ok(Json(found.await?.view(order)))
    }

    /// Events, live
    ///
    /// A stream of Server-Sent Events: what is stored after the position, then what happens, in order and without a
    /// gap. `id` is an event's position, `event` its type, `data` the same JSON as in the list. Whoever comes back with
    /// the last `id` misses nothing, also after a restart of the server. A block may have an `id` alone: so far nothing
    /// was for this reader. The stream ends when the token does, and when the server stops.
    #[oai(path = "/events/stream", method = "get", tag = "Tag::Events", operation_id = "stream_events")]
    #[expect(clippy::too_many_arguments, reason = "one for each parameter of the query")]
    async fn stream(
        &self,
        token: Token,
        /// The position to begin after, as a browser says it when it comes back; wins over `after`.
        #[oai(name = "Last-Event-ID")]
        last_event_id: Header<Option<String>>,
        /// The position to begin after; 0 begins with the first event. Without it: from now on.
        after: Query<Option<u64>>,
        /// Only events of this type; may be said several times.
        #[oai(default)]
        r#type: Query<Vec<String>>,
        /// Only events of this class.
        class: Query<Option<ClassName>>,
        /// Only events about this key.
        key: Query<Option<u32>>,
        /// Only events about this client.
        client: Query<Option<u32>>,
        /// Only events about this request.
        request_id: Query<Option<String>>,
    ) -> Result<LiveEvents, Failure<{ INPUT | AUTH | CONFLICT | BUSY | LOG }>> {
        let pool = super::serving(self.0.as_ref())?;
        let caller = token.session(pool)?.caller();
        let wanted =
            Wanted { types: r#type.0, class: class.0, key: key.0, client: client.0, request: request_id.0 };
        let told = last_event_id.0.filter(|id| !id.is_empty());
        let told = told.map(|id| {
            let wrong = "Last-Event-ID is no position: send the `id` of the last event, or none";
            id.trim().parse::<Seq>().map_err(|_| Problem::bad_request(wrong))
        });
        let after = told.transpose()?.or(position("after", after.0)?);
        // Not the pool: whoever listens must not keep the log open when the server stops.
        let (pool_there, token) = (Arc::downgrade(pool), token.0.token);
        let allowed =
            Box::new(move || pool_there.upgrade().is_some_and(|pool| pool.session(&token).is_some()));
        let reader = Feed::listen(&pool.feed, caller, after, wanted.filter()?, allowed)?;
        Ok(LiveEvents::new(reader))
    }

    /// One event
    #[oai(path = "/events/:seq", method = "get", tag = "Tag::Events", operation_id = "get_event")]
    async fn one(
        &self,
        token: Token,
        /// Its position.
        seq: Path<u64>,
    ) -> Result<Json<EventView>, Failure<{ INPUT | AUTH | MISSING | LOG }>> {
        let pool = super::serving(self.0.as_ref())?;
        token.actor(pool)?;
        let seq = seq.0;
        let found = look(pool, move |ledger| Ok(ledger.event(seq)?)).await?;
        let found = found.ok_or_else(|| Problem::not_found(format!("there is no event {seq}")))?;
        Ok(Json(EventView::new(&found)))
    }

    /// What became of a key
    ///
    /// What operators did with it and what the pool learned of it, newest first; among that the gates of the project that
    /// it was in at the time. Also of a key that was removed.
    #[oai(
        path = "/keys/:key_id/history",
        method = "get",
        tag = "Tag::Events",
        operation_id = "get_key_history"
    )]
    async fn history(
        &self,
        token: Token,
        /// Its number.
        key_id: Path<u32>,
        /// Where to go on: `next` of the page before.
        cursor: Query<Option<String>>,
        /// How many at most, 1 to 1,000.
        #[oai(default = "default_limit", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<u32>,
    ) -> Result<Json<EventPage>, Failure<{ INPUT | AUTH | MISSING | LOG }>> {
        let pool = super::serving(self.0.as_ref())?;
        token.actor(pool)?;
        let key = KeyId(key_id.0);
        if key.0 == 0 || key >= pool.ledger.state().keys.next_id() {
            return Err(Problem::not_found(format!("there never was a key {key}")).into());
        }
        let place = cursor.0.as_deref().map(|text| self::cursor::read(text, Order::Desc)).transpose()?;
        let limit = limit.0 as usize;
        let found = fold(pool, move |ledger| history::history(ledger, key, place, limit));
        Ok(Json(found.await?.view(Order::Desc)))
    }
}

fn default_limit() -> u32 {
    100
}

const _: fn(&EventPage) -> Option<serde_json::Value> = ToJSON::to_json;
