//! When a request waits: for a key, or before another try; and what it is told when that is in vain.
//!
//! The shell around [`super::queue`] and [`super::retry`]. It holds no key's place while it
//! waits, and whoever leaves waits no more. Its invariant: what a refusal says of time is true.

use projections::{
    Millis,
    keys::{Key, Keys},
};
use tokio::time::Instant;

use super::{
    Asked, Proxy,
    affinity::Seat,
    attempt::Failure,
    queue::{Journey, NoTurn, Release},
    rescue::Refusal,
    retry::{Again, Budget, at_the_door},
    seek::all_out,
};
use crate::{
    scheduler::{Ask, Choice, From, Nobody},
    vault,
};

/// Which keys a request may go to.
fn whose(asked: &Asked) -> From<'_> {
    match &asked.seat {
        Seat::Anywhere => From::All,
        Seat::Keeper => From::Keeper,
        Seat::Home(project) | Seat::Owner { project, .. } => From::Project(project),
    }
}

/// Likewise, where the first choice has none.
fn reach(asked: &Asked) -> From<'_> {
    if matches!(asked.seat, Seat::Home(_)) { From::All } else { whose(asked) }
}

/// Whether a key is one of those. Which one keeps what nobody owns is the scheduler's to know.
fn is_from(from: From<'_>, key: &Key) -> bool {
    match from {
        From::All => true,
        From::Keeper => false,
        From::Only(only) => key.id == only,
        From::Project(project) => key.project == project,
    }
}

impl Proxy {
    /// Whether a failed call may be made again; returns when it is time to.
    pub(super) async fn may_repeat(
        &self,
        asked: &Asked,
        failure: &Failure,
        journey: &Journey,
        budget: &mut Budget,
    ) -> bool {
        let left = asked.deadline.saturating_duration_since(Instant::now());
        let random = vault::random().map_or(u64::MAX, u64::from_ne_bytes);
        match budget.again(&failure.classified, asked.target.repeatable, left, random) {
            Again::No => false,
            Again::Now => true,
            Again::After(wait) => {
                // Not even a wait is spent where no key is left to try.
                let left = {
                    let state = self.ledger.state();
                    let (from, model) = (reach(asked), asked.model.as_str());
                    state.keys.iter().any(|key| {
                        let tried = journey.tried.contains(&key.id);
                        !tried && key.enabled && key.serves(model) && is_from(from, key)
                    })
                };
                let allowed = left && self.allowance.lock().take(self.began.elapsed());
                if allowed {
                    // Nothing is held meanwhile but the body: the key's place was given back.
                    tokio::time::sleep(wait).await;
                }
                allowed
            }
        }
    }

    /// Chooses a key, or waits for one where that makes sense.
    pub(super) async fn choose(
        &self,
        asked: &Asked,
        journey: &mut Journey,
        tokens: u32,
    ) -> Result<(Choice, Option<Release<'_>>), NoTurn> {
        let (from, proven) = (whose(asked), journey.wants_proof());
        let ask = |tried: &[_], crowd| {
            let (model, method) = (asked.model.as_str(), asked.target.method.as_str());
            // If it fails, the next key serves.
            let may_probe = tried.is_empty() && asked.target.repeatable;
            let sticky = asked.sticky;
            let ask = Ask { model, method, tried, from, may_probe, proven, crowd, tokens, sticky };
            // The request's id is random enough, and another one for every try.
            let random = (asked.id.0 as u64).wrapping_add(tried.len() as u64);
            let chosen = self.scheduler.choose(&ask, self.clock.now(), random);
            match chosen {
                // Home is where a client's things are best, and not where they must be.
                Err(_) if matches!(asked.seat, Seat::Home(_)) => {
                    self.scheduler.choose(&Ask { from: From::All, ..ask }, self.clock.now(), random)
                }
                chosen => chosen,
            }
        };
        self.queue.choose((asked.caller, &asked.model, from, tokens), journey, asked.deadline, ask).await
    }

    /// After the last try was refused at the door: who is left, if that is nobody. Otherwise the keys that were
    /// tried are out, and not the pool.
    pub(super) fn nobody_left(&self, asked: &Asked, failure: &Failure, journey: &Journey) -> Option<NoTurn> {
        if !at_the_door(failure.classified.blame) {
            return None;
        }
        let (now, from) = (self.clock.now(), reach(asked));
        let (model, method, tried) = (asked.model.as_str(), asked.target.method.as_str(), &journey.tried);
        let is_ready = |keys: &Keys, key: &Key| {
            let closed = !is_from(from, key) || !key.serves(model) || tried.contains(&key.id);
            !closed && keys.closed(key, model, method, now).is_none()
        };
        let ready = {
            let state = self.ledger.state();
            state.keys.iter().any(|key| is_ready(&state.keys, key))
        };
        let ask = Ask { model, method, tried, from, ..Ask::default() };
        // Asking takes a place, and so it is not done where one is free.
        if ready { None } else { self.scheduler.choose(&ask, now, 0).err().map(NoTurn::Nobody) }
    }

    /// Says when to come back, truly.
    pub(super) fn nothing_left(&self, asked: &Asked, none: NoTurn) -> Refusal {
        let (now, model) = (self.clock.now(), asked.model.clone());
        let back_in = |opens: Option<Millis>| opens.map(|opens| opens.saturating_sub(now).max(1));
        match none {
            // No project is back before the day turns, and one is just then: all are out for the day.
            NoTurn::Nobody(Nobody { opens, upstream: true, .. }) => {
                Refusal::ModelDown { model, back_in: back_in(opens).unwrap_or(1_000) }
            }
            NoTurn::Nobody(Nobody { opens, for_sure, .. }) => {
                let day = self.ledger.state().keys.day().ends;
                let daily = for_sure.is_some_and(|opens| opens == day);
                all_out(asked, back_in(opens), daily)
            }
            // What these would wait for may be open, and then others are before them.
            NoTurn::Late(opens) => {
                let back_in = back_in(opens).unwrap_or_default().max(1_000);
                all_out(asked, Some(back_in), false)
            }
            NoTurn::Full(opens) => {
                Refusal::QueueFull { model, back_in: back_in(opens).unwrap_or_default().max(1_000) }
            }
        }
    }
}
