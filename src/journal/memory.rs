//! A journal that lives as long as the process: for `DATABASE_URL=memory:`,
//! demonstrations, and wherever nothing must stay behind.

use std::{collections::BTreeMap, ops::Bound};

use parking_lot::Mutex;
use projections::Seq;

use super::{
    Batch, Derived, Entry, Error, Journal,
    derived::{Put, Row},
};

/// See the module.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    frames: Vec<Vec<u8>>,
    secrets: BTreeMap<String, Vec<u8>>,
    spaces: BTreeMap<&'static str, BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl Inner {
    fn last(&self) -> Seq {
        self.frames.len() as Seq
    }
}

impl MemoryJournal {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Journal for MemoryJournal {
    fn append(&self, batch: Batch<'_>) -> Result<(), Error> {
        let mut inner = self.inner.lock();
        let last = inner.last();
        if batch.after != last {
            return Err(Error::Conflict { after: batch.after, last });
        }
        inner.frames.extend_from_slice(batch.frames);
        for change in batch.secrets {
            match &change.sealed {
                Some(sealed) => inner.secrets.insert(change.name.clone(), sealed.clone()),
                None => inner.secrets.remove(&change.name),
            };
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), Error> {
        Ok(())
    }

    fn last(&self) -> Seq {
        self.inner.lock().last()
    }

    fn read(&self, after: Seq, limit: usize) -> Result<Vec<Entry>, Error> {
        let inner = self.inner.lock();
        let skip = usize::try_from(after).unwrap_or(usize::MAX);
        let frames = inner.frames.iter().skip(skip).take(limit);
        Ok(frames
            .zip(after.saturating_add(1)..)
            .map(|(frame, seq)| Entry { seq, frame: frame.clone() })
            .collect())
    }

    fn cut(&self, after: Seq) -> Result<(), Error> {
        self.inner.lock().frames.truncate(usize::try_from(after).unwrap_or(usize::MAX));
        Ok(())
    }

    fn secrets(&self) -> Result<Vec<(String, Vec<u8>)>, Error> {
        Ok(self.inner.lock().secrets.clone().into_iter().collect())
    }
}

impl Derived for MemoryJournal {
    fn write(&self, space: &'static str, puts: &[Put]) -> Result<(), Error> {
        let mut inner = self.inner.lock();
        let rows = inner.spaces.entry(space).or_default();
        for (key, value) in puts {
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
        Ok(())
    }

    fn get(&self, space: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.inner.lock().spaces.get(space).and_then(|rows| rows.get(key)).cloned())
    }

    fn scan(
        &self,
        space: &'static str,
        from: &[u8],
        to: &[u8],
        newest_first: bool,
        limit: usize,
    ) -> Result<Vec<Row>, Error> {
        let inner = self.inner.lock();
        let Some(rows) = inner.spaces.get(space).filter(|_| from < to) else { return Ok(Vec::new()) };
        let found = rows.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)));
        let row = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone(), value.clone());
        Ok(if newest_first {
            found.rev().take(limit).map(row).collect()
        } else {
            found.take(limit).map(row).collect()
        })
    }
}
