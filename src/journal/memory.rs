//! A journal that lives as long as the process: for `DATABASE_URL=memory:`,
//! demonstrations, and wherever nothing must stay behind.

use std::{collections::BTreeMap, ops::Bound};

use projections::Seq;

use super::{
    Batch, Derived, Entry, Error, Frame, Journal, Numbered, SecretChange, Segment, SegmentSpan,
    derived::{Put, Row},
    refuse_unless_beyond,
};
use crate::locks::Mutex;

/// See the module.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    frames: BTreeMap<Seq, Frame>,
    last: Seq,
    newest: Segment,
    secrets: BTreeMap<String, Vec<u8>>,
    spaces: BTreeMap<&'static str, BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl Inner {
    fn spans(&self) -> BTreeMap<Segment, SegmentSpan> {
        let mut spans = BTreeMap::new();
        for (seq, number) in self.frames.iter().filter_map(|(seq, frame)| Some((*seq, frame.segment?))) {
            let span = spans.entry(number).or_insert(SegmentSpan { number, first: seq, last: seq });
            span.last = seq;
        }
        spans
    }

    fn put(&mut self, seq: Seq, frame: Frame) {
        let segment = frame.segment.map(|number| number.max(self.newest));
        self.newest = segment.unwrap_or(self.newest);
        self.last = seq;
        self.frames.insert(seq, Frame { segment, ..frame });
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

fn entry((seq, frame): (&Seq, &Frame)) -> Entry {
    Entry { seq: *seq, frame: frame.bytes.clone() }
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
        let last = inner.last;
        if batch.after != last {
            return Err(Error::Conflict { after: batch.after, last });
        }
        for (frame, seq) in batch.frames.iter().zip(last + 1..) {
            inner.put(seq, frame.clone());
        }
        inner.change(batch.secrets);
        Ok(())
    }

    fn adopt(&self, entries: &[Numbered], secrets: &[SecretChange]) -> Result<(), Error> {
        let mut inner = self.inner.lock();
        refuse_unless_beyond(inner.last, entries)?;
        for (seq, frame) in entries {
            inner.put(*seq, frame.clone());
        }
        inner.change(secrets);
        Ok(())
    }

    fn sync(&self) -> Result<(), Error> {
        Ok(())
    }

    fn last(&self) -> Seq {
        self.inner.lock().last
    }

    fn read(&self, after: Seq, limit: usize) -> Result<Vec<Entry>, Error> {
        let from = (Bound::Excluded(after), Bound::Unbounded);
        Ok(self.inner.lock().frames.range(from).take(limit).map(entry).collect())
    }

    fn read_back(&self, before: Seq, limit: usize) -> Result<Vec<Entry>, Error> {
        Ok(self.inner.lock().frames.range(..before).rev().take(limit).map(entry).collect())
    }

    fn segments(&self) -> Vec<SegmentSpan> {
        self.inner.lock().spans().into_values().collect()
    }

    fn drop_segments(&self, through: Segment) -> Result<(), Error> {
        let mut inner = self.inner.lock();
        let (last, spans) = (inner.last, inner.spans());
        let gone = |number| {
            number <= through && spans.get(&number).is_some_and(|span: &SegmentSpan| span.last < last)
        };
        inner.frames.retain(|_, frame| !frame.segment.is_some_and(gone));
        Ok(())
    }

    fn cut(&self, after: Seq) -> Result<(), Error> {
        let mut inner = self.inner.lock();
        inner.frames.retain(|seq, _| *seq <= after);
        inner.last = inner.last.min(after);
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
