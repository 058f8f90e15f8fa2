//! The memory for bodies of requests, all together, and for what Live sessions hold (BODY_MEMORY_BYTES).
//!
//! The shell around [`crate::fair`]: who holds what, and how one is told that its share went to others. Refuses to
//! know what is in a body. Its invariant: what is not dropped is counted, and one that was cut holds nothing and gets
//! nothing any more. (Its memory is free when its task has heard of it, which is a moment later.)

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{caller::Caller, fair::Shares, locks::Mutex};

/// Memory is counted in blocks of so many bytes.
pub const BLOCK: usize = 1_024;

/// Why there is no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoMemory {
    /// There is none left, and its caller holds no less than others.
    Full,
    /// Its caller held most of it, and it was cut for others.
    Cut,
}

#[derive(Debug)]
struct Counts {
    shares: Shares<Caller, u64>,
    /// How to tell those that hold something.
    cuts: HashMap<u64, CancellationToken>,
    last: u64,
}

/// See the module.
#[derive(Debug)]
pub struct BodyMemory {
    counts: Mutex<Counts>,
    began: Instant,
}

impl BodyMemory {
    /// Of so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Arc<Self> {
        let counts = Counts { shares: Shares::new(bytes / BLOCK), cuts: HashMap::new(), last: 0 };
        Arc::new(Self { counts: Mutex::new(counts), began: Instant::now() })
    }

    /// A body of somebody's, which holds nothing yet.
    #[must_use]
    pub fn body(self: &Arc<Self>, caller: Caller) -> Held {
        Held { memory: Arc::clone(self), caller, id: 0, blocks: 0, cut: CancellationToken::new() }
    }

    /// What nobody holds, in bytes.
    #[must_use]
    pub fn free(&self) -> usize {
        self.counts.lock().shares.free() * BLOCK
    }
}

/// What one body holds, until it is dropped.
#[derive(Debug)]
pub struct Held {
    memory: Arc<BodyMemory>,
    caller: Caller,
    /// 0: it never held anything.
    id: u64,
    blocks: usize,
    cut: CancellationToken,
}

impl Held {
    /// Holds so many bytes in all, and no less than before.
    ///
    /// # Errors
    /// [`NoMemory`]; what it held it still does, where it was not cut.
    pub fn grow(&mut self, bytes: usize) -> Result<(), NoMemory> {
        let wanted = bytes.div_ceil(BLOCK).saturating_sub(self.blocks);
        if wanted == 0 {
            return if self.cut.is_cancelled() { Err(NoMemory::Cut) } else { Ok(()) };
        }
        let now = self.memory.began.elapsed();
        let mut counts = self.memory.counts.lock();
        if self.cut.is_cancelled() {
            return Err(NoMemory::Cut);
        }
        let Counts { shares, cuts, last } = &mut *counts;
        if self.id == 0 {
            *last += 1;
            self.id = *last;
        }
        let others = shares.take(self.caller, self.id, wanted, now).map_err(|_| NoMemory::Full)?;
        if let Entry::Vacant(first) = cuts.entry(self.id) {
            first.insert(self.cut.clone());
            shares.arrives(self.caller, self.id, Some(now));
        }
        // While the lock is held, so that nobody who was cut takes more.
        for (_, id) in others {
            if let Some(cut) = cuts.remove(&id) {
                cut.cancel();
            }
        }
        self.blocks += wanted;
        Ok(())
    }

    /// Gives back what is over so many bytes.
    pub fn shrink(&mut self, bytes: usize) {
        let back = self.blocks.saturating_sub(bytes.div_ceil(BLOCK));
        if back > 0 {
            self.blocks -= back;
            self.memory.counts.lock().shares.give_back(self.caller, self.id, back);
        }
    }

    /// It is whole: only where nothing of its caller's still arrives is it cut.
    pub fn is_whole(&mut self) {
        if self.id != 0 {
            self.memory.counts.lock().shares.arrives(self.caller, self.id, None);
        }
    }

    /// Something of it arrives, from now on.
    pub fn arrives(&mut self) {
        let now = self.memory.began.elapsed();
        if self.id != 0 {
            self.memory.counts.lock().shares.arrives(self.caller, self.id, Some(now));
        }
    }

    /// Told when it was cut.
    #[must_use]
    pub fn cut(&self) -> CancellationToken {
        self.cut.clone()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.id != 0 {
            let mut counts = self.memory.counts.lock();
            counts.shares.leave(self.caller, self.id);
            counts.cuts.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u32) -> Caller {
        Caller::Client(projections::ClientId(number))
    }

    #[test]
    fn who_holds_most_loses_its_slowest_body_to_others() {
        let memory = BodyMemory::new(8 * BLOCK);
        let (mut whole, mut slow) = (memory.body(client(1)), memory.body(client(1)));
        whole.grow(4 * BLOCK).unwrap();
        slow.grow(4 * BLOCK - 5).unwrap();
        whole.is_whole();
        assert_eq!((memory.free(), whole.grow(5 * BLOCK)), (0, Err(NoMemory::Full)), "not to its own");
        let mut other = memory.body(client(2));
        other.grow(1).unwrap();
        assert!(slow.cut().is_cancelled() && !whole.cut().is_cancelled());
        assert_eq!((slow.grow(1), slow.grow(8 * BLOCK)), (Err(NoMemory::Cut), Err(NoMemory::Cut)));
        assert_eq!(memory.free(), 3 * BLOCK);
        drop(slow);
        assert_eq!(memory.free(), 3 * BLOCK, "it was given back once");
        drop((whole, other));
        assert_eq!(memory.free(), 8 * BLOCK);
    }

    #[test]
    fn a_body_holds_what_it_has_and_no_more() {
        let memory = BodyMemory::new(8 * BLOCK);
        let mut body = memory.body(client(1));
        body.grow(0).unwrap();
        assert_eq!(memory.free(), 8 * BLOCK);
        for (bytes, blocks) in [(1, 1), (BLOCK, 1), (BLOCK + 1, 2), (7, 2)] {
            body.grow(bytes).unwrap();
            assert_eq!(memory.free(), (8 - blocks) * BLOCK);
        }
        body.shrink(3);
        assert_eq!(memory.free(), 7 * BLOCK);
        assert_eq!(body.grow(9 * BLOCK), Err(NoMemory::Full));
        assert_eq!(memory.free(), 7 * BLOCK, "it has what it had");
    }
}
