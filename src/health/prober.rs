//! Checks of keys, without a client's request.
//!
//! Owns when a key is looked at again and by which call. A key whose credential or
//! project failed is asked every `KEY_RECHECK_INTERVAL` by a call that spends no
//! quota (a list of models). A model that a project is closed for is asked by the
//! smallest call of its kind, by the half-open rule, where traffic wants it and has
//! not come to ask it itself; never before a spent day has turned. An operator's
//! test of a key goes the same way. It refuses to decide what an answer means
//! ([`crate::gemini::classify`]) and what follows from it ([`crate::ledger::rules`]).
//! Its invariant: every check is an event, and no more than [`AT_ONCE`] run.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use http::{HeaderMap, Method, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Limited};
use projections::{
    Fingerprint, KeyId, Millis, State,
    event::{Actor, KeyChecked, Verdict, Window},
    keys::{Key, Keys},
};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    gemini::{Call, Gemini, Payload, classify},
    ledger::{Fact, Ledger, clock::Clock, rules::Penalty},
    scheduler::{Lease, Scheduler},
    settings::Settings,
    vault::{self, Vault},
};

/// Checks under way at once.
const AT_ONCE: usize = 4;
/// How often the prober looks whether something is due.
const LOOK: Duration = Duration::from_secs(1);
/// A check that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// Traffic makes the probes that it needs; so long after one was due, the prober makes it.
pub(crate) const LEFT_TO_TRAFFIC: Millis = 10_000;
/// A model is wanted if a client asked for it so recently.
pub(crate) const WANTED: Millis = 10 * 60_000;
/// Answers are read up to this size, in bytes.
const READ: usize = 1 << 20;
/// Parts of a model's name that tell of calls with another shape, or that cost more than a word.
const NOT_PROBED: &[&str] =
    &["image", "imagen", "veo", "tts", "live", "audio", "lyria", "robotics", "computer-use"];

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// See [`Verdict`].
    pub verdict: Verdict,
    /// The HTTP status; 0 where none arrived.
    pub status: u16,
    /// What Google said.
    pub reason: Option<String>,
    /// Milliseconds it took.
    pub latency_ms: u32,
}

/// Why a key is not checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotChecked {
    /// There is no such key.
    #[error("there is no key {0}")]
    NoSuchKey(KeyId),
    /// The service goes down.
    #[error("the service is stopping")]
    Stopping,
}

/// One thing to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) key: KeyId,
    fingerprint: Fingerprint,
    pub(crate) project: String,
    /// The model to ask; empty: the key alone.
    pub(crate) model: String,
}

/// See the module.
pub struct Prober {
    ledger: Ledger,
    scheduler: Arc<Scheduler>,
    vault: Arc<Vault>,
    gemini: Gemini,
    clock: Clock,
    settings: Arc<Settings>,
    places: Arc<Semaphore>,
}

impl Prober {
    /// One that looks at failed keys every KEY_RECHECK_INTERVAL.
    #[must_use]
    pub fn new(
        ledger: Ledger,
        scheduler: Arc<Scheduler>,
        vault: Arc<Vault>,
        gemini: Gemini,
        clock: Clock,
        settings: Arc<Settings>,
    ) -> Self {
        Self { ledger, scheduler, vault, gemini, clock, settings, places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Checks what is due, until the service stops.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut under_way = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                _ = look.tick() => {}
                () = stop.cancelled() => break,
            }
            while under_way.try_join_next().is_some() {}
            // What is under way may still be due by the log.
            if !under_way.is_empty() {
                continue;
            }
            for (due, lease) in self.due() {
                let prober = Arc::clone(&self);
                under_way.spawn(async move {
                    let Ok(_place) = prober.places.acquire().await else { return };
                    prober.check_now(due, Actor::System).await;
                    drop(lease);
                });
            }
        }
        // Cut off: what a check would have said is not known, and nothing is recorded.
        under_way.shutdown().await;
    }

    /// Checks a key at once, because somebody wants to know; with a model, by a call that spends a little of its quota.
    ///
    /// # Errors
    /// [`NotChecked`].
    pub async fn test(&self, key: KeyId, model: Option<String>, actor: Actor) -> Result<Checked, NotChecked> {
        let due = {
            let state = self.ledger.state();
            let known = state.keys.get(key).ok_or(NotChecked::NoSuchKey(key))?;
            Due::new(known, model.unwrap_or_default())
        };
        let _place = self.places.acquire().await.map_err(|_| NotChecked::Stopping)?;
        self.check_now(due, actor).await.ok_or(NotChecked::NoSuchKey(key))
    }

    /// Whether all of them are there.
    ///
    /// # Errors
    /// The first that is not.
    pub fn knows(&self, keys: &[KeyId]) -> Result<(), KeyId> {
        let state = self.ledger.state();
        keys.iter().find(|key| state.keys.get(**key).is_none()).map_or(Ok(()), |missing| Err(*missing))
    }

    /// What is due now, with the place of those that are probes.
    fn due(&self) -> Vec<(Due, Option<Lease>)> {
        let now = self.clock.now();
        let interval = whole_millis(self.settings.now().key_recheck_interval);
        let (failed, cells) = {
            let state = self.ledger.state();
            let failed = failed_keys(&state.keys, now, interval, jitter(interval));
            let wanted = wanted(&state, now);
            let probes = self.scheduler.due_probes(now.saturating_sub(LEFT_TO_TRAFFIC), now, AT_ONCE * 4);
            let probes = probes.into_iter().filter(|(_, project, model)| {
                wanted.contains(model) && may_be_probed(&state.keys, project, model, now)
            });
            let cells: Vec<Due> =
                probes.filter_map(|(key, _, model)| Some(Due::new(state.keys.get(key)?, model))).collect();
            (failed, cells)
        };
        let claimed = cells.into_iter().filter_map(|due| {
            let lease = self.scheduler.claim(due.key, &due.model, now)?;
            Some((due, Some(lease)))
        });
        // Failed keys have a place of their own, or probes could keep them out for ever.
        let known = failed.into_iter().filter(|due| self.vault.upstream_key(&due.fingerprint).is_some());
        let mut failed = known.map(|due| (due, None));
        let first = failed.next();
        first.into_iter().chain(claimed).chain(failed).take(AT_ONCE).collect()
    }

    /// Makes the call and records what it came to; none: the key is gone.
    async fn check_now(&self, due: Due, actor: Actor) -> Option<Checked> {
        let key = self.vault.upstream_key(&due.fingerprint)?;
        let reservation = self.ledger.reserve().await?;
        let (started, began) = (self.clock.now(), Instant::now());
        let request = Request::of(&due.model);
        let mut payload = Payload::default();
        if let Some(body) = request.body {
            payload.push(body);
            payload.finish();
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        let call = Call {
            verb: &request.verb,
            path: &request.path,
            query: request.query,
            headers: &headers,
            payload: &payload,
        };
        let answered = timeout(PATIENCE, async {
            let response = self.gemini.call(&call, &key).await?;
            let (head, body) = response.into_parts();
            let body =
                Limited::new(body, READ).collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            Ok::<_, crate::gemini::CallError>((head, body))
        });
        let (status, classified) = match answered.await {
            Err(_) => (0, Verdict::TimedOut.into()),
            Ok(Err(error)) => {
                (0, classify::Classified { reason: Some(error.to_string()), ..error.verdict().into() })
            }
            Ok(Ok((head, body))) => {
                let mut body = body.to_vec();
                key.forms().mask(&mut body);
                let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
                (head.status.as_u16(), classify::classify(head.status.as_u16(), content_type, &body))
            }
        };
        let classified: classify::Classified = classified.on(key.route());
        let latency_ms = u32::try_from(began.elapsed().as_millis()).unwrap_or(u32::MAX);
        let spread = vault::random().map_or(0, u16::from_ne_bytes);
        let penalty = Penalty { blame: classified.blame, hold: classified.hold, spread };
        let checked = Checked { verdict: classified.verdict, status, reason: classified.reason, latency_ms };
        tracing::info!(key = due.key.0, model = due.model, verdict = ?checked.verdict, status, "checked a key");
        let event = KeyChecked {
            key: due.key,
            project: due.project,
            model: due.model,
            method: request.method.to_owned(),
            started,
            latency_ms,
            status,
            verdict: checked.verdict,
            reason: checked.reason.clone(),
            violations: classified.violations,
            retry_delay_ms: classified.retry_delay_ms,
            consumer: classified.consumer,
            actor,
        };
        reservation.record_and_fold(Fact::Checked(Box::new(event), penalty)).await;
        Some(checked)
    }
}

impl Due {
    fn new(key: &Key, model: String) -> Self {
        Self { key: key.id, fingerprint: key.fingerprint, project: key.project.clone(), model }
    }
}

/// The call that asks the least.
struct Request {
    verb: Method,
    path: String,
    query: &'static str,
    method: &'static str,
    body: Option<&'static [u8]>,
}

impl Request {
    fn of(model: &str) -> Self {
        let post = |method: &'static str, body: &'static [u8]| Self {
            verb: Method::POST,
            path: format!("/v1beta/models/{model}:{method}"),
            query: "",
            method,
            body: Some(body),
        };
        if model.is_empty() {
            let path = "/v1beta/models".to_owned();
            Self { verb: Method::GET, path, query: "pageSize=1", method: "models.list", body: None }
        } else if model.contains("embedding") {
            post("embedContent", br#"{"content":{"parts":[{"text":"."}]}}"#)
        } else {
            post(
                "generateContent",
                br#"{"contents":[{"role":"user","parts":[{"text":"."}]}],"generationConfig":{"maxOutputTokens":1}}"#,
            )
        }
    }
}

/// Up to a tenth of the interval, so that checks of many keys part.
pub(crate) fn jitter(interval: Millis) -> impl Fn(KeyId) -> Millis {
    move |key| Millis::from(key.0.wrapping_mul(2_654_435_761) >> 16) % (interval / 10).max(1)
}

/// Keys behind a gate that only a check opens, and not checked for long enough, the longest first. Of a project whose
/// gate it is, one.
pub(crate) fn failed_keys(
    keys: &Keys,
    now: Millis,
    interval: Millis,
    jitter: impl Fn(KeyId) -> Millis,
) -> Vec<Due> {
    let mut projects = BTreeSet::new();
    let due = keys.iter().filter(|key| key.enabled).filter_map(|key| {
        let (last, own) = last_found(keys, key)?;
        let late = now.saturating_sub(last) >= interval.saturating_add(jitter(key.id));
        (late && (own || projects.insert(&key.project))).then_some((last, key))
    });
    let mut due: Vec<_> = due.collect();
    due.sort_by_key(|(last, key)| (*last, key.id));
    due.into_iter().take(AT_ONCE * 4).map(|(_, key)| Due::new(key, String::new())).collect()
}

/// When a gate that only a check opens was last found to be closed before a key, and whether it is the key's own and not
/// its project's; none: there is no such gate.
fn last_found(keys: &Keys, key: &Key) -> Option<(Millis, bool)> {
    let waits = |gate: &&projections::keys::Gate| gate.until.is_none();
    let own = key.gate.as_ref().filter(waits);
    let project = keys.project(&key.project);
    let shared = project.and_then(|project| project.gate.as_ref()).filter(waits);
    let since = own.or(shared).map(|gate| gate.since)?;
    // What one key of a project found out holds for all of them.
    let of_all =
        || project.into_iter().flat_map(|project| &project.keys).filter_map(|id| keys.get(*id)?.checked);
    let checked = if own.is_some() { key.checked } else { of_all().max() };
    Some((checked.unwrap_or(since).max(since), own.is_some()))
}

/// When the prober checks a key by itself next, but for the moments that it needs to come to it; none: no gate that only
/// a check opens stands before the key, or it is not in use.
#[must_use]
pub fn next_check(keys: &Keys, key: &Key, interval: Duration) -> Option<Millis> {
    let (last, own) = last_found(keys, key).filter(|_| key.enabled)?;
    let interval = whole_millis(interval);
    let jitter = jitter(interval);
    // Of a project, the first of its keys that is due is checked for all.
    let siblings = keys.project(&key.project).into_iter().flat_map(|project| &project.keys);
    let siblings = siblings.filter(|id| !own && keys.get(**id).is_some_and(|key| key.enabled));
    let first = siblings.map(|id| jitter(*id)).min().unwrap_or_else(|| jitter(key.id));
    Some(last.saturating_add(interval).saturating_add(first))
}

fn whole_millis(interval: Duration) -> Millis {
    Millis::try_from(interval.as_millis()).unwrap_or(Millis::MAX)
}

/// Models that clients asked for lately.
fn wanted(state: &State, now: Millis) -> BTreeSet<String> {
    state.asked.since(now.saturating_sub(WANTED)).map(str::to_owned).collect()
}

/// Whether a small call to the model proves something; and a spent day is left to the traffic, which loses nothing.
pub(crate) fn may_be_probed(keys: &Keys, project: &str, model: &str, now: Millis) -> bool {
    let windows = keys.project(project).and_then(|project| project.models.get(model));
    let spent = windows.and_then(|windows| windows.get(&Window::Day)).is_some_and(|gate| gate.is_closed(now));
    !spent && is_plain(model) && !NOT_PROBED.iter().any(|part| model.contains(part))
}

/// Whether a name can stand in a path as it is.
#[must_use]
pub fn is_plain(model: &str) -> bool {
    (1..=128).contains(&model.len())
        && model.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

#[cfg(test)]
mod tests;
