//! The pool at a glance: who can serve, what was served, what needs attention.
//!
//! Owns the shape of the answer; the parts are in [`traffic`] and [`standing`]. Everything but what goes on this
//! very moment is what the log says.

mod standing;
pub(super) mod traffic;

use std::{sync::Arc, time::Duration};

use poem_openapi::{Enum, Object, OpenApi, param::Query, payload::Json};
use projections::{
    Millis, State,
    event::Scope,
    gaps::{Gap, Gaps},
    statistics::Range,
};

use self::{
    standing::{Attention, Change, ModelCapacity, PoolCounts},
    traffic::{Breakdown, ClientUse, KeyUse, ModelUse, Point, RangeName, Traffic},
};
use super::{
    Tag, Token,
    problem::{AUTH, Failure, INPUT},
    request_logs::RequestBodiesKept,
};
use crate::{
    auth::Open,
    gauges::Now,
    ledger::{clock::rfc3339, unknown},
    pool::Pool,
};

pub(super) struct StatusApi(pub(super) Option<Arc<Pool>>);

/// The log itself.
#[derive(Debug, Object)]
struct LogView {
    /// The last event.
    head: u64,
    /// Events that are not known to be on the disk yet.
    unsynced: u64,
    /// Facts and commands that wait to be written.
    queued: u64,
    /// Why it takes no writes, if so: until it is opened anew, which is tried every few seconds.
    failure: Option<String>,
    /// Control events of a newer version, which this one does not understand, if there are any: their kinds, how many and
    /// where. What they changed is not in force.
    newer_events: Option<String>,
    /// Events that could not be recorded since then.
    unrecorded: u64,
    /// Times in which it took none, as it tells itself.
    gaps: u64,
    /// The last of them.
    last_gap: Option<LogGapView>,
}

/// A time that the log does not know everything of.
#[derive(Debug, Object)]
struct LogGapView {
    /// When the log failed (RFC 3339).
    from: String,
    /// When it was opened anew.
    to: String,
    /// Events of that time that are not recorded.
    unrecorded: u64,
    /// Why the log failed.
    cause: String,
    /// The event that says so.
    event: u64,
}

/// What goes on this very moment.
#[derive(Debug, Object)]
struct NowView {
    /// Requests under way, those that wait included.
    in_flight: u64,
    /// Those of them that wait for a key.
    waiting: u64,
    /// Costly tries that the whole pool may repeat right now.
    retries_left: u64,
    /// As many as it can save up.
    retries_most: u64,
}

/// Who may use the pool without an access key.
#[derive(Clone, Copy, Debug, Enum)]
#[oai(rename_all = "snake_case")]
enum OpenTo {
    /// Nobody: everybody needs one.
    Nobody,
    /// Programs on this machine, as long as there was never one.
    ThisMachine,
    /// Everybody who reaches the port (ALLOW_ANONYMOUS).
    Everybody,
}

impl From<Open> for OpenTo {
    fn from(open: Open) -> Self {
        match open {
            Open::ToNobody => Self::Nobody,
            Open::ToThisMachine => Self::ThisMachine,
            Open::ToAll => Self::Everybody,
        }
    }
}

/// The program.
#[derive(Debug, Object)]
struct ServerView {
    version: String,
    /// When the pool was opened (RFC 3339).
    started_at: String,
    uptime_seconds: u64,
    /// It is going down: what is under way is finished, and nothing new begins.
    stopping: bool,
    /// Which bodies of requests and answers are kept (LOG_BODIES).
    bodies: RequestBodiesKept,
    /// Who may use the pool without an access key right now.
    open_to: OpenTo,
    log: LogView,
    /// None, where nothing is served: the command line opened a stopped pool.
    now: Option<NowView>,
}

/// The pool at a glance.
#[derive(Debug, Object)]
struct Status {
    /// When this was true (RFC 3339).
    at: String,
    range: RangeName,
    server: ServerView,
    keys: PoolCounts,
    /// Models that were asked for in the last 30 days: who can serve them now.
    models: Vec<ModelCapacity>,
    /// Keys that cannot serve though an operator wants them to; those that nothing but a check brings back first.
    attention: Vec<Attention>,
    /// How many more there are.
    attention_more: u64,
    /// The last changes of gates and keys, newest first.
    transitions: Vec<Change>,
    traffic: Traffic,
    /// How wide the series' buckets are, in seconds.
    bucket_seconds: u64,
    /// The same as `traffic`, over time, oldest first, none left out.
    series: Vec<Point>,
    by_model: Breakdown<ModelUse>,
    by_key: Breakdown<KeyUse>,
    by_client: Breakdown<ClientUse>,
}

/// What a gate stands before, in a line; and the parts of it.
fn scope_words(scope: &Scope) -> (&'static str, Option<u32>, Option<String>, Option<String>) {
    match scope {
        Scope::Key(key) => ("key", Some(key.0), None, None),
        Scope::Method { key, .. } => ("method", Some(key.0), None, None),
        Scope::Project(project) => ("project", None, Some(project.clone()), None),
        Scope::Model { project, model, .. } => ("model", None, Some(project.clone()), Some(model.clone())),
        Scope::Upstream { model } => ("upstream", None, None, Some(model.clone())),
    }
}

fn server(pool: &Pool) -> ServerView {
    let vitals = pool.ledger.vitals();
    let Gaps { count, last, .. } = pool.ledger.state().gaps.clone();
    let last_gap = last.map(|Gap { from, to, unrecorded, cause, noted }| LogGapView {
        from: rfc3339(from),
        to: rfc3339(to),
        unrecorded,
        cause,
        event: noted,
    });
    let now = pool.gauges.now().map(|Now { in_flight, waiting, retries_left, retries_most }| NowView {
        in_flight: in_flight as u64,
        waiting: waiting as u64,
        retries_left,
        retries_most,
    });
    ServerView {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: rfc3339(pool.gauges.started()),
        uptime_seconds: pool.gauges.uptime().as_secs(),
        stopping: pool.gauges.stopping(),
        bodies: pool.request_log.bodies.keeping().into(),
        open_to: pool.gatekeeper.open().into(),
        log: LogView {
            head: vitals.head,
            unsynced: vitals.head.saturating_sub(vitals.synced),
            queued: vitals.queued as u64,
            newer_events: unknown::told(pool.ledger.unknown()),
            failure: pool.ledger.failure().map(|failure| failure.to_string()),
            unrecorded: pool.ledger.unrecorded(),
            gaps: count,
            last_gap,
        },
        now,
    }
}

fn view(state: &State, server: ServerView, range: Range, now: Millis, recheck: Duration) -> Status {
    let window = state.statistics.window(range, now);
    let (attention, attention_more) = standing::attention(state, now, recheck);
    Status {
        at: rfc3339(now),
        range: range.into(),
        server,
        keys: standing::counts(&state.keys, now),
        models: standing::models(state, now),
        attention,
        attention_more,
        transitions: standing::transitions(state),
        traffic: Traffic::of(&window, now),
        bucket_seconds: u64::try_from(window.width / 1_000).unwrap_or(0),
        series: window.series.iter().map(|(at, bucket)| Point::of(*at, bucket.as_ref())).collect(),
        by_model: traffic::by_model(state, range, now),
        by_key: traffic::by_key(state, range, now),
        by_client: traffic::by_client(state, range, now),
    }
}

#[OpenApi]
impl StatusApi {
    /// The pool at a glance
    ///
    /// Keys by state, who can serve which model, what needs attention, and the traffic of a range (without one:
    /// the last hour) with its latencies, its plot, and the busiest models, keys and clients.
    #[oai(path = "/status", method = "get", tag = "Tag::Status", operation_id = "get_status")]
    async fn status(
        &self,
        token: Token,
        /// How far back.
        range: Query<Option<RangeName>>,
    ) -> Result<Json<Status>, Failure<{ INPUT | AUTH }>> {
        let pool = super::serving(self.0.as_ref())?;
        token.actor(pool)?;
        let server = server(pool);
        let now = pool.clock.now();
        let (range, recheck) =
            (range.0.map_or(Range::Hour, Range::from), pool.settings.now().key_recheck_interval);
        Ok(Json(view(&pool.ledger.state(), server, range, now, recheck)))
    }
}
