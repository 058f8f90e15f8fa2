//! What stood in the way of each key, for a question at a moment: the long form of [`PassedOver`].
//!
//! Owns the reasons, in the order in which the chooser looks for them, and refuses to know more than the state:
//! what was under way at the moment (places taken, budgets counted ahead) is in no log. Its invariant: but
//! for that, the counts are those that were recorded with the choice.

use projections::{
    KeyId, Millis,
    event::{Attempted, PassedOver, Window},
    headroom::{self, Headroom},
    keys::{Closed, Gate, Key, Keys},
};

/// A limit is believed for so long without another word of Google's (see the roster's budgets).
const BELIEVED_MS: Millis = 3_600_000;

/// Where a request may go, as far as its record shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Seat<'a> {
    /// To any key.
    #[default]
    Anywhere,
    /// To this project: what it names lives there.
    Project(&'a str),
    /// To this key and no other.
    Key(KeyId),
}

/// What was asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Question<'a> {
    /// The model; empty where none is named.
    pub model: &'a str,
    /// The RPC's name; empty: any.
    pub method: &'a str,
    /// Keys that the request had tried.
    pub tried: &'a [KeyId],
    /// Where it may go.
    pub seat: Seat<'a>,
    /// The key that was chosen.
    pub chosen: Option<KeyId>,
}

/// Why a key was not chosen, or that it could have been.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ground<'a> {
    /// An operator disabled it.
    Disabled,
    /// An operator limited it to other models.
    OtherModels,
    /// Its credential failed, or it rests after failures.
    KeyGate(&'a Gate),
    /// Its project is closed.
    ProjectGate(&'a Gate),
    /// Its project is closed for the model.
    ModelGate(Window, &'a Gate),
    /// It is closed for the method.
    MethodGate(&'a Gate),
    /// Its project is predicted to be out.
    Budget(Headroom<'a>),
    /// The request had tried it.
    Tried,
    /// The request had to go elsewhere.
    Elsewhere,
    /// Keys of a tier before its own were ready.
    LowerTier,
    /// It was as good as the one that was chosen.
    Ready,
}

/// One key at the moment.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// Which.
    pub key: &'a Key,
    /// What stood in its way.
    pub ground: Ground<'a>,
    /// It was chosen; what stands in its way then is what it was sent through, as a probe.
    pub chosen: bool,
}

/// How the keys stood, all of them, and how many by each reason.
#[derive(Clone, Debug)]
pub struct Standings<'a> {
    /// By number.
    pub keys: Vec<Standing<'a>>,
    /// Counted as the chooser counts.
    pub passed_over: PassedOver,
    /// Keys that were ready and not tried, wherever the request may go.
    pub ready: u32,
    /// Of those, the ones where it may go.
    pub eligible: u32,
}

/// The limit of which nothing is left, as far as the log knows.
fn spent<'a>(keys: &'a Keys, key: &'a Key, model: &str, now: Millis) -> Option<Headroom<'a>> {
    let project = keys.project(&key.project).filter(|project| project.budgets.contains_key(model))?;
    headroom::of_project(keys, &key.project, project, now).find(|room| {
        let doubted = now > room.confirmed.saturating_add(BELIEVED_MS);
        // Where days are back before they turn, nothing but a refusal tells that one is spent.
        let counts = room.window != Window::Day || !keys.day().is_short();
        room.model == model && room.left == 0 && !doubted && counts
    })
}

/// What is in a key's way apart from the request's own past.
fn obstacle<'a>(keys: &'a Keys, key: &'a Key, question: &Question<'_>, now: Millis) -> Option<Ground<'a>> {
    let closed = keys.closed(key, question.model, question.method, now);
    if closed != Some(Closed::Disabled) && !key.serves(question.model) {
        return Some(Ground::OtherModels);
    }
    match closed {
        Some(Closed::Disabled) => Some(Ground::Disabled),
        Some(Closed::Key(gate)) => Some(Ground::KeyGate(gate)),
        Some(Closed::Project(gate)) => Some(Ground::ProjectGate(gate)),
        Some(Closed::Model(window, gate)) => Some(Ground::ModelGate(window, gate)),
        Some(Closed::Method(gate)) => Some(Ground::MethodGate(gate)),
        // The circuit is nobody's of the pool: the keys are as ready as ever.
        None | Some(Closed::Upstream(_)) => spent(keys, key, question.model, now).map(Ground::Budget),
    }
}

/// How every key stood at `now`, in a state as the chooser had seen it.
#[must_use]
pub fn standings<'a>(keys: &'a Keys, question: &Question<'_>, now: Millis) -> Standings<'a> {
    let mut all = Standings { keys: Vec::new(), passed_over: PassedOver::default(), ready: 0, eligible: 0 };
    let counts = &mut all.passed_over;
    for key in keys.iter() {
        let here = match question.seat {
            Seat::Anywhere => true,
            Seat::Project(project) => key.project == project,
            Seat::Key(only) => key.id == only,
        };
        let ground = match obstacle(keys, key, question, now) {
            Some(ground) => ground,
            None if question.tried.contains(&key.id) => Ground::Tried,
            None if !here => Ground::Elsewhere,
            None => Ground::Ready,
        };
        match ground {
            Ground::Disabled => counts.disabled += 1,
            Ground::OtherModels => counts.other_models += 1,
            Ground::KeyGate(_) => counts.key_gate += 1,
            Ground::ProjectGate(_) => counts.project_gate += 1,
            Ground::ModelGate(..) | Ground::MethodGate(_) => counts.model_gate += 1,
            Ground::Budget(_) => counts.budget += 1,
            Ground::Tried => counts.tried += 1,
            Ground::Elsewhere => all.ready += 1,
            Ground::LowerTier | Ground::Ready => {
                (all.ready, all.eligible) = (all.ready + 1, all.eligible + 1)
            }
        }
        all.keys.push(Standing { key, ground, chosen: question.chosen == Some(key.id) });
    }
    let ready = all.keys.iter().filter(|standing| standing.ground == Ground::Ready);
    if let Some(first) = ready.map(|standing| standing.key.priority).min() {
        let later = |standing: &&mut Standing<'_>| {
            standing.ground == Ground::Ready && standing.key.priority > first && !standing.chosen
        };
        all.keys.iter_mut().filter(later).for_each(|standing| standing.ground = Ground::LowerTier);
    }
    all
}

/// Where a try's request could go, as its record shows: fewer could be chosen than were ready.
#[must_use]
pub fn seat_of<'a>(keys: &Keys, attempted: &'a Attempted, tried: &[KeyId]) -> Seat<'a> {
    let Attempted { why, probe, project, key, model, method, started, .. } = attempted;
    let question = Question { model, method, tried, ..Question::default() };
    let told = why.passed_over;
    let recorded = why.eligible.saturating_add(told.tried).saturating_add(told.budget);
    // A probe through a gate has only the key that it goes with, and tells nothing; one through the circuit of a
    // model had others beside it.
    let alone = *probe && why.eligible == 1;
    let anywhere = standings(keys, &question, *started);
    if alone || recorded >= anywhere.ready + anywhere.passed_over.tried + anywhere.passed_over.budget {
        return Seat::Anywhere;
    }
    let seat = Seat::Project(project);
    let there = standings(keys, &Question { seat, ..question }, *started).eligible;
    if why.eligible == 1 && there != 1 { Seat::Key(*key) } else { seat }
}

/// Whether the reasons found are those that were recorded with a try. Who was predicted to be out, or was tried, is
/// ready as far as the log goes: those three are one number.
#[must_use]
pub fn agrees(found: &Standings<'_>, attempted: &Attempted, seat: Seat<'_>) -> bool {
    let (why, one) = (&attempted.why, attempted.probe && attempted.why.eligible == 1);
    let unlike = |counts: PassedOver| PassedOver { tried: 0, budget: 0, ..counts };
    let sum = |counts: PassedOver, ready: u32| ready + counts.tried + counts.budget;
    unlike(why.passed_over) == unlike(found.passed_over)
        && (one
            || seat != Seat::Anywhere
            || sum(why.passed_over, why.eligible) == sum(found.passed_over, found.ready))
}
