//! Which key a running upload belongs to.
//!
//! Upload SDKs send the pieces without a credential, to an address whose
//! `upload_id` Google made for one key. Bounded; an upload lives for hours, so it
//! is kept in memory only.

use std::collections::{HashMap, VecDeque};

use http::HeaderValue;
use parking_lot::Mutex;
use projections::KeyId;

use crate::gemini::target::upload_id;

/// Uploads remembered at once; the oldest make room.
const KEPT: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    owners: HashMap<String, KeyId>,
    order: VecDeque<String>,
}

impl Uploads {
    /// Learns from the address that Google gave an upload.
    pub(super) fn learn(&self, address: &HeaderValue, key: KeyId) {
        let query = address.to_str().ok().and_then(|address| address.split_once('?'));
        let Some(id) = query.and_then(|(_, query)| upload_id(query)) else { return };
        let id = id.into_owned();
        let mut inner = self.inner.lock();
        if inner.owners.insert(id.clone(), key).is_none() {
            inner.order.push_back(id);
        }
        if inner.order.len() > KEPT
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.owners.remove(&oldest);
        }
    }

    /// Whose it is.
    pub(super) fn owner(&self, id: &str) -> Option<KeyId> {
        self.inner.lock().owners.get(id).copied()
    }
}
