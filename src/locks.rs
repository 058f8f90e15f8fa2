//! Locks, and the one order in which they are taken.
//!
//! A thread that holds a lock takes only locks of a later [`Rank`], so no two threads can wait for each other. A lock
//! without a rank is a *leaf*: whoever holds it takes no other lock, and most locks are that. Debug builds check
//! this at every acquisition, in every test and in the program that the tests start, and stop at the first breach,
//! whether or not another thread is in the way at that moment; release builds carry nothing of it. Locks come from
//! here and from nowhere else (`clippy.toml`), so a new pair of nested locks has to be written into [`Rank`] first.
//!
//! Condition variables wait on the lock that they are given, and nothing else may be held meanwhile.

#![expect(clippy::disallowed_types, reason = "this is the place where locks come in")]

use std::{
    fmt,
    ops::{Deref, DerefMut},
    time::{Duration, Instant},
};

use rank::Held;

/// When a lock may be taken: only by a thread whose other locks all stand before it here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Who writes kept bodies; held over writes of derived rows.
    BodiesWriter,
    /// The request index; held while events are read from the journal.
    RequestIndex,
    /// The ledger's state. Everybody looks at it, views are shown it, and metrics ask everything below while they do.
    State,
    /// The queue for keys; held while whoever is at its head asks for one.
    Queue,
    /// Who follows the settings; held while they are told.
    SettingsFollowers,
    /// The vault's keys that are being added; held while they are put among the open ones.
    VaultAdmitted,
    /// The vault's open keys; held while secrets are unsealed.
    VaultOpen,
    /// The scheduler's roster; held over its leases' own counters.
    Roster,
    /// The limiter's clients; held over a client's own meter.
    ClientLimits,
    /// The open database of the journal; held over every use of it, and alone while it is opened anew.
    Database,
    /// Where the journal ends; held over an append.
    JournalEnd,
    /// The journal's segments.
    JournalParts,
    /// The journal's spaces of derived rows.
    JournalSpaces,
    /// What one side of a Live session holds; held while it asks for more of the memory for bodies.
    SessionMemory,
    /// No other lock is taken while this one is held, but the next.
    Leaf,
    /// The program's own log: whoever holds whatever may say something, and no more than a line is copied meanwhile.
    OwnLog,
}

/// A mutual exclusion; see the module.
pub struct Mutex<T> {
    #[cfg(debug_assertions)]
    rank: Rank,
    inner: raw::Mutex<T>,
}

/// Access to what a [`Mutex`] guards.
pub struct MutexGuard<'a, T> {
    inner: raw::MutexGuard<'a, T>,
    _held: Held,
}

/// Many readers or one writer; see the module.
pub struct RwLock<T> {
    #[cfg(debug_assertions)]
    rank: Rank,
    inner: raw::RwLock<T>,
}

/// A look at what a [`RwLock`] guards.
pub struct RwLockReadGuard<'a, T> {
    inner: raw::RwLockReadGuard<'a, T>,
    _held: Held,
}

/// Access to what a [`RwLock`] guards.
pub struct RwLockWriteGuard<'a, T> {
    inner: raw::RwLockWriteGuard<'a, T>,
    _held: Held,
}

/// A condition that threads wait for.
#[derive(Default)]
pub struct Condvar(raw::Condvar);

/// What this module wraps.
mod raw {
    pub(super) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
}

macro_rules! lock {
    ($lock:ident) => {
        impl<T> $lock<T> {
            /// A leaf.
            pub const fn new(value: T) -> Self {
                Self::ranked(Rank::Leaf, value)
            }

            /// A lock with a place in the order.
            #[cfg_attr(
                not(debug_assertions),
                expect(unused_variables, reason = "checked in debug builds only")
            )]
            pub const fn ranked(rank: Rank, value: T) -> Self {
                Self {
                    #[cfg(debug_assertions)]
                    rank,
                    inner: raw::$lock::new(value),
                }
            }

            /// What it guards.
            pub fn into_inner(self) -> T {
                self.inner.into_inner()
            }

            #[cfg(debug_assertions)]
            #[track_caller]
            fn enter(&self) -> Held {
                Held::enter(self.rank)
            }

            #[cfg(not(debug_assertions))]
            fn enter(&self) -> Held {
                Held
            }
        }

        impl<T: Default> Default for $lock<T> {
            fn default() -> Self {
                Self::new(T::default())
            }
        }

        impl<T: fmt::Debug> fmt::Debug for $lock<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.inner.fmt(f)
            }
        }
    };
}

macro_rules! guard {
    ($guard:ident) => {
        impl<T> Deref for $guard<'_, T> {
            type Target = T;

            fn deref(&self) -> &T {
                &self.inner
            }
        }
    };
}

lock!(Mutex);
lock!(RwLock);
guard!(MutexGuard);
guard!(RwLockReadGuard);
guard!(RwLockWriteGuard);

impl<T> Mutex<T> {
    /// Waits for the lock.
    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        // Before the wait: a breach is told even where this very wait would be for ever.
        let held = self.enter();
        MutexGuard { inner: self.inner.lock(), _held: held }
    }
}

impl<T> RwLock<T> {
    /// Waits until nobody writes.
    #[track_caller]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        let held = self.enter();
        RwLockReadGuard { inner: self.inner.read(), _held: held }
    }

    /// Waits until nobody else is there.
    #[track_caller]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        let held = self.enter();
        RwLockWriteGuard { inner: self.inner.write(), _held: held }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl<T> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl Condvar {
    /// One that nobody waits for.
    #[must_use]
    pub const fn new() -> Self {
        Self(raw::Condvar::new())
    }

    /// Gives the lock up until the condition is told of.
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        self.0.wait(&mut guard.inner);
    }

    /// The same, as long as something holds and the time is not over.
    pub fn wait_while_for<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        holds: impl FnMut(&mut T) -> bool,
        time: Duration,
    ) {
        self.0.wait_while_for(&mut guard.inner, holds, time);
    }

    /// The same, until a time; true: it is over.
    pub fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, until: Instant) -> bool {
        self.0.wait_until(&mut guard.inner, until).timed_out()
    }

    /// Wakes one that waits.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes all that wait.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// What this thread holds.
#[cfg(debug_assertions)]
mod rank {
    use std::{cell::RefCell, marker::PhantomData, panic::Location};

    use super::Rank;

    thread_local! {
        static HELD: RefCell<Vec<(Rank, &'static Location<'static>)>> = const { RefCell::new(Vec::new()) };
    }

    /// A lock that this thread holds, or waits for. It stays on its thread.
    pub(super) struct Held(Rank, PhantomData<*const ()>);

    impl Held {
        #[track_caller]
        pub(super) fn enter(rank: Rank) -> Self {
            let here = Location::caller();
            let before = HELD.with_borrow_mut(|held| {
                let before = held.iter().copied().find(|(other, _)| *other >= rank);
                if before.is_none() {
                    held.push((rank, here));
                }
                before
            });
            if let Some((other, there)) = before {
                breach(&format!(
                    "lock order: {rank:?} is taken at {here} by a thread that has held {other:?} since {there}; \
                     `locks::Rank` says what may be taken when"
                ));
            }
            Self(rank, PhantomData)
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            let _ = HELD.try_with(|held| {
                let mut held = held.borrow_mut();
                if let Some(place) = held.iter().rposition(|(rank, _)| *rank == self.0) {
                    held.remove(place);
                }
            });
        }
    }

    /// The program ends: a panic might be caught, and the test that found this would pass.
    fn breach(what: &str) {
        if cfg!(test) {
            #[expect(clippy::panic, reason = "this is a check of debug builds")]
            {
                panic!("{what}");
            }
        }
        eprintln!("{what}");
        std::process::abort();
    }
}

#[cfg(not(debug_assertions))]
mod rank {
    pub(super) struct Held;
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn locks_are_taken_in_the_order_of_their_ranks() {
        let state = RwLock::ranked(Rank::State, 1);
        let (roster, leaf) = (Mutex::ranked(Rank::Roster, 2), Mutex::new(3));
        let (one, two, three) = (state.read(), roster.lock(), leaf.lock());
        assert_eq!(*one + *two + *three, 6);
        drop((one, two, three));
        drop((leaf.lock(), ()));
        *state.write() += 1;
        assert_eq!(*state.read(), 2);
    }

    #[test]
    #[should_panic(expected = "lock order: State is taken at")]
    fn an_earlier_lock_is_not_taken_later() {
        let (state, roster) = (RwLock::ranked(Rank::State, ()), Mutex::ranked(Rank::Roster, ()));
        let _roster = roster.lock();
        let _state = state.read();
    }

    /// With a writer between them the second waits for the writer, and the writer for the first.
    #[test]
    #[should_panic(expected = "lock order: State is taken at")]
    fn a_lock_is_not_read_twice() {
        let state = RwLock::ranked(Rank::State, ());
        let _one = state.read();
        let _two = state.read();
    }

    #[test]
    #[should_panic(expected = "that has held Leaf since")]
    fn nothing_is_taken_below_a_leaf() {
        let (one, other) = (Mutex::new(()), Mutex::new(()));
        let _one = one.lock();
        let _other = other.lock();
    }

    #[test]
    fn guards_may_go_in_any_order() {
        let (state, roster) = (RwLock::ranked(Rank::State, ()), Mutex::ranked(Rank::Roster, ()));
        let (one, two) = (state.read(), roster.lock());
        drop(one);
        drop(two);
        drop(state.write());
        drop(roster.lock());
    }
}
