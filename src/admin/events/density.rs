//! How dense events lie along time: what a plot over the whole log is drawn from, and where each of its bars leads.

use std::sync::Arc;

use poem_openapi::{Object, OpenApi, param::Query, payload::Json};

use crate::{
    admin::{
        Tag, Token,
        past::{look, time},
        problem::{AUTH, Code, Failure, INPUT, LOG, Problem},
        serving,
    },
    ledger::{ByClass, Density, Stretch, clock::rfc3339},
    pool::Pool,
};

pub(in crate::admin) struct DensityApi(pub(in crate::admin) Option<Arc<Pool>>);

/// Events, by how long they are kept.
#[derive(Object)]
struct ClassCounts {
    /// What operators did.
    control: u64,
    /// What the pool learned of its keys.
    health: u64,
    /// What clients asked.
    traffic: u64,
}

impl From<ByClass> for ClassCounts {
    fn from(counts: ByClass) -> Self {
        let ByClass { control, health, traffic } = counts;
        Self { control, health, traffic }
    }
}

/// The events of a while.
#[derive(Object)]
struct EventBucket {
    /// When it begins (RFC 3339).
    at: String,
    /// Its first event's position; none: it has none.
    first: Option<u64>,
    /// How many events it has.
    events: u64,
    /// The same, by class.
    by_class: Option<ClassCounts>,
}

/// How dense events lie in a span of time.
#[derive(Object)]
struct EventDensity {
    /// When the span begins (RFC 3339).
    since: String,
    /// When it ends (RFC 3339).
    until: String,
    /// How long a bucket is, in milliseconds; the last one may be cut.
    bucket_ms: u64,
    /// Events of the whole span.
    events: u64,
    /// Events up to this position are not counted, and the pool as it was is not known before it: old traffic was
    /// dropped there. 0: the log is whole.
    after: u64,
    /// The last event in the log.
    head: u64,
    /// Oldest first, none left out.
    buckets: Vec<EventBucket>,
}

fn bucket(stretch: Stretch) -> EventBucket {
    let Stretch { at, first, events, by_class } = stretch;
    EventBucket { at: rfc3339(at), first, events, by_class: by_class.map(ClassCounts::from) }
}

fn view(density: Density) -> EventDensity {
    let Density { from, to, width, after, head, stretches } = density;
    EventDensity {
        since: rfc3339(from),
        until: rfc3339(to),
        bucket_ms: u64::try_from(width).unwrap_or(0),
        events: stretches.iter().map(|stretch| stretch.events).sum(),
        after,
        head,
        buckets: stretches.into_iter().map(bucket).collect(),
    }
}

#[OpenApi]
impl DensityApi {
    /// How dense events lie
    ///
    /// How many events there are in each bucket of a span, and the first of them, whatever the length of the log: only
    /// the ends of buckets are looked up. Counts by class take a look at each event, and are told where the whole
    /// span has 50,000 or fewer; ask for a shorter span to get them.
    #[oai(path = "/events/density", method = "get", tag = "Tag::Events", operation_id = "get_event_density")]
    async fn density(
        &self,
        token: Token,
        /// When the span begins (RFC 3339); left out: with the first event that is counted.
        from: Query<Option<String>>,
        /// When it ends (RFC 3339); left out: now.
        to: Query<Option<String>>,
        /// How many buckets at most, 1 to 500.
        #[oai(default = "default_buckets", validator(minimum(value = "1"), maximum(value = "500")))]
        buckets: Query<u32>,
    ) -> Result<Json<EventDensity>, Failure<{ INPUT | AUTH | LOG }>> {
        let pool = serving(self.0.as_ref())?;
        token.actor(pool)?;
        let from = from.0.as_deref().map(time).transpose()?;
        // What is recorded this very moment is in it.
        let to = to.0.as_deref().map(time).transpose()?.unwrap_or_else(|| pool.clock.now() + 1);
        if from.is_some_and(|from| from >= to) {
            let text = "parameter `from`: wants a time before `to`";
            return Err(Problem::of(Code::BadParameter, text).into());
        }
        let most = buckets.0;
        let density = look(pool, move |ledger| Ok(ledger.density(from, to, most)?)).await?;
        Ok(Json(view(density)))
    }
}

fn default_buckets() -> u32 {
    120
}
