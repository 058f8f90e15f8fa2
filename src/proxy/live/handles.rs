//! Which key a Live session that can be gone on with belongs to.
//!
//! Google gives out a handle now and then; it is good for hours, in the project of the
//! key that has the session. Bounded, and in memory only; a handle is kept as its hash.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use projections::KeyId;

/// Handles remembered at once; the oldest make room.
const KEPT: usize = 20_000;

type Hash = [u8; 32];

/// See the module.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Handles {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    owners: HashMap<Hash, KeyId>,
    order: VecDeque<Hash>,
}

impl Handles {
    /// Learns a handle that Google gave out.
    pub(super) fn learn(&self, handle: &str, key: KeyId) {
        let hash = *blake3::hash(handle.as_bytes()).as_bytes();
        let mut inner = self.inner.lock();
        if inner.owners.insert(hash, key).is_none() {
            inner.order.push_back(hash);
        }
        if inner.order.len() > KEPT
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.owners.remove(&oldest);
        }
    }

    /// Whose session it is.
    pub(super) fn owner(&self, handle: &str) -> Option<KeyId> {
        self.inner.lock().owners.get(blake3::hash(handle.as_bytes()).as_bytes()).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_make_room() {
        let handles = Handles::default();
        for n in 0..=KEPT {
            handles.learn(&format!("handle {n}"), KeyId(7));
        }
        assert_eq!(handles.owner("handle 0"), None);
        assert_eq!(
            (handles.owner("handle 1"), handles.owner("handle 20000")),
            (Some(KeyId(7)), Some(KeyId(7)))
        );
        assert_eq!(handles.inner.lock().order.len(), KEPT);
    }
}
