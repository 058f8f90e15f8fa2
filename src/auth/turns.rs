//! Turns at the one place where passwords are compared.
//!
//! Comparing takes a core and 9 MiB on purpose, so one is compared at a time. Owns who is next. This machine, known
//! addresses and all others have waiting places of their own and come in turn, so whatever waits among the others, an
//! administrator's login is the next but two; and all others take half of the time at most ([`Rest`]): guessing does not
//! keep a core busy. Its invariants: nobody waits while the place is free; and the place is
//! held until the comparing is over, also when whoever asked for it is gone.

use std::{collections::VecDeque, sync::Arc};

use tokio::{runtime::Handle, sync::oneshot, time::Instant};

use crate::{locks::Mutex, network::Range};

/// Whose login it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// This machine's own.
    ThisMachine,
    /// An address's that an administrator came from lately.
    Known,
    /// Anybody else's.
    Other,
}

/// Waiting places of each kind.
const PLACES: [usize; 3] = [16, 32, 64];
/// Of those, for one network at most: a /24, or a /48 of IPv6.
const OF_NETWORK: usize = 8;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// Somebody has the place.
    taken: bool,
    queues: [VecDeque<Waiter>; 3],
    /// The kind that is asked first next time.
    next: usize,
}

#[derive(Debug)]
struct Waiter {
    network: Option<Range>,
    place: oneshot::Sender<Place>,
}

/// The place; the next in turn has it when this is dropped.
#[derive(Debug)]
pub(super) struct Place(Option<Arc<Turns>>);

/// The place where others wait before they wait for the place itself. The next one has it when as much time has passed
/// without another comparison as the one before took.
#[derive(Debug)]
pub(super) struct Rest {
    place: Option<Place>,
    began: Instant,
}

impl Rest {
    /// Of one who begins now to hold up the others.
    pub(super) fn after(place: Place) -> Self {
        Self { place: Some(place), began: Instant::now() }
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        let (place, took) = (self.place.take(), self.began.elapsed());
        // Without a runtime nobody waits.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(took).await;
                drop(place);
            });
        }
    }
}

impl Turns {
    /// Waits for the place; none: too many of that kind, or of that network, wait already.
    pub(super) async fn take(self: &Arc<Self>, kind: Kind, network: Option<Range>) -> Option<Place> {
        let waits = {
            let mut waiting = self.0.lock();
            if !waiting.taken {
                waiting.taken = true;
                return Some(Place(Some(Arc::clone(self))));
            }
            let queue = waiting.queues.get_mut(kind as usize)?;
            queue.retain(|waiter| !waiter.place.is_closed());
            let of_network = queue.iter().filter(|waiter| waiter.network == network).count();
            let crowded = kind != Kind::ThisMachine && of_network >= OF_NETWORK;
            if crowded || queue.len() >= PLACES.get(kind as usize).copied().unwrap_or_default() {
                return None;
            }
            let (place, waits) = oneshot::channel();
            queue.push_back(Waiter { network, place });
            waits
        };
        waits.await.ok()
    }
}

impl Waiting {
    fn pop(&mut self) -> Option<Waiter> {
        for step in 0..self.queues.len() {
            let kind = (self.next + step) % self.queues.len();
            if let Some(waiter) = self.queues.get_mut(kind).and_then(VecDeque::pop_front) {
                self.next = kind + 1;
                return Some(waiter);
            }
        }
        self.taken = false;
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(turns) = self.0.take() else { return };
        loop {
            // Not across the sending: what comes back from it is dropped as well.
            let Some(waiter) = turns.0.lock().pop() else { return };
            match waiter.place.send(Self(Some(Arc::clone(&turns)))) {
                Ok(()) => return,
                // Gone meanwhile; the place is still ours to give.
                Err(mut back) => drop(back.0.take()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Poll, Waker},
        time::Duration,
    };

    use super::*;

    type Waits<'a> = Pin<Box<dyn Future<Output = Option<Place>> + 'a>>;

    fn polled(waits: &mut Waits<'_>) -> Poll<Option<Place>> {
        waits.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    fn network(number: usize) -> Option<Range> {
        Some(format!("10.0.{number}.0/24").parse().unwrap())
    }

    /// One that waits, or none where there is no place to.
    fn wait<'a>(turns: &'a Arc<Turns>, kind: Kind, of: Option<Range>) -> Option<Waits<'a>> {
        let mut waits: Waits<'a> = Box::pin(turns.take(kind, of));
        match polled(&mut waits) {
            Poll::Pending => Some(waits),
            Poll::Ready(place) => {
                assert!(place.is_none(), "one at a time");
                None
            }
        }
    }

    #[test]
    fn whatever_waits_among_the_others_an_administrator_is_the_next_but_two() {
        let turns = Arc::<Turns>::default();
        let Poll::Ready(Some(first)) = polled(&mut (Box::pin(turns.take(Kind::Other, network(0))) as Waits))
        else {
            panic!("it is free")
        };
        let mut all: Vec<_> = (0..200)
            .filter_map(|number| wait(&turns, Kind::Other, network(number)))
            .map(|waits| ("other", waits))
            .collect();
        assert_eq!(all.len(), 64, "only so many wait");
        all.push(("known", wait(&turns, Kind::Known, network(3)).unwrap()));
        all.push(("here", wait(&turns, Kind::ThisMachine, None).unwrap()));
        let mut order = Vec::new();
        let mut held = Some(first);
        for _ in 0..3 {
            drop(held.take());
            let mut next = None;
            for (at, (_, waits)) in all.iter_mut().enumerate() {
                if let Poll::Ready(place) = polled(waits) {
                    (next, held) = (Some(at), place);
                    break;
                }
            }
            order.push(all.remove(next.unwrap()).0);
        }
        order.sort_unstable();
        assert_eq!(order, ["here", "known", "other"]);
    }

    #[test]
    fn one_network_has_a_few_places_and_who_left_has_none() {
        let turns = Arc::<Turns>::default();
        let Poll::Ready(first) = polled(&mut (Box::pin(turns.take(Kind::Other, None)) as Waits)) else {
            panic!("it is free")
        };
        let mut waiting: Vec<_> = (0..20).filter_map(|_| wait(&turns, Kind::Other, network(1))).collect();
        assert_eq!(waiting.len(), OF_NETWORK);
        let mut another = wait(&turns, Kind::Other, network(2)).unwrap();
        waiting.clear();
        let mut again = wait(&turns, Kind::Other, network(1)).unwrap();
        drop(first);
        let Poll::Ready(second) = polled(&mut another) else { panic!("those before it left") };
        drop(second);
        assert!(matches!(polled(&mut again), Poll::Ready(Some(_))));
    }

    #[test]
    fn the_place_of_one_who_left_as_it_came_goes_on() {
        let turns = Arc::<Turns>::default();
        let Poll::Ready(first) = polled(&mut (Box::pin(turns.take(Kind::Known, None)) as Waits)) else {
            panic!("it is free")
        };
        let leaves = wait(&turns, Kind::Known, None).unwrap();
        let mut stays = wait(&turns, Kind::Known, None).unwrap();
        drop(first);
        drop(leaves);
        assert!(matches!(polled(&mut stays), Poll::Ready(Some(_))));
        assert!(!turns.0.lock().taken, "dropped with its answer");
    }

    #[tokio::test]
    async fn others_rest_as_long_as_a_comparison_took() {
        let others = Arc::<Turns>::default();
        let rest = Rest::after(others.take(Kind::Other, None).await.unwrap());
        let took = Duration::from_millis(90);
        tokio::time::sleep(took).await;
        let began = Instant::now();
        drop(rest);
        others.take(Kind::Other, None).await.unwrap();
        assert!(began.elapsed() >= took, "{:?}", began.elapsed());
    }
}
