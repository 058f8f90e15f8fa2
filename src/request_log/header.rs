//! A block's header: enough to know that nothing in the block is asked for.
//!
//! Pure. Kept in memory for every block, so it is small: least and most of what
//! is ordered, and sets of what is not, exact while they are few and a bitmap
//! when they are many. Its invariant: it may say "perhaps" of a block without a
//! match, and never "no" of one with a match.

use std::collections::BTreeSet;

use projections::{Millis, Seq};

use super::{
    column::{Damaged, Input, put_bytes, put_number, seal, unseal},
    filter::{Filter, Statuses},
    row::{Row, head, outcome_code},
};

/// Values listed one by one; more become a bitmap.
const FEW: usize = 128;
/// Bytes of a bitmap: 16,384 bits.
const BITMAP: usize = 2_048;

/// A set of numbers, or of what may be one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Set {
    Few(Box<[u32]>),
    Many(Box<[u8]>),
}

fn bit_of(value: u32) -> (usize, u8) {
    let bit = value as usize % (8 * BITMAP);
    (bit / 8, 1 << (bit % 8))
}

impl Set {
    fn of(values: &BTreeSet<u32>) -> Self {
        if values.len() <= FEW {
            return Self::Few(values.iter().copied().collect());
        }
        let mut bitmap = vec![0; BITMAP];
        for value in values {
            let (place, bit) = bit_of(*value);
            if let Some(byte) = bitmap.get_mut(place) {
                *byte |= bit;
            }
        }
        Self::Many(bitmap.into())
    }

    fn may_have(&self, value: u32) -> bool {
        match self {
            Self::Few(values) => values.binary_search(&value).is_ok(),
            Self::Many(bitmap) => {
                let (place, bit) = bit_of(value);
                bitmap.get(place).is_some_and(|byte| byte & bit != 0)
            }
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Few(values) => {
                put_number(out, values.len() as u64);
                values.iter().for_each(|value| put_number(out, u64::from(*value)));
            }
            Self::Many(bitmap) => {
                put_number(out, FEW as u64 + 1);
                put_bytes(out, bitmap);
            }
        }
    }

    fn read(input: &mut Input<'_>) -> Result<Self, Damaged> {
        let count = input.count()?;
        if count > FEW {
            let bitmap = input.bytes()?;
            return if bitmap.len() == BITMAP { Ok(Self::Many(bitmap.into())) } else { Err(Damaged) };
        }
        let number = |_| u32::try_from(input.number()?).map_err(|_| Damaged);
        Ok(Self::Few((0..count).map(number).collect::<Result<_, _>>()?))
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        match self {
            Self::Few(values) => 4 * values.len(),
            Self::Many(bitmap) => bitmap.len(),
        }
    }
}

/// A text as one of the numbers of a set.
fn number_of(text: &str) -> u32 {
    crc32fast::hash(text.as_bytes())
}

/// Every three bytes of a text, as numbers of a set.
fn trigrams(text: &str) -> impl Iterator<Item = u32> {
    // Spread over the bitmap: letters are much alike.
    text.as_bytes().windows(3).map(|three| crc32fast::hash(three) >> 7)
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Rows in the block.
    pub(super) rows: usize,
    /// Of the first row, and of the last.
    pub(super) first: Seq,
    pub(super) last: Seq,
    /// Behind this event the log must be read on after the block.
    pub(super) resume: Seq,
    started: (Millis, Millis),
    duration: (u32, u32),
    heads: (u64, u64),
    tries: u8,
    /// Bits 0 to 3: outcomes; 4: not streamed; 5: streamed.
    kinds: u8,
    statuses: Set,
    clients: Set,
    models: Set,
    keys: Set,
    /// Of the reasons' texts, in small letters, every three bytes.
    reasons: Set,
}

impl Header {
    /// Of these rows, in the order of the log.
    pub(super) fn of(rows: &[Row], resume: Seq) -> Self {
        let range = |value: fn(&Row) -> i64| {
            let values = || rows.iter().map(value);
            (values().min().unwrap_or_default(), values().max().unwrap_or_default())
        };
        let numbers = |value: fn(&Row) -> u32| Set::of(&rows.iter().map(value).collect());
        let heads = || rows.iter().map(|row| row.request_head);
        let duration = range(|row| row.duration_ms.into());
        let small = |ms: i64| u32::try_from(ms).unwrap_or(u32::MAX);
        let reasons: BTreeSet<String> =
            rows.iter().flat_map(|row| &row.reasons).map(|reason| reason.to_lowercase()).collect();
        Self {
            rows: rows.len(),
            first: rows.first().map_or(0, |row| row.seq),
            last: rows.last().map_or(0, |row| row.seq),
            resume,
            started: range(|row| row.started),
            duration: (small(duration.0), small(duration.1)),
            heads: (heads().min().unwrap_or_default(), heads().max().unwrap_or_default()),
            tries: rows.iter().map(|row| row.tries).max().unwrap_or_default(),
            kinds: rows.iter().fold(0, |kinds, row| {
                kinds | 1 << outcome_code(row.outcome) | if row.streamed { 32 } else { 16 }
            }),
            statuses: numbers(|row| row.status.into()),
            clients: numbers(|row| row.client),
            models: numbers(|row| number_of(&row.model)),
            keys: Set::of(&rows.iter().flat_map(|row| &row.attempts).map(|attempt| attempt.key).collect()),
            reasons: Set::of(&reasons.iter().flat_map(|reason| trigrams(reason)).collect()),
        }
    }

    /// Whether a row of the block may be asked for.
    pub(super) fn may_match(&self, filter: &Filter) -> bool {
        let holds = |condition: Option<bool>| condition.unwrap_or(true);
        let statuses = |statuses| match statuses {
            Statuses::One(status) => self.statuses.may_have(status.into()),
            Statuses::Class(class) => {
                (100 * class..100 * class + 100).any(|status| self.statuses.may_have(status.into()))
            }
        };
        let request = |request| (self.heads.0..=self.heads.1).contains(&head(request));
        holds(filter.from.map(|from| self.started.1 >= from))
            && holds(filter.to.map(|to| self.started.0 < to))
            && holds(filter.least_ms.map(|least| self.duration.1 >= least))
            && holds(filter.most_ms.map(|most| self.duration.0 <= most))
            && holds(filter.least_tries.map(|least| self.tries >= least))
            && holds(filter.outcome.map(|outcome| self.kinds & (1 << outcome_code(outcome)) != 0))
            && holds(filter.streamed.map(|streamed| self.kinds & if streamed { 32 } else { 16 } != 0))
            && holds(filter.request.map(request))
            && holds(filter.statuses.map(statuses))
            && holds(filter.client.map(|client| self.clients.may_have(client.0)))
            && holds(filter.model.as_ref().map(|model| self.models.may_have(number_of(model))))
            && holds(filter.key.map(|key| self.keys.may_have(key.0)))
            && holds(
                filter.text.as_ref().map(|text| trigrams(text).all(|three| self.reasons.may_have(three))),
            )
    }

    /// Whether every row of the block arrived in the asked time, so that no row must be looked at for it.
    pub(super) fn is_within(&self, filter: &Filter) -> bool {
        filter.from.is_none_or(|from| self.started.0 >= from)
            && filter.to.is_none_or(|to| self.started.1 < to)
    }

    /// Bytes in memory, about.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let sets = [&self.statuses, &self.clients, &self.models, &self.keys, &self.reasons];
        size_of::<Self>() + sets.iter().map(|set| set.bytes()).sum::<usize>()
    }

    /// As a row of the store.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let Self { rows, first, last, resume, started, duration, heads, tries, kinds, .. } = self;
        let numbers = [
            *rows as u64,
            *first,
            *last,
            *resume,
            started.0 as u64,
            started.1 as u64,
            duration.0.into(),
            duration.1.into(),
            heads.0,
            heads.1,
            u64::from(*tries),
            u64::from(*kinds),
        ];
        numbers.into_iter().for_each(|number| put_number(&mut out, number));
        for set in [&self.statuses, &self.clients, &self.models, &self.keys, &self.reasons] {
            set.put(&mut out);
        }
        seal(out)
    }

    /// From a row of the store.
    pub(super) fn decode(row: &[u8]) -> Result<Self, Damaged> {
        let mut input = unseal(row)?;
        let input = &mut input;
        let small = |number: u64| u32::try_from(number).map_err(|_| Damaged);
        let byte = |number: u64| u8::try_from(number).map_err(|_| Damaged);
        Ok(Self {
            rows: input.count()?,
            first: input.number()?,
            last: input.number()?,
            resume: input.number()?,
            started: (input.number()? as Millis, input.number()? as Millis),
            duration: (small(input.number()?)?, small(input.number()?)?),
            heads: (input.number()?, input.number()?),
            tries: byte(input.number()?)?,
            kinds: byte(input.number()?)?,
            statuses: Set::read(input)?,
            clients: Set::read(input)?,
            models: Set::read(input)?,
            keys: Set::read(input)?,
            reasons: Set::read(input)?,
        })
    }
}
