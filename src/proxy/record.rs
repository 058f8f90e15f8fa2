//! One record for every request and every try, whatever becomes of them.
//!
//! Room in the ledger's queue is taken before anything begins, so that a record
//! can be given even from a destructor: a dropped record is a cancelled request.
//! One that ends in good order is in the log **before** the client has the end of
//! its answer, so what a killed process loses was under way.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderMap, Method};
use projections::{
    Millis, RequestId,
    event::{Answered, Attempted, Outcome, Verdict},
};
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::task_tracker::TaskTrackerToken};

use super::rescue::Refusal;
use crate::{
    access::Visit,
    gemini::{
        classify::Classified,
        stream::{Read, Reader},
    },
    ledger::{Fact, Reservation, rules::Penalty},
    lifecycle::Lifecycle,
    pacing::TooSlow,
    request_log::{RequestLog, bodies::Capture},
    scheduler::{Choice, Lease},
    vault,
};

/// The reason of what the stop cut off.
pub(super) const STOPPING: &str = "STOPPING";
/// The reason of what was cut off because its client read too slowly.
const TOO_SLOW: &str = "CLIENT_TOO_SLOW";
/// A client does not wait longer than this for the record of its request: the log may stand on a disk that stalls.
const PATIENCE: Duration = Duration::from_millis(250);
/// Longest method kept; the longest of HTTP's own has 7 letters.
const VERB_KEPT: usize = 16;
/// Longest path kept.
const PATH_KEPT: usize = 512;

pub(super) fn ms(since: Instant) -> u32 {
    u32::try_from(since.elapsed().as_millis()).unwrap_or(u32::MAX)
}

/// The record of a client's request; see [`Answered`].
pub(super) struct RequestRecord {
    pub(super) answered: Answered,
    /// Where it comes from.
    pub(super) address: Option<IpAddr>,
    /// Its place among those of its client, given back when this is recorded.
    pub(super) visit: Option<Visit>,
    /// How long it waited for a key.
    pub(super) waited: Duration,
    /// Whether its client was cut off because it reads too slowly.
    pub(super) too_slow: TooSlow,
    /// What the client calls the request, for the program's own log.
    client_request_id: Option<String>,
    /// Copies of its bodies, and where they go; none: they are not kept.
    bodies: Option<(Arc<RequestLog>, Box<Capture>)>,
    began: Instant,
    /// The client has the whole answer, though the connection to Google is not at its end.
    pub(super) whole: bool,
    reservation: Option<Reservation>,
    /// Time is up for what still runs.
    cut: CancellationToken,
    /// Holds up the stop until this is recorded.
    _running: [TaskTrackerToken; 2],
}

impl RequestRecord {
    pub(super) fn new(
        reservation: Reservation,
        lifecycle: &Lifecycle,
        now: Millis,
        request: RequestId,
        address: Option<IpAddr>,
        verb: &Method,
        path: &str,
    ) -> Self {
        let cut = path.floor_char_boundary(PATH_KEPT);
        let answered = Answered {
            request,
            client: None,
            address: address.map(|address| address.to_string()).unwrap_or_default(),
            verb: verb.as_str().chars().take(VERB_KEPT).collect(),
            path: path.get(..cut).unwrap_or_default().to_owned(),
            model: String::new(),
            method: String::new(),
            streamed: false,
            started: now,
            duration_ms: 0,
            first_byte_ms: None,
            status: 0,
            attempts: 0,
            outcome: Outcome::Cancelled,
            reason: None,
            bytes: 0,
            waited_ms: 0,
        };
        let running = [lifecycle.requests.token(), lifecycle.proxied.token()];
        let cut = lifecycle.cut.clone();
        let (began, reservation) = (Instant::now(), Some(reservation));
        let waited = Duration::ZERO;
        Self {
            answered,
            address,
            visit: None,
            waited,
            whole: false,
            too_slow: TooSlow::default(),
            client_request_id: None,
            bodies: None,
            began,
            reservation,
            cut,
            _running: running,
        }
    }

    /// Remembers the client's own `x-request-id`, where it is one.
    pub(super) fn called(&mut self, headers: &HeaderMap) {
        let told = headers.get("x-request-id").and_then(|value| value.to_str().ok());
        self.client_request_id = told.filter(|told| told.len() <= 128).map(str::to_owned);
    }

    /// Copies the bodies from here on, where that is wanted.
    pub(super) fn copy_bodies(&mut self, log: &Arc<RequestLog>, headers: &HeaderMap, query: &str) {
        self.bodies = log.bodies.begin(headers, query).map(|capture| (Arc::clone(log), capture));
    }

    /// The copies of its bodies, where they are kept.
    pub(super) fn bodies(&mut self) -> Option<&mut Capture> {
        self.bodies.as_mut().map(|(_, capture)| &mut **capture)
    }

    /// Whether the client may ask this model.
    pub(super) fn may_ask(&self, model: &str) -> Result<(), Refusal> {
        self.visit.as_ref().map_or(Ok(()), |visit| visit.may_ask(model).map_err(Refusal::Denied))
    }

    /// The first byte of an answer is about to go out.
    pub(super) fn first_byte(&mut self) {
        self.answered.first_byte_ms = Some(ms(self.began));
    }

    /// Records how it ended, and before it the last of its tries; returns when that is in the log.
    pub(super) async fn finish(mut self, outcome: Outcome, mut last: Option<Ended>) {
        let Some((reservation, answered)) = self.end(outcome) else { return };
        let (first, then) = match last.as_mut().and_then(|last| last.fact.take()) {
            Some(attempted) => (attempted, Some(answered)),
            None => (answered, None),
        };
        reservation.record_both_within(PATIENCE, first, then).await;
    }

    /// Records nothing, though it was refused.
    pub(super) fn forget(mut self, reason: &str) {
        self.reservation = None;
        tracing::debug!(request_id = %self.answered.request, reason, "a stranger's request is not recorded");
    }

    fn end(&mut self, outcome: Outcome) -> Option<(Reservation, Fact)> {
        let reservation = self.reservation.take()?;
        if let Some(visit) = self.visit.as_mut().filter(|_| self.answered.attempts > 0) {
            visit.sent();
        }
        self.answered.outcome = outcome;
        if outcome == Outcome::Cancelled && self.answered.reason.is_none() && self.too_slow.is_so() {
            self.answered.reason = Some(TOO_SLOW.to_owned());
        }
        self.answered.duration_ms = ms(self.began);
        self.answered.waited_ms = u32::try_from(self.waited.as_millis()).unwrap_or(u32::MAX);
        let Answered { request, client, verb, path, model, status, attempts, duration_ms, reason, .. } =
            &self.answered;
        tracing::info!(
            target: "gemini_pool::request",
            request_id = %request,
            client_request_id = self.client_request_id.as_deref(),
            client = client.map(|client| client.0),
            verb,
            path,
            model,
            status,
            ?outcome,
            attempts,
            waited_ms = (!self.waited.is_zero()).then_some(self.waited.as_millis() as u64),
            duration_ms,
            first_byte_ms = self.answered.first_byte_ms,
            reason = reason.as_deref(),
        );
        if let Some((log, capture)) = self.bodies.take() {
            let failed = outcome != Outcome::Complete || !(100..400).contains(&self.answered.status);
            log.keep(self.answered.request, failed, capture);
        }
        Some((reservation, Fact::Answered(Box::new(self.answered.clone()))))
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.answered.reason = Some("PANIC".to_owned());
        } else if self.cut.is_cancelled() && !self.whole {
            self.answered.reason = Some(STOPPING.to_owned());
        }
        let outcome = if self.whole { Outcome::Complete } else { Outcome::Cancelled };
        if let Some((reservation, answered)) = self.end(outcome) {
            reservation.record(answered);
        }
    }
}

/// A try that ended and is still to be recorded, with its request. Until then it holds the key's place: whoever gets
/// that must see what the try used up.
pub(super) struct Ended {
    fact: Option<Fact>,
    _place: Option<Lease>,
    progress: Arc<Notify>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        self._place = None;
        self.progress.notify_waiters();
    }
}

/// The record of one upstream try, and the key's place while it runs.
pub(super) struct AttemptRecord {
    pub(super) attempted: Attempted,
    began: Instant,
    lease: Option<Lease>,
    progress: Arc<Notify>,
    reservation: Option<Reservation>,
    /// To say that its answer begins, where that opens a gate.
    pub(super) opening: Option<Reservation>,
    /// Reads a copy of the answer, once there is one: whichever way it ends, what it said counts.
    pub(super) reader: Option<Reader>,
}

impl AttemptRecord {
    pub(super) fn new(
        reservation: Reservation,
        progress: Arc<Notify>,
        choice: Choice,
        now: Millis,
        request: &Answered,
    ) -> Self {
        let attempted = Attempted {
            request: request.request,
            attempt: request.attempts,
            client: request.client,
            key: choice.key,
            project: choice.project.to_string(),
            model: request.model.clone(),
            method: request.method.clone(),
            started: now,
            why: choice.why,
            probe: choice.probe,
            // Until it is known better, it was cancelled.
            ..Attempted::default()
        };
        let (began, lease) = (Instant::now(), Some(choice.lease));
        Self {
            attempted,
            began,
            lease,
            progress,
            reservation: Some(reservation),
            opening: None,
            reader: None,
        }
    }

    /// What the answer said so far, which goes into the record.
    pub(super) fn read(&mut self) -> Read {
        let read = self.reader.take().map(Reader::finish).unwrap_or_default();
        self.attempted.tokens = read.tokens;
        self.attempted.finish_reason.clone_from(&read.finish_reason);
        read
    }

    /// Google took the key and begins to answer.
    pub(super) fn first_byte(&mut self) {
        let elapsed = ms(self.began);
        self.attempted.first_byte_ms = Some(elapsed);
        if let Some(lease) = &self.lease {
            lease.first_byte(elapsed);
            lease.proven();
        }
        if let Some(opening) = self.opening.take() {
            opening.record(Fact::Began(Box::new(self.attempted.clone())));
        }
        self.progress.notify_waiters();
    }

    /// Records a failure and waits until the state holds it, gates and all.
    pub(super) async fn fail(mut self, classified: &Classified) {
        self.attempted.verdict = classified.verdict;
        self.attempted.reason.clone_from(&classified.reason);
        self.attempted.violations.clone_from(&classified.violations);
        self.attempted.retry_delay_ms = classified.retry_delay_ms;
        self.attempted.consumer.clone_from(&classified.consumer);
        let spread = vault::random().map_or(0, u16::from_ne_bytes);
        let penalty = Penalty { blame: classified.blame, hold: classified.hold, spread };
        if let Some((reservation, fact)) = self.end(penalty) {
            reservation.record_and_fold(fact).await;
        }
    }

    /// What an answer came to, once its stream is over; to be recorded with its request.
    pub(super) fn finish(mut self, verdict: Verdict) -> Option<Ended> {
        self.attempted.verdict = verdict;
        let (_, fact) = self.end(Penalty::NONE)?;
        Some(Ended { fact: Some(fact), _place: self.lease.take(), progress: Arc::clone(&self.progress) })
    }

    /// Records what an answer came to, where its request goes on; returns when that is in the log.
    pub(super) async fn record(mut self, verdict: Verdict) {
        self.attempted.verdict = verdict;
        if let Some((reservation, fact)) = self.end(Penalty::NONE) {
            reservation.record_and_fold(fact).await;
        }
    }

    fn end(&mut self, penalty: Penalty) -> Option<(Reservation, Fact)> {
        let reservation = self.reservation.take()?;
        // Not while panicking: it may be the reader that did.
        if self.reader.is_some() && !std::thread::panicking() {
            self.read();
        }
        self.attempted.latency_ms = ms(self.began);
        Some((reservation, Fact::Attempted(Box::new(self.attempted.clone()), penalty)))
    }
}

impl Drop for AttemptRecord {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.attempted.verdict = Verdict::Aborted;
        }
        if let Some((reservation, fact)) = self.end(Penalty::NONE) {
            reservation.record(fact);
        }
        // The place is given back before those who wait for it look again.
        self.lease = None;
        self.progress.notify_waiters();
    }
}
