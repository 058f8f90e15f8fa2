//! Places for connections: how many there are, who holds them, and who gives one up.
//!
//! Owns the bound on open connections and on what clients without a request under way hold in memory. Refuses to close
//! a connection whose request is under way. Its invariant: while one connection is idle, a newcomer gets in; the one
//! that goes is the oldest idle one of the address group that holds most, and one whose client has shown who it is goes
//! only where all others have gone ([`Standing`]).
//!
//! What each request touches are two numbers of its own slot; the lock is taken when a connection opens, closes, or has
//! to go.

use std::{
    cmp::Reverse,
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;
#[cfg(not(test))]
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    bounds::{HEAD_TIME, HEADS_BYTES, IDLE_TIME},
    caller::Recognized,
    gauges::Connections,
    locks::Mutex,
    network,
};

/// So many connections may be on their way out beside those that have a place.
const LEAVING: usize = 32;
/// What a connection may hold before it counts: the buffer that each begins with, in bytes.
const FREE: usize = 8 << 10;

/// So long an address counts as one of a client that has shown who it is, after its last connection has ended.
const REMEMBERED: Duration = Duration::from_secs(3_600);
/// So many such addresses are kept.
const REGULARS: usize = 1_024;
/// So long a new connection from such an address has to show it again.
const DOUBT: Duration = Duration::from_secs(2);

/// Who goes later when somebody has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// Has shown nothing.
    Stranger,
    /// Has shown nothing and is new, from an address where others did.
    Newcomer,
    /// Sent a right credential on this connection.
    Recognized,
    /// A reverse proxy of the operator's: many clients come from it.
    Exempt,
}

/// What a connection does; in its slot beside the millisecond since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// Nobody has this slot, or whoever has it is on the way out.
    Nothing,
    /// A request is under way, or its answer.
    Request,
    /// Waits for the next request.
    Idle,
    /// A head has begun, or the first one is to come.
    Head,
}

#[derive(Clone, Copy)]
struct Stamp(u64);

impl Stamp {
    const NOTHING: Self = Self(0);

    const fn new(doing: Doing, since: u64) -> Self {
        Self((since << 2) | doing as u64)
    }

    const fn doing(self) -> Doing {
        match self.0 & 3 {
            1 => Doing::Request,
            2 => Doing::Idle,
            3 => Doing::Head,
            _ => Doing::Nothing,
        }
    }

    const fn since(self) -> u64 {
        self.0 >> 2
    }
}

#[derive(Default)]
struct Slot {
    stamp: AtomicU64,
    /// What is held of a client's bytes beyond [`FREE`], while no request is under way.
    held: AtomicUsize,
}

impl Slot {
    fn stamp(&self) -> Stamp {
        Stamp(self.stamp.load(Ordering::Acquire))
    }

    /// False: the connection has to go.
    fn set(&self, next: Stamp) -> bool {
        let stays = |now| (Stamp(now).doing() != Doing::Nothing).then_some(next.0);
        self.stamp.fetch_update(Ordering::AcqRel, Ordering::Acquire, stays).is_ok()
    }
}

/// Connections from one IPv4 address, or from one /64 of IPv6.
#[derive(Default)]
struct Group {
    open: AtomicUsize,
    /// One of them has shown who it is.
    recognized: Arc<AtomicBool>,
}

impl Group {
    fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn is_recognized(&self) -> bool {
        self.recognized.load(Ordering::Relaxed)
    }
}

struct Taken {
    address: IpAddr,
    group: Arc<Group>,
    exempt: bool,
    recognized: Recognized,
    /// Milliseconds since the start.
    entered: u64,
    leaving: bool,
    close: CancellationToken,
}

struct Table {
    free: Vec<usize>,
    taken: Vec<Option<Taken>>,
    groups: HashMap<IpAddr, Arc<Group>>,
    /// Addresses of clients that had shown who they are and are gone, each with when the last one went.
    regulars: HashMap<IpAddr, u64>,
    /// Those that have a place.
    open: usize,
    /// Those that were told to go and have not gone yet.
    leaving: usize,
    closed_for_room: u64,
    refused: u64,
    closed_late: u64,
}

/// See the module.
pub(super) struct Places {
    most: usize,
    slots: Box<[Slot]>,
    table: Mutex<Table>,
    held: AtomicUsize,
    gone: Notify,
    #[cfg(not(test))]
    began: Instant,
    /// Milliseconds that a test has let pass.
    #[cfg(test)]
    passed: AtomicU64,
}

impl Places {
    pub(super) fn new(most: usize) -> Self {
        let slots = most + LEAVING;
        let table = Table {
            free: (0..slots).rev().collect(),
            taken: std::iter::repeat_with(|| None).take(slots).collect(),
            groups: HashMap::new(),
            regulars: HashMap::new(),
            open: 0,
            leaving: 0,
            closed_for_room: 0,
            refused: 0,
            closed_late: 0,
        };
        Self {
            most,
            slots: std::iter::repeat_with(Slot::default).take(slots).collect(),
            table: Mutex::new(table),
            held: AtomicUsize::new(0),
            gone: Notify::new(),
            #[cfg(not(test))]
            began: Instant::now(),
            #[cfg(test)]
            passed: AtomicU64::new(0),
        }
    }

    /// Milliseconds since the start.
    #[cfg(not(test))]
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX >> 2)
    }

    #[cfg(test)]
    fn now(&self) -> u64 {
        self.passed.load(Ordering::SeqCst)
    }

    fn slot(&self, slot: usize) -> &Slot {
        #[expect(clippy::indexing_slicing, reason = "slots are handed out by the table, which has as many")]
        &self.slots[slot]
    }

    pub(super) fn numbers(&self) -> Connections {
        let table = self.table.lock();
        Connections {
            open: table.open + table.leaving,
            most: self.most,
            closed_for_room: table.closed_for_room,
            closed_late: table.closed_late,
            refused: table.refused,
            held_bytes: self.held.load(Ordering::Relaxed),
        }
    }

    /// Waits until not too many are on their way out.
    pub(super) async fn settled(&self) {
        loop {
            let gone = self.gone.notified();
            if self.table.lock().leaving < LEAVING {
                return;
            }
            gone.await;
        }
    }

    /// Waits until somebody has gone, but no longer than this.
    pub(super) async fn somebody_leaves(&self, patience: Duration) {
        let _ = tokio::time::timeout(patience, self.gone.notified()).await;
    }

    /// A place for a connection from this address; none: nobody can give one up. `close` is what ends it.
    pub(super) fn enter(
        self: &Arc<Self>,
        address: IpAddr,
        exempt: bool,
        close: CancellationToken,
    ) -> Option<(Place, Recognized)> {
        let address = network::group(address);
        let now = self.now();
        let mut table = self.table.lock();
        let group = table.group(address, now);
        let over = !exempt && group.open() >= self.share(&table, group.is_recognized());
        let has_room = if over {
            let strangers = group.is_recognized() && self.give_up(&mut table, None, Standing::Stranger);
            strangers || self.give_up_own(&mut table, address)
        } else {
            table.open < self.most || self.give_up(&mut table, Some(address), Standing::Exempt)
        };
        let slot = if has_room { table.free.pop() } else { None };
        let Some(slot) = slot else {
            table.refused += 1;
            return None;
        };
        group.open.fetch_add(1, Ordering::Relaxed);
        let recognized = Recognized::at(&group.recognized);
        table.groups.insert(address, Arc::clone(&group));
        table.open += 1;
        let taken = Taken {
            address,
            group,
            exempt,
            recognized: recognized.clone(),
            entered: now,
            leaving: false,
            close,
        };
        if let Some(place) = table.taken.get_mut(slot) {
            *place = Some(taken);
        }
        self.slot(slot).held.store(0, Ordering::Relaxed);
        self.slot(slot).stamp.store(Stamp::new(Doing::Head, now).0, Ordering::Release);
        Some((Place { places: Arc::clone(self), slot }, recognized))
    }

    /// How many one address group may hold: all, until three quarters are taken; from then on an equal share of all
    /// groups and one more, so that there is something left for the next one; a sixteenth in any case. Strangers take
    /// nothing from the share of those who have shown who they are.
    fn share(&self, table: &Table, recognized: bool) -> usize {
        if table.open < self.most - self.most / 4 {
            return usize::MAX;
        }
        let groups = match recognized {
            true => table.groups.values().filter(|group| group.is_recognized()).count(),
            false => table.groups.len(),
        };
        (self.most / (groups + 1)).max(self.most / 16).max(1)
    }

    fn standing(taken: &Taken, now: u64) -> Standing {
        if taken.exempt {
            Standing::Exempt
        } else if taken.recognized.is_marked() {
            Standing::Recognized
        } else if taken.group.is_recognized()
            && u128::from(now.saturating_sub(taken.entered)) < DOUBT.as_millis()
        {
            Standing::Newcomer
        } else {
            Standing::Stranger
        }
    }

    /// Those that could go, each with what it does.
    fn candidates<'a>(&'a self, table: &'a Table) -> impl Iterator<Item = (usize, &'a Taken, Stamp)> {
        self.slots.iter().zip(&table.taken).enumerate().filter_map(|(slot, (numbers, taken))| {
            let (taken, stamp) = (taken.as_ref()?, numbers.stamp());
            matches!(stamp.doing(), Doing::Idle | Doing::Head).then_some((slot, taken, stamp))
        })
    }

    /// The first in an order goes; those without a place in it stay. False: there is none.
    fn first_goes<K: Ord>(
        &self,
        table: &mut Table,
        order: impl Fn(&Slot, &Taken, Stamp) -> Option<K>,
    ) -> bool {
        loop {
            let ordered = self.candidates(table).filter_map(|(slot, taken, stamp)| {
                order(self.slot(slot), taken, stamp).map(|place| (place, slot, stamp))
            });
            let first = ordered.min_by(|(one, ..), (other, ..)| one.cmp(other));
            let Some((slot, stamp)) = first.map(|(_, slot, stamp)| (slot, stamp)) else { return false };
            if self.close(table, slot, stamp) {
                table.closed_for_room += 1;
                return true;
            }
            // Its request has just begun: then it is the next one's turn.
        }
    }

    /// The oldest idle one goes, of the least standing and of the group that holds most, `newcomer`'s with the newcomer.
    /// Nobody above `most` does.
    fn give_up(&self, table: &mut Table, newcomer: Option<IpAddr>, most: Standing) -> bool {
        let now = self.now();
        self.first_goes(table, |_, taken, stamp| {
            let count = taken.group.open() + usize::from(newcomer == Some(taken.address));
            let standing = Self::standing(taken, now);
            (standing <= most).then_some((standing, Reverse(count), stamp.since()))
        })
    }

    /// The oldest idle one of this group goes.
    fn give_up_own(&self, table: &mut Table, address: IpAddr) -> bool {
        let now = self.now();
        self.first_goes(table, |_, taken, stamp| {
            (taken.address == address).then_some((Self::standing(taken, now), stamp.since()))
        })
    }

    /// Somebody goes, because descriptors have run out all the same.
    pub(super) fn make_room(&self) -> bool {
        self.give_up(&mut self.table.lock(), None, Standing::Exempt)
    }

    /// Tells one to go, unless its request has begun by now.
    fn close(&self, table: &mut Table, slot: usize, stamp: Stamp) -> bool {
        let numbers = self.slot(slot);
        let nothing = Stamp::NOTHING.0;
        if numbers.stamp.compare_exchange(stamp.0, nothing, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return false;
        }
        let Some(taken) = table.taken.get_mut(slot).and_then(Option::as_mut) else { return false };
        taken.leaving = true;
        taken.close.cancel();
        let (address, group) = (taken.address, Arc::clone(&taken.group));
        table.open -= 1;
        table.leaving += 1;
        table.leave(address, &group, self.now());
        self.let_go(numbers);
        true
    }

    fn let_go(&self, slot: &Slot) {
        if slot.held.load(Ordering::Acquire) > 0 {
            self.held.fetch_sub(slot.held.swap(0, Ordering::AcqRel), Ordering::AcqRel);
        }
    }

    /// Closes what has been idle, or in the middle of a head, for too long. To be called now and then.
    pub(super) fn sweep(&self) {
        let now = self.now();
        let mut table = self.table.lock();
        let most = |doing| if doing == Doing::Head { HEAD_TIME } else { IDLE_TIME };
        let late = self.candidates(&table).filter(|(_, _, stamp)| {
            u128::from(now.saturating_sub(stamp.since())) >= most(stamp.doing()).as_millis()
        });
        let late: Vec<_> = late.map(|(slot, _, stamp)| (slot, stamp)).collect();
        for (slot, stamp) in late {
            let closed = self.close(&mut table, slot, stamp);
            table.closed_late += u64::from(closed);
        }
    }

    /// The oldest heads go until the rest fits.
    fn shed(&self) {
        let mut table = self.table.lock();
        let holds = |slot: &Slot| slot.held.load(Ordering::Relaxed) > 0;
        while self.held.load(Ordering::Acquire) > HEADS_BYTES
            && self.first_goes(&mut table, |slot, _, stamp| holds(slot).then_some(stamp.since()))
        {}
    }
}

impl Table {
    /// The connections from there; none yet, perhaps.
    fn group(&self, address: IpAddr, now: u64) -> Arc<Group> {
        if let Some(group) = self.groups.get(&address) {
            return Arc::clone(group);
        }
        let left = self.regulars.get(&address);
        let known = left.is_some_and(|left| u128::from(now.saturating_sub(*left)) < REMEMBERED.as_millis());
        Arc::new(Group { open: AtomicUsize::new(0), recognized: Arc::new(AtomicBool::new(known)) })
    }

    /// A connection has left its group.
    fn leave(&mut self, address: IpAddr, group: &Group, now: u64) {
        if group.open.fetch_sub(1, Ordering::Relaxed) > 1 {
            return;
        }
        self.groups.remove(&address);
        if !group.is_recognized() {
            return;
        }
        if self.regulars.len() >= REGULARS && !self.regulars.contains_key(&address) {
            let oldest = self.regulars.iter().min_by_key(|(_, left)| **left).map(|(address, _)| *address);
            oldest.map(|oldest| self.regulars.remove(&oldest));
        }
        self.regulars.insert(address, now);
    }
}

/// A connection's place; free again when this is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    slot: usize,
}

impl Place {
    /// Bytes of a client came in; its buffer has grown to this length. False: the connection has to go.
    pub(super) fn heard(&self, buffer: usize) -> bool {
        let slot = self.places.slot(self.slot);
        match slot.stamp().doing() {
            Doing::Nothing => return false,
            Doing::Request => return true,
            Doing::Head => {}
            Doing::Idle => {
                slot.set(Stamp::new(Doing::Head, self.places.now()));
            }
        }
        self.holds(buffer);
        slot.stamp().doing() != Doing::Nothing
    }

    fn holds(&self, buffer: usize) {
        let slot = self.places.slot(self.slot);
        let (after, before) = (buffer.saturating_sub(FREE), slot.held.load(Ordering::Acquire));
        // Nobody but this connection makes it more.
        if after > before {
            slot.held.fetch_add(after - before, Ordering::AcqRel);
            let all = self.places.held.fetch_add(after - before, Ordering::AcqRel) + after - before;
            if all > HEADS_BYTES {
                self.places.shed();
            }
        }
    }

    /// A request has come whole, or its answer is still on the way. False: the connection has to go.
    pub(super) fn begin(&self) -> bool {
        let slot = self.places.slot(self.slot);
        let stays = slot.set(Stamp::new(Doing::Request, self.places.now()));
        self.places.let_go(slot);
        stays
    }

    /// The answer is out; the client's buffer still has this length.
    pub(super) fn end(&self, buffer: usize) {
        if self.places.slot(self.slot).set(Stamp::new(Doing::Idle, self.places.now())) {
            self.holds(buffer);
        }
    }

    /// Whether a request is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.places.slot(self.slot).stamp().doing() == Doing::Request
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.places.table.lock();
        let slot = self.places.slot(self.slot);
        slot.stamp.store(Stamp::NOTHING.0, Ordering::Release);
        self.places.let_go(slot);
        let Some(taken) = table.taken.get_mut(self.slot).and_then(Option::take) else { return };
        if taken.leaving {
            table.leaving -= 1;
        } else {
            table.open -= 1;
            table.leave(taken.address, &taken.group, self.places.now());
        }
        table.free.push(self.slot);
        drop(table);
        self.places.gone.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
