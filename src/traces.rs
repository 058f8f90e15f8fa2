//! Traces for OpenTelemetry: a span for every request, and one for every upstream try below it.
//!
//! Owns what becomes of requests that ended, on the way to OTEL_EXPORTER_OTLP_ENDPOINT; without that setting nothing
//! of this runs. Spans are made from the log's events, as a view that follows it: a request's way knows no more of
//! it than whose trace it belongs to (W3C Trace Context; the header itself goes to Google unchanged, like any other).
//! It refuses to hold anything up: what the collector does not take in time is dropped, counted, and told. Its
//! invariant: no span tells more than the events it is made of, so no secret, no address, no body.

mod context;
mod export;
mod span;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use http::{HeaderMap, Uri};
use projections::{
    Event, Recorded, RequestId, State,
    event::{Answered, Attempted},
};
use tokio::{sync::mpsc, task::JoinHandle};

use self::context::Context;
use crate::ledger::View;
use crate::locks::Mutex;

/// Spans that may wait for the collector.
const QUEUE: usize = 16_384;
/// Requests under way whose callers' traces are known; further ones begin traces of their own.
const CALLERS: usize = 65_536;

/// Something that ended, to be told.
#[derive(Debug)]
enum Ended {
    Attempt(Box<Attempted>, Context),
    Request(Box<Answered>, Context),
}

/// See the module.
pub struct Traces {
    queue: mpsc::Sender<Ended>,
    /// For the exporter, until it runs.
    spans: Mutex<Option<mpsc::Receiver<Ended>>>,
    collector: Uri,
    callers: Mutex<HashMap<RequestId, Context>>,
    dropped: Arc<AtomicU64>,
}

impl Traces {
    /// For a collector at this address.
    #[must_use]
    pub fn new(collector: Uri) -> Self {
        let (queue, spans) = mpsc::channel(QUEUE);
        let (spans, callers) = (Mutex::new(Some(spans)), Mutex::default());
        Self { queue, spans, collector, callers, dropped: Arc::default() }
    }

    /// A request came in: remembers whose trace it belongs to, if its caller says so.
    pub fn called(&self, request: RequestId, headers: &HeaderMap) {
        let Some(context) = headers.get("traceparent").and_then(Context::of) else { return };
        let mut callers = self.callers.lock();
        if callers.len() < CALLERS {
            callers.insert(request, context);
        }
    }

    /// Begins to send; the task ends when this and everything that holds it is dropped, and the rest is sent.
    pub fn start(&self) -> Option<JoinHandle<()>> {
        let spans = self.spans.lock().take()?;
        Some(tokio::spawn(export::run(spans, self.collector.clone(), Arc::clone(&self.dropped))))
    }

    fn tell(&self, ended: Ended) {
        if self.queue.try_send(ended).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn follow(&self, event: &Event) {
        match event {
            Event::Attempted(event) => {
                let told = self.callers.lock().get(&event.request).copied();
                let context = told.unwrap_or_else(|| Context::own(event.request));
                if context.sampled {
                    self.tell(Ended::Attempt(Box::new(event.clone()), context));
                }
            }
            Event::Answered(event) => {
                let told = self.callers.lock().remove(&event.request);
                let context = told.unwrap_or_else(|| Context::own(event.request));
                if context.sampled {
                    self.tell(Ended::Request(Box::new(event.clone()), context));
                }
            }
            _ => {}
        }
    }
}

impl View for Traces {
    /// What happened before the start was told then.
    fn rebuild(&self, _: &State) {}

    fn folded(&self, _: &State, events: &[Recorded]) {
        events.iter().for_each(|recorded| self.follow(&recorded.event));
    }
}
