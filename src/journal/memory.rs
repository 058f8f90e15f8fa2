//! A journal that lives as long as the process: for `DATABASE_URL=memory:`,
//! demonstrations, and wherever nothing must stay behind.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use projections::Seq;

use super::{Batch, Entry, Error, Journal, SecretChange, refuse_unless_beyond};

/// See the module.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    frames: Vec<Vec<u8>>,
    secrets: BTreeMap<String, Vec<u8>>,
}

impl Inner {
    fn last(&self) -> Seq {
        self.frames.len() as Seq
    }

    fn change(&mut self, secrets: &[SecretChange]) {
        for change in secrets {
            match &change.sealed {
                Some(sealed) => self.secrets.insert(change.name.clone(), sealed.clone()),
                None => self.secrets.remove(&change.name),
            };
        }
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
        inner.change(batch.secrets);
        Ok(())
    }

    /// Refuses gaps too: here an entry's number is its place.
    fn adopt(&self, entries: &[Entry], secrets: &[SecretChange]) -> Result<(), Error> {
        let mut inner = self.inner.lock();
        let last = inner.last();
        refuse_unless_beyond(last, entries)?;
        if let Some((entry, _)) = entries.iter().zip(last + 1..).find(|(entry, place)| entry.seq != *place) {
            return Err(Error::Conflict { after: entry.seq - 1, last });
        }
        inner.frames.extend(entries.iter().map(|entry| entry.frame.clone()));
        inner.change(secrets);
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
