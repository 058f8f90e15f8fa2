//! What a request holds while it uses a key, and gives back however it ends.
//!
//! Owns the count of a key's requests under way, the right to go through a closed
//! gate as the only one, and the tokens that are held of a learned limit. Its
//! invariant: what was taken is given back once, also when a request is cancelled
//! or panics.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use projections::{KeyId, Millis};

use crate::locks::Mutex;

/// What a key has under way, and how quick it was.
#[derive(Debug, Default)]
pub struct Load {
    in_flight: AtomicU32,
    /// Milliseconds to the first byte, moving average.
    first_byte: AtomicU32,
    /// Whether the key has served since it was added or since its credential failed.
    proven: AtomicBool,
}

impl Load {
    /// Requests under way.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// A key that never served gets one request at a time: if it is bad, that costs one try.
    pub(super) fn is_on_trial(&self) -> bool {
        !self.proven.load(Ordering::Relaxed)
    }

    pub(super) fn set_proven(&self, proven: bool) {
        self.proven.store(proven, Ordering::Relaxed);
    }

    /// Lost against a quicker key. Mostly it is the request that is slow and not the key, and a
    /// key that is never chosen is never measured again: so what is held against it fades.
    pub(super) fn forgive(&self) {
        let old = self.first_byte.load(Ordering::Relaxed);
        self.first_byte.store(old - old / 8, Ordering::Relaxed);
    }

    fn quick(&self) -> u64 {
        u64::from(self.first_byte.load(Ordering::Relaxed)) + 100
    }

    /// The lower, the better: how long a request more would take, roughly.
    pub(super) fn score(&self) -> u64 {
        (u64::from(self.in_flight()) + 1) * self.quick()
    }

    /// The same for a key that is to carry `weight` where another carries `most`. Only what is under way is
    /// weighed: idle keys are alike, for they were drawn by weight, and the light ones are not to starve.
    pub(super) fn weighed(&self, weight: u16, most: u16) -> u64 {
        let share = u64::from(self.in_flight()) * u64::from(most) / u64::from(weight.max(1));
        (share + 1).saturating_mul(self.quick())
    }
}

/// Whether somebody is on the way through a gate that lets one pass.
#[derive(Clone, Debug, Default)]
pub(super) struct Pass(Arc<AtomicBool>);

impl Pass {
    pub(super) fn is_taken(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn take(&self) -> Option<Claim> {
        (!self.0.swap(true, Ordering::AcqRel)).then(|| Claim(Arc::clone(&self.0)))
    }
}

/// The right to go through a closed gate, held by one request at a time.
#[derive(Debug)]
pub(super) struct Claim(Arc<AtomicBool>);

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// The estimated tokens of requests under way, all of them of one minute.
#[derive(Clone, Debug, Default)]
pub(super) struct Reserved(Arc<Mutex<(Millis, u64)>>);

impl Reserved {
    /// What is reserved in the minute that began at `window`.
    pub(super) fn of(&self, window: Millis) -> u64 {
        let (minute, tokens) = *self.0.lock();
        if minute == window { tokens } else { 0 }
    }

    pub(super) fn take(&self, window: Millis, tokens: u32) -> Reservation {
        let mut reserved = self.0.lock();
        if reserved.0 != window {
            *reserved = (window, 0);
        }
        reserved.1 = reserved.1.saturating_add(u64::from(tokens));
        Reservation { of: self.clone(), window, tokens }
    }
}

/// Tokens held of a limit.
#[derive(Debug)]
pub(super) struct Reservation {
    of: Reserved,
    window: Millis,
    tokens: u32,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut reserved = self.of.0.lock();
        // A minute that is over was forgotten with all that was held of it.
        if reserved.0 == self.window {
            reserved.1 = reserved.1.saturating_sub(u64::from(self.tokens));
        }
    }
}

/// Keys that began to serve: told by their leases, for the log says so only when an answer has ended.
#[derive(Clone, Debug, Default)]
pub(super) struct News(Arc<Mutex<Vec<KeyId>>>);

impl News {
    fn tell(&self, key: KeyId) {
        self.0.lock().push(key);
    }

    pub(super) fn next(&self) -> Option<KeyId> {
        self.0.lock().pop()
    }
}

/// A key's place, held while a request uses the key.
#[derive(Debug)]
pub struct Lease {
    key: KeyId,
    pub(super) load: Arc<Load>,
    news: News,
    #[expect(dead_code, reason = "held for its end")]
    claim: Option<Claim>,
    #[expect(dead_code, reason = "held for its end")]
    tokens: Option<Reservation>,
}

impl Lease {
    pub(super) fn take(
        (key, load): (KeyId, Arc<Load>),
        news: &News,
        claim: Option<Claim>,
        tokens: Option<Reservation>,
    ) -> Self {
        load.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { key, load, news: news.clone(), claim, tokens }
    }

    /// Learns how long the first byte took (an eighth of the new, seven of the old).
    pub fn first_byte(&self, ms: u32) {
        let slot = &self.load.first_byte;
        let old = slot.load(Ordering::Relaxed);
        let new = if old == 0 { ms } else { old - old / 8 + ms / 8 };
        slot.store(new, Ordering::Relaxed);
    }

    /// Google took the key: it is on trial no more.
    pub fn proven(&self) {
        if self.load.is_on_trial() {
            self.load.set_proven(true);
            self.news.tell(self.key);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.load.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
