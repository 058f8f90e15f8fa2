//! Owns the state of the simulated Google, which tests build, edit and read. Refuses HTTP: it is asked with
//! read requests and answers with plans. Invariant: a call changes the world only through [`World::answer`],
//! in order of arrival, and the same calls at the same times meet the same fate.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::ask::{Ask, Head};
use super::clock::{Clock, pacific_day};
use super::fault::Fault;
use super::key::{Key, KeyState};
use super::model::Model;
use super::project::{Project, Used};
use super::reply::Reply;
use super::seen::{End, Outcome, Record, Seen};
use super::store::Store;

/// Calls remembered unless [`World::record_seen`] says otherwise.
const SEEN: usize = 100_000;

/// Everything the simulated Google knows. Built with the methods that take `self`, edited through
/// [`super::SimulatedGoogle::edit`].
pub struct World {
    /// Projects by name.
    pub projects: BTreeMap<String, Project>,
    /// Keys by their secret.
    pub keys: BTreeMap<String, Key>,
    /// Models by name, without `models/`.
    pub models: BTreeMap<String, Model>,
    /// What goes wrong with every call.
    pub faults: Vec<Fault>,
    /// Whether the caller's location is refused (400 FAILED_PRECONDITION), whatever the key.
    pub location_refused: bool,
    /// Whether errors of `alt=sse` calls are sent as `text/event-stream`, though they are plain JSON. A 404 is
    /// always sent so, as recorded.
    pub errors_as_events: bool,
    /// Origin of `X-Goog-Upload-URL`; `None` is the server's own. Google's is
    /// `https://generativelanguage.googleapis.com`.
    pub public_origin: Option<String>,
    /// How long an uploaded file stays PROCESSING.
    pub file_processing: Duration,
    /// Size in bytes that every chunk of an upload but the last must be a multiple of.
    pub chunk_granularity: u64,
    /// Largest request body, in bytes; over it 400.
    pub payload_limit: usize,
    /// Bodies up to this many bytes are kept in [`Seen::body`].
    pub keep_bodies: usize,
    pub(super) origin: String,
    pub(super) seed: u64,
    pub(super) store: Store,
    clock: Clock,
    today: Range<i64>,
    record: Record,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// The usual models, no project, no key, real time.
    pub fn new() -> Self {
        let generative = ["gemini-2.5-flash", "gemini-2.5-flash-lite", "gemini-2.5-pro", "gemini-2.0-flash"];
        let mut models: BTreeMap<String, Model> =
            generative.iter().map(|name| ((*name).to_owned(), Model::generative())).collect();
        models.insert("gemini-embedding-001".to_owned(), Model::embedding());
        Self {
            projects: BTreeMap::new(),
            keys: BTreeMap::new(),
            models,
            faults: Vec::new(),
            location_refused: false,
            errors_as_events: false,
            public_origin: None,
            file_processing: Duration::ZERO,
            chunk_granularity: 8 * 1024 * 1024,
            payload_limit: 314_572_800,
            keep_bodies: 0,
            origin: String::new(),
            seed: 1,
            store: Store::default(),
            clock: Clock::real(),
            today: 0..0,
            record: Record::new(SEEN),
        }
    }

    /// Changes a project, which is made if there is none of that name.
    pub fn project(mut self, name: &str, change: impl FnOnce(&mut Project)) -> Self {
        change(self.projects.entry(name.to_owned()).or_insert_with(|| Project::new(name)));
        self
    }

    /// Adds a good key to a project, which is made if there is none of that name.
    pub fn key(self, project: &str, key: &str) -> Self {
        self.key_in(project, key, KeyState::Good)
    }

    /// Adds a key in some state to a project, which is made if there is none of that name.
    pub fn key_in(self, project: &str, key: &str, state: KeyState) -> Self {
        let mut world = self.project(project, |_| {});
        world.keys.insert(key.to_owned(), Key { state, ..Key::new(project) });
        world
    }

    /// Adds a good key with a fault to a project, which is made if there is none of that name.
    pub fn key_with(self, project: &str, key: &str, fault: Fault) -> Self {
        let mut world = self.project(project, |_| {});
        world.keys.insert(key.to_owned(), Key { faults: vec![fault], ..Key::new(project) });
        world
    }

    /// Changes a model, which is made (generative) if there is none of that name.
    pub fn model(mut self, name: &str, change: impl FnOnce(&mut Model)) -> Self {
        change(self.models.entry(name.to_owned()).or_insert_with(Model::generative));
        self
    }

    /// Adds a fault that meets every call.
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// Decides what chance decides: which calls a shared fault meets, ids, short delays.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Stops the clock at a Unix time in milliseconds; only [`World::advance`] moves it.
    pub fn at(mut self, unix_ms: i64) -> Self {
        self.clock = Clock::frozen(unix_ms);
        self
    }

    /// Reads the time from elsewhere, in Unix milliseconds.
    pub fn clock(mut self, source: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        self.clock = Clock::from_fn(source);
        self
    }

    /// Turns the clock forward: a minute or a day passes for quotas and files.
    pub fn advance(&mut self, by: Duration) {
        self.settle();
        self.clock.advance(by);
    }

    /// Ties what projects have used up to the day that runs now.
    pub(super) fn settle(&mut self) {
        let now = self.now();
        let day = self.today(now);
        self.projects.values_mut().for_each(|project| project.settle(now, &day));
    }

    /// The world's time, in Unix milliseconds.
    pub fn now(&self) -> i64 {
        self.clock.now()
    }

    /// Remembers at most this many calls, the newest; 0 remembers none and only counts.
    pub fn record_seen(&mut self, limit: usize) {
        self.record.set_limit(limit);
    }

    /// The calls remembered, oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        self.record.all()
    }

    /// How many calls arrived, remembered or not.
    pub fn seen_count(&self) -> u64 {
        self.record.count()
    }

    /// What a project has used of a model's limits in the running minute and day; `None` for no such project.
    pub fn used(&self, project: &str, model: &str) -> Option<Used> {
        let now = self.now();
        self.projects.get(project).map(|project| project.used(model, now, &pacific_day(now)))
    }

    /// The Pacific day that holds `now`.
    pub(super) fn today(&mut self, now: i64) -> Range<i64> {
        self.today = self.day_of(now);
        self.today.clone()
    }

    /// The same, without keeping it for next time.
    pub(super) fn day_of(&self, now: i64) -> Range<i64> {
        if self.today.contains(&now) { self.today.clone() } else { pacific_day(now) }
    }

    /// Records a call whose head has arrived, and returns its number.
    pub(super) fn arrive(&mut self, head: &Head) -> u64 {
        let at = self.now();
        let key = match head.credentials.keys.first() {
            Some(key) => key.clone(),
            None => self.store.owner_of_upload(&head.call).map(|owner| owner.key.clone()).unwrap_or_default(),
        };
        let project = self.keys.get(&key).map(|known| known.project.clone()).unwrap_or_default();
        self.record.push(|n| Seen {
            n,
            at,
            key,
            project,
            model: head.model.clone(),
            method: head.method.to_string(),
            rpc: head.call.rpc().1,
            path: head.path.clone(),
            status: None,
            outcome: Outcome::Arrived,
            end: End::Open,
            closed: None,
            body_len: 0,
            body: None,
            headers: head.headers.clone(),
            violations: head.violations.clone(),
        })
    }

    /// Decides the answer to a whole request, changes what it changes, and records it under its number.
    pub(super) fn answer(&mut self, n: u64, ask: &Ask) -> Reply {
        let reply = self.decide(n, ask);
        let keep = ask.body.len() <= self.keep_bodies;
        self.decided(n, &reply);
        self.record.update(n, |seen| {
            seen.model.clone_from(&ask.model);
            seen.body_len = ask.body.len() as u64;
            seen.body = keep.then(|| ask.body.clone());
        });
        reply
    }

    /// Records what is sent for a call.
    pub(super) fn decided(&mut self, n: u64, reply: &Reply) {
        let cut = matches!(reply.body, super::reply::Body::Nothing);
        self.record.update(n, |seen| {
            seen.status = (!cut).then_some(reply.status);
            seen.outcome = reply.outcome;
        });
    }

    /// Records what a Live session adds to its call.
    pub(super) fn update(&mut self, n: u64, change: impl FnOnce(&mut Seen)) {
        self.record.update(n, change);
    }

    /// Records how the sending went.
    pub(super) fn ended(&mut self, n: u64, end: End) {
        self.record.update(n, |seen| seen.end = end);
    }
}
