//! How keys stood, as people read it.

use std::collections::BTreeMap;

use poem_openapi::{Enum, Object};
use projections::{
    Millis, Seq, State,
    event::{PassedOver, Verdict, Window},
    keys::Gate,
};

use super::{Scene, Story};
use crate::{
    admin::{keys::view::word, projects::WindowName},
    ledger::clock::rfc3339,
    scheduler::explain::{self, Ground, Question, Seat, Standing, Standings},
};

/// Keys shown of a group.
const EXAMPLES: usize = 5;

/// What stood in a key's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Enum)]
#[oai(rename_all = "snake_case")]
pub(super) enum Reason {
    /// It was chosen.
    Chosen,
    /// It could have been chosen: the strategy preferred another.
    Ready,
    /// Keys of a lower priority number were ready.
    LowerTier,
    /// The request had tried it already.
    Tried,
    /// Another project, or another key, was asked for: what the request names lives there.
    Elsewhere,
    /// What the pool sent reaches the limit that Google named: predicted to be out.
    Budget,
    /// Its project was closed for the model.
    ModelGate,
    /// It was closed for the method.
    MethodGate,
    /// Its project was closed.
    ProjectGate,
    /// Its credential had failed, or it rested after failures.
    KeyGate,
    /// An operator limited it to other models.
    OtherModels,
    /// An operator had disabled it.
    Disabled,
}

/// One key at a moment.
#[derive(Clone, Debug, Object)]
pub(super) struct StandingView {
    key: u32,
    label: String,
    project: String,
    reason: Reason,
    /// What closed the gate, in the log's words.
    cause: Option<String>,
    /// Which quota it is about.
    window: Option<WindowName>,
    /// Since when (RFC 3339).
    since: Option<String>,
    /// Until when (RFC 3339); none with a gate: until a check passes or an operator opens it.
    until: Option<String>,
    /// From when on one request at a time may try it (RFC 3339).
    probe: Option<String>,
    /// The event that made it so.
    pub(super) seq: Option<u64>,
    /// Of a budget: the limit that Google named.
    limit: Option<u64>,
    /// Of a budget: what was used of it, as far as the log knew.
    used: Option<u64>,
    /// All of that in a sentence.
    words: String,
}

/// Keys with one reason.
#[derive(Debug, Object)]
struct GroupView {
    reason: Reason,
    cause: Option<String>,
    window: Option<WindowName>,
    /// How many.
    keys: u32,
    /// Some of them.
    examples: Vec<StandingView>,
}

/// How many keys, by reason.
#[derive(Debug, Object)]
struct CountsView {
    disabled: u32,
    other_models: u32,
    key_gate: u32,
    project_gate: u32,
    model_gate: u32,
    budget: u32,
    tried: u32,
    /// Among which it could be chosen.
    eligible: u32,
}

/// One upstream try.
#[derive(Debug, Object)]
struct TryView {
    /// 1 for the first.
    attempt: u8,
    key: u32,
    project: String,
    /// What it came to, in the log's words.
    verdict: String,
    /// The HTTP status; 0: none arrived.
    status: u16,
    /// What Google said.
    reason: Option<String>,
    started_at: String,
    latency_ms: u32,
    first_byte_ms: Option<u32>,
    /// It went through a closed gate, as the one request that may.
    probe: bool,
    /// The rule that chose.
    strategy: String,
    /// Requests that the key already had under way.
    in_flight: u32,
    /// Why this key, in a sentence.
    words: String,
    /// The counts that were recorded with the choice.
    recorded: CountsView,
    /// Whether what the log tells again is what was recorded. (What was under way at the moment is in no log: so the
    /// sum of eligible, tried and budget is compared, and not each.)
    agrees: bool,
}

/// The model's circuit: it was in trouble at Google, for everybody.
#[derive(Debug, Object)]
struct CircuitView {
    cause: String,
    until: Option<String>,
    probe: Option<String>,
    seq: u64,
}

/// A moment at which keys were looked at.
#[derive(Debug, Object)]
pub(super) struct MomentView {
    /// The state is as of this event: the last that the chooser had seen.
    as_of: u64,
    /// When (RFC 3339).
    at: String,
    model: String,
    method: String,
    /// The try that was made; none: nobody could be chosen, or nobody was asked.
    r#try: Option<TryView>,
    /// The only project, or key, that was asked for, as the record shows: what the request names lives there, or the
    /// client's other things do.
    bound_to: Option<String>,
    circuit: Option<CircuitView>,
    /// As the log tells it.
    found: CountsView,
    /// Keys by reason.
    groups: Vec<GroupView>,
    /// The key that was asked about.
    pub(super) asked: Option<StandingView>,
    /// What else there is to say.
    words: Option<String>,
}

/// What was asked, and how it ended.
#[derive(Debug, Object)]
pub(super) struct RequestView {
    request_id: String,
    client: Option<u32>,
    verb: Option<String>,
    path: Option<String>,
    model: String,
    method: String,
    streamed: Option<bool>,
    /// When it arrived (RFC 3339).
    started_at: Option<String>,
    /// The status that the client saw; none: it is still under way.
    status: Option<u16>,
    outcome: Option<String>,
    /// The pool's own reason, where it refused or gave up.
    reason: Option<String>,
    attempts: u32,
    waited_ms: Option<u32>,
    duration_ms: Option<u32>,
    /// The event of its end.
    seq: Option<u64>,
    /// Other events that it led to, such as gates that closed.
    led_to: Vec<u64>,
}

impl RequestView {
    pub(super) fn new(story: &Story) -> Self {
        let end = story.answered.as_ref();
        let answered = end.map(|(_, _, answered)| answered);
        let first = story.attempts.first();
        let named =
            |of_end: Option<&String>, of_try: Option<&String>| of_end.or(of_try).cloned().unwrap_or_default();
        Self {
            request_id: story.request.to_string(),
            client: answered.map_or(first.and_then(|first| first.client), |end| end.client).map(|id| id.0),
            verb: answered.map(|end| end.verb.clone()),
            path: answered.map(|end| end.path.clone()),
            model: named(answered.map(|end| &end.model), first.map(|first| &first.model)),
            method: named(answered.map(|end| &end.method), first.map(|first| &first.method)),
            streamed: answered.map(|end| end.streamed),
            started_at: answered.map(|end| rfc3339(end.started)),
            status: answered.map(|end| end.status),
            outcome: answered.map(|end| word(end.outcome)),
            reason: answered.and_then(|end| end.reason.clone()),
            attempts: u32::try_from(story.attempts.len()).unwrap_or(u32::MAX),
            waited_ms: answered.map(|end| end.waited_ms),
            duration_ms: answered.map(|end| end.duration_ms),
            seq: end.map(|(seq, _, _)| *seq),
            led_to: story.led_to.clone(),
        }
    }
}

impl CountsView {
    fn new(counts: PassedOver, eligible: u32) -> Self {
        let PassedOver { disabled, key_gate, project_gate, model_gate, tried, budget, other_models } = counts;
        Self { disabled, other_models, key_gate, project_gate, model_gate, budget, tried, eligible }
    }
}

impl StandingView {
    pub(super) fn new(standing: &Standing<'_>, scene: &Scene<'_>) -> Self {
        let key = standing.key;
        let (reason, cause, window) = common(standing);
        let mut view = Self {
            key: key.id.0,
            label: key.label.clone(),
            project: key.project.clone(),
            reason,
            cause: cause.map(word),
            window: window.map(WindowName::from),
            since: None,
            until: None,
            probe: None,
            seq: None,
            limit: None,
            used: None,
            words: String::new(),
        };
        let model = if scene.model.is_empty() { "this" } else { scene.model };
        let words = match &standing.ground {
            Ground::Disabled => "an operator had disabled it".to_owned(),
            Ground::OtherModels => format!("it may be used for {} only", key.models.join(", ")),
            Ground::KeyGate(gate) => view.gate(gate, "the key was closed"),
            Ground::ProjectGate(gate) => view.gate(gate, "its project was closed"),
            Ground::ModelGate(_, gate) => view.gate(gate, &format!("its project was closed for {model}")),
            Ground::MethodGate(gate) => view.gate(gate, &format!("it was closed for {}", scene.method)),
            Ground::Budget(room) => {
                (view.limit, view.used) = (Some(room.limit), Some(room.used));
                view.until = room.turns.map(rfc3339);
                let until = room.turns.map(|at| format!(", until {}", rfc3339(at))).unwrap_or_default();
                format!("{} of {} used, predicted to be out{until}", room.used, room.limit)
            }
            Ground::Tried => "the request had tried it already".to_owned(),
            Ground::Elsewhere => "another project, or another key, was asked for".to_owned(),
            Ground::LowerTier => {
                format!("its priority is {}, and keys with a lower number were ready", key.priority)
            }
            Ground::Ready => "it was ready, and could have been chosen".to_owned(),
        };
        view.words = match (standing.chosen, standing.ground) {
            (false, _) => words,
            (true, Ground::Ready | Ground::Tried) => "it was chosen".to_owned(),
            (true, _) => {
                format!("it was chosen, as the one request to find out whether this still holds: {words}")
            }
        };
        view
    }

    /// Takes over what a gate says; gives it in words.
    fn gate(&mut self, gate: &Gate, what: &str) -> String {
        (self.since, self.until) = (Some(rfc3339(gate.since)), gate.until.map(rfc3339));
        (self.probe, self.seq) = (gate.probe.map(rfc3339), Some(gate.seq));
        let until = match &self.until {
            Some(until) => format!("until {until}"),
            None => "until a check passes or an operator opens it".to_owned(),
        };
        format!("{what} since event {} ({}) {until}", gate.seq, word(gate.cause))
    }

    /// Says which event made it so.
    pub(super) fn since(&mut self, event: Option<(Seq, Millis)>) {
        if let Some((seq, at)) = event {
            (self.seq, self.since) = (Some(seq), Some(rfc3339(at)));
            self.words = format!("{}, with event {seq}", self.words);
        }
    }
}

/// What a group has in common.
type Common = (Reason, Option<Verdict>, Option<Window>);

fn common(standing: &Standing<'_>) -> Common {
    let (reason, cause, window) = match &standing.ground {
        Ground::Disabled => (Reason::Disabled, None, None),
        Ground::OtherModels => (Reason::OtherModels, None, None),
        Ground::KeyGate(gate) => (Reason::KeyGate, Some(gate.cause), None),
        Ground::ProjectGate(gate) => (Reason::ProjectGate, Some(gate.cause), None),
        Ground::ModelGate(window, gate) => (Reason::ModelGate, Some(gate.cause), Some(*window)),
        Ground::MethodGate(gate) => (Reason::MethodGate, Some(gate.cause), None),
        Ground::Budget(room) => (Reason::Budget, None, Some(room.window)),
        Ground::Tried => (Reason::Tried, None, None),
        Ground::Elsewhere => (Reason::Elsewhere, None, None),
        Ground::LowerTier => (Reason::LowerTier, None, None),
        Ground::Ready => (Reason::Ready, None, None),
    };
    (if standing.chosen { Reason::Chosen } else { reason }, cause, window)
}

fn groups(found: &Standings<'_>, scene: &Scene<'_>) -> Vec<GroupView> {
    let mut groups = BTreeMap::<Common, GroupView>::new();
    for standing in &found.keys {
        let name @ (reason, cause, window) = common(standing);
        let group = groups.entry(name).or_insert_with(|| GroupView {
            reason,
            cause: cause.map(word),
            window: window.map(WindowName::from),
            keys: 0,
            examples: Vec::new(),
        });
        group.keys += 1;
        if group.examples.len() < EXAMPLES {
            group.examples.push(StandingView::new(standing, scene));
        }
    }
    groups.into_values().collect()
}

impl MomentView {
    pub(super) fn new(
        scene: &Scene<'_>,
        now: Millis,
        state: &State,
        question: &Question<'_>,
        found: &Standings<'_>,
        asked: Option<StandingView>,
    ) -> Self {
        let gate = state.keys.upstream(scene.model).and_then(|upstream| upstream.gate.as_ref());
        let circuit = gate.filter(|gate| gate.is_closed(now));
        Self {
            as_of: scene.seq,
            at: rfc3339(now),
            model: scene.model.to_owned(),
            method: scene.method.to_owned(),
            r#try: scene.attempt.map(|attempt| TryView {
                attempt: attempt.attempt,
                key: attempt.key.0,
                project: attempt.project.clone(),
                verdict: word(attempt.verdict),
                status: attempt.status,
                reason: attempt.reason.clone(),
                started_at: rfc3339(attempt.started),
                latency_ms: attempt.latency_ms,
                first_byte_ms: attempt.first_byte_ms,
                probe: attempt.probe,
                strategy: word(attempt.why.strategy),
                in_flight: attempt.why.in_flight,
                words: chosen(attempt.probe, &word(attempt.why.strategy), attempt.why.eligible),
                recorded: CountsView::new(attempt.why.passed_over, attempt.why.eligible),
                agrees: explain::agrees(found, attempt, question.seat),
            }),
            bound_to: match question.seat {
                Seat::Anywhere => None,
                Seat::Project(project) => Some(format!("project {project}")),
                Seat::Key(key) => Some(format!("key {key}")),
            },
            circuit: circuit.map(|gate| CircuitView {
                cause: word(gate.cause),
                until: gate.until.map(rfc3339),
                probe: gate.probe.map(rfc3339),
                seq: gate.seq,
            }),
            found: CountsView::new(found.passed_over, found.eligible),
            groups: groups(found, scene),
            asked,
            words: remark(scene, found, circuit),
        }
    }
}

fn chosen(probe: bool, strategy: &str, eligible: u32) -> String {
    match (probe, eligible) {
        (true, 1) => {
            "nobody knew whether its gate still holds: this request alone was to find out".to_owned()
        }
        (true, _) => "the model was in trouble at Google: this request alone was to find out".to_owned(),
        (false, 1) => "it was the only one that could be chosen".to_owned(),
        (false, many) => format!("{strategy} chose it among {many} that could be chosen"),
    }
}

/// What else there is to say: where no key was tried, and where more was known than the log tells.
fn remark(scene: &Scene<'_>, found: &Standings<'_>, circuit: Option<&Gate>) -> Option<String> {
    if let Some(attempt) = scene.attempt {
        let told = attempt.why.passed_over.budget;
        return (told > found.passed_over.budget).then(|| {
            format!(
                "with what was under way, {told} keys were predicted to be out; the log alone knows of {}",
                found.passed_over.budget
            )
        });
    }
    let reason = scene.ended.and_then(|end| end.reason.as_deref());
    let (all, ready) = (found.keys.len(), found.eligible);
    let mut words = match reason {
        Some("OWNER_KEYS_OUT") => {
            format!(
                "the one project that owns what the request names was out; of all {all} keys {ready} were ready"
            )
        }
        Some("QUEUE_FULL") => "as many requests waited as may".to_owned(),
        Some(_) | None if all == 0 => "there was no key".to_owned(),
        Some(_) | None if ready == 0 => format!("none of {all} keys was ready"),
        Some(_) => format!(
            "{ready} of {all} keys were ready by then: too late, or with too little room for its tokens, or it had its tries"
        ),
        None => format!("{ready} of {all} keys were ready"),
    };
    if let Some(gate) = circuit {
        words.push_str(&format!("; the model was in trouble at Google since event {}", gate.seq));
    }
    Some(words)
}
