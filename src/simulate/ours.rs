//! Owns the one place where the simulation meets the pool's own parts: the state and its log, the rules, the
//! roster, the classifier and the retry budget, driven as the proxy drives them. Refuses to decide anything by
//! itself. Invariant: every law in [`super::laws`] that a step could break is checked with that step.

use std::collections::{BTreeMap, HashMap};

use projections::{
    ClientId, Event, Fingerprint, KeyId, Millis, RequestId,
    event::{Actor, Answered, Attempted, KeyAdded, Outcome, Strategy, Tokens, Verdict},
    keys::Closed,
};

use super::laws::{self, Broken, Probed};
use super::plan::Plan;
use super::policy::{Asked, Call, Choice, End, Policy, Told};
use super::random::Random;
use crate::{
    gemini::classify::{Blame, classify},
    ledger::{
        rules::{self, Penalty},
        tape::Tape,
    },
    proxy::retry::{self, Budget},
    scheduler::{self, Ask, From, Lease, Roster},
    simulated::World,
};

const METHOD: &str = "generateContent";
/// MAX_ATTEMPTS and MAX_FAILURES_PER_KEY, as they are by default.
const MAX_ATTEMPTS: u8 = 3;
const MAX_FAILURES: u32 = 3;
/// How long a request waits for a key that another one is trying for the first time; as in the proxy.
const TRIAL: Millis = 2_000;

/// A call under way.
struct Running {
    lease: Lease,
    attempted: Attempted,
}

/// What a request has used up.
struct Used {
    budget: Budget,
    all: usize,
    costly: usize,
    /// Until when it leaves keys on trial to others.
    patience: Option<Millis>,
}

impl Default for Used {
    fn default() -> Self {
        Self { budget: Budget::new(MAX_ATTEMPTS), all: 0, costly: 0, patience: None }
    }
}

/// See the module.
pub(super) struct Ours {
    tape: Tape,
    roster: Roster,
    seed: u64,
    models: Vec<&'static str>,
    /// By the plan's numbers.
    keys: Vec<KeyId>,
    chosen: Option<scheduler::Choice>,
    running: HashMap<usize, Running>,
    requests: HashMap<usize, Used>,
    /// Calls under way by key, counted apart from the leases.
    under_way: BTreeMap<KeyId, u32>,
    probes: BTreeMap<Probed, u32>,
    broken: Option<Broken>,
}

impl Ours {
    pub(super) fn new(plan: &Plan) -> Self {
        let keys: Vec<KeyId> = (1..).take(plan.keys.len()).map(KeyId).collect();
        let mut ours = Self {
            tape: Tape::default(),
            roster: Roster::new(Strategy::default()),
            seed: plan.seed,
            models: plan.models.clone(),
            keys: keys.clone(),
            chosen: None,
            running: HashMap::new(),
            requests: HashMap::new(),
            under_way: BTreeMap::new(),
            probes: BTreeMap::new(),
            broken: None,
        };
        let added = keys.iter().zip(&plan.keys).map(|(key, known)| {
            let mut fingerprint = [0; 16];
            fingerprint.iter_mut().zip(known.secret.bytes()).for_each(|(slot, byte)| *slot = byte);
            let project = plan.projects.get(known.project).map(|project| project.name.clone());
            let added = KeyAdded {
                key: *key,
                label: format!("key {key}"),
                tail: String::new(),
                fingerprint: Fingerprint(fingerprint),
                project: project.filter(|_| known.declared),
                actor: Actor::Env,
            };
            Event::from(added)
        });
        ours.record(plan.start, added.collect());
        ours
    }

    /// Into the log, into the state, into the roster: the ledger's order.
    fn record(&mut self, now: Millis, events: Vec<Event>) {
        match self.tape.append(now, events) {
            Ok(recorded) => {
                let state = self.tape.state();
                self.roster.folded(&state.keys, state.seq, state.at, &recorded);
            }
            Err(error) => {
                self.hold(Err(Broken { law: "the log takes every event", what: error.to_string() }))
            }
        }
    }

    /// Keeps the first law that was broken.
    fn hold(&mut self, result: Result<(), Broken>) {
        if let (Err(broken), None) = (result, &self.broken) {
            self.broken = Some(broken);
        }
    }

    fn request_id(&self, request: usize) -> RequestId {
        let random = Random::new(self.seed ^ request as u64).next();
        RequestId((request as u128) << 64 | u128::from(random))
    }

    fn model(&self, model: usize) -> &'static str {
        self.models.get(model).copied().unwrap_or_default()
    }

    /// A call is over: its place is given back, and its record made.
    fn over(&mut self, call: &Call, now: Millis, finish: impl FnOnce(&mut Attempted) -> Penalty) {
        let Some(Running { lease, mut attempted }) = self.running.remove(&call.id) else { return };
        attempted.latency_ms = u32::try_from(now - call.sent).unwrap_or_default();
        if let Some(under_way) = self.under_way.get_mut(&attempted.key) {
            *under_way = under_way.saturating_sub(1);
        }
        let penalty = finish(&mut attempted);
        let at = now.max(self.tape.state().at);
        let events = rules::attempted(self.tape.state(), attempted, penalty, MAX_FAILURES, at);
        self.record(now, events);
        drop(lease);
    }
}

impl Policy for Ours {
    fn name(&self) -> &'static str {
        "gemini-pool"
    }

    fn choose(&mut self, asked: &Asked<'_>, _google: &World) -> Choice {
        let tried: Vec<KeyId> = asked.tried.iter().filter_map(|key| self.keys.get(*key).copied()).collect();
        let model = self.model(asked.model);
        let random = (self.request_id(asked.request).0 as u64).wrapping_add(tried.len() as u64);
        let patience = self.requests.get(&asked.request).and_then(|used| used.patience);
        let crowd = patience.is_some_and(|patience| patience <= asked.now);
        let ask = Ask { model, method: METHOD, tried: &tried, from: From::All, crowd, ..Ask::default() };
        let nobody = match self.roster.choose(&ask, asked.now, random) {
            Ok(choice) => {
                let key = choice.key;
                let keys = &self.tape.state().keys;
                let passed = laws::invariant_no_way_through_a_closed_gate(
                    keys,
                    key,
                    (model, METHOD),
                    choice.probe,
                    asked.now,
                );
                let sent = self.under_way.get(&key).copied().unwrap_or_default();
                let counted = laws::invariant_places_are_given_back(key, choice.why.in_flight, sent);
                self.hold(passed);
                self.hold(counted);
                self.chosen = Some(choice);
                let number = self.keys.iter().position(|known| *known == key);
                return number.map_or(Choice::Refuse, Choice::Send);
            }
            Err(nobody) => nobody,
        };
        if nobody.on_trial {
            let used = self.requests.entry(asked.request).or_default();
            let until = *used.patience.get_or_insert(asked.now + TRIAL);
            return Choice::Wait { until, progress: true };
        }
        match nobody.opens {
            Some(until) if until > asked.now => Choice::Wait { until, progress: false },
            _ => Choice::Refuse,
        }
    }

    fn sent(&mut self, call: &Call) {
        let Some(scheduler::Choice { key, project, lease, probe, why, .. }) = self.chosen.take() else {
            return;
        };
        let attempted = Attempted {
            request: self.request_id(call.request),
            attempt: call.attempt,
            client: Some(ClientId(call.client)),
            key,
            project: project.to_string(),
            model: self.model(call.model).to_owned(),
            method: METHOD.to_owned(),
            started: call.sent,
            latency_ms: 0,
            first_byte_ms: None,
            status: 0,
            verdict: Verdict::Cancelled,
            reason: None,
            violations: Vec::new(),
            tokens: Tokens::default(),
            finish_reason: None,
            bytes_sent: 0,
            bytes_received: 0,
            why,
            probe,
            retry_delay_ms: None,
            consumer: None,
        };
        *self.under_way.entry(key).or_default() += 1;
        self.running.insert(call.id, Running { lease, attempted });
        let used = self.requests.entry(call.request).or_default();
        used.patience = None;
        used.all += 1;
        let tries = (used.all, used.costly);
        let most = (retry::MOST, usize::from(MAX_ATTEMPTS));
        self.hold(laws::invariant_tries_within_the_budgets(call.request, tries, most));
    }

    fn began(&mut self, call: &Call, now: Millis) {
        if let Some(Running { lease, attempted }) = self.running.get_mut(&call.id) {
            let ms = u32::try_from(now - call.sent).unwrap_or_default();
            attempted.first_byte_ms = Some(ms);
            lease.first_byte(ms);
            lease.proven();
        }
    }

    fn served(&mut self, call: &Call, now: Millis) {
        self.over(call, now, |attempted| {
            attempted.status = 200;
            attempted.verdict = Verdict::Success;
            Penalty::NONE
        });
    }

    fn failed(&mut self, call: &Call, told: &Told<'_>, now: Millis) -> bool {
        let classified = classify(told.status, Some("application/json"), &(told.body)());
        let spread = Random::new(self.seed ^ call.id as u64).next() as u16;
        self.over(call, now, |attempted| {
            attempted.status = told.status;
            attempted.verdict = classified.verdict;
            attempted.reason.clone_from(&classified.reason);
            attempted.violations.clone_from(&classified.violations);
            attempted.retry_delay_ms = classified.retry_delay_ms;
            attempted.consumer.clone_from(&classified.consumer);
            Penalty { blame: classified.blame, hold: classified.hold, spread }
        });
        let used = self.requests.entry(call.request).or_default();
        let at_the_door =
            matches!(classified.blame, Blame::Key | Blame::Method | Blame::Project | Blame::Model);
        used.costly += usize::from(!at_the_door);
        used.budget.allows(&classified, true)
    }

    fn left(&mut self, call: &Call, now: Millis) {
        self.over(call, now, |_| Penalty::NONE);
    }

    fn ended(&mut self, request: usize, end: End, now: Millis) {
        let attempts = self.requests.remove(&request).map_or(0, |used| used.all);
        let (outcome, status) = match end {
            End::Served => (Outcome::Complete, 200),
            End::Failed => (Outcome::Complete, 503),
            End::Refused => (Outcome::Refused, 429),
            End::Cancelled => (Outcome::Cancelled, 0),
        };
        let answered = Answered {
            request: self.request_id(request),
            client: None,
            address: String::new(),
            verb: "POST".to_owned(),
            path: String::new(),
            model: String::new(),
            method: METHOD.to_owned(),
            streamed: false,
            started: now,
            duration_ms: 0,
            first_byte_ms: None,
            status,
            attempts: u8::try_from(attempts).unwrap_or(u8::MAX),
            outcome,
            reason: None,
            bytes: 0,
        };
        self.record(now, vec![answered.into()]);
    }

    fn obstacle(&self, key: usize, model: usize, now: Millis) -> String {
        let keys = &self.tape.state().keys;
        let Some(key) = self.keys.get(key).and_then(|key| keys.get(*key)) else { return "no key".to_owned() };
        match keys.closed(key, self.model(model), METHOD, now) {
            None => "no gate: tried, on trial, or out of tries".to_owned(),
            Some(Closed::Disabled) => "disabled".to_owned(),
            Some(Closed::Key(gate)) => format!("gate of the key: {:?}", gate.cause),
            Some(Closed::Project(gate)) => format!("gate of the project: {:?}", gate.cause),
            Some(Closed::Model(window, gate)) => format!("gate of the model, {window:?}: {:?}", gate.cause),
            Some(Closed::Method(gate)) => format!("gate of the method: {:?}", gate.cause),
            Some(Closed::Upstream(gate)) => format!("circuit of the model: {:?}", gate.cause),
        }
    }

    fn check(&mut self) -> Result<(), Broken> {
        match self.broken.take() {
            Some(broken) => Err(broken),
            None => laws::invariant_one_probe_at_a_time(&self.probes),
        }
    }

    fn finish(&mut self, now: Millis) -> Result<(), Broken> {
        for key in self.keys.clone() {
            let ask = Ask { method: METHOD, from: From::Only(key), crowd: true, ..Ask::default() };
            if let Ok(choice) = self.roster.choose(&ask, now, 0) {
                laws::invariant_places_are_given_back(key, choice.why.in_flight, 0)?;
            }
        }
        laws::invariant_the_log_tells_it_again(&self.tape)
    }
}
