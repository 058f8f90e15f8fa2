//! The roster: the keys as the chooser wants them, kept beside the state that the log gives.
//!
//! Owns the slots of keys, the sets of those that are ready, and what is special about
//! single models. It follows the log event by event. Its invariant: it answers what
//! the state says, but for what the log cannot know yet: requests under way.

mod budget;
mod follow;
mod lanes;
mod question;
mod sets;
mod slots;
mod sticky;

use std::{collections::HashMap, sync::Arc};

use projections::{
    KeyId, Millis, Seq,
    event::{Strategy, Why},
    keys::QuotaDay,
};

use self::{lanes::Lanes, question::Question, sets::Sets, slots::Slots, sticky::Memory};
use super::{
    Ask, Choice, From, Lease, Nobody,
    lease::{News, Reservation},
    ready::NEVER,
};

/// See the module.
#[derive(Debug)]
pub struct Roster {
    strategy: Strategy,
    slots: Slots,
    lanes: Lanes,
    /// For methods that every key may call.
    sets: Sets,
    /// For methods that some key may not call: nearly always empty.
    methods: HashMap<String, Sets>,
    /// Where conversations went.
    memory: Memory,
    /// Which keys began to serve.
    news: News,
    /// Room for the patterns that a model matches.
    mask: Vec<u64>,
    day: QuotaDay,
    seq: Seq,
    /// The latest time heard of. It never goes back, whatever the machine's clock does:
    /// what has opened stays open, as it does in the log.
    now: Millis,
}

impl Roster {
    /// An empty roster.
    #[must_use]
    pub fn new(strategy: Strategy) -> Self {
        let memory = if strategy == Strategy::Sticky { Memory::new() } else { Memory::default() };
        Self {
            strategy,
            slots: Slots::default(),
            lanes: Lanes::default(),
            sets: Sets::default(),
            methods: HashMap::new(),
            memory,
            news: News::default(),
            mask: Vec::new(),
            day: QuotaDay::default(),
            seq: 0,
            now: 0,
        }
    }

    /// Chooses by another strategy from now on; where conversations went is forgotten.
    pub fn set_strategy(&mut self, strategy: Strategy) {
        if self.strategy != strategy {
            self.memory = if strategy == Strategy::Sticky { Memory::new() } else { Memory::default() };
            self.strategy = strategy;
        }
    }

    /// Keys that could serve a request without a model at `now`, and all keys.
    pub fn ready(&mut self, now: Millis) -> (usize, usize) {
        self.now = self.now.max(now);
        self.sets.any.advance(self.now, |slot| self.slots.until(slot));
        (self.sets.any.count(), self.slots.all.len())
    }

    /// Chooses a key and takes its place. Allocates nothing, but for a first question about a model that
    /// other keys are for.
    ///
    /// # Errors
    /// [`Nobody`].
    pub fn choose(&mut self, ask: &Ask<'_>, now: Millis, random: u64) -> Result<Choice, Nobody> {
        self.now = self.now.max(now);
        let now = self.now;
        if ask.proven {
            self.hear();
        }
        let id = self.lanes.find(ask.model);
        let (sets, by_method) = match self.methods.get_mut(ask.method) {
            Some(sets) => (sets, true),
            None => (&mut self.sets, false),
        };
        let set = sets.of(id, ask.model, &self.slots, &mut self.mask, now);
        set.advance(now, |slot| self.slots.until(slot));
        let mut lane = id.and_then(|id| self.lanes.all.get_mut(id));
        let question = Question { by_method, ..Question::new(ask, now, &self.slots, set) };
        let passed_over = question.passed_over();

        let circuit = lane.as_ref().map(|lane| &lane.circuit).filter(|circuit| circuit.is_closed(now));
        let (broken, may) = (circuit.is_some(), circuit.is_none_or(|circuit| circuit.next() <= now));
        let talk = ask.sticky.filter(|_| self.strategy == Strategy::Sticky && ask.from == From::All);
        let home = talk.and_then(|talk| self.memory.recall(talk));
        // The heap of the lane tells at once whether a probe is due at all.
        let sooner = match &mut lane {
            Some(lane) if ask.may_probe && !broken => {
                let due = lane.first().is_some_and(|(next, _)| next <= now);
                if due { question.half_open(lane) } else { None }
            }
            _ => None,
        };
        let (mut on_trial, mut roomy) = (false, NEVER);
        let found = match &sooner {
            None if may => {
                // Room for tokens differs from request to request, and so it is looked at here and not in the sets.
                let question = Question { cells: lane.as_ref().map(|lane| &lane.cells), ..question.clone() };
                let found = question.find(self.strategy, home, random).map(|slot| slot.key);
                (on_trial, roomy) = (question.on_trial.get(), question.roomy.get());
                found.and_then(|key| self.slots.get(self.slots.index(key)?))
            }
            _ => None,
        };
        question.on_trial.set(question.on_trial.get() || on_trial);
        question.roomy.set(roomy);
        let found = match (found, &mut lane) {
            _ if sooner.is_some() => sooner.map(|(slot, claim)| (slot, Some(claim))),
            (Some(slot), Some(lane)) if broken => lane.circuit.claim(now).map(|claim| (slot, Some(claim))),
            (Some(slot), _) => Some((slot, None)),
            (None, Some(lane)) if !broken => {
                question.half_open(lane).map(|(slot, claim)| (slot, Some(claim)))
            }
            (None, _) => None,
        };
        let Some((slot, claim)) = found else {
            let circuit = lane.as_ref().map(|lane| lane.circuit.next().min(lane.circuit.shut.until));
            let for_sure = question.for_sure();
            let tries = lane.as_ref().is_some_and(|lane| lane.is_trying());
            let opens = match question.opens(lane) {
                Some(opens) if broken => {
                    Some(opens.max(circuit.unwrap_or_default())).filter(|at| *at != NEVER)
                }
                opens => opens,
            };
            // One that was told to crowd has waited for it.
            let tries = tries && !ask.crowd && !broken && ask.from == From::All;
            let on_trial = question.on_trial.get() || tries;
            return Err(Nobody { opens, for_sure, passed_over, on_trial, upstream: broken });
        };

        let probe = claim.is_some();
        // A probe has the one key that it goes with.
        let eligible = if probe && !broken { 1 } else { question.eligible(passed_over.tried) };
        let in_flight = slot.load.in_flight();
        let why = Why { strategy: self.strategy, seq: self.seq, eligible, passed_over, in_flight };
        let (key, fingerprint, row, load) = (slot.key, slot.fingerprint, slot.row, Arc::clone(&slot.load));
        // A probe is no reason to move: where it fails, another key answers.
        if let Some(talk) = talk.filter(|_| !probe || home.is_none()) {
            self.memory.remember(talk, key);
        }
        let project = self.slots.name(row).map(Arc::clone).unwrap_or_default();
        let tokens = id.and_then(|id| self.dispatch(id, row, ask.tokens));
        let lease = Lease::take((key, load), &self.news, claim, tokens);
        Ok(Choice { key, fingerprint, project, lease, probe, why })
    }

    /// A request goes out: it counts against what is left of a budget, and closes it with the last of it.
    fn dispatch(&mut self, id: usize, row: u32, tokens: u32) -> Option<Reservation> {
        let lane = self.lanes.all.get_mut(id).filter(|lane| lane.limited)?;
        let cell = lane.cells.get_mut(&row)?;
        let meters = cell.budget.as_mut()?;
        let reserved = meters.dispatch(tokens, &self.day, self.now);
        let spent = meters.opens(&self.day, self.now);
        if self.now < spent && spent != cell.applied.1 {
            cell.applied.1 = spent;
            let closed = cell.applied;
            self.apply(id, row, closed);
        }
        reserved
    }

    /// Tells the sets of a lane until when a project's slots are closed.
    fn apply(&mut self, id: usize, row: u32, closed: (Millis, Millis)) {
        for sets in std::iter::once(&mut self.sets).chain(self.methods.values_mut()) {
            let Some(set) = sets.lanes.get_mut(id) else { continue };
            for &index in self.slots.of(row) {
                set.close_model(index, closed, self.slots.until(index), self.now);
            }
        }
    }

    /// See [`super::Scheduler::claim`].
    pub fn claim(&mut self, key: KeyId, model: &str, now: Millis) -> Option<Lease> {
        self.now = self.now.max(now);
        let id = self.lanes.find(model)?;
        let ask = Ask { model, from: From::Only(key), crowd: true, ..Ask::default() };
        let question = Question::new(&ask, self.now, &self.slots, self.sets.lanes.get(id)?);
        let lane = self.lanes.all.get_mut(id).filter(|lane| !lane.circuit.is_closed(self.now))?;
        let (slot, claim) = question.half_open(lane)?;
        let (row, load) = (slot.row, Arc::clone(&slot.load));
        let tokens = self.dispatch(id, row, 0);
        Some(Lease::take((key, load), &self.news, Some(claim), tokens))
    }

    /// See [`super::Scheduler::due_probes`].
    pub fn due_probes(&mut self, since: Millis, now: Millis, limit: usize) -> Vec<(KeyId, Arc<str>, String)> {
        self.now = self.now.max(now);
        let now = self.now;
        let mut due = Vec::new();
        for (lane, id) in self.lanes.all.iter().zip(0_usize..) {
            let cells = lane.cells.iter().filter(|_| !lane.circuit.is_closed(now));
            let free =
                cells.filter(|(_, cell)| cell.is_due(now) && cell.next <= since && !cell.gate.is_taken());
            due.extend(free.map(|(row, cell)| (cell.next, *row, id)));
        }
        due.sort_unstable();
        let with_key = |(_, row, id): (Millis, u32, usize)| {
            let model = &self.lanes.all.get(id)?.model;
            let ask = Ask { model, ..Ask::default() };
            let question = Question::new(&ask, now, &self.slots, self.sets.lanes.get(id)?);
            let slot = question.prober_of(row, None)?;
            Some((slot.key, Arc::clone(self.slots.name(row)?), model.clone()))
        };
        due.into_iter().filter_map(with_key).take(limit).collect()
    }
}

#[cfg(test)]
mod tests;
