//! What logins leave in the log, and what ends a session.
//!
//! Pure. Refuses to decide how long anybody waits: [`crate::auth::Attempts`] does, and works without a log. Its
//! invariant: a wrong login leaves its name cut, and never its password.

// Of `core`, which has addresses and no sockets.
use core::net::IpAddr;

use projections::{
    Event, Millis, State,
    event::{
        Actor, AdminLoggedIn, AdminLoggedOut, AdminLoginFailed, AdminLoginsDelayed, AdminPasswordChanged,
    },
};

use super::{Decision, Refused};
use crate::journal::SecretChange;

/// Longest name recorded of a login, in bytes.
const NAME_KEPT: usize = 64;

/// Who wants in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// The name, cut at 64 bytes.
    pub name: String,
    /// Where from; none: nobody knows.
    pub address: Option<IpAddr>,
    /// From this machine: neither through a proxy nor under a foreign name.
    pub local: bool,
}

impl Who {
    /// Cuts what is too long.
    #[must_use]
    pub fn new(name: &str, address: Option<IpAddr>, local: bool) -> Self {
        let cut = name.floor_char_boundary(NAME_KEPT);
        let address = address.map(|address| address.to_canonical());
        Self { name: name.get(..cut).unwrap_or_default().to_owned(), address, local }
    }

    /// Its address, as events have it; empty: nobody knows.
    #[must_use]
    pub fn told_address(&self) -> String {
        self.address.map(|address| address.to_string()).unwrap_or_default()
    }
}

/// Whose further logins wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delayed {
    /// Those from an address or a network.
    Address(String),
    /// Those with a name.
    Name(String),
}

/// What the log hears of wrong logins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// One was wrong.
    Wrong(Who),
    /// Further ones wait.
    Delayed {
        /// Whose.
        of: Delayed,
        /// Wrong ones in a row.
        failures: u32,
        /// Until when.
        until: Millis,
    },
    /// So many more were wrong.
    More(u32),
}

impl From<Fact> for Event {
    fn from(fact: Fact) -> Self {
        match fact {
            Fact::Wrong(who) => {
                let address = who.told_address();
                AdminLoginFailed { name: who.name, address, count: 1 }.into()
            }
            Fact::Delayed { of, failures, until } => {
                let (name, address) = match of {
                    Delayed::Address(address) => (None, Some(address)),
                    Delayed::Name(name) => (Some(name), None),
                };
                AdminLoginsDelayed { name, address, failures, until }.into()
            }
            Fact::More(count) => {
                AdminLoginFailed { name: String::new(), address: String::new(), count }.into()
            }
        }
    }
}

/// What follows from a login that was right.
///
/// # Errors
/// None so far.
pub fn right(who: &Who) -> Result<Decision<()>, Refused> {
    let event = AdminLoggedIn { name: who.name.clone(), address: who.told_address() };
    Ok(decided(vec![event.into()]))
}

/// What follows from logins that were wrong.
///
/// # Errors
/// None so far.
pub fn wrong(facts: Vec<Fact>) -> Result<Decision<()>, Refused> {
    Ok(decided(facts.into_iter().map(Event::from).collect()))
}

/// Ends a token before its time.
///
/// # Errors
/// None so far.
pub fn log_out(state: &State, name: String, token: u128, expires: Millis) -> Result<Decision<()>, Refused> {
    let over = state.sessions.is_revoked(token);
    let event = AdminLoggedOut { name, token, expires };
    Ok(decided(if over { Vec::new() } else { vec![event.into()] }))
}

/// Another password; its hash is sealed.
///
/// # Errors
/// None so far.
pub fn change_password(actor: Actor, secrets: Vec<SecretChange>) -> Result<Decision<()>, Refused> {
    Ok(Decision { events: vec![AdminPasswordChanged { actor }.into()], secrets, answer: () })
}

fn decided(events: Vec<Event>) -> Decision<()> {
    Decision { events, secrets: Vec::new(), answer: () }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_between_letters() {
        assert_eq!(Who::new(&"é".repeat(40), None, false).name, "é".repeat(32));
    }

    #[test]
    fn many_are_one_event_without_a_name_or_an_address() {
        let Event::AdminLoginFailed(event) = Event::from(Fact::More(990)) else { panic!("another one") };
        assert_eq!((event.name.as_str(), event.address.as_str(), event.count), ("", "", 990));
    }
}
