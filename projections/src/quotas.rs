//! What each client used of its minute and its day: requests and tokens.
//!
//! Owns the counters that a client's limits are held against, so that they survive a restart. A request counts
//! once it was tried at Google, at the time when it arrived; tokens count when Google's answer is over. The
//! minute slides, to the second; the day is one of UTC. Bounded: a client has at most 60 seconds and one day,
//! and takes its counters along when it is removed.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::{
    access::Access,
    event::{Event, Recorded, Tokens},
    id::{ClientId, Millis},
};

/// A minute, in seconds.
const MINUTE: i64 = 60;
const SECOND_MS: Millis = 1_000;
/// A day of UTC.
pub const DAY_MS: Millis = 86_400_000;

/// Requests of the last 60 seconds, by the second in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Minute {
    /// Second and count, oldest first; never more than 60 of them.
    seconds: VecDeque<(i64, u32)>,
}

impl Minute {
    /// With all the room it will ever take, so that counting allocates nothing.
    #[must_use]
    pub fn with_room(mut self) -> Self {
        self.seconds.reserve_exact((MINUTE as usize + 1).saturating_sub(self.seconds.len()));
        self
    }

    /// Counts one that came at `at`.
    pub fn add(&mut self, at: Millis) {
        let second = at.div_euclid(SECOND_MS);
        let place = self.seconds.partition_point(|(of, _)| *of < second);
        match self.seconds.get_mut(place) {
            Some((of, count)) if *of == second => *count = count.saturating_add(1),
            _ => self.seconds.insert(place, (second, 1)),
        }
        self.forget(self.seconds.back().map_or(second, |(newest, _)| *newest));
    }

    /// Takes back one that came at `at`.
    pub fn take_back(&mut self, at: Millis) {
        let second = at.div_euclid(SECOND_MS);
        if let Some((_, count)) = self.seconds.iter_mut().find(|(of, _)| *of == second) {
            *count = count.saturating_sub(1);
        }
    }

    /// How many came in the minute that ends at `now`.
    #[must_use]
    pub fn count(&self, now: Millis) -> u64 {
        self.within(now).map(|(_, count)| u64::from(*count)).sum()
    }

    /// Milliseconds until one more fits below `limit`; 0: now.
    #[must_use]
    pub fn room_in(&self, limit: u64, now: Millis) -> Millis {
        let mut over = (self.count(now) + 1).saturating_sub(limit);
        if over == 0 {
            return 0;
        }
        for (second, count) in self.within(now) {
            over = over.saturating_sub(u64::from(*count));
            if over == 0 {
                let free = second.saturating_add(MINUTE).saturating_mul(SECOND_MS);
                return free.saturating_sub(now).max(1);
            }
        }
        MINUTE * SECOND_MS
    }

    fn within(&self, now: Millis) -> impl Iterator<Item = &(i64, u32)> {
        let oldest = now.div_euclid(SECOND_MS).saturating_sub(MINUTE);
        self.seconds.iter().filter(move |(second, _)| *second > oldest)
    }

    fn forget(&mut self, newest: i64) {
        let oldest = newest.saturating_sub(MINUTE);
        while self.seconds.front().is_some_and(|(second, _)| *second <= oldest) {
            self.seconds.pop_front();
        }
    }
}

/// Requests and tokens of one day of UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    /// Which day, from 1970-01-01 on.
    number: i64,
    requests: u64,
    tokens: u64,
}

impl Day {
    /// Counts; what belongs to a day before the last one is too late to matter.
    pub fn add(&mut self, at: Millis, requests: u64, tokens: u64) {
        let number = at.div_euclid(DAY_MS);
        if number > self.number {
            *self = Self { number, requests: 0, tokens: 0 };
        }
        if number == self.number {
            self.requests = self.requests.saturating_add(requests);
            self.tokens = self.tokens.saturating_add(tokens);
        }
    }

    /// Takes back a request that came at `at`.
    pub fn take_back(&mut self, at: Millis) {
        if at.div_euclid(DAY_MS) == self.number {
            self.requests = self.requests.saturating_sub(1);
        }
    }

    /// Requests, and tokens, of the day that holds `now`.
    #[must_use]
    pub fn used(&self, now: Millis) -> (u64, u64) {
        if now.div_euclid(DAY_MS) == self.number { (self.requests, self.tokens) } else { (0, 0) }
    }

    /// Milliseconds until the next day.
    #[must_use]
    pub fn turns_in(now: Millis) -> Millis {
        DAY_MS - now.rem_euclid(DAY_MS)
    }
}

/// What one client used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// Of its minute.
    pub minute: Minute,
    /// Of its day.
    pub day: Day,
    /// When its last request came; none so far.
    pub last: Option<Millis>,
}

impl Used {
    /// Counts a request.
    pub fn request(&mut self, at: Millis) {
        self.minute.add(at);
        self.day.add(at, 1, 0);
        self.last = self.last.max(Some(at));
    }

    /// Takes back a request that never went to Google.
    pub fn take_back(&mut self, at: Millis) {
        self.minute.take_back(at);
        self.day.take_back(at);
    }

    /// Counts tokens.
    pub fn tokens(&mut self, at: Millis, tokens: u64) {
        self.day.add(at, 0, tokens);
    }
}

/// Tokens as they count against a client's limit: all of them.
#[must_use]
pub fn counted(tokens: &Tokens) -> u64 {
    let parts = [tokens.prompt, tokens.output, tokens.thoughts, tokens.tool_use];
    let parts: u64 = parts.iter().map(|part| u64::from(*part)).sum();
    if tokens.total == 0 { parts } else { u64::from(tokens.total) }
}

/// Every client's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quotas {
    clients: BTreeMap<ClientId, Used>,
}

impl Quotas {
    /// One client's; none: it used nothing.
    #[must_use]
    pub fn get(&self, client: ClientId) -> Option<&Used> {
        self.clients.get(&client)
    }

    /// Folds one event in, which `access` holds already.
    pub fn apply(&mut self, recorded: &Recorded, access: &Access) {
        let known = |client: Option<ClientId>| client.filter(|client| access.get(*client).is_some());
        match &recorded.event {
            Event::Answered(event) => {
                if let Some(client) = known(event.client).filter(|_| event.attempts > 0) {
                    self.clients.entry(client).or_default().request(event.started);
                }
            }
            Event::Attempted(event) => {
                let tokens = counted(&event.tokens);
                if let Some(client) = known(event.client).filter(|_| tokens > 0) {
                    self.clients.entry(client).or_default().tokens(recorded.at, tokens);
                }
            }
            Event::ClientAdded(_) | Event::ClientKeyReplaced(_) | Event::ClientRemoved(_) => {
                self.clients.retain(|client, _| access.get(*client).is_some());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_slides_and_says_when_there_is_room() {
        let mut minute = Minute::default().with_room();
        for at in [0, 900, 1_000, 59_999] {
            minute.add(at);
        }
        assert_eq!([59_999, 60_000, 61_000, 118_999, 119_000].map(|now| minute.count(now)), [4, 2, 1, 1, 0]);
        assert_eq!(minute.room_in(5, 59_999), 0);
        assert_eq!(minute.room_in(4, 59_999), 1);
        assert_eq!(minute.room_in(2, 59_999), 1_001, "three of them must have left");
        assert_eq!(minute.room_in(1, 59_999), 59_001);
        minute.take_back(950);
        assert_eq!(minute.count(59_999), 3);
    }

    #[test]
    fn what_comes_late_is_counted_where_it_belongs_and_room_is_bounded() {
        let mut minute = Minute::default();
        for second in (0..1_000).rev().chain(0..1_000) {
            minute.add(second * 1_000);
            assert!(minute.seconds.len() <= 60, "{}", minute.seconds.len());
        }
        assert!(minute.seconds.iter().is_sorted());
        assert_eq!(minute.count(999_000), 120);
        let mut absurd = Minute::default();
        for at in [i64::MAX, i64::MIN, 0, i64::MAX] {
            absurd.add(at);
            let _ = (absurd.count(at), absurd.room_in(0, at), absurd.room_in(1, i64::MIN));
        }
    }

    #[test]
    fn a_day_turns_at_midnight_of_utc() {
        let mut day = Day::default();
        day.add(DAY_MS - 1, 2, 10);
        assert_eq!((day.used(0), day.used(DAY_MS)), ((2, 10), (0, 0)));
        day.add(DAY_MS, 1, 0);
        day.add(DAY_MS - 1, 1, 7);
        assert_eq!(day.used(DAY_MS), (1, 0));
        day.take_back(0);
        day.take_back(DAY_MS + 5);
        assert_eq!(day.used(DAY_MS), (0, 0));
        assert_eq!((Day::turns_in(0), Day::turns_in(DAY_MS - 1)), (DAY_MS, 1));
    }
}
