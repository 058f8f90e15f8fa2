//! Why: what became of one request, and how every key stood when each of its tries was chosen; or how a key stood
//! at a time.
//!
//! Owns the shapes and the way through the log; the reasons are [`crate::scheduler::explain`]'s. Refuses to ask
//! the living: all that is told comes from the log, and would be told the same a year later. Its
//! invariant: an answer is bounded, however many keys there are.

mod story;
mod view;

use std::sync::Arc;

use poem_openapi::{Object, OpenApi, param::Query, payload::Json};
use projections::{
    KeyId, Millis, RequestId, Seq, State,
    event::{Answered, Attempted, Outcome},
};

use self::{
    story::Story,
    view::{MomentView, RequestView, StandingView},
};
use super::{
    Tag, Token,
    past::{Failed, Moment, fold, go_on, state_at},
    problem::{AUTH, CONFLICT, Failure, GONE, INPUT, LOG, MISSING, Problem},
};
use crate::{
    ledger::Ledger,
    pool::Pool,
    scheduler::explain::{self, Question, Seat},
};

pub(super) struct ExplainApi(pub(super) Option<Arc<Pool>>);

/// What became of a request, or how keys stood at a time, and why.
#[derive(Object)]
struct Explanation {
    /// The request; none where a key and a time were asked about.
    request: Option<RequestView>,
    /// When a key was chosen, or none could be; in order.
    moments: Vec<MomentView>,
    /// With `all`: every key at the moment that was asked for, by number.
    keys: Option<Vec<StandingView>>,
    /// With `all`: where to go on; none: that was all.
    next: Option<String>,
    /// Whether the log was read to the request's end; else it is still under way, or longer than one call looks.
    complete: bool,
}

/// A moment at which keys were looked at.
pub(super) struct Scene<'a> {
    /// The last event that the chooser had seen.
    seq: Seq,
    when: Moment,
    attempt: Option<&'a Attempted>,
    tried: Vec<KeyId>,
    model: &'a str,
    method: &'a str,
    ended: Option<&'a Answered>,
}

impl Scene<'_> {
    fn question<'b>(&'b self, state: &State) -> Question<'b> {
        let seat = match self.attempt {
            Some(attempt) => explain::seat_of(&state.keys, attempt, &self.tried),
            None => Seat::Anywhere,
        };
        let chosen = self.attempt.map(|attempt| attempt.key);
        Question { model: self.model, method: self.method, tried: &self.tried, seat, chosen }
    }
}

/// Refusals for want of a key.
fn wanted_a_key(answered: &Answered) -> bool {
    let reasons = ["ALL_KEYS_OUT", "OWNER_KEYS_OUT", "TRIES_SPENT", "MODEL_DOWN", "NO_KEYS", "QUEUE_FULL"];
    answered.outcome == Outcome::Refused
        && answered.reason.as_deref().is_some_and(|reason| reasons.contains(&reason))
}

impl Story {
    /// The moments of a request, as they came.
    fn scenes(&self) -> Vec<Scene<'_>> {
        let mut tried = Vec::new();
        let mut scenes = Vec::new();
        for attempt in &self.attempts {
            scenes.push(Scene {
                seq: attempt.why.seq,
                when: Moment::Time(attempt.started),
                attempt: Some(attempt),
                tried: tried.clone(),
                model: &attempt.model,
                method: &attempt.method,
                ended: None,
            });
            tried.push(attempt.key);
        }
        if let Some((seq, at, answered)) = self.answered.as_ref().filter(|(_, _, end)| wanted_a_key(end)) {
            let (model, method) = (answered.model.as_str(), answered.method.as_str());
            let (seq, ended) = (seq.saturating_sub(1), Some(answered));
            let when = Moment::Time(*at);
            scenes.push(Scene { seq, when, attempt: None, tried, model, method, ended });
        }
        scenes
    }
}

/// Which keys to tell of one by one.
#[derive(Clone, Copy)]
struct Close {
    key: Option<KeyId>,
    /// All of them, at the moment of this number, after this key, so many.
    all: Option<(usize, KeyId, usize)>,
}

/// Goes from moment to moment, in the log's order, and says how keys stood.
fn told(
    ledger: &Ledger,
    request: Option<RequestView>,
    scenes: &[Scene<'_>],
    close: Close,
    now: Millis,
    complete: bool,
) -> Result<Explanation, Failed> {
    let mut all = Explanation { request, moments: Vec::new(), keys: None, next: None, complete };
    let mut state: Option<State> = None;
    for (number, scene) in (1..).zip(scenes) {
        // What a later choice had seen is what an earlier one had, and more.
        let state = match &mut state {
            Some(state) if state.seq <= scene.seq => {
                go_on(ledger, state, scene.seq)?;
                state
            }
            slot => slot.insert(state_at(ledger, scene.seq)?),
        };
        let now = scene.when.millis(state, now);
        let question = scene.question(state);
        let found = explain::standings(&state.keys, &question, now);
        let asked = close.key.map(|key| story::asked(ledger, &found, key, scene)).transpose()?.flatten();
        if let Some((_, after, limit)) = close.all.filter(|(moment, ..)| *moment == number) {
            let rest = found.keys.iter().filter(|standing| standing.key.id > after);
            let page: Vec<_> = rest.clone().take(limit).collect();
            let more = rest.count() > page.len();
            all.next = page.last().filter(|_| more).map(|last| format!("key-{}", last.key.id));
            all.keys = Some(page.into_iter().map(|standing| StandingView::new(standing, scene)).collect());
        }
        all.moments.push(MomentView::new(scene, now, state, &question, &found, asked));
    }
    Ok(all)
}

#[OpenApi]
impl ExplainApi {
    /// Why did this happen?
    ///
    /// Of a request (`request_id`): what was asked, each try with its key, its verdict and why that key, and how the other
    /// keys stood at that moment; also of one that was refused without a try. Of a key (`key` and `at`): what stood in its
    /// way then, for a model. Keys are told by groups of one reason, with examples; `all` lists every one, page by page.
    #[oai(path = "/explain", method = "get", tag = "Tag::Past", operation_id = "explain")]
    #[expect(clippy::too_many_arguments, reason = "one for each parameter of the query")]
    async fn explain(
        &self,
        token: Token,
        /// The request, as `x-request-id` in its answer told.
        request_id: Query<Option<String>>,
        /// A key to tell about.
        key: Query<Option<u32>>,
        /// Without a request: the time (RFC 3339), or the last event (its number) before it.
        at: Query<Option<String>>,
        /// Without a request: the model that was asked for.
        model: Query<Option<String>>,
        /// Without a request: the method, such as `generateContent`.
        method: Query<Option<String>>,
        /// List every key, page by page.
        #[oai(default)]
        all: Query<bool>,
        /// With `all`: of which moment; 1 is the first.
        #[oai(default = "first")]
        moment: Query<u32>,
        /// With `all`: where to go on, `next` of the page before.
        cursor: Query<Option<String>>,
        /// With `all`: how many keys at most, 1 to 1,000.
        #[oai(default = "default_limit", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<u32>,
    ) -> Result<Json<Explanation>, Failure<{ INPUT | AUTH | MISSING | CONFLICT | GONE | LOG }>> {
        let pool = super::serving(self.0.as_ref())?;
        token.actor(pool)?;
        let place = match &cursor.0 {
            None => KeyId(0),
            Some(text) => {
                let place = text.strip_prefix("key-").and_then(|place| place.parse().ok());
                place.ok_or_else(Problem::bad_cursor)?
            }
        };
        let now = pool.clock.now();
        let key = key.0.map(KeyId);
        let close = Close { key, all: all.0.then_some((moment.0 as usize, place, limit.0 as usize)) };
        let Some(text) = request_id.0 else {
            if key.is_none() && at.0.is_none() {
                let text = "say request_id, or key and at: which request, or which key at what time?";
                return Err(Problem::bad_request(text).into());
            }
            let moment = Moment::read(at.0.as_deref())?;
            let (model, method) = (model.0.unwrap_or_default(), method.0.unwrap_or_default());
            let found = fold(pool, move |ledger| {
                let seq = moment.seq(ledger)?;
                let (model, method) = (model.trim_start_matches("models/"), method.as_str());
                let scene =
                    Scene { seq, when: moment, attempt: None, tried: Vec::new(), model, method, ended: None };
                told(ledger, None, &[scene], close, now, true)
            });
            let found = found.await?;
            return match (key, found.moments.first()) {
                (Some(key), Some(moment)) if moment.asked.is_none() => {
                    Err(Problem::not_found(format!("there was no key {key} then")).into())
                }
                _ => Ok(Json(found)),
            };
        };
        let id: RequestId =
            text.parse().map_err(|error| Problem::bad_request(format!("request_id: {error}")))?;
        let found = fold(pool, move |ledger| {
            let Some(story) = Story::read(ledger, id)? else { return Ok(None) };
            let scenes = story.scenes();
            told(ledger, Some(RequestView::new(&story)), &scenes, close, now, story.complete).map(Some)
        });
        let lost = "the log has no such request: is it still under way without a try, or older than LOG_RETENTION_DAYS?";
        Ok(Json(found.await?.ok_or_else(|| Problem::not_found(lost))?))
    }
}

fn first() -> u32 {
    1
}

fn default_limit() -> u32 {
    100
}
