//! The index's state: which blocks there are, and the newest rows, which are in no block yet.
//!
//! Pure but for the store that a search reads columns from. Rows come in the
//! order of the log; when there are enough for a block they are sealed, and stay
//! in memory until somebody has written them ([`super::store`]). Its invariant:
//! every row is in exactly one place (open, sealed, or a block on disk), so that a
//! search, which looks at all three from one snapshot, sees it once.

use std::{collections::VecDeque, sync::Arc};

use projections::Seq;

use super::{
    block::{Block, Counts, Hit, ROWS},
    filter::Filter,
    header::Header,
    row::{Gatherer, Note, Row},
};

/// A block on disk.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) number: u32,
    pub(super) header: Header,
}

/// A block that is full and not on disk yet.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) number: u32,
    pub(super) header: Header,
    pub(super) rows: Vec<Row>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Index {
    gatherer: Gatherer,
    /// The last event that was looked at.
    pub(super) cursor: Seq,
    /// Requests up to here are in blocks; their events may come by once more, for those that were under way.
    pub(super) indexed: Seq,
    /// Traffic up to here is gone from the log.
    pub(super) floor: Seq,
    blocks: Arc<Vec<Arc<Stored>>>,
    sealed: VecDeque<Arc<Sealed>>,
    open: Vec<Row>,
    next: u32,
}

impl Index {
    /// Of these blocks, in order; the log is to be read on behind [`Self::cursor`].
    pub(super) fn of(blocks: Vec<Stored>, floor: Seq) -> Self {
        let last = blocks.last();
        Self {
            cursor: last.map_or(0, |block| block.header.resume),
            indexed: last.map_or(0, |block| block.header.last),
            next: last.map_or(0, |block| block.number.wrapping_add(1)),
            floor,
            blocks: Arc::new(blocks.into_iter().map(Arc::new).collect()),
            ..Self::default()
        }
    }

    /// Takes in what an event said. Says whether there is something to write: a full block, or a trim.
    pub(super) fn follow(&mut self, note: Note) -> bool {
        if note.seq() <= self.cursor {
            return false;
        }
        self.cursor = note.seq();
        if let Note::Trimmed { through, .. } = note {
            self.floor = self.floor.max(through);
            return true;
        }
        let Some(row) = self.gatherer.follow(note).filter(|row| row.seq > self.indexed) else { return false };
        self.open.push(row);
        if self.open.len() < ROWS {
            return false;
        }
        let rows = std::mem::take(&mut self.open);
        let resume = self.gatherer.resume().unwrap_or(self.cursor).min(self.cursor);
        let header = Header::of(&rows, resume);
        self.sealed.push_back(Arc::new(Sealed { number: self.next, header, rows }));
        self.next = self.next.wrapping_add(1);
        true
    }

    /// Everything up to an event was looked at.
    pub(super) fn seen(&mut self, through: Seq) {
        self.cursor = self.cursor.max(through);
    }

    /// The next block to write.
    pub(super) fn unwritten(&self) -> Option<Arc<Sealed>> {
        self.sealed.front().map(Arc::clone)
    }

    /// The next block is written.
    pub(super) fn written(&mut self) {
        if let Some(sealed) = self.sealed.pop_front() {
            let stored = Stored { number: sealed.number, header: sealed.header.clone() };
            Arc::make_mut(&mut self.blocks).push(Arc::new(stored));
        }
    }

    /// Takes away the blocks on disk of which the log has nothing any more, and gives their numbers.
    pub(super) fn trimmed(&mut self) -> Vec<u32> {
        let gone = self.blocks.partition_point(|block| block.header.last <= self.floor);
        if gone == 0 {
            return Vec::new();
        }
        Arc::make_mut(&mut self.blocks).drain(..gone).map(|block| block.number).collect()
    }

    /// What a search looks at, once the lock is free again; the open rows are looked at now.
    pub(super) fn look<T>(&self, mut at_row: impl FnMut(&Row) -> Option<T>) -> Snapshot<T> {
        let open = self.open.iter().rev().filter(|row| row.seq > self.floor);
        Snapshot {
            floor: self.floor,
            open: open.filter_map(&mut at_row).collect(),
            sealed: self.sealed.iter().rev().map(Arc::clone).collect(),
            blocks: Arc::clone(&self.blocks),
        }
    }

    /// Bytes of headers in memory, about.
    #[cfg(test)]
    pub(super) fn header_bytes(&self) -> usize {
        self.blocks.iter().map(|block| block.header.bytes() + size_of::<u64>()).sum()
    }
}

/// The index at one moment.
pub(super) struct Snapshot<T> {
    floor: Seq,
    /// What was found among the open rows, the newest first.
    open: Vec<T>,
    /// Full blocks not on disk, the newest first.
    sealed: Vec<Arc<Sealed>>,
    blocks: Arc<Vec<Arc<Stored>>>,
}

impl Snapshot<Hit> {
    /// Up to `limit` requests that are asked for and came before `before`, the newest first.
    /// `columns` gives a block's columns.
    pub(super) fn search<E: From<super::column::Damaged>>(
        self,
        filter: &Filter,
        before: Seq,
        limit: usize,
        columns: &mut dyn FnMut(u32, super::block::Column) -> Result<Vec<u8>, E>,
    ) -> Result<Vec<Hit>, E> {
        let mut hits = self.open;
        let sealed = self.sealed.iter().flat_map(|sealed| sealed.rows.iter().rev());
        let sealed = sealed.filter(|row| row.seq > self.floor && row.seq < before && filter.matches(row));
        hits.extend(sealed.map(Hit::of).take(limit.saturating_sub(hits.len())));
        hits.truncate(limit);
        // Blocks that begin at `before` or later have nothing.
        let end = self.blocks.partition_point(|block| block.header.first < before);
        for block in self.blocks.iter().take(end).rev() {
            if hits.len() >= limit {
                break;
            }
            let Stored { number, header } = &**block;
            let mut block = Block { header, read: &mut |column| columns(*number, column) };
            let picked = block.pick(filter, self.floor, before)?;
            hits.extend(block.hits(&picked, limit - hits.len())?);
        }
        Ok(hits)
    }
}

impl Snapshot<()> {
    /// Counts all that are asked for; `counts` holds the open rows already.
    pub(super) fn count<E: From<super::column::Damaged>>(
        self,
        filter: &Filter,
        counts: &mut Counts,
        columns: &mut dyn FnMut(u32, super::block::Column) -> Result<Vec<u8>, E>,
    ) -> Result<(), E> {
        let sealed = self.sealed.iter().flat_map(|sealed| &sealed.rows);
        sealed.filter(|row| row.seq > self.floor && filter.matches(row)).for_each(|row| counts.add(row));
        for block in self.blocks.iter() {
            let Stored { number, header } = &**block;
            let mut block = Block { header, read: &mut |column| columns(*number, column) };
            let picked = block.pick(filter, self.floor, Seq::MAX)?;
            block.count(&picked, counts)?;
        }
        Ok(())
    }
}
