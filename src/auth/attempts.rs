//! Wrong logins: who waits for how long, and what of it goes into the log.
//!
//! Pure but for its lock: time is an argument. Owns the delays. They grow with every wrong login from one address, more
//! slowly with those from one network (/24; of IPv6 /56 and /48), and with wrong ones of one name from anywhere. What
//! is about more than one address does not hold for this machine, nor for addresses that an administrator came from
//! lately: or whoever guesses could keep the administrator out. This machine has a count of its own, which nothing
//! that comes through a proxy or under a foreign name can touch. The delays live here and work without a log; of the
//! log they take what was there at the start. Its invariants: a login that waits is not looked at, so it tells nothing;
//! and no minute writes more than [`RECORDED`] wrong logins into the log, whatever comes.

use std::net::IpAddr;

use projections::{Millis, sessions::Sessions};

use super::tally::{Patience, Tally};
use crate::{
    ledger::rules::logins::{Delayed, Fact, Who},
    locks::Mutex,
    network::{Range, networks},
};

/// From one address; of IPv6 from one /64. From this machine, too.
const OF_ADDRESS: Patience = Patience { wrong: 5, first: 1_000, longest: 300_000 };
/// From one /24; of IPv6 from one /56.
const OF_NETWORK: Patience = Patience { wrong: 20, first: 1_000, longest: 300_000 };
/// From one /48 of IPv6.
const OF_SITE: Patience = Patience { wrong: 40, first: 1_000, longest: 300_000 };
/// Of one name, from anywhere.
const OF_NAME: Patience = Patience { wrong: 50, first: 1_000, longest: 60_000 };
/// Networks kept, and names.
const KEPT: usize = 10_000;
/// A wrong login is forgotten after so long without another.
const FORGET: Millis = 24 * 3_600_000;
/// Wrong logins recorded one by one in a minute; of the others the number.
pub const RECORDED: u32 = 10;
const MINUTE: Millis = 60_000;
/// Addresses of good logins kept here, beside those of the log.
const GOOD: usize = 64;

/// See the module.
#[derive(Debug)]
pub struct Attempts(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    here: Tally<()>,
    networks: Tally<Range>,
    names: Tally<String>,
    good: Vec<Range>,
    /// When the minute began.
    minute: Millis,
    recorded: u32,
    /// Beyond those.
    uncounted: u32,
    /// What the log has yet to hear.
    untold: Vec<Fact>,
}

fn patience(network: &Range) -> &'static Patience {
    match network.prefix() {
        32 | 64 => &OF_ADDRESS,
        24 | 56 => &OF_NETWORK,
        _ => &OF_SITE,
    }
}

/// Of the narrowest network that an address is in.
fn own(address: Option<IpAddr>) -> Option<Range> {
    address.and_then(|address| networks(address).into_iter().next())
}

impl Attempts {
    /// Goes on from what the log knows.
    #[must_use]
    pub fn new(sessions: &Sessions, now: Millis) -> Self {
        let mut inner = Inner {
            here: Tally::new(1, FORGET),
            networks: Tally::new(KEPT, FORGET),
            names: Tally::new(KEPT, FORGET),
            good: Vec::new(),
            minute: now,
            recorded: 0,
            uncounted: 0,
            untold: Vec::new(),
        };
        for (address, wrong) in sessions.wrong_by_address() {
            if let Ok(network) = address.parse() {
                inner.networks.remember(&network, wrong.count, wrong.last, wrong.until);
            }
        }
        for (name, wrong) in sessions.wrong_by_name() {
            inner.names.remember(name, wrong.count, wrong.last, wrong.until);
        }
        Self(Mutex::new(inner))
    }

    /// Whether an administrator came from there lately. What only seems to come from this machine may be anybody's.
    #[must_use]
    pub fn is_known(&self, who: &Who, sessions: &Sessions, now: Millis) -> bool {
        let Some(address) = who.address.filter(|address| !address.is_loopback()) else { return false };
        sessions.is_known(&address.to_string(), now)
            || own(Some(address)).is_some_and(|own| self.0.lock().good.contains(&own))
    }

    /// Milliseconds until a login is looked at; 0: now.
    #[must_use]
    pub fn wait(&self, who: &Who, is_known: bool, now: Millis) -> Millis {
        let inner = self.0.lock();
        if who.local {
            return inner.here.wait(&(), now);
        }
        let networks = who.address.map(networks).unwrap_or_default();
        let counted = if is_known { networks.get(..1).unwrap_or_default() } else { &networks };
        let network = counted.iter().map(|network| inner.networks.wait(network, now)).max().unwrap_or(0);
        let name = if is_known { 0 } else { inner.names.wait(&who.name, now) };
        network.max(name)
    }

    /// Counts a login that was wrong; gives the wait that it costs.
    pub fn wrong(&self, who: &Who, now: Millis) -> Millis {
        let mut inner = self.0.lock();
        let inner = &mut *inner;
        let mut delays: Vec<(Delayed, u32, Millis)> = Vec::new();
        if who.local {
            let (failures, wait) = inner.here.count(&(), &OF_ADDRESS, now);
            delays.push((Delayed::Address(who.told_address()), failures, wait));
        } else {
            for network in who.address.map(networks).unwrap_or_default() {
                let (failures, wait) = inner.networks.count(&network, patience(&network), now);
                delays.push((Delayed::Address(network.to_string()), failures, wait));
            }
        }
        // Of its networks the one that waits longest, and of those the narrowest.
        let longest = delays.into_iter().rev().max_by_key(|(_, _, wait)| *wait);
        let (failures, wait) = inner.names.count(&who.name, &OF_NAME, now);
        let of_name = (Delayed::Name(who.name.clone()), failures, wait);
        let delays = longest.into_iter().chain([of_name]).filter(|(_, _, wait)| *wait > 0);
        if now.saturating_sub(inner.minute) >= MINUTE {
            inner.turn(now);
        }
        let mut most = 0;
        if inner.recorded < RECORDED {
            inner.recorded += 1;
            inner.untold.push(Fact::Wrong(who.clone()));
            for (of, failures, wait) in delays {
                most = most.max(wait);
                inner.untold.push(Fact::Delayed { of, failures, until: now.saturating_add(wait) });
            }
        } else {
            inner.uncounted = inner.uncounted.saturating_add(1);
            most = delays.map(|(_, _, wait)| wait).max().unwrap_or(0);
        }
        most
    }

    /// Forgives one who came in after all.
    pub fn right(&self, who: &Who) {
        let mut inner = self.0.lock();
        inner.names.forgive(&who.name);
        if who.local {
            inner.here.forgive(&());
        } else if let Some(own) = own(who.address) {
            inner.networks.forgive(&own);
            inner.good.retain(|good| *good != own);
            inner.good.push(own);
            if inner.good.len() > GOOD {
                inner.good.remove(0);
            }
        }
    }

    /// What the log has yet to hear. `all`: also of a minute that goes on.
    #[must_use]
    pub fn untold(&self, now: Millis, all: bool) -> Vec<Fact> {
        let mut inner = self.0.lock();
        if all || now.saturating_sub(inner.minute) >= MINUTE {
            inner.turn(now);
        }
        std::mem::take(&mut inner.untold)
    }
}

impl Inner {
    /// Another minute; of the one before it the number is told.
    fn turn(&mut self, now: Millis) {
        if self.uncounted > 0 {
            self.untold.push(Fact::More(self.uncounted));
        }
        (self.minute, self.recorded, self.uncounted) = (now, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(name: &str, address: &str) -> Who {
        Who::new(name, address.parse().ok(), false)
    }

    fn attempts() -> Attempts {
        Attempts::new(&Sessions::default(), 0)
    }

    #[test]
    fn wrong_logins_of_an_address_wait_longer_and_longer_and_a_right_one_forgives() {
        let attempts = attempts();
        let eve = who("ann", "10.0.0.9");
        let mut now = 1_000;
        for wanted in [0, 0, 0, 0, 1_000, 2_000, 4_000, 8_000] {
            assert_eq!(attempts.wrong(&eve, now), wanted);
            assert_eq!(attempts.wait(&eve, false, now), wanted);
            now += wanted;
        }
        for _ in 0..20 {
            attempts.wrong(&eve, now);
        }
        assert_eq!(attempts.wait(&eve, true, now), 300_000, "never longer, and of one's own address always");
        assert_eq!(attempts.wait(&who("bob", "10.0.1.8"), false, now), 0, "others are not held up");
        attempts.right(&eve);
        assert_eq!(attempts.wait(&eve, true, now), 0);
        assert!(attempts.is_known(&eve, &Sessions::default(), now), "also while no log can say so");
    }

    #[test]
    fn many_addresses_wait_together_but_not_where_the_administrator_is() {
        for (network, many) in [("2001:db8:7", 300), ("10.0.7", 100)] {
            let attempts = attempts();
            let at = |number: u32| match network.contains(':') {
                true => format!("{network}:{number:x}::1"),
                false => format!("{network}.{number}"),
            };
            let looked: usize = (0..many)
                .filter(|number| {
                    let eve = who(&format!("name {number}"), &at(*number));
                    let looked = attempts.wait(&eve, false, 5) == 0;
                    if looked {
                        attempts.wrong(&eve, 5);
                    }
                    looked
                })
                .count();
            assert!((20..=40).contains(&looked), "{network}: {looked} of {many}");
            let ann = who("ann", &at(250));
            assert!(attempts.wait(&ann, false, 5) > 0);
            assert_eq!(attempts.wait(&ann, true, 5), 0, "she came from there before");
        }
    }

    #[test]
    fn a_page_that_reaches_this_machine_under_another_name_does_not_keep_it_out() {
        let attempts = attempts();
        let page = who("ann", "127.0.0.1");
        for _ in 0..100 {
            attempts.wrong(&page, 1);
        }
        assert!(attempts.wait(&page, false, 1) > 0);
        assert!(!attempts.is_known(&page, &Sessions::default(), 1));
        let here = Who::new("ann", "127.0.0.1".parse().ok(), true);
        assert_eq!(attempts.wait(&here, false, 1), 0);
        for _ in 0..5 {
            attempts.wrong(&here, 1);
        }
        assert_eq!(attempts.wait(&here, false, 1), 1_000, "it has a count of its own");
    }

    #[test]
    fn a_minute_tells_the_first_few_and_then_a_number() {
        let attempts = attempts();
        let mut told = Vec::new();
        for number in 0..1_000 {
            attempts.wrong(&who("ann", &format!("10.{}.{}.1", number / 250, number % 250)), 5);
            told.extend(attempts.untold(5, false));
        }
        let wrong = told.iter().filter(|fact| matches!(fact, Fact::Wrong(_))).count();
        assert_eq!(wrong, RECORDED as usize);
        assert!(told.len() <= 3 * RECORDED as usize, "{}", told.len());
        assert!(attempts.untold(MINUTE - 1, false).is_empty(), "the minute goes on");
        assert_eq!(attempts.untold(MINUTE, false), [Fact::More(990)]);
        attempts.wrong(&who("ann", "10.9.9.9"), MINUTE + 5);
        assert!(matches!(attempts.untold(MINUTE + 5, true).first(), Some(Fact::Wrong(_))), "and begins anew");
    }
}
