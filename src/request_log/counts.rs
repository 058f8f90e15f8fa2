//! How many requests there are, by what they are: of a block, or of all that is asked for.
//!
//! Pure. A block's own counts lie beside its columns, so that a question about all
//! requests reads one small row of each.

use std::collections::HashMap;

use super::{
    column::{Damaged, put_bytes, put_number, seal, unseal},
    row::{Row, outcome_code},
};

/// How many requests there are, and of which kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) total: u64,
    pub(super) statuses: HashMap<u64, u64>,
    pub(super) outcomes: HashMap<u64, u64>,
    pub(super) clients: HashMap<u64, u64>,
    pub(super) models: HashMap<String, u64>,
    /// A request counts once for each key that it was tried with.
    pub(super) keys: HashMap<u64, u64>,
    /// Prompt, output, thoughts, cached.
    pub(super) tokens: [u64; 4],
}

impl Counts {
    /// Counts a row.
    pub(super) fn add(&mut self, row: &Row) {
        self.total += 1;
        *self.statuses.entry(row.status.into()).or_default() += 1;
        *self.outcomes.entry(outcome_code(row.outcome)).or_default() += 1;
        *self.clients.entry(row.client.into()).or_default() += 1;
        match self.models.get_mut(&row.model) {
            Some(times) => *times += 1,
            None => drop(self.models.insert(row.model.clone(), 1)),
        }
        for (place, attempt) in row.attempts.iter().enumerate() {
            if !row.attempts.iter().take(place).any(|before| before.key == attempt.key) {
                *self.keys.entry(attempt.key.into()).or_default() += 1;
            }
        }
        for (sum, more) in self.tokens.iter_mut().zip(row.tokens) {
            *sum += more;
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        // What a block says of itself is no more than what somebody wrote.
        self.total = self.total.saturating_add(other.total);
        let add = |into: &mut u64, more: &u64| *into = into.saturating_add(*more);
        let maps = [
            (&mut self.statuses, &other.statuses),
            (&mut self.outcomes, &other.outcomes),
            (&mut self.clients, &other.clients),
            (&mut self.keys, &other.keys),
        ];
        for (into, from) in maps {
            from.iter().for_each(|(value, times)| add(into.entry(*value).or_default(), times));
        }
        for (model, times) in &other.models {
            add(self.models.entry(model.clone()).or_default(), times);
        }
        self.tokens.iter_mut().zip(&other.tokens).for_each(|(sum, more)| add(sum, more));
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_number(&mut out, self.total);
        self.tokens.iter().for_each(|sum| put_number(&mut out, *sum));
        for map in [&self.statuses, &self.outcomes, &self.clients, &self.keys] {
            put_number(&mut out, map.len() as u64);
            map.iter().for_each(|(value, times)| {
                put_number(&mut out, *value);
                put_number(&mut out, *times);
            });
        }
        put_number(&mut out, self.models.len() as u64);
        self.models.iter().for_each(|(model, times)| {
            put_bytes(&mut out, model.as_bytes());
            put_number(&mut out, *times);
        });
        seal(out)
    }

    pub(super) fn decode(row: &[u8]) -> Result<Self, Damaged> {
        let mut input = unseal(row)?;
        let mut counts = Self { total: input.number()?, ..Self::default() };
        for sum in &mut counts.tokens {
            *sum = input.number()?;
        }
        for map in [&mut counts.statuses, &mut counts.outcomes, &mut counts.clients, &mut counts.keys] {
            for _ in 0..input.count()? {
                map.insert(input.number()?, input.number()?);
            }
        }
        for _ in 0..input.count()? {
            let model = str::from_utf8(input.bytes()?).map_err(|_| Damaged)?.to_owned();
            counts.models.insert(model, input.number()?);
        }
        Ok(counts)
    }
}
