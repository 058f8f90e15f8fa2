//! Guessed access keys, and guesses at METRICS_TOKEN: what a wrong one costs whoever sends it.
//!
//! Pure but for its lock: time is an argument. A key or token is always looked up first, so a right one is never held up,
//! whatever else comes from its address. The refusal of a wrong one is: after some wrong ones from one address, and
//! later from one network, each takes twice as long as the one before, up to [`LONGEST`]. Held refusals are bounded, in
//! all and for each address; one more is refused at once, and loses its connection. Its invariant: an address gets no
//! more answers about keys than its connections divided by that time.

use std::{net::IpAddr, time::Duration};

use projections::Millis;

use super::tally::{Patience, Tally};
use crate::{
    locks::Mutex,
    network::{Range, networks},
    shares::{Share, Shares},
};

/// The longest that a refusal is held, in milliseconds.
const LONGEST: Millis = 5_000;
/// From one address; of IPv6 from one /64. A program with a wrong key tries it a few times.
const OF_ADDRESS: Patience = Patience { wrong: 20, first: 50, longest: LONGEST };
/// From one /24; of IPv6 from one /56.
const OF_NETWORK: Patience = Patience { wrong: 100, first: 50, longest: LONGEST };
/// From one /48 of IPv6.
const OF_SITE: Patience = Patience { wrong: 400, first: 50, longest: LONGEST };
/// Addresses and networks kept.
const KEPT: usize = 20_000;
/// A wrong key is forgotten after so long without another.
const FORGET: Millis = 10 * 60_000;
/// Refusals held at once, and of those for one address.
const HELD: (usize, usize) = (512, 64);

/// See the module.
#[derive(Debug)]
pub struct Guesses {
    tally: Mutex<Tally<Range>>,
    held: Shares<Range>,
}

/// What becomes of the refusal of a wrong key.
#[derive(Debug)]
pub enum Penalty {
    /// It goes out at once.
    None,
    /// It goes out after a while; the place is held for so long.
    Wait(Duration, Share<Range>),
    /// As many wait as may.
    TooMany,
}

impl Default for Guesses {
    fn default() -> Self {
        Self { tally: Mutex::new(Tally::new(KEPT, FORGET)), held: Shares::new(HELD.0, HELD.1) }
    }
}

impl Guesses {
    /// Counts a wrong key from an address; gives what it costs.
    #[must_use]
    pub fn wrong(&self, address: Option<IpAddr>, now: Millis) -> Penalty {
        let networks = address.map(networks).unwrap_or_default();
        let Some(own) = networks.first().copied() else { return Penalty::None };
        let mut tally = self.tally.lock();
        let patience = [&OF_ADDRESS, &OF_NETWORK, &OF_SITE];
        let waits =
            networks.iter().zip(patience).map(|(network, patience)| tally.count(network, patience, now).1);
        let wait = waits.max().unwrap_or(0);
        drop(tally);
        if wait == 0 {
            return Penalty::None;
        }
        match self.held.take(own) {
            Ok(place) => Penalty::Wait(Duration::from_millis(wait.unsigned_abs()), place),
            Err(_) => Penalty::TooMany,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(penalty: &Penalty) -> Option<Millis> {
        match penalty {
            Penalty::None => Some(0),
            Penalty::Wait(wait, _) => Some(Millis::try_from(wait.as_millis()).unwrap()),
            Penalty::TooMany => None,
        }
    }

    #[test]
    fn wrong_keys_cost_more_and_more_and_only_so_many_are_held() {
        let guesses = Guesses::default();
        let from = |address: &str| guesses.wrong(address.parse().ok(), 5);
        let first: Vec<_> = (0..30).map(|_| from("192.0.2.7")).collect();
        let told: Vec<_> = first.iter().map(|penalty| waits(penalty).unwrap()).collect();
        assert_eq!(told.get(..19).unwrap(), [0; 19]);
        assert_eq!(
            told.get(19..).unwrap(),
            [50, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000, 5_000]
        );
        let more: Vec<_> = (0..100).map(|_| from("192.0.2.7")).collect();
        assert_eq!(more.iter().filter(|penalty| waits(penalty).is_some()).count(), HELD.1 - 11);
        assert_eq!(waits(&from("198.51.100.7")), Some(0), "others are not held up");
        assert_eq!(waits(&from("192.0.2.8")), Some(5_000), "but for those next door");
        drop((first, more));
        assert_eq!(waits(&from("192.0.2.7")), Some(5_000));
        assert_eq!(waits(&guesses.wrong("192.0.2.7".parse().ok(), 5 + FORGET)), Some(0));
        assert_eq!(waits(&guesses.wrong(None, 5)), Some(0));
    }

    #[test]
    fn all_together_are_bounded() {
        let guesses = Guesses::default();
        let mut held = Vec::new();
        for number in 0..20_000_u32 {
            let address = IpAddr::from(std::net::Ipv6Addr::from_bits(
                (0x2001_0db8_u128 << 96) | (u128::from(number) << 64) | 1,
            ));
            held.push(guesses.wrong(Some(address), 5));
        }
        let places = held.iter().filter(|penalty| matches!(penalty, Penalty::Wait(..))).count();
        assert_eq!(places, HELD.0);
        assert!(guesses.tally.lock().len() <= KEPT);
    }
}
