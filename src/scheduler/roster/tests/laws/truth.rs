//! What the fold says about a question, worked out the slow way.

use projections::keys::Closed;
use projections::pattern::matches;

use super::*;
use crate::scheduler::{
    explain,
    explain::{Ground, Question, agrees, seat_of, standings},
};

/// Probes that began and ended: when the roster may send the next through the same gate.
#[derive(Debug, Default)]
pub(super) struct Paces {
    /// By project and model; no project: the circuit of the model.
    cells: BTreeMap<(String, String), Pace>,
    /// When keys changed projects while probes were on the way, it is not known here which gate those hold.
    blurred: BTreeMap<String, Millis>,
}

#[derive(Debug)]
struct Pace {
    seq: Seq,
    /// Requests on the way.
    held: u32,
    /// Before this none may follow, if the gate is the same.
    from: Millis,
    /// Before this none has to.
    due: Millis,
}

/// The last event that closed any of the gates in front of a model, or its circuit.
fn closed_by(keys: &Keys, (project, model): &(String, String)) -> Seq {
    if project.is_empty() {
        let gate = keys.upstream(model).and_then(|upstream| upstream.gate.as_ref());
        return gate.map_or(0, |gate| gate.seq);
    }
    let windows = keys.project(project).and_then(|project| project.models.get(model));
    windows.and_then(|windows| windows.values().map(|gate| gate.seq).max()).unwrap_or(0)
}

fn is_broken(keys: &Keys, model: &str, now: Millis) -> bool {
    let gate = keys.upstream(model).and_then(|upstream| upstream.gate.as_ref());
    gate.is_some_and(|gate| gate.is_closed(now))
}

impl Paces {
    fn cell(keys: &Keys, project: &str, model: &str, at: Millis) -> (String, String) {
        let project = if is_broken(keys, model, at) { "" } else { project };
        (project.to_owned(), model.to_owned())
    }

    /// A probe goes out, and must be allowed to.
    pub(super) fn began(&mut self, keys: &Keys, project: &str, model: &str, at: Millis) {
        let cell = Self::cell(keys, project, model, at);
        let seq = closed_by(keys, &cell);
        let pace = self.cells.entry(cell.clone()).or_insert(Pace { seq, held: 0, from: 0, due: 0 });
        assert_eq!(pace.held, 0, "two at once through the gate of {cell:?}");
        assert!(pace.seq != seq || pace.from <= at, "too soon through the gate of {cell:?}: {pace:?}");
        *pace = Pace { seq, held: 1, from: at + PACE, due: at + PACE };
    }

    pub(super) fn ended(&mut self, _keys: &Keys, project: &str, model: &str, at: Millis) {
        for project in [project, ""] {
            if let Some(pace) = self.cells.get_mut(&(project.to_owned(), model.to_owned())) {
                pace.held = 0;
                // Whoever asked while it was on the way put the next off.
                pace.due = at + PACE;
            }
        }
    }

    /// After some events: what a gate says anew counts from then, and a project that is gone takes its
    /// probes with it.
    pub(super) fn follow(&mut self, keys: &Keys) {
        let gone: Vec<(String, String)> = self
            .cells
            .keys()
            .filter(|(project, _)| !project.is_empty() && keys.project(project).is_none())
            .cloned()
            .collect();
        for cell in gone {
            let pace = self.cells.remove(&cell).expect("listed");
            let until = if pace.held > 0 { Millis::MAX } else { pace.due };
            let blurred = self.blurred.entry(cell.1).or_default();
            *blurred = until.max(*blurred);
        }
        for (cell, pace) in &mut self.cells {
            let seq = closed_by(keys, cell);
            if pace.seq != seq {
                (pace.seq, pace.from) = (seq, 0);
            }
        }
    }

    /// Whether the roster may hold a probe back.
    fn may_wait(&self, project: &str, model: &str, now: Millis) -> bool {
        let pace = self.cells.get(&(project.to_owned(), model.to_owned()));
        pace.is_some_and(|pace| pace.held > 0 || now < pace.due)
            || self.blurred.get(model).is_some_and(|until| now < *until)
    }

    /// Whether it is known exactly when probes of a model may go.
    fn is_plain(&self, model: &str, now: Millis) -> bool {
        let mut cells = self.cells.iter().filter(|((_, of), _)| of == model);
        self.blurred.get(model).is_none_or(|until| *until <= now)
            && cells.all(|(_, pace)| pace.held == 0 && pace.due <= now)
    }
}

/// What the fold says about a question.
#[derive(Debug)]
pub(super) struct Truth {
    now: Millis,
    /// Keys that may be chosen, and what they have under way.
    candidates: BTreeMap<KeyId, u32>,
    /// Keys that may be chosen for a probe, with their projects; and whether each is on trial elsewhere.
    probes: BTreeMap<KeyId, (String, bool)>,
    /// Some key would be one, if it were not on trial with another request.
    on_trial: bool,
    opens: Option<Millis>,
    passed_over: PassedOver,
    eligible: u32,
}

/// Whether a key may be used for a model at all.
fn is_for(key: &Key, model: &str) -> bool {
    model.is_empty() || key.models.is_empty() || key.models.iter().any(|pattern| matches(pattern, model))
}

/// Whether nothing but its project's gates for the model is in a key's way, and each of those may be tried.
fn may_probe(keys: &Keys, key: &Key, ask: &Ask<'_>, at: Millis) -> bool {
    let project = keys.project(&key.project).expect("a key has a project");
    let open = |gate: Option<&Gate>| gate.is_none_or(|gate| !gate.is_closed(at));
    let windows = project.models.get(ask.model).into_iter().flat_map(|windows| windows.values());
    let mut closed = windows.filter(|gate| gate.is_closed(at)).peekable();
    key.enabled
        && is_for(key, ask.model)
        && open(key.gate.as_ref())
        && open(project.gate.as_ref())
        && open(key.methods.get(ask.method))
        && closed.peek().is_some()
        && closed.all(|gate| gate.probe.is_some_and(|probe| probe <= at))
}

impl Truth {
    pub(super) fn of(
        keys: &Keys,
        now: Millis,
        ask: &Ask<'_>,
        in_flight: impl Fn(KeyId) -> u32,
        proven: impl Fn(KeyId) -> bool,
    ) -> Self {
        let for_ever = |gate: Option<&Gate>| gate.is_some_and(|gate| gate.until.is_none());
        let good = |key: &&Key| {
            let project = keys.project(&key.project).and_then(|project| project.gate.as_ref());
            key.enabled && !for_ever(key.gate.as_ref()) && !for_ever(project)
        };
        let keeper = keys.iter().find(good).map(|key| key.id);
        let allowed = |key: KeyId| match ask.from {
            From::All => true,
            From::Keeper => keeper == Some(key),
            From::Only(only) => only == key,
            From::Project(name) => keys.get(key).is_some_and(|key| key.project == name),
        };
        let is_for = |key: KeyId| is_for(keys.get(key).expect("it was explained"), ask.model);
        let (mut passed_over, mut eligible, mut on_trial) = (PassedOver::default(), 0, false);
        let (mut candidates, mut probes) = (BTreeMap::new(), BTreeMap::new());
        for (id, closed) in explain(keys, ask, now) {
            let busy = in_flight(id) > 0 && !proven(id);
            let key = keys.get(id).expect("it was explained");
            if allowed(id) && !ask.tried.contains(&id) && may_probe(keys, key, ask, now) {
                probes.insert(id, (key.project.clone(), busy));
            }
            match closed {
                Some(Closed::Disabled) => passed_over.disabled += 1,
                _ if !is_for(id) => passed_over.other_models += 1,
                Some(Closed::Key(_)) => passed_over.key_gate += 1,
                Some(Closed::Project(_)) => passed_over.project_gate += 1,
                Some(Closed::Model(..) | Closed::Method(_)) => passed_over.model_gate += 1,
                // The circuit is nobody's fault: the keys are as ready as ever.
                None | Some(Closed::Upstream(_)) if ask.tried.contains(&id) => passed_over.tried += 1,
                None | Some(Closed::Upstream(_)) if !allowed(id) => {}
                None | Some(Closed::Upstream(_)) => {
                    eligible += 1;
                    on_trial |= busy;
                    if !busy {
                        candidates.insert(id, in_flight(id));
                    }
                }
            }
        }
        // As time goes by gates only open, and only at these times.
        let times = BTreeSet::from_iter(std::iter::once(now).chain(openings(keys, now)));
        let open = |at: &Millis| {
            explain(keys, ask, *at).any(|(id, closed)| {
                let key = keys.get(id).expect("it was explained");
                let ready = matches!(closed, None | Some(Closed::Upstream(_))) && is_for(id);
                allowed(id) && (ready || may_probe(keys, key, ask, *at))
            })
        };
        let opens = times.into_iter().find(open);
        Self { now, candidates, probes, on_trial, opens, passed_over, eligible }
    }

    /// Asks the roster, and lets go again what it gives.
    pub(super) fn check(
        &self,
        roster: &mut Roster,
        keys: &Keys,
        paces: &mut Paces,
        ask: &Ask<'_>,
        random: u64,
    ) {
        let (now, seq) = (self.now, roster.seq);
        let circuit = keys.upstream(ask.model).and_then(|upstream| upstream.gate.as_ref());
        let circuit = circuit.filter(|gate| gate.is_closed(now));
        match roster.choose(ask, now, random) {
            Ok(Choice { key, why, probe, project, .. }) => {
                assert_eq!((why.passed_over, why.seq), (self.passed_over, seq), "{ask:?}");
                told_again(
                    keys,
                    ask,
                    now,
                    &Attempted {
                        key,
                        project: project.to_string(),
                        model: ask.model.to_owned(),
                        method: ask.method.to_owned(),
                        started: now,
                        why,
                        probe,
                        ..Attempted::default()
                    },
                );
                if probe {
                    paces.began(keys, &project, ask.model, now);
                    paces.ended(keys, &project, ask.model, now);
                }
                if probe && circuit.is_none() {
                    let others = !self.candidates.is_empty() && !ask.may_probe;
                    assert!(!others, "{key} is probed, and others are ready: {self:?}");
                    let known = self.probes.get(&key).map(|(name, busy)| (name.as_str(), *busy));
                    assert_eq!(known, Some((&*project, false)), "key {key} for {ask:?}: {self:?}");
                    return assert_eq!(why.eligible, 1);
                }
                assert_eq!(probe, circuit.is_some());
                let mut free = self.probes.values().filter(|(_, busy)| !busy);
                assert!(
                    !ask.may_probe
                        || probe
                        || free.all(|(project, _)| paces.may_wait(project, ask.model, now)),
                    "{key}, and not a probe that is due: {self:?}"
                );
                assert!(
                    circuit.is_none_or(|gate| gate.probe.is_some_and(|probe| probe <= now)),
                    "{circuit:?}"
                );
                let known = self.candidates.get(&key);
                assert_eq!(known, Some(&why.in_flight), "key {key} for {ask:?}: {self:?}");
                assert_eq!(why.eligible, self.eligible, "{ask:?}");
                let tier = |key: &KeyId| keys.get(*key).expect("it is one").priority;
                assert_eq!(Some(tier(&key)), self.candidates.keys().map(tier).min(), "{ask:?}: {self:?}");
            }
            Err(nobody) => {
                assert_eq!((nobody.passed_over, nobody.upstream), (self.passed_over, circuit.is_some()));
                if let Some(gate) = circuit {
                    let waits =
                        gate.probe.is_none_or(|probe| now < probe) || paces.may_wait("", ask.model, now);
                    return assert!(self.candidates.is_empty() || waits, "no probe for {ask:?}: {self:?}");
                }
                assert!(self.candidates.is_empty(), "nobody for {ask:?}: {self:?}");
                let mut free = self.probes.values().filter(|(_, busy)| !busy);
                let waits = free.all(|(project, _)| paces.may_wait(project, ask.model, now));
                assert!(waits, "no probe for {ask:?}: {self:?} {paces:?}");
                if self.probes.values().all(|(_, busy)| !busy) {
                    // A probe on its way is worth waiting for as well.
                    let or_a_probe = nobody.on_trial && ask.from == From::All;
                    assert!(nobody.on_trial == self.on_trial || or_a_probe, "{ask:?}");
                }
                if paces.is_plain(ask.model, now) {
                    assert_eq!(nobody.opens, self.opens, "{ask:?}: {self:?}");
                }
            }
        }
    }
}

/// Every time after `now` at which some gate opens by itself, or may be tried.
fn openings(keys: &Keys, now: Millis) -> impl Iterator<Item = Millis> {
    let of_keys = keys.iter().flat_map(|key| key.gate.iter().chain(key.methods.values()));
    let of_projects = keys.projects().flat_map(|(_, project)| {
        project.gate.iter().chain(project.models.values().flat_map(|windows| windows.values()))
    });
    let times = of_keys.chain(of_projects).flat_map(|gate| gate.until.into_iter().chain(gate.probe));
    times.filter(move |at| now < *at)
}

/// What is told of a choice afterwards, from its record and the state, is how it was.
fn told_again(keys: &Keys, ask: &Ask<'_>, now: Millis, attempted: &Attempted) {
    let seat = seat_of(keys, attempted, ask.tried);
    let question = Question {
        model: ask.model,
        method: ask.method,
        tried: ask.tried,
        seat,
        chosen: Some(attempted.key),
    };
    let found = standings(keys, &question, now);
    let why = attempted.why;
    assert!(agrees(&found, attempted, seat), "{ask:?}: {why:?}, and {found:?}");
    assert_eq!(found.passed_over, why.passed_over, "{ask:?}");
    if !attempted.probe {
        assert_eq!(found.eligible, why.eligible, "{ask:?} with {seat:?}");
        let chosen = found.keys.iter().find(|standing| standing.chosen).expect("it is there");
        assert_eq!(chosen.ground, Ground::Ready, "{ask:?}");
    }
}
