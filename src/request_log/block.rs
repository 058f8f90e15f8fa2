//! A block: the columns of 4,096 requests.
//!
//! Pure. Owns which columns there are, and the filter's conditions on them, the
//! cheapest first: a condition reads its own column, and none is read when no
//! row is left. Columns come from whoever has them, by name, so that nothing
//! else is read. Its invariant: the rows it picks are those that
//! [`Filter::matches`] would pick one by one.

use std::collections::HashMap;

use projections::Seq;

use super::{
    column::{Coded, Damaged, Lists, Packed, put_bytes, seal, unseal},
    counts::Counts,
    filter::Filter,
    header::Header,
    picked::Picked,
    row::{Row, outcome_code, short},
};

/// Requests in a block.
pub(super) const ROWS: usize = 4_096;

/// A column's name: the last byte of its row's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(super) enum Column {
    Seq = 1,
    Started = 2,
    Duration = 3,
    FirstByte = 4,
    Status = 5,
    Outcome = 6,
    Client = 7,
    Model = 8,
    Method = 9,
    Streamed = 10,
    Tries = 11,
    TrySeqs = 12,
    TryKeys = 13,
    Reasons = 14,
    Tokens = 15,
    Request = 16,
    /// How many rows have which status, outcome, client, model and key.
    Counts = 17,
}

impl Column {
    /// All of them.
    pub(super) const ALL: [Self; 17] = [
        Self::Seq,
        Self::Started,
        Self::Duration,
        Self::FirstByte,
        Self::Status,
        Self::Outcome,
        Self::Client,
        Self::Model,
        Self::Method,
        Self::Streamed,
        Self::Tries,
        Self::TrySeqs,
        Self::TryKeys,
        Self::Reasons,
        Self::Tokens,
        Self::Request,
        Self::Counts,
    ];
}

/// A time, so that later ones are larger.
fn time(ms: i64) -> u64 {
    (ms as u64) ^ (1 << 63)
}

/// Every column of these rows, as rows of the store.
pub(super) fn encode(rows: &[Row]) -> Vec<(Column, Vec<u8>)> {
    let numbers = |value: &dyn Fn(&Row) -> u64| rows.iter().map(value).collect::<Vec<_>>();
    let column = |column: Column| {
        let mut out = Vec::new();
        let packed = |out: &mut Vec<u8>, value: &dyn Fn(&Row) -> u64| Packed::put(out, &numbers(value));
        let coded = |out: &mut Vec<u8>, value: &dyn Fn(&Row) -> u64| Coded::<u64>::put(out, &numbers(value));
        match column {
            Column::Seq => packed(&mut out, &|row| row.seq),
            Column::Started => packed(&mut out, &|row| time(row.started)),
            Column::Duration => packed(&mut out, &|row| row.duration_ms.into()),
            Column::FirstByte => packed(&mut out, &|row| row.first_byte_ms.map_or(0, |ms| u64::from(ms) + 1)),
            Column::Status => coded(&mut out, &|row| row.status.into()),
            Column::Outcome => coded(&mut out, &|row| outcome_code(row.outcome)),
            Column::Client => coded(&mut out, &|row| row.client.into()),
            Column::Streamed => coded(&mut out, &|row| row.streamed.into()),
            Column::Tries => coded(&mut out, &|row| row.tries.into()),
            Column::Request => packed(&mut out, &|row| row.request.into()),
            Column::Model => {
                Coded::<String>::put(
                    &mut out,
                    &rows.iter().map(|row| row.model.as_str()).collect::<Vec<_>>(),
                );
            }
            Column::Method => {
                Coded::<String>::put(
                    &mut out,
                    &rows.iter().map(|row| row.method.as_str()).collect::<Vec<_>>(),
                );
            }
            Column::TrySeqs => {
                // As far before the request's own event: small numbers, and much alike.
                let lists: Vec<Vec<u64>> = rows
                    .iter()
                    .map(|row| row.attempts.iter().map(|attempt| row.seq.wrapping_sub(attempt.seq)).collect())
                    .collect();
                Packed::put(&mut out, &lists.iter().map(|list| list.len() as u64).collect::<Vec<_>>());
                Packed::put(&mut out, &lists.concat());
            }
            Column::TryKeys => {
                let keys = |row: &Row| row.attempts.iter().map(|attempt| attempt.key.into()).collect();
                Lists::<u64>::put(&mut out, &rows.iter().map(keys).collect::<Vec<_>>());
            }
            Column::Reasons => {
                let lists: Vec<Vec<&str>> =
                    rows.iter().map(|row| row.reasons.iter().map(String::as_str).collect()).collect();
                Lists::<String>::put(&mut out, &lists);
            }
            Column::Tokens => {
                for kind in 0..4 {
                    packed(&mut out, &|row| row.tokens.get(kind).copied().unwrap_or_default());
                }
            }
            Column::Counts => {
                let mut counts = Counts::default();
                rows.iter().for_each(|row| counts.add(row));
                put_bytes(&mut out, &counts.encode());
            }
        }
        (column, seal(out))
    };
    Column::ALL.into_iter().map(column).collect()
}

/// Where a found request's events are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    /// Of its `Answered`.
    pub(super) seq: Seq,
    /// Of its `Attempted`s.
    pub(super) attempts: Vec<Seq>,
}

impl Hit {
    /// Of all of its events.
    pub(super) fn seqs(&self) -> impl Iterator<Item = Seq> {
        self.attempts.iter().copied().chain([self.seq])
    }

    pub(super) fn of(row: &Row) -> Self {
        Self { seq: row.seq, attempts: row.attempts.iter().map(|attempt| attempt.seq).collect() }
    }
}

/// The columns of one block, read as they are asked for.
pub(super) struct Block<'a, E> {
    pub(super) header: &'a Header,
    /// Gives a column's row in the store.
    pub(super) read: &'a mut dyn FnMut(Column) -> Result<Vec<u8>, E>,
}

impl<E: From<Damaged>> Block<'_, E> {
    fn packed(&mut self, column: Column) -> Result<Packed, E> {
        let row = (self.read)(column)?;
        Ok(self.whole(Packed::read(&mut unseal(&row)?)?, Packed::len)?)
    }

    fn coded(&mut self, column: Column) -> Result<Coded<u64>, E> {
        let row = (self.read)(column)?;
        Ok(self.whole(Coded::<u64>::read(&mut unseal(&row)?)?, Coded::len)?)
    }

    fn words(&mut self, column: Column) -> Result<Coded<String>, E> {
        let row = (self.read)(column)?;
        Ok(self.whole(Coded::<String>::read(&mut unseal(&row)?)?, Coded::len)?)
    }

    fn keys(&mut self) -> Result<Lists<u64>, E> {
        Ok(Lists::<u64>::read(&mut unseal(&(self.read)(Column::TryKeys)?)?)?)
    }

    fn whole<T>(&self, column: T, length: impl Fn(&T) -> usize) -> Result<T, Damaged> {
        if length(&column) == self.header.rows { Ok(column) } else { Err(Damaged) }
    }

    /// The rows that are asked for, of those behind `after` and before `before`.
    pub(super) fn pick(&mut self, filter: &Filter, after: Seq, before: Seq) -> Result<Picked, E> {
        if !self.header.may_match(filter) || self.header.last <= after || self.header.first >= before {
            return Ok(Picked::none());
        }
        let mut picked = Picked::all(self.header.rows.min(ROWS));
        if self.header.first <= after || self.header.last >= before {
            let seqs = self.packed(Column::Seq)?;
            picked.keep(|row| (after + 1..before).contains(&seqs.get(row)));
        }
        if let Some(request) = filter.request {
            let wanted = u64::from(short(request));
            let ids = self.packed(Column::Request)?;
            picked.keep(|row| ids.get(row) == wanted);
        }
        if let Some(statuses) = filter.statuses {
            self.keep_coded(&mut picked, Column::Status, |status| statuses.include(status))?;
        }
        if let Some(outcome) = filter.outcome {
            self.keep_coded(&mut picked, Column::Outcome, |code| code == outcome_code(outcome))?;
        }
        if let Some(least) = filter.least_tries {
            self.keep_coded(&mut picked, Column::Tries, |tries| tries >= least.into())?;
        }
        if let Some(streamed) = filter.streamed {
            self.keep_coded(&mut picked, Column::Streamed, |code| (code == 1) == streamed)?;
        }
        if let Some(client) = filter.client {
            self.keep_coded(&mut picked, Column::Client, |code| code == u64::from(client.0))?;
        }
        if let Some(model) = filter.model.as_ref().filter(|_| !picked.is_empty()) {
            let models = self.words(Column::Model)?;
            keep(&mut picked, &models, |known| known == model);
        }
        if let Some(key) = filter.key.filter(|_| !picked.is_empty()) {
            let keys = self.keys()?;
            keep_listed(&mut picked, &keys, |known| *known == u64::from(key.0));
        }
        if (filter.least_ms.is_some() || filter.most_ms.is_some()) && !picked.is_empty() {
            let durations = self.packed(Column::Duration)?;
            let least = u64::from(filter.least_ms.unwrap_or(0));
            let most = u64::from(filter.most_ms.unwrap_or(u32::MAX));
            picked.keep(|row| (least..=most).contains(&durations.get(row)));
        }
        if !self.header.is_within(filter) && !picked.is_empty() {
            let times = self.packed(Column::Started)?;
            let (from, to) = (filter.from.map_or(0, time), filter.to.map(time));
            picked.keep(|row| times.get(row) >= from && to.is_none_or(|to| times.get(row) < to));
        }
        if filter.text.is_some() && !picked.is_empty() {
            let reasons = Lists::<String>::read(&mut unseal(&(self.read)(Column::Reasons)?)?)?;
            keep_listed(&mut picked, &reasons, |reason| filter.is_in(reason));
        }
        Ok(picked)
    }

    fn keep_coded(&mut self, picked: &mut Picked, column: Column, is: impl Fn(u64) -> bool) -> Result<(), E> {
        if !picked.is_empty() {
            keep(picked, &self.coded(column)?, |value| is(*value));
        }
        Ok(())
    }

    /// Where the events of picked rows are, the newest first.
    pub(super) fn hits(&mut self, picked: &Picked, limit: usize) -> Result<Vec<Hit>, E> {
        if picked.is_empty() {
            return Ok(Vec::new());
        }
        let seqs = self.packed(Column::Seq)?;
        let row = (self.read)(Column::TrySeqs)?;
        let mut input = unseal(&row)?;
        let counts = self.whole(Packed::read(&mut input)?, Packed::len)?;
        let behind = Packed::read(&mut input)?;
        let mut starts = Vec::with_capacity(counts.len());
        let mut end = 0_usize;
        for count in counts.iter() {
            starts.push(end);
            end = usize::try_from(count).ok().and_then(|count| end.checked_add(count)).ok_or(Damaged)?;
        }
        if end != behind.len() {
            return Err(Damaged.into());
        }
        let hit = |row: usize| {
            let seq = seqs.get(row);
            let start = starts.get(row).copied().unwrap_or_default();
            let end = start + usize::try_from(counts.get(row)).unwrap_or_default();
            Hit { seq, attempts: (start..end).map(|at| seq.wrapping_sub(behind.get(at))).collect() }
        };
        Ok(picked.newest_first().take(limit).map(hit).collect())
    }

    /// Counts the picked rows.
    pub(super) fn count(&mut self, picked: &Picked, counts: &mut Counts) -> Result<(), E> {
        if picked.is_empty() {
            return Ok(());
        }
        if picked.len() == self.header.rows {
            let row = (self.read)(Column::Counts)?;
            counts.merge(&Counts::decode(unseal(&row)?.bytes()?)?);
            return Ok(());
        }
        counts.total += picked.len() as u64;
        let tally = |column: &Coded<u64>, into: &mut HashMap<u64, u64>| {
            let mut times = vec![0; column.values().len()];
            picked.newest_first().for_each(|row| add_at(&mut times, column.code(row)));
            for (value, times) in column.values().iter().zip(times).filter(|(_, times)| *times > 0) {
                *into.entry(*value).or_default() += times;
            }
        };
        tally(&self.coded(Column::Status)?, &mut counts.statuses);
        tally(&self.coded(Column::Outcome)?, &mut counts.outcomes);
        tally(&self.coded(Column::Client)?, &mut counts.clients);
        let models = self.words(Column::Model)?;
        let mut times = vec![0; models.values().len()];
        picked.newest_first().for_each(|row| add_at(&mut times, models.code(row)));
        for (model, times) in models.values().iter().zip(times).filter(|(_, times)| *times > 0) {
            *counts.models.entry(model.clone()).or_default() += times;
        }
        let keys = self.keys()?;
        let mut times = vec![0; keys.flat().values().len()];
        for (_, places) in keys.places().enumerate().filter(|(row, _)| picked.has(*row)) {
            let mut codes: Vec<_> = places.map(|place| keys.flat().code(place)).collect();
            codes.sort_unstable();
            codes.dedup();
            codes.into_iter().for_each(|code| add_at(&mut times, code));
        }
        for (key, times) in keys.flat().values().iter().zip(times).filter(|(_, times)| *times > 0) {
            *counts.keys.entry(*key).or_default() += times;
        }
        let row = (self.read)(Column::Tokens)?;
        let mut input = unseal(&row)?;
        for sum in &mut counts.tokens {
            let tokens = self.whole(Packed::read(&mut input)?, Packed::len)?;
            *sum = picked.newest_first().fold(*sum, |sum, row| sum.saturating_add(tokens.get(row)));
        }
        Ok(())
    }
}

fn add_at(times: &mut [u64], place: usize) {
    if let Some(times) = times.get_mut(place) {
        *times += 1;
    }
}

fn keep<T>(picked: &mut Picked, column: &Coded<T>, is: impl FnMut(&T) -> bool) {
    match column.wanted(is) {
        None => *picked = Picked::none(),
        Some(wanted) if wanted.iter().all(|wanted| *wanted) => {}
        Some(wanted) => picked.keep(|row| wanted.get(column.code(row)).copied().unwrap_or_default()),
    }
}

fn keep_listed<T>(picked: &mut Picked, column: &Lists<T>, is: impl FnMut(&T) -> bool) {
    let Some(wanted) = column.flat().wanted(is) else {
        *picked = Picked::none();
        return;
    };
    let mut found = Picked::none();
    for (row, mut places) in column.places().enumerate() {
        if places.any(|place| wanted.get(column.flat().code(place)).copied().unwrap_or_default()) {
            found.add(row);
        }
    }
    picked.keep(|row| found.has(row));
}
