//! Where conversations went, so that they find Google's prompt cache again.
//!
//! A memory, and not a hash of projects onto a ring: a conversation begins where the
//! load is least, and one that had to move stays where its cache now is, instead of
//! going back as soon as its first project is free. A restart forgets it, at the price
//! of one cache miss a conversation. Its invariant: its size is fixed; the
//! conversation that was silent longest leaves first, among the few in its place.

use projections::KeyId;

const BUCKETS: usize = 2_048;
const WAYS: usize = 8;

/// A conversation, and a key of the project that it went to. (A project may get another name, and
/// numbers of rows do not outlive a rebuild; a key stays what it is.)
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    conversation: u64,
    key: u32,
    /// When it was last asked for, in questions; 0: free.
    seen: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Memory {
    buckets: Vec<[Entry; WAYS]>,
    clock: u64,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self { buckets: vec![[Entry::default(); WAYS]; BUCKETS], clock: 0 }
    }

    fn bucket(&mut self, conversation: u64) -> Option<&mut [Entry; WAYS]> {
        // The upper bits: whoever made the hash may have cut it from a number.
        let spread = conversation.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        self.buckets.get_mut(spread as usize % BUCKETS)
    }

    /// A key of the project that a conversation went to.
    pub(super) fn recall(&mut self, conversation: u64) -> Option<KeyId> {
        self.clock += 1;
        let now = self.clock;
        let entry = self
            .bucket(conversation)?
            .iter_mut()
            .find(|entry| entry.seen > 0 && entry.conversation == conversation)?;
        entry.seen = now;
        Some(KeyId(entry.key))
    }

    pub(super) fn remember(&mut self, conversation: u64, key: KeyId) {
        self.clock += 1;
        let new = Entry { conversation, key: key.0, seen: self.clock };
        let Some(bucket) = self.bucket(conversation) else { return };
        let known = |entry: &Entry| entry.seen > 0 && entry.conversation == conversation;
        // The one it has; else the one that was silent longest, or is free.
        let place = bucket.iter_mut().min_by_key(|entry| if known(entry) { (0, 0) } else { (1, entry.seen) });
        if let Some(place) = place {
            *place = new;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_conversation_that_was_silent_longest_is_forgotten_first() {
        let mut memory = Memory::new();
        // All of one bucket.
        let mut same = Vec::new();
        let first = memory.bucket(0).unwrap().as_ptr();
        for conversation in 0.. {
            if memory.bucket(conversation).unwrap().as_ptr() == first {
                same.push(conversation);
            }
            if same.len() == WAYS + 1 {
                break;
            }
        }
        for (conversation, key) in same[..WAYS].iter().zip(1..) {
            memory.remember(*conversation, KeyId(key));
        }
        assert_eq!(memory.recall(same[0]), Some(KeyId(1)));
        memory.remember(same[0], KeyId(99));
        memory.remember(same[WAYS], KeyId(50));
        assert_eq!(memory.recall(same[0]), Some(KeyId(99)), "it was asked for");
        assert_eq!(memory.recall(same[1]), None);
        assert_eq!(memory.recall(same[WAYS]), Some(KeyId(50)));
        assert!((2..WAYS).all(|place| memory.recall(same[place]) == Some(KeyId(place as u32 + 1))));
    }
}
