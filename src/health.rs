//! Is it alive, and can it serve? `/healthz` and `/readyz`; and are the keys good ([`prober`])?

pub mod checkup;
pub mod prober;

use std::sync::Arc;

use http::{StatusCode, header};
use poem::{Body, Response};
use serde_json::json;

use crate::{
    gauges::Gauges,
    ledger::{Ledger, clock::Clock},
    scheduler::Scheduler,
};

/// What readiness depends on.
pub struct Health {
    ledger: Ledger,
    scheduler: Arc<Scheduler>,
    clock: Clock,
    gauges: Arc<Gauges>,
}

impl Health {
    /// Healthy until something says otherwise.
    #[must_use]
    pub fn new(ledger: Ledger, scheduler: Arc<Scheduler>, clock: Clock, gauges: Arc<Gauges>) -> Self {
        Self { ledger, scheduler, clock, gauges }
    }

    /// The server is going down: not ready any more.
    pub fn drain(&self) {
        self.gauges.stop();
    }

    /// The process answers.
    #[must_use]
    pub fn alive(&self) -> Response {
        json_response(StatusCode::OK, &json!({"status": "alive"}))
    }

    /// Able to record, and not stopping; otherwise 503, with the reasons. A pool without keys is ready too: it
    /// can be given some. Strangers learn whether, and not why.
    #[must_use]
    pub fn ready(&self, stranger: bool) -> Response {
        let mut reasons = Vec::new();
        if self.gauges.stopping() {
            reasons.push(json!({"code": "draining", "message": "the server is stopping"}));
        }
        if let Some(failure) = self.ledger.failure() {
            reasons.push(json!({
                "code": "log_failed",
                "message": format!("the log takes no writes: {failure}"),
                "unrecorded": self.ledger.unrecorded(),
            }));
        }
        let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let word = if reasons.is_empty() { "ready" } else { "not ready" };
        if stranger {
            return json_response(status, &json!({"status": word}));
        }
        let (ready, keys) = self.scheduler.ready(self.clock.now());
        let log = *self.ledger.head().borrow();
        let body = json!({
            "status": word, "reasons": reasons, "keys": {"all": keys, "ready": ready}, "events": log,
        });
        json_response(status, &body)
    }
}

fn json_response(status: StatusCode, body: &serde_json::Value) -> Response {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CACHE_CONTROL, "no-store")
        .body(Body::from_string(format!("{body}\n")))
}
