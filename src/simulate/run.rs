//! Owns virtual time: one heap of what happens next, one world, one policy. Refuses threads, sockets and
//! clocks. Invariant: a policy is asked and told in the order of virtual time, and its laws are checked after
//! every step.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use projections::Millis;

use super::{
    laws::Broken,
    measure::Score,
    plan::Plan,
    policy::{Asked, Call, Check, Choice, End, Policy, Told},
    random::Random,
    watch::Watch,
};
use crate::simulated::{Fate, Refused, World};

/// How long a request waits for a key, at most: QUEUE_TIMEOUT.
const WAITS: Millis = 5_000;

/// How often a prober looks; the server's does every second.
const LOOK: Millis = 10_000;
/// Input tokens of a prober's call.
const PROBE_TOKENS: u64 = 5;

/// What happens next. At the same time, in the order in which it was foreseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    Change(usize),
    Back(usize, usize),
    Arrive(usize),
    /// A waiting request asks again; the number tells a wait that is over.
    Ask(usize, u32),
    /// A call reaches Google.
    Reach(usize),
    Begin(usize),
    Done(usize),
    Leave(usize),
    /// The policy's prober looks around.
    Look,
}

#[derive(Default)]
struct Request {
    tried: Vec<usize>,
    costly: u8,
    /// Until when it may wait, once it waits.
    until: Option<Millis>,
    /// How many times it began to wait.
    waits: u32,
    waiting: bool,
    waits_since: Millis,
    call: Option<usize>,
    ended: bool,
}

struct Sent {
    call: Call,
    fate: Option<Result<(), Refused>>,
    gone: bool,
}

pub(super) struct Run<'a> {
    plan: &'a Plan,
    policy: &'a mut dyn Policy,
    google: World,
    hand: Arc<AtomicI64>,
    heap: BinaryHeap<Reverse<(Millis, u64, Next)>>,
    foreseen: u64,
    requests: Vec<Request>,
    calls: Vec<Sent>,
    /// Waiting requests that want to hear when anything comes to something.
    listening: BTreeSet<usize>,
    watch: Watch<'a>,
    score: Score,
}

/// A law that was broken, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}, step {step}: {broken}")]
pub struct Failed {
    /// `gemini-pool simulate --seed` repeats it.
    pub seed: u64,
    /// After how many steps.
    pub step: u64,
    /// The law.
    pub broken: Broken,
}

/// Lets a policy live through a plan.
pub(super) fn run(plan: &Plan, policy: &mut dyn Policy) -> Result<Score, Failed> {
    let (google, hand) = plan.world();
    let mut run = Run {
        plan,
        policy,
        google,
        hand,
        heap: BinaryHeap::new(),
        foreseen: 0,
        requests: plan.requests.iter().map(|_| Request::default()).collect(),
        calls: Vec::new(),
        listening: BTreeSet::new(),
        watch: Watch::new(plan),
        score: Score::default(),
    };
    let changes = plan.changes.iter().zip(0..).map(|((at, _), change)| (*at, Next::Change(change)));
    let arrivals = plan.requests.iter().zip(0..).map(|(request, number)| (request.at, Next::Arrive(number)));
    for (at, next) in changes.chain(arrivals) {
        run.foresee(at, next);
    }
    if run.policy.has_prober() {
        run.foresee(plan.start, Next::Look);
    }
    let mut step = 0;
    let failed = |step, broken| Failed { seed: plan.seed, step, broken };
    let mut now = plan.start;
    while let Some(Reverse((at, _, next))) = run.heap.pop() {
        (now, step) = (at, step + 1);
        run.hand.store(at, Ordering::Relaxed);
        run.step(at, next);
        run.wake(at);
        run.policy.check().map_err(|broken| failed(step, broken))?;
    }
    run.policy.finish(now).map_err(|broken| failed(step, broken))?;
    run.score.steps = step;
    run.watch.finish(&mut run.score);
    Ok(run.score)
}

impl Run<'_> {
    fn foresee(&mut self, at: Millis, next: Next) {
        self.foreseen += 1;
        self.heap.push(Reverse((at, self.foreseen, next)));
    }

    fn step(&mut self, now: Millis, next: Next) {
        match next {
            Next::Change(change) => {
                if let Some((_, change)) = self.plan.changes.get(change) {
                    self.plan.change(&mut self.google, change);
                    self.watch.changed(change, now);
                }
            }
            Next::Back(project, model) => self.watch.may_be_back(&self.google, project, model, now),
            Next::Arrive(request) => {
                self.score.requests += 1;
                if let Some(leaves) = self.plan.requests.get(request).and_then(|plan| plan.leaves) {
                    self.foresee(now + leaves, Next::Leave(request));
                }
                self.seek(request, now);
            }
            Next::Ask(request, wait) => {
                let known =
                    self.requests.get_mut(request).filter(|known| known.waiting && known.waits == wait);
                if let Some(known) = known {
                    known.waiting = false;
                    self.ask_again(request, now);
                }
            }
            Next::Reach(call) => self.reach(call, now),
            Next::Begin(call) => {
                if let Some(sent) = self.calls.get(call).filter(|sent| !sent.gone) {
                    self.policy.began(&sent.call, now);
                    self.progress(now);
                }
            }
            Next::Done(call) => self.done(call, now),
            Next::Leave(request) => self.leave(request, now),
            Next::Look => {
                for check in self.policy.look(now) {
                    self.check(&check, now);
                }
                if now + LOOK < self.plan.end {
                    self.foresee(now + LOOK, Next::Look);
                }
            }
        }
    }

    /// Lets those ask whom the policy wakes.
    fn wake(&mut self, now: Millis) {
        for request in self.policy.woken() {
            if let Some(known) = self.requests.get_mut(request).filter(|known| known.waiting) {
                known.waits += 1;
                self.foresee_ask(request, now);
            }
        }
    }

    /// A call of the policy's own. It takes no time, and is counted like any other.
    fn check(&mut self, check: &Check, now: Millis) {
        let Some(key) = self.plan.keys.get(check.key) else { return };
        let number = self.calls.len() as u64 ^ now.unsigned_abs();
        let model = check.model.and_then(|model| self.plan.models.get(model));
        let fate = match model {
            Some(model) => match self.google.call(&key.secret, model, PROBE_TOKENS, number) {
                Fate::Served => Ok(()),
                Fate::Refused(refused) => Err(refused),
            },
            None => self.google.list(&key.secret),
        };
        self.score.calls += 1;
        let (id, attempt) = (usize::MAX, 0);
        let model = check.model.unwrap_or_default();
        let call = Call { id, request: id, client: 0, key: check.key, model, sent: now, attempt };
        match fate {
            Ok(()) => {
                if check.model.is_some() {
                    self.watch.served(check.key, model);
                }
                self.policy.checked(check, None, now);
            }
            Err(refused) => {
                if refused.is_fault {
                    self.score.storm_errors += 1;
                } else {
                    self.score.wasted += 1;
                    let cause = self.watch.wasted(&self.google, &call, &refused, now);
                    *self.score.waste.entry(cause).or_default() += 1;
                    self.watch.told(&call, &refused, now);
                }
                let google = &self.google;
                let body = || google.body_of(&refused);
                let told =
                    Told { status: refused.status, delay: refused.delay_ms, body: &body, tries: (0, 0) };
                self.policy.checked(check, Some(&told), now);
            }
        }
        self.progress(now);
    }

    fn ask_again(&mut self, request: usize, now: Millis) {
        self.listening.remove(&request);
        let since = self.requests.get(request).map_or(now, |known| known.waits_since);
        if let Some(plan) = self.plan.requests.get(request) {
            self.watch.missed(&self.google, plan, Some(since), now);
        }
        self.seek(request, now);
    }

    /// Wakes those that wait for anything to come to something.
    fn progress(&mut self, now: Millis) {
        for request in std::mem::take(&mut self.listening) {
            if let Some(known) = self.requests.get_mut(request).filter(|known| known.waiting) {
                known.waits += 1;
                self.foresee_ask(request, now);
            }
        }
    }

    fn foresee_ask(&mut self, request: usize, at: Millis) {
        let wait = self.requests.get(request).map_or(0, |known| known.waits);
        self.foresee(at, Next::Ask(request, wait));
    }

    /// Asks the policy for a key, and does as it says.
    fn seek(&mut self, request: usize, now: Millis) {
        let (Some(known), Some(plan)) = (self.requests.get_mut(request), self.plan.requests.get(request))
        else {
            return;
        };
        if known.ended {
            return;
        }
        let ends = known.until.unwrap_or(now + WAITS);
        let asked = Asked { request, model: plan.model, tokens: plan.tokens, tried: &known.tried, now, ends };
        match self.policy.choose(&asked, &self.google) {
            Choice::Send(key) => {
                known.tried.push(key);
                let attempt = u8::try_from(known.tried.len()).unwrap_or(u8::MAX);
                let id = self.calls.len();
                known.call = Some(id);
                let client = plan.client;
                let call = Call { id, request, client, key, model: plan.model, sent: now, attempt };
                self.policy.sent(&call);
                self.calls.push(Sent { call, fate: None, gone: false });
                self.score.calls += 1;
                if self.policy.knows_all() {
                    self.reach(id, now);
                } else {
                    let way = self.chance(&call).between(10, 40);
                    self.foresee(now + way, Next::Reach(id));
                }
            }
            Choice::Wait { until, progress } => {
                let last = *known.until.get_or_insert(now + WAITS);
                let in_time = until <= last || progress;
                if now >= last || !in_time || until <= now {
                    return self.refuse(request, now);
                }
                known.waiting = true;
                known.waits += 1;
                if progress {
                    self.listening.insert(request);
                }
                known.waits_since = now;
                self.foresee_ask(request, until.min(last));
            }
            Choice::Stand { until } => {
                let last = *known.until.get_or_insert(ends);
                if now >= last {
                    return self.refuse(request, now);
                }
                known.waiting = true;
                known.waits += 1;
                known.waits_since = now;
                self.foresee_ask(request, until.min(last));
            }
            Choice::Refuse => self.refuse(request, now),
        }
    }

    /// The same chance for the same try of the same request, whoever asks.
    fn chance(&self, call: &Call) -> Random {
        let number = (call.request as u64) << 8 | u64::from(call.attempt);
        Random::new(Random::new(self.plan.seed ^ number.rotate_left(17)).next())
    }

    fn refuse(&mut self, request: usize, now: Millis) {
        if let Some(plan) = self.plan.requests.get(request) {
            self.watch.missed(&self.google, plan, None, now);
            if let Some(key) = self.watch.who_could(&self.google, plan.model, plan.tokens, now) {
                self.score.wrongly_refused += 1;
                let gate = self.policy.obstacle(key, plan.model, now);
                let obstacle = format!("{gate}; project: {}", self.watch.describe(key, plan.model));
                *self.score.obstacles.entry(obstacle).or_default() += 1;
            }
        }
        self.end(request, End::Refused, now);
    }

    fn end(&mut self, request: usize, end: End, now: Millis) {
        let Some(known) = self.requests.get_mut(request).filter(|known| !known.ended) else { return };
        known.ended = true;
        known.waiting = false;
        self.listening.remove(&request);
        let counter = match end {
            End::Served => &mut self.score.served,
            End::Refused => &mut self.score.refused,
            End::Failed => &mut self.score.failed,
            End::Cancelled => &mut self.score.cancelled,
        };
        *counter += 1;
        self.policy.ended(request, end, now);
    }

    /// A call is at Google's door.
    fn reach(&mut self, id: usize, now: Millis) {
        let Some(call) = self.calls.get(id).map(|sent| sent.call) else { return };
        let Some(plan) = self.plan.requests.get(call.request) else { return };
        let (Some(key), Some(model)) = (self.plan.keys.get(call.key), self.plan.models.get(call.model))
        else {
            return;
        };
        let fate = match self.google.call(&key.secret, model, plan.tokens, id as u64) {
            Fate::Served => Ok(()),
            Fate::Refused(refused) => Err(refused),
        };
        let mut chance = self.chance(&call);
        match &fate {
            Ok(()) => {
                self.watch.served(call.key, call.model);
                self.foresee(now + plan.first_byte, Next::Begin(id));
                self.foresee(now + plan.duration, Next::Done(id));
            }
            Err(refused) => {
                if refused.is_fault {
                    self.score.storm_errors += 1;
                } else {
                    self.score.wasted += 1;
                    let cause = self.watch.wasted(&self.google, &call, refused, now);
                    *self.score.waste.entry(cause).or_default() += 1;
                }
                self.foresee(now + 40 + chance.between(20, 140), Next::Done(id));
            }
        }
        if let Some(at) = self.watch.full_until(&self.google, call.key, call.model, now)
            && let Some(project) = self.plan.keys.get(call.key).map(|key| key.project)
        {
            self.foresee(at, Next::Back(project, call.model));
        }
        if let Some(sent) = self.calls.get_mut(id) {
            sent.fate = Some(fate);
        }
    }

    /// A request tries again, at once or later.
    fn again(&mut self, request: usize, after: Millis, now: Millis) {
        if after == 0 {
            return self.seek(request, now);
        }
        if let Some(known) = self.requests.get_mut(request).filter(|known| !known.ended) {
            known.waiting = true;
            known.waits += 1;
            known.waits_since = now;
            self.foresee_ask(request, now + after);
        }
    }

    /// A call's answer is complete.
    fn done(&mut self, id: usize, now: Millis) {
        let Some(sent) = self.calls.get_mut(id).filter(|sent| !sent.gone) else { return };
        sent.gone = true;
        let (call, fate) = (sent.call, sent.fate.take());
        let Some(known) = self.requests.get_mut(call.request) else { return };
        known.call = None;
        match fate {
            Some(Ok(())) => {
                self.policy.served(&call, now);
                self.end(call.request, End::Served, now);
            }
            Some(Err(refused)) => {
                known.costly += u8::from(refused.is_fault);
                let tries = (call.attempt, known.costly);
                self.watch.told(&call, &refused, now);
                let google = &self.google;
                let body = || google.body_of(&refused);
                let told = Told { status: refused.status, delay: refused.delay_ms, body: &body, tries };
                if let Some(after) = self.policy.failed(&call, &told, now) {
                    self.again(call.request, after, now);
                } else if refused.is_fault {
                    self.end(call.request, End::Failed, now);
                } else {
                    self.refuse(call.request, now);
                }
            }
            None => {}
        }
        self.progress(now);
    }

    /// A client leaves.
    fn leave(&mut self, request: usize, now: Millis) {
        let Some(known) = self.requests.get_mut(request).filter(|known| !known.ended) else { return };
        let call = known.call.take();
        if let Some(sent) = call.and_then(|call| self.calls.get_mut(call)) {
            sent.gone = true;
            let call = sent.call;
            self.policy.left(&call, now);
        }
        self.end(request, End::Cancelled, now);
        self.progress(now);
    }
}

#[cfg(test)]
mod tests;
