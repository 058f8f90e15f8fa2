//! Owns the one place where the simulation meets the pool's own parts: the state and its log, the rules, the
//! roster, the classifier and the retry budget, driven as the proxy drives them. Refuses to decide anything by
//! itself. Invariant: every law in [`super::laws`] that a step could break is checked with that step.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use projections::{
    ClientId, Event, Fingerprint, KeyId, Millis, RequestId,
    budget::tokens_in,
    event::{
        Actor, Answered, Attempted, KeyAdded, KeyChecked, Outcome, PassedOver, Strategy, Tokens, Verdict,
        Window,
    },
    keys::Closed,
};

mod journey;

use self::journey::{Journeys, May};
use super::laws::{self, Broken, Probed};
use super::plan::Plan;
use super::policy::{Asked, Call, Check, Choice, End, Policy, Told};
use super::random::Random;
use crate::{
    gemini::classify::{Classified, classify},
    health::prober::{LEFT_TO_TRAFFIC, WANTED, failed_keys, jitter, may_be_probed},
    ledger::{
        rules::{self, Penalty},
        tape::Tape,
    },
    proxy::{
        queue::{lines::Word, size_of},
        retry::{self, Again},
    },
    scheduler::{self, Ask, From, Lease, Nobody, Roster},
    simulated::World,
};

const METHOD: &str = "generateContent";
/// MAX_ATTEMPTS, MAX_FAILURES_PER_KEY and KEY_RECHECK_INTERVAL, as they are by default.
const MAX_ATTEMPTS: u8 = 3;
const MAX_FAILURES: u32 = 3;
const RECHECK: Millis = 3_600_000;
/// What is left of a request's time: it has ten minutes, and nothing here takes so long.
const DEADLINE: Duration = Duration::from_secs(60);
/// Checks at once, at most; as in the prober.
const CHECKS: usize = 4;

/// A call under way.
struct Running {
    lease: Lease,
    attempted: Attempted,
    /// What it tries out, if it is a probe.
    probed: Option<Probed>,
    input: u64,
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
    /// Input tokens of the request that was asked for last, and bytes.
    input: (u64, u64),
    running: HashMap<usize, Running>,
    journeys: Journeys,
    /// When each model was last asked for.
    asked: BTreeMap<usize, Millis>,
    /// The places of probes that the prober is to make.
    claimed: BTreeMap<(KeyId, String), Lease>,
    /// Calls under way by key, counted apart from the leases.
    under_way: BTreeMap<KeyId, u32>,
    probes: BTreeMap<Probed, u32>,
    broken: Option<Broken>,
    /// Why nobody was chosen, the last time.
    why_not: &'static str,
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
            input: (0, 0),
            running: HashMap::new(),
            journeys: Journeys::new(plan.start, MAX_ATTEMPTS),
            asked: BTreeMap::new(),
            claimed: BTreeMap::new(),
            under_way: BTreeMap::new(),
            probes: BTreeMap::new(),
            broken: None,
            why_not: "",
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

    /// Asks the roster, and holds its answer against the laws.
    fn ask(&mut self, asked: &Asked<'_>, crowd: bool) -> Result<scheduler::Choice, Nobody> {
        let (model, now) = (self.model(asked.model), asked.now);
        let id = self.request_id(asked.request).0 as u64;
        // Some bodies have more bytes for a token, some have less.
        let bytes = (asked.tokens as f64 * 4.0 * (0.7 + 0.7 * Random::new(id).unit())) as u64;
        self.input = (asked.tokens, bytes);
        let journey = self.journeys.of(asked.request, (asked.model, 0));
        let ask = Ask {
            model,
            method: METHOD,
            tried: &journey.tried,
            from: From::All,
            may_probe: journey.tried.is_empty(),
            proven: journey.refusals >= retry::SURPRISES,
            crowd,
            tokens: u32::try_from(tokens_in(bytes)).unwrap_or(u32::MAX),
            sticky: None,
        };
        let choice = self.roster.choose(&ask, now, id.wrapping_add(journey.tried.len() as u64))?;
        let (key, place) = (choice.key, (model, METHOD));
        let keys = &self.tape.state().keys;
        let passed = laws::invariant_no_way_through_a_closed_gate(keys, key, place, choice.probe, now);
        let sent = self.under_way.get(&key).copied().unwrap_or_default();
        let counted = laws::invariant_places_are_given_back(key, choice.why.in_flight, sent);
        self.hold(passed);
        self.hold(counted);
        Ok(choice)
    }

    /// What a probe with a key tries out.
    fn probed(&self, key: KeyId, model: usize, now: Millis) -> Option<Probed> {
        let (keys, model) = (&self.tape.state().keys, self.model(model));
        let known = keys.get(key)?;
        match keys.closed(known, model, METHOD, now)? {
            Closed::Model(window, _) => Some((known.project.clone(), model.to_owned(), window)),
            Closed::Upstream(_) => Some((String::new(), model.to_owned(), Window::Unknown)),
            _ => None,
        }
    }

    /// A call is over: its place is given back, and its record made.
    fn over(&mut self, call: &Call, now: Millis, finish: impl FnOnce(&mut Attempted, u64) -> Penalty) {
        let Some(Running { lease, mut attempted, probed, input }) = self.running.remove(&call.id) else {
            return;
        };
        attempted.latency_ms = u32::try_from(now - call.sent).unwrap_or_default();
        if let Some(under_way) = self.under_way.get_mut(&attempted.key) {
            *under_way = under_way.saturating_sub(1);
        }
        if let Some(under_way) = probed.and_then(|probed| self.probes.get_mut(&probed)) {
            *under_way = under_way.saturating_sub(1);
        }
        let penalty = finish(&mut attempted, input);
        let at = now.max(self.tape.state().at);
        let events = rules::attempted(self.tape.state(), attempted, penalty, MAX_FAILURES, at);
        self.record(now, events);
        drop(lease);
    }
}

fn why_not(nobody: &Nobody) -> &'static str {
    match nobody.passed_over {
        _ if nobody.on_trial => "on trial",
        PassedOver { budget: 0, tried: 0, .. } => "too little room for tokens",
        PassedOver { budget: 0, .. } => "tried",
        PassedOver { tried: 0, .. } => "predicted to be out",
        _ => "predicted to be out, or tried",
    }
}

fn penalty(classified: &Classified, random: u64) -> Penalty {
    Penalty { blame: classified.blame, hold: classified.hold, spread: random as u16 }
}

impl Policy for Ours {
    fn name(&self) -> &'static str {
        "gemini-pool"
    }

    fn choose(&mut self, asked: &Asked<'_>, _google: &World) -> Choice {
        let Asked { request, model, now, ends, .. } = *asked;
        let place = (model, size_of(u32::try_from(asked.tokens).unwrap_or(u32::MAX)));
        self.asked.insert(model, now);
        let mut crowd = match self.journeys.turn(request, place, now, ends) {
            May::Ask { crowd } => crowd,
            May::Not(choice) => {
                self.why_not = "its turn would come too late";
                return choice;
            }
        };
        loop {
            match self.ask(asked, crowd) {
                Ok(choice) => {
                    let number = self.keys.iter().position(|known| *known == choice.key);
                    self.chosen = Some(choice);
                    self.journeys.let_go(request, place, now);
                    return number.map_or(Choice::Refuse, Choice::Send);
                }
                Err(nobody) => {
                    self.why_not = why_not(&nobody);
                    match self.journeys.nobody(request, place, &nobody, (now, ends)) {
                        Some(choice) => return choice,
                        None if crowd => return Choice::Refuse,
                        None => crowd = true,
                    }
                }
            }
        }
    }

    fn sent(&mut self, call: &Call) {
        let Some(scheduler::Choice { key, project, lease, probe, why, .. }) = self.chosen.take() else {
            return;
        };
        let probed = probe.then(|| self.probed(key, call.model, call.sent)).flatten();
        if let Some(probed) = &probed {
            *self.probes.entry(probed.clone()).or_default() += 1;
        }
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
            bytes_sent: self.input.1,
            bytes_received: 0,
            why,
            probe,
            retry_delay_ms: None,
            consumer: None,
        };
        *self.under_way.entry(key).or_default() += 1;
        self.running.insert(call.id, Running { lease, attempted, probed, input: self.input.0 });
        if call.attempt == 1 {
            self.journeys.allowance.first_try();
        }
        let journey = self.journeys.of(call.request, (call.model, 0));
        journey.tried.push(key);
        journey.all += 1;
        let tries = (journey.all, journey.costly);
        let most = (retry::MOST, usize::from(MAX_ATTEMPTS));
        self.hold(laws::invariant_tries_within_the_budgets(call.request, tries, most));
    }

    fn began(&mut self, call: &Call, now: Millis) {
        if let Some(Running { lease, attempted, .. }) = self.running.get_mut(&call.id) {
            let ms = u32::try_from(now - call.sent).unwrap_or_default();
            attempted.first_byte_ms = Some(ms);
            attempted.status = 200;
            lease.first_byte(ms);
            lease.proven();
            let attempted = attempted.clone();
            let events = rules::began(self.tape.state(), &attempted, now);
            self.record(now, events);
        }
        self.journeys.word(call.request, Word::Served, now);
    }

    fn served(&mut self, call: &Call, now: Millis) {
        self.over(call, now, |attempted, input| {
            attempted.status = 200;
            attempted.verdict = Verdict::Success;
            attempted.tokens.prompt = u32::try_from(input).unwrap_or(u32::MAX);
            Penalty::NONE
        });
    }

    fn failed(&mut self, call: &Call, told: &Told<'_>, now: Millis) -> Option<Millis> {
        let classified = classify(told.status, Some("application/json"), &(told.body)());
        let mut random = Random::new(self.seed ^ call.id as u64);
        let penalty = penalty(&classified, random.next());
        self.over(call, now, |attempted, _| {
            attempted.status = told.status;
            attempted.verdict = classified.verdict;
            attempted.reason.clone_from(&classified.reason);
            attempted.violations.clone_from(&classified.violations);
            attempted.retry_delay_ms = classified.retry_delay_ms;
            attempted.consumer.clone_from(&classified.consumer);
            penalty
        });
        let at_the_door = retry::at_the_door(classified.blame);
        let word = if at_the_door { Word::Refused } else { Word::Gone };
        self.journeys.word(call.request, word, now);
        let (keys, time) = (self.keys.len(), self.journeys.since(now));
        let journey = self.journeys.of(call.request, (call.model, 0));
        journey.costly += usize::from(!at_the_door);
        if at_the_door {
            journey.refused.extend(journey.tried.last());
            journey.refusals += 1;
        }
        let left_to_try = journey.tried.len() < keys;
        match journey.budget.again(&classified, true, DEADLINE, random.next()) {
            Again::No => None,
            Again::Now => Some(0),
            Again::After(wait) => {
                let may = left_to_try && self.journeys.allowance.take(time);
                may.then(|| Millis::try_from(wait.as_millis()).unwrap_or(0).max(1))
            }
        }
    }

    fn left(&mut self, call: &Call, now: Millis) {
        self.over(call, now, |_, _| Penalty::NONE);
    }

    fn woken(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.journeys.woken)
    }

    fn has_prober(&self) -> bool {
        true
    }

    fn look(&mut self, now: Millis) -> Vec<Check> {
        let number = |key: KeyId| self.keys.iter().position(|known| *known == key);
        let keys = &self.tape.state().keys;
        let mut checks = Vec::new();
        for (key, project, model) in self.roster.due_probes(now - LEFT_TO_TRAFFIC, now, CHECKS * 4) {
            let place = self.models.iter().position(|known| *known == model);
            let wanted = place.and_then(|place| self.asked.get(&place)).is_some_and(|at| now - at <= WANTED);
            if !wanted || checks.len() == CHECKS || !may_be_probed(keys, &project, &model, now) {
                continue;
            }
            if let (Some(lease), Some(number)) = (self.roster.claim(key, &model, now), number(key)) {
                self.claimed.insert((key, model), lease);
                checks.push(Check { key: number, model: place });
            }
        }
        let failed = failed_keys(keys, now, RECHECK, jitter(RECHECK)).into_iter();
        checks.extend(failed.filter_map(|due| Some(Check { key: number(due.key)?, model: None })));
        checks.truncate(CHECKS);
        checks
    }

    fn checked(&mut self, check: &Check, told: Option<&Told<'_>>, now: Millis) {
        let Some(key) = self.keys.get(check.key).copied() else { return };
        let classified = match told {
            Some(told) => classify(told.status, Some("application/json"), &(told.body)()),
            None => Verdict::Success.into(),
        };
        let model = check.model.map_or("", |model| self.model(model)).to_owned();
        let project = self.tape.state().keys.get(key).map(|key| key.project.clone()).unwrap_or_default();
        let penalty = penalty(&classified, Random::new(self.seed ^ now.unsigned_abs()).next());
        let lease = self.claimed.remove(&(key, model.clone()));
        let event = KeyChecked {
            key,
            project,
            method: if model.is_empty() { "models.list" } else { METHOD }.to_owned(),
            model,
            started: now,
            latency_ms: 0,
            status: told.map_or(200, |told| told.status),
            verdict: classified.verdict,
            reason: classified.reason,
            violations: classified.violations,
            retry_delay_ms: classified.retry_delay_ms,
            consumer: classified.consumer,
            actor: Actor::System,
        };
        let events = rules::checked(self.tape.state(), event, penalty, MAX_FAILURES, now);
        self.record(now, events);
        drop(lease);
    }

    fn ended(&mut self, request: usize, end: End, now: Millis) {
        let attempts = self.journeys.end(request, now);
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
            waited_ms: 0,
        };
        self.record(now, vec![answered.into()]);
    }

    fn obstacle(&self, key: usize, model: usize, now: Millis) -> String {
        let keys = &self.tape.state().keys;
        let Some(key) = self.keys.get(key).and_then(|key| keys.get(*key)) else { return "no key".to_owned() };
        match keys.closed(key, self.model(model), METHOD, now) {
            None => format!("no gate: {}", self.why_not),
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
