//! What follows from logins: how long wrong ones wait, and what ends a session.
//!
//! Pure. Owns the delays. They grow with every wrong login from one address, and with wrong ones of one name from
//! anywhere; the second kind begins late and stays short, and does not hold for addresses that an administrator came
//! from lately, nor for this machine: or whoever guesses could keep the administrator out. One invariant: a login
//! that waits is not looked at, so it tells nothing.

use projections::{
    Event, Millis, State,
    event::{
        Actor, AdminLoggedIn, AdminLoggedOut, AdminLoginFailed, AdminLoginsDelayed, AdminPasswordChanged,
    },
    sessions::{Sessions, Wrong},
};

use super::{Decision, Refused};
use crate::journal::SecretChange;

/// Wrong logins from which on further ones wait, the first wait, and the longest.
struct Patience {
    wrong: u32,
    first: Millis,
    longest: Millis,
}

/// From one address.
const OF_ADDRESS: Patience = Patience { wrong: 5, first: 1_000, longest: 300_000 };
/// Of one name, from anywhere.
const OF_NAME: Patience = Patience { wrong: 50, first: 1_000, longest: 60_000 };
/// Longest name recorded of a login, in bytes.
const NAME_KEPT: usize = 64;

impl Patience {
    fn wait(&self, wrong: u32) -> Option<Millis> {
        let doublings = wrong.checked_sub(self.wrong)?.min(20);
        Some((self.first << doublings).min(self.longest))
    }
}

/// Who wants in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// The name, cut at 64 bytes.
    pub name: String,
    /// Where from; empty: nobody knows.
    pub address: String,
    /// From this machine.
    pub local: bool,
}

impl Who {
    /// Cuts what is too long.
    #[must_use]
    pub fn new(name: &str, address: String, local: bool) -> Self {
        let cut = name.floor_char_boundary(NAME_KEPT);
        Self { name: name.get(..cut).unwrap_or_default().to_owned(), address, local }
    }
}

/// Milliseconds until a login is looked at; 0: now.
#[must_use]
pub fn wait(sessions: &Sessions, who: &Who, now: Millis) -> Millis {
    let address = sessions.from_address(&who.address, now).until;
    let exempt = who.local || sessions.is_known(&who.address, now);
    let name = if exempt { 0 } else { sessions.with_name(&who.name, now).until };
    address.max(name).saturating_sub(now).max(0)
}

/// What follows from a login that was right.
///
/// # Errors
/// None so far.
pub fn right(who: &Who) -> Result<Decision<()>, Refused> {
    let event = AdminLoggedIn { name: who.name.clone(), address: who.address.clone() };
    Ok(decided(vec![event.into()]))
}

/// What follows from a login that was wrong.
///
/// # Errors
/// None so far.
pub fn wrong(state: &State, who: &Who, now: Millis) -> Result<Decision<()>, Refused> {
    let Who { name, address, .. } = who.clone();
    let delayed = |wrong: Wrong, patience: &Patience| {
        let failures = wrong.count.saturating_add(1);
        patience.wait(failures).map(|wait| (failures, now.saturating_add(wait)))
    };
    let of_address = delayed(state.sessions.from_address(&address, now), &OF_ADDRESS);
    let of_name = delayed(state.sessions.with_name(&name, now), &OF_NAME);
    let mut events = vec![AdminLoginFailed { name: name.clone(), address: address.clone() }.into()];
    events.extend(of_address.map(|(failures, until)| {
        AdminLoginsDelayed { name: None, address: Some(address), failures, until }.into()
    }));
    events.extend(of_name.map(|(failures, until)| {
        AdminLoginsDelayed { name: Some(name), address: None, failures, until }.into()
    }));
    Ok(decided(events))
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
    use projections::Recorded;

    use super::*;

    fn who(name: &str, address: &str) -> Who {
        Who::new(name, address.to_owned(), false)
    }

    fn fold(state: &mut State, at: Millis, decision: Decision<()>) {
        for event in decision.events {
            state.apply(&Recorded { seq: state.seq + 1, at, event });
        }
    }

    fn fail(state: &mut State, who: &Who, at: Millis) {
        let decision = wrong(state, who, at).unwrap();
        fold(state, at, decision);
    }

    #[test]
    fn wrong_logins_of_an_address_wait_longer_and_longer_and_a_right_one_forgives() {
        let mut state = State::default();
        let eve = who("ann", "10.0.0.9");
        let mut now = 1_000;
        for wanted in [0, 0, 0, 0, 1_000, 2_000, 4_000, 8_000] {
            fail(&mut state, &eve, now);
            assert_eq!(wait(&state.sessions, &eve, now), wanted);
            now += wanted;
        }
        for _ in 0..20 {
            fail(&mut state, &eve, now);
        }
        assert_eq!(wait(&state.sessions, &eve, now), 300_000, "never longer");
        assert_eq!(wait(&state.sessions, &who("ann", "10.0.0.8"), now), 0, "others are not held up");
        fold(&mut state, now, right(&eve).unwrap());
        assert_eq!(wait(&state.sessions, &eve, now), 0);
    }

    #[test]
    fn many_addresses_against_one_name_wait_but_not_where_its_owner_is() {
        let mut state = State::default();
        fold(&mut state, 1, right(&who("ann", "192.0.2.1")).unwrap());
        for number in 0..60 {
            fail(&mut state, &who("ann", &format!("10.0.{number}.1")), 2);
        }
        let stranger = who("ann", "10.9.9.9");
        assert_eq!(wait(&state.sessions, &stranger, 2), 60_000);
        assert_eq!(wait(&state.sessions, &who("ann", "192.0.2.1"), 2), 0, "she came from there before");
        assert_eq!(wait(&state.sessions, &Who { local: true, ..stranger }, 2), 0);
        assert_eq!(wait(&state.sessions, &who("bob", "10.9.9.9"), 2), 0);
    }

    #[test]
    fn a_long_name_is_cut_between_letters() {
        assert_eq!(who(&"é".repeat(40), "").name, "é".repeat(32));
    }
}
