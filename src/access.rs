//! What a client may do, asked once it is known who it is, and before anything else costs.
//!
//! Owns the doors: one for each client, with its terms (as the log says) and its meter (what it used of its minute,
//! its day and its places). It refuses to know who is who ([`crate::auth`]) and what is said to a client that may
//! not ([`crate::proxy::rescue`]). Its invariant: of requests that come at the same time, exactly as many are let in
//! as the limits allow, because looking and counting is one step under the client's own lock.
//!
//! A request takes its place when it comes in and gives it back if it was never sent to Google; so what the pool
//! refuses, for whatever reason, costs a client nothing, and one that asks again too early is not punished for it.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use projections::{
    ClientId, Event, Millis, Recorded, State,
    access::{Client, Limits},
    pattern,
    quotas::{Day, Used, counted},
};

use crate::{
    ledger::View,
    locks::{Mutex, Rank, RwLock},
    network::Range,
};

/// When a client that has too many requests under way is told to come back: any of them may end soon.
const SOON: Millis = 1_000;

/// Why a client may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// An operator turned its access off.
    Disabled,
    /// Its access ended.
    Expired(Millis),
    /// It may not come from there.
    Address(Option<IpAddr>),
    /// It may not ask this model; empty: the request names none that can be seen.
    Model(String),
    /// It had its requests of the minute.
    Minute {
        /// How many.
        limit: u64,
        /// Milliseconds until one more fits.
        back_in: Millis,
    },
    /// It had its requests of the day.
    Day {
        /// How many.
        limit: u64,
        /// Milliseconds until the next day.
        back_in: Millis,
    },
    /// It had its tokens of the day.
    Tokens {
        /// How many.
        limit: u64,
        /// Milliseconds until the next day.
        back_in: Millis,
    },
    /// As many as may are under way.
    Concurrent {
        /// How many.
        limit: u64,
        /// Milliseconds until it is worth another try.
        back_in: Millis,
    },
}

/// What is said of a client.
#[derive(Debug)]
struct Terms {
    enabled: bool,
    expires: Option<Millis>,
    models: Vec<String>,
    /// None: from anywhere.
    addresses: Option<Vec<Range>>,
    limits: Limits,
}

impl Terms {
    fn of(client: &Client) -> Self {
        // The rules let only ranges in. What is none after all lets nobody in.
        let ranges = client.addresses.iter().filter_map(|address| address.parse().ok());
        Self {
            enabled: client.enabled,
            expires: client.expires,
            models: client.models.clone(),
            addresses: (!client.addresses.is_empty()).then(|| ranges.collect()),
            limits: client.limits,
        }
    }
}

/// What a client used, and has under way.
#[derive(Debug, Default)]
struct Meter {
    used: Used,
    running: u64,
}

/// What a client used of its limits, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Requests in the last 60 seconds.
    pub minute: u64,
    /// Requests today (UTC).
    pub day: u64,
    /// Tokens today (UTC).
    pub tokens: u64,
    /// Requests under way.
    pub running: u64,
    /// When the last one came.
    pub last: Option<Millis>,
}

#[derive(Debug)]
struct Door {
    terms: Terms,
    /// Stays when the terms change.
    meter: Arc<Mutex<Meter>>,
}

/// See the module.
#[derive(Debug)]
pub struct Access {
    doors: RwLock<HashMap<ClientId, Arc<Door>>>,
}

impl Default for Access {
    fn default() -> Self {
        Self { doors: RwLock::ranked(Rank::ClientLimits, HashMap::new()) }
    }
}

impl Access {
    /// Lets a client's request in, or says why not. What comes back holds its place until it is dropped.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn enter(&self, client: ClientId, address: Option<IpAddr>, now: Millis) -> Result<Visit, Denied> {
        // Known a moment ago, and removed since.
        let door = self.doors.read().get(&client).map(Arc::clone).ok_or(Denied::Disabled)?;
        let terms = &door.terms;
        if !terms.enabled {
            return Err(Denied::Disabled);
        }
        if let Some(end) = terms.expires.filter(|end| *end <= now) {
            return Err(Denied::Expired(end));
        }
        if let Some(ranges) = &terms.addresses
            && !address.is_some_and(|address| ranges.iter().any(|range| range.contains(address)))
        {
            return Err(Denied::Address(address));
        }
        let Limits { requests_per_minute, requests_per_day, tokens_per_day, concurrent } = terms.limits;
        let mut meter = door.meter.lock();
        let (requests, tokens) = meter.used.day.used(now);
        // The longest wait first: who comes back then is not refused by the next.
        let tomorrow = Day::turns_in(now);
        if let Some(limit) = tokens_per_day.filter(|limit| tokens >= *limit) {
            return Err(Denied::Tokens { limit, back_in: tomorrow });
        }
        if let Some(limit) = requests_per_day.filter(|limit| requests >= *limit) {
            return Err(Denied::Day { limit, back_in: tomorrow });
        }
        if let Some(limit) = requests_per_minute {
            let back_in = meter.used.minute.room_in(limit, now);
            if back_in > 0 {
                return Err(Denied::Minute { limit, back_in });
            }
        }
        if let Some(limit) = concurrent.filter(|limit| meter.running >= *limit) {
            return Err(Denied::Concurrent { limit, back_in: SOON });
        }
        meter.used.request(now);
        meter.running += 1;
        drop(meter);
        Ok(Visit { door, came: now, sent: false })
    }

    /// What a client used.
    #[must_use]
    pub fn usage(&self, client: ClientId, now: Millis) -> Usage {
        let doors = self.doors.read();
        let Some(door) = doors.get(&client) else { return Usage::default() };
        let meter = door.meter.lock();
        let (day, tokens) = meter.used.day.used(now);
        let minute = meter.used.minute.count(now);
        Usage { minute, day, tokens, running: meter.running, last: meter.used.last }
    }
}

/// A client's request under way: its place among those at the same time, of the minute and of the day.
#[derive(Debug)]
pub struct Visit {
    door: Arc<Door>,
    came: Millis,
    sent: bool,
}

impl Visit {
    /// Whether it may ask this model.
    ///
    /// # Errors
    /// [`Denied::Model`].
    pub fn may_ask(&self, model: &str) -> Result<(), Denied> {
        let models = &self.door.terms.models;
        if models.is_empty() || models.iter().any(|fits| pattern::matches(fits, model)) {
            return Ok(());
        }
        Err(Denied::Model(model.to_owned()))
    }

    /// It was sent to Google: it counts.
    pub fn sent(&mut self) {
        self.sent = true;
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut meter = self.door.meter.lock();
        meter.running = meter.running.saturating_sub(1);
        if !self.sent {
            meter.used.take_back(self.came);
        }
    }
}

/// Terms follow the log, and so do tokens; requests are counted at the door.
impl View for Access {
    fn rebuild(&self, state: &State) {
        let door = |client: &Client| {
            let mut used = state.quotas.get(client.id).cloned().unwrap_or_default();
            used.minute = used.minute.with_room();
            let meter = Arc::new(Mutex::new(Meter { used, running: 0 }));
            (client.id, Arc::new(Door { terms: Terms::of(client), meter }))
        };
        *self.doors.write() = state.access.iter().map(door).collect();
    }

    fn folded(&self, state: &State, events: &[Recorded]) {
        for recorded in events {
            match &recorded.event {
                Event::Attempted(event) => {
                    let tokens = counted(&event.tokens);
                    if let Some(client) = event.client.filter(|_| tokens > 0)
                        && let Some(door) = self.doors.read().get(&client)
                    {
                        door.meter.lock().used.tokens(recorded.at, tokens);
                    }
                }
                Event::ClientAdded(_)
                | Event::ClientUpdated(_)
                | Event::ClientKeyReplaced(_)
                | Event::ClientRemoved(_) => self.follow(state),
                _ => {}
            }
        }
    }
}

impl Access {
    /// New terms behind the same meters.
    fn follow(&self, state: &State) {
        let mut doors = self.doors.write();
        let door = |client: &Client| {
            let meter = doors.get(&client.id).map(|door| Arc::clone(&door.meter));
            let meter = meter.unwrap_or_else(|| {
                let used =
                    Used { minute: projections::quotas::Minute::default().with_room(), ..Used::default() };
                Arc::new(Mutex::new(Meter { used, running: 0 }))
            });
            (client.id, Arc::new(Door { terms: Terms::of(client), meter }))
        };
        *doors = state.access.iter().map(door).collect();
    }
}

#[cfg(test)]
mod tests;
