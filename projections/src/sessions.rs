//! Administrators' sessions and failed logins.
//!
//! Owns which tokens ended before their time, since when the password is as it is, and how many logins went wrong
//! in a row, by address and by name. It refuses to decide how long anybody waits: that is in the events. Bounded:
//! what ended by itself is forgotten, and of wrong logins the latest are kept.

// Of `core`, which has addresses and no sockets.
use core::net::{IpAddr, Ipv6Addr};
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    event::{AdminLoggedOut, AdminLoginsDelayed, Event, Recorded},
    id::{Millis, Seq},
};

/// Ended tokens kept; those that would end soonest make room.
pub const REVOKED_KEPT: usize = 10_000;
/// Addresses with wrong logins kept, and names.
pub const WRONG_KEPT: usize = 10_000;
/// Addresses of good logins kept.
pub const GOOD_KEPT: usize = 64;
/// Wrong logins are forgotten after so long without another.
const WRONG_FOR: Millis = 24 * 3_600_000;
/// An address that an administrator came from is known for so long.
const GOOD_FOR: Millis = 30 * 24 * 3_600_000;

/// Wrong logins in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrong {
    /// How many.
    pub count: u32,
    /// When the last one was.
    pub last: Millis,
    /// Until then none is looked at.
    pub until: Millis,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// Tokens that are refused, and when each would have ended by itself.
    revoked: BTreeMap<u128, Millis>,
    /// The event that changed the password last; 0: none did.
    password: Seq,
    by_address: BTreeMap<String, Wrong>,
    by_name: BTreeMap<String, Wrong>,
    /// Where administrators came from, and when last.
    good: BTreeMap<String, Millis>,
}

/// What counts as one address: of IPv6 the network, because who has one address there has all of them.
#[must_use]
pub fn group(address: &str) -> String {
    match address.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V6(address)) => {
            let network = Ipv6Addr::from_bits(address.to_bits() >> 64 << 64);
            format!("{network}/64")
        }
        Ok(address) => address.to_string(),
        Err(_) => address.to_owned(),
    }
}

impl Sessions {
    /// Whether a token ended before its time.
    #[must_use]
    pub fn is_revoked(&self, token: u128) -> bool {
        self.revoked.contains_key(&token)
    }

    /// The event that changed the password last; 0: none did. A token from before it is refused.
    #[must_use]
    pub fn password(&self) -> Seq {
        self.password
    }

    /// The wrong logins from an address.
    #[must_use]
    pub fn from_address(&self, address: &str, now: Millis) -> Wrong {
        recent(self.by_address.get(&group(address)), now)
    }

    /// The wrong logins with a name.
    #[must_use]
    pub fn with_name(&self, name: &str, now: Millis) -> Wrong {
        recent(self.by_name.get(name), now)
    }

    /// Every address and network with wrong logins.
    pub fn wrong_by_address(&self) -> impl Iterator<Item = (&String, &Wrong)> {
        self.by_address.iter()
    }

    /// Every name with wrong logins.
    pub fn wrong_by_name(&self) -> impl Iterator<Item = (&String, &Wrong)> {
        self.by_name.iter()
    }

    /// Whether an administrator came from there lately.
    #[must_use]
    pub fn is_known(&self, address: &str, now: Millis) -> bool {
        let last = self.good.get(&group(address));
        last.is_some_and(|last| now.saturating_sub(*last) < GOOD_FOR)
    }

    /// Folds one event in.
    pub fn apply(&mut self, recorded: &Recorded) {
        let at = recorded.at;
        match &recorded.event {
            Event::AdminLoggedIn(event) => {
                let address = group(&event.address);
                self.by_address.remove(&address);
                self.by_name.remove(&event.name);
                self.good.insert(address, at);
                if self.good.len() > GOOD_KEPT {
                    drop_least(&mut self.good, |last| *last);
                }
            }
            // Of many together nobody knows whose they were.
            Event::AdminLoginFailed(event) if event.count == 1 => {
                count(&mut self.by_address, group(&event.address), at);
                count(&mut self.by_name, event.name.clone(), at);
            }
            Event::AdminLoginsDelayed(event) => {
                if let Some(address) = &event.address {
                    delay(&mut self.by_address, group(address), event, at);
                }
                if let Some(name) = &event.name {
                    delay(&mut self.by_name, name.clone(), event, at);
                }
            }
            Event::AdminLoggedOut(event) => self.revoke(event, at),
            Event::AdminPasswordChanged(_) => self.password = recorded.seq,
            _ => {}
        }
    }

    fn revoke(&mut self, event: &AdminLoggedOut, at: Millis) {
        self.revoked.retain(|_, expires| *expires > at);
        if event.expires > at {
            self.revoked.insert(event.token, event.expires);
        }
        if self.revoked.len() > REVOKED_KEPT {
            drop_least(&mut self.revoked, |expires| *expires);
        }
    }
}

fn recent(wrong: Option<&Wrong>, now: Millis) -> Wrong {
    wrong.copied().filter(|wrong| now.saturating_sub(wrong.last) < WRONG_FOR).unwrap_or_default()
}

fn make_room(all: &mut BTreeMap<String, Wrong>, who: &str, at: Millis) {
    if all.len() >= WRONG_KEPT && !all.contains_key(who) {
        all.retain(|_, wrong| at.saturating_sub(wrong.last) < WRONG_FOR);
        if all.len() >= WRONG_KEPT {
            // Those that wait longest are the last to be forgotten.
            drop_least(all, |wrong| (wrong.count, wrong.last));
        }
    }
}

/// A network may be told of that no single login was counted for.
fn delay(all: &mut BTreeMap<String, Wrong>, who: String, event: &AdminLoginsDelayed, at: Millis) {
    make_room(all, &who, at);
    let told = Wrong { count: event.failures, last: at, until: event.until };
    all.entry(who).or_insert(told).until = event.until;
}

fn count(all: &mut BTreeMap<String, Wrong>, who: String, at: Millis) {
    make_room(all, &who, at);
    let wrong = all.entry(who).or_default();
    *wrong = Wrong { count: recent(Some(wrong), at).count.saturating_add(1), last: at, until: wrong.until };
}

/// Drops a tenth of the entries, those that a measure says are worth least: so room is seldom made.
fn drop_least<K: Ord + Clone, V, M: Ord>(all: &mut BTreeMap<K, V>, measure: impl Fn(&V) -> M) {
    let mut worth: Vec<(M, K)> = all.iter().map(|(key, value)| (measure(value), key.clone())).collect();
    worth.sort_unstable();
    for (_, key) in worth.iter().take(all.len() / 10 + 1) {
        all.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Actor, AdminLoggedIn, AdminLoginFailed, AdminPasswordChanged};

    fn then(sessions: &mut Sessions, seq: Seq, at: Millis, event: impl Into<Event>) {
        sessions.apply(&Recorded { seq, at, event: event.into() });
    }

    fn wrong(name: &str, address: &str) -> AdminLoginFailed {
        AdminLoginFailed { name: name.to_owned(), address: address.to_owned(), count: 1 }
    }

    #[test]
    fn wrong_logins_count_until_a_right_one_and_are_forgotten_after_a_day() {
        let mut sessions = Sessions::default();
        for at in 1..=3 {
            then(&mut sessions, 1, at, wrong("ann", "10.0.0.1"));
        }
        assert_eq!(sessions.from_address("10.0.0.1", 4).count, 3);
        assert_eq!(sessions.from_address("::ffff:10.0.0.1", 4).count, 3, "the same one");
        assert_eq!(sessions.with_name("ann", 4).count, 3);
        assert_eq!(sessions.from_address("10.0.0.1", 3 + WRONG_FOR), Wrong::default());
        let address = Some("10.0.0.1".to_owned());
        then(&mut sessions, 1, 4, AdminLoginsDelayed { name: None, address, failures: 3, until: 99 });
        assert_eq!(sessions.from_address("10.0.0.1", 4).until, 99);
        assert_eq!(sessions.with_name("ann", 4).until, 0);
        then(&mut sessions, 1, 5, wrong("ann", "10.0.0.1"));
        assert_eq!(sessions.from_address("10.0.0.1", 5), Wrong { count: 4, last: 5, until: 99 });
        let good = AdminLoggedIn { name: "ann".to_owned(), address: "10.0.0.1".to_owned() };
        then(&mut sessions, 1, 6, good);
        assert_eq!(sessions.from_address("10.0.0.1", 6), Wrong::default());
        assert_eq!(sessions.with_name("ann", 6), Wrong::default());
        assert!(sessions.is_known("10.0.0.1", 7) && !sessions.is_known("10.0.0.1", 6 + GOOD_FOR));
    }

    #[test]
    fn a_wider_network_waits_too_and_many_logins_together_are_nobodys() {
        let mut sessions = Sessions::default();
        let many = AdminLoginFailed { count: 900, ..wrong("", "") };
        then(&mut sessions, 1, 1, many);
        assert_eq!(sessions, Sessions::default());
        let network = Some("2001:db8:7::/48".to_owned());
        then(
            &mut sessions,
            1,
            2,
            AdminLoginsDelayed { name: None, address: network, failures: 41, until: 99 },
        );
        let kept: Vec<_> = sessions.wrong_by_address().collect();
        assert_eq!(kept, [(&"2001:db8:7::/48".to_owned(), &Wrong { count: 41, last: 2, until: 99 })]);
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let mut sessions = Sessions::default();
        for last in 0..5 {
            then(&mut sessions, 1, 1, wrong("ann", &format!("2001:db8:1:2::{last:x}")));
        }
        assert_eq!(sessions.from_address("2001:db8:1:2:ffff::1", 1).count, 5);
        assert_eq!(sessions.from_address("2001:db8:1:3::1", 1).count, 0);
    }

    #[test]
    fn however_many_there_are_room_is_bounded() {
        let mut sessions = Sessions::default();
        for _ in 0..7 {
            then(&mut sessions, 1, 1, wrong("ann", "10.9.9.9"));
        }
        for number in 0..u32::try_from(WRONG_KEPT).unwrap() + 100 {
            let address = std::net::Ipv4Addr::from_bits(number).to_string();
            then(&mut sessions, 1, 2, wrong(&format!("name {number}"), &address));
        }
        for token in 0..200 {
            let name = "ann".to_owned();
            then(&mut sessions, 1, 2, AdminLoggedOut { name: name.clone(), token, expires: 1_000 });
            then(&mut sessions, 1, 2, AdminLoggedIn { name, address: format!("10.1.0.{token}") });
        }
        for (wrong, most) in [(&sessions.by_address, WRONG_KEPT), (&sessions.by_name, WRONG_KEPT)] {
            assert!((most / 2..=most).contains(&wrong.len()), "{}", wrong.len());
        }
        assert_eq!(sessions.from_address("10.9.9.9", 2).count, 7, "the worst is kept");
        assert!((GOOD_KEPT / 2..=GOOD_KEPT).contains(&sessions.good.len()));
        assert_eq!(sessions.revoked.len(), 200);
        then(&mut sessions, 1, 1_001, AdminLoggedOut { name: String::new(), token: 7, expires: 2_000 });
        assert_eq!(sessions.revoked.len(), 1);
        assert!(sessions.is_revoked(7));
        then(&mut sessions, 55, 1_002, AdminPasswordChanged { actor: Actor::Cli });
        assert_eq!(sessions.password(), 55);
    }
}
