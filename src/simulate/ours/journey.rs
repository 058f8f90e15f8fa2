//! Owns what the proxy keeps of each request while it looks for a key: its place in the lines, the keys it must
//! not try again, its budget of tries. Refuses to choose. Invariant: it goes by [`lines`] and [`retry`] alone, as
//! the proxy does, with virtual time for the clock.

use std::{collections::HashMap, time::Duration};

use projections::{KeyId, Millis};

use super::super::policy::Choice;
use crate::{
    proxy::{
        queue::lines::{Lines, Ticket, Turn, Word},
        retry::{Allowance, Budget},
    },
    scheduler::Nobody,
};

/// How long a request waits for a key that another one is trying for the first time; as in the proxy.
const TRIAL: Millis = 2_000;
/// Requests that may wait at once; as in the proxy.
const MOST_WAITING: usize = 1_024;

/// One request's way.
#[derive(Debug)]
pub(super) struct Journey {
    pub(super) budget: Budget,
    pub(super) all: usize,
    pub(super) costly: usize,
    pub(super) tried: Vec<KeyId>,
    /// Those of them that Google refused at the door: once it has waited, the gates say whether they are as good
    /// as new.
    pub(super) refused: Vec<KeyId>,
    /// How often Google refused it at the door.
    pub(super) refusals: usize,
    ticket: Ticket,
    place: Place,
    /// Until when it leaves keys on trial to others.
    patience: Option<Millis>,
    /// What it waited for was more than a key on trial.
    waited: bool,
    /// It was let go where a word is wanted of what becomes of it.
    released: bool,
}

/// What a request that wants a key may do.
pub(super) enum May {
    Ask { crowd: bool },
    Not(Choice),
}

/// What a line waits for: a model, and how large a request is.
pub(super) type Place = (usize, u8);

/// Every request under way, and the lines they wait in.
pub(super) struct Journeys {
    all: HashMap<usize, Journey>,
    lines: Lines<Place, (), usize>,
    pub(super) allowance: Allowance,
    max_attempts: u8,
    began: Millis,
    /// Requests that may ask now.
    pub(super) woken: Vec<usize>,
}

impl Journeys {
    pub(super) fn new(began: Millis, max_attempts: u8) -> Self {
        Self {
            all: HashMap::new(),
            lines: Lines::new(MOST_WAITING),
            allowance: Allowance::new(Duration::ZERO),
            max_attempts,
            began,
            woken: Vec::new(),
        }
    }

    pub(super) fn since(&self, now: Millis) -> Duration {
        Duration::from_millis(u64::try_from(now - self.began).unwrap_or_default())
    }

    /// A request's way so far.
    pub(super) fn of(&mut self, request: usize, place: Place) -> &mut Journey {
        let Self { all, lines, max_attempts, .. } = self;
        all.entry(request).or_insert_with(|| Journey {
            budget: Budget::new(*max_attempts),
            all: 0,
            costly: 0,
            tried: Vec::new(),
            refused: Vec::new(),
            refusals: 0,
            ticket: lines.ticket(),
            place,
            patience: None,
            waited: false,
            released: false,
        })
    }

    /// Whether it is a request's turn.
    pub(super) fn turn(&mut self, request: usize, place: Place, now: Millis, ends: Millis) -> May {
        let journey = self.of(request, place);
        if std::mem::take(&mut journey.waited) {
            let refused = std::mem::take(&mut journey.refused);
            journey.tried.retain(|key| !refused.contains(key));
        }
        let ticket = journey.ticket;
        let time = self.since(now);
        let turn = self.lines.turn(&place, ticket, time);
        let until = match turn {
            Turn::Ask => return May::Ask { crowd: false },
            Turn::Behind if !self.lines.is_paced(&place) => {
                let patience = self.patience(request, place, now);
                if now >= patience || !self.join(request, place) {
                    return May::Ask { crowd: true };
                }
                return May::Not(Choice::Stand { until: patience });
            }
            Turn::Behind => ends,
            Turn::Paced(settles) => {
                ends.min(self.began.saturating_add(Millis::try_from(settles.as_millis()).unwrap_or(ends)))
            }
        };
        let late = self.lines.opens(&place).unwrap_or(now) >= ends;
        if late || !self.join(request, place) {
            return May::Not(Choice::Refuse);
        }
        self.of(request, place).waited = true;
        May::Not(Choice::Stand { until })
    }

    fn patience(&mut self, request: usize, place: Place, now: Millis) -> Millis {
        *self.of(request, place).patience.get_or_insert(now + TRIAL)
    }

    /// Takes its place, if there is room.
    fn join(&mut self, request: usize, place: Place) -> bool {
        let ticket = self.of(request, place).ticket;
        // All are one client's, which makes no room for itself.
        self.lines.join(&place, ((), ticket), &request, Duration::ZERO, &mut Vec::new()).is_ok()
    }

    /// Nobody could be chosen; none: ask once more, and crowd.
    pub(super) fn nobody(
        &mut self,
        request: usize,
        place: Place,
        nobody: &Nobody,
        (now, ends): (Millis, Millis),
    ) -> Option<Choice> {
        if nobody.on_trial {
            let patience = self.patience(request, place, now);
            let waits = now < patience && self.join(request, place);
            return waits.then_some(Choice::Wait { until: patience, progress: true });
        }
        match nobody.opens.filter(|opens| (now + 1..=ends).contains(opens)) {
            Some(until) if self.join(request, place) => {
                self.lines.closed(&place, nobody.opens);
                self.of(request, place).waited = true;
                Some(Choice::Wait { until, progress: true })
            }
            _ => Some(Choice::Refuse),
        }
    }

    /// A request has its key.
    pub(super) fn let_go(&mut self, request: usize, place: Place, now: Millis) {
        let (ticket, time) = (self.of(request, place).ticket, self.since(now));
        let released = self.lines.let_go(&place, ticket, time);
        let journey = self.of(request, place);
        (journey.released, journey.patience) = (released, None);
        self.awake(place, now);
    }

    /// What became of it.
    pub(super) fn word(&mut self, request: usize, word: Word, now: Millis) {
        let Some(journey) = self.all.get_mut(&request) else { return };
        if !std::mem::take(&mut journey.released) {
            return;
        }
        let (place, ticket) = (journey.place, journey.ticket);
        self.lines.word(&place, ticket, word);
        self.awake(place, now);
    }

    /// It waits no more.
    pub(super) fn end(&mut self, request: usize, now: Millis) -> usize {
        self.word(request, Word::Gone, now);
        let Some(journey) = self.all.remove(&request) else { return 0 };
        self.lines.leave(&journey.place, journey.ticket);
        self.awake(journey.place, now);
        journey.all
    }

    fn awake(&mut self, place: Place, now: Millis) {
        let time = self.since(now);
        self.woken.extend(self.lines.awake(&place, time));
    }
}
