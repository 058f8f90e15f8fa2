//! Which project a Live session that can be gone on with belongs to.
//!
//! Google gives out a handle now and then; it is good for hours, in the project of the key that has the session. The
//! newest one of a session is in the log before the client knows it, as a resource of that project, and a restart
//! forgets none. Those before it, which are good as well, are in memory only, and bounded. A handle lets its holder go
//! on, so it is kept as its digest.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    pin::Pin,
};

use projections::{
    KeyId,
    event::{Attempted, Released, ResourceBound, ResourceReleased},
};

use crate::{
    ledger::Fact,
    locks::Mutex,
    proxy::{Proxy, affinity},
};

/// Handles remembered at once; the oldest make room.
const KEPT: usize = 20_000;

/// Something that is to be in the log before a message goes on.
pub(super) type Note = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The handles of before, by the name under which they are kept.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Handles {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    owners: HashMap<String, KeyId>,
    order: VecDeque<String>,
}

impl Handles {
    fn learn(&self, name: String, key: KeyId) {
        let mut inner = self.inner.lock();
        if inner.owners.insert(name.clone(), key).is_none() {
            inner.order.push_back(name);
        }
        if inner.order.len() > KEPT
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.owners.remove(&oldest);
        }
    }

    fn owner(&self, name: &str) -> Option<KeyId> {
        self.inner.lock().owners.get(name).copied()
    }
}

impl Proxy {
    /// The project whose session a handle goes on with.
    pub(super) fn project_of_session(&self, handle: &str) -> Option<String> {
        let name = affinity::session_name(handle);
        let state = self.ledger.state();
        let owner = state.resources.owner(&name, self.clock.now()).map(str::to_owned);
        owner.or_else(|| Some(state.keys.get(self.handles.owner(&name)?)?.project.clone()))
    }

    /// A session's newest handle takes the place of the one before.
    pub(super) fn note_handle(&self, handle: &str, tried: &Attempted, last: &mut Option<String>) -> Note {
        let name = affinity::session_name(handle);
        let released = last.replace(name.clone()).filter(|before| *before != name);
        if let Some(before) = &released {
            self.handles.learn(before.clone(), tried.key);
        }
        let bound = ResourceBound {
            expires: affinity::expiry(&name, self.clock.now()),
            name,
            project: tried.project.clone(),
            key: tried.key,
            request: Some(tried.request),
            client: tried.client,
        };
        let released = released.map(|name| ResourceReleased { name, why: Released::Finished });
        let ledger = self.ledger.clone();
        Box::pin(async move {
            if let Some(reservation) = ledger.reserve().await {
                reservation.record_and_fold(Fact::Resources(vec![bound], released)).await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_make_room() {
        let handles = Handles::default();
        for n in 0..=KEPT {
            handles.learn(format!("handle {n}"), KeyId(7));
        }
        assert_eq!(handles.owner("handle 0"), None);
        assert_eq!(
            (handles.owner("handle 1"), handles.owner("handle 20000")),
            (Some(KeyId(7)), Some(KeyId(7)))
        );
        assert_eq!(handles.inner.lock().order.len(), KEPT);
    }
}
