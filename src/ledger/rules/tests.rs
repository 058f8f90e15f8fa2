//! Given a state, when something is asked or happens, then these events follow.

mod clients;
mod commands;
mod learning;
mod tries;
mod updates;

use projections::{
    ClientId, Millis, Recorded, RequestId,
    event::{Attempted, GateClosed, GateOpened, Opened, QuotaDayBegan, Scope, Verdict, Window},
};

use projections::keys::Gate;

use super::*;
use crate::{
    gemini::classify::{Blame, Hold},
    ledger::clock::quota_day,
};

const MAX_FAILURES: u32 = 3;
const FREE: u16 = 0;

/// A state in the making.
#[derive(Default)]
struct Given(State);

impl Given {
    /// A pool of this many keys, all in project `alpha`.
    fn keys(count: u32) -> Self {
        let mut given = Self::default();
        given.then(0, vec![QuotaDayBegan { began: 0, ends: Millis::MAX }.into()]);
        let keys = (1..=count).map(|number| NewKey { project: Some("alpha".to_owned()), ..new_key(number) });
        given.then(0, add_keys(&given.0, keys.collect(), &Actor::Cli).unwrap().events);
        given
    }

    fn then(&mut self, at: Millis, events: Vec<Event>) {
        for event in events {
            self.0.apply(&Recorded { seq: self.0.seq + 1, at, event });
        }
    }

    /// A try ends: what follows is folded; gives the gate it closed.
    fn when(&mut self, now: Millis, attempt: Attempted, penalty: Penalty) -> Option<GateClosed> {
        let events = attempted(&self.0, attempt.clone(), penalty, MAX_FAILURES, now);
        self.then(now, events.clone());
        let mut events = events.into_iter();
        assert_eq!(events.next(), Some(attempt.into()), "the fact comes first");
        let gates = events.map(|event| match event {
            Event::GateClosed(gate) => gate,
            other => panic!("{other:?} does not follow from a try"),
        });
        // The model's circuit is a gate of its own, with tests of its own.
        let mut gates = gates.filter(|gate| !matches!(gate.scope, Scope::Upstream { .. }));
        let gate = gates.next();
        assert_eq!(gates.next(), None);
        gate
    }

    fn gate(&self, scope: &Scope) -> Option<&Gate> {
        self.0.keys.gate(scope)
    }
}

fn fingerprint(of: u32) -> Fingerprint {
    Fingerprint(std::array::from_fn(|i| of.to_be_bytes()[i % 4]))
}

fn secret_name(fingerprint: &Fingerprint) -> String {
    format!("secret {fingerprint}")
}

fn secret_names(fingerprint: &Fingerprint) -> [String; 2] {
    [secret_name(fingerprint), format!("proxy {fingerprint}")]
}

/// A key with the secret of this number, and no label.
fn new_key(secret: u32) -> NewKey {
    let fingerprint = fingerprint(secret);
    let secret = SecretChange { name: secret_name(&fingerprint), sealed: Some(vec![secret as u8]) };
    NewKey { fingerprint, tail: "tail".to_owned(), label: String::new(), project: None, secret }
}

/// A try that began at a time, with a key, for `flash` by `generateContent`.
fn tried(key: u32, started: Millis, verdict: Verdict) -> Attempted {
    Attempted {
        request: RequestId(9),
        attempt: 1,
        key: KeyId(key),
        project: "alpha".to_owned(),
        model: "flash".to_owned(),
        method: "generateContent".to_owned(),
        started,
        verdict,
        ..Attempted::default()
    }
}

fn penalty(blame: Blame, hold: Hold) -> Penalty {
    Penalty { blame, hold, spread: FREE }
}

fn soft() -> Penalty {
    penalty(Blame::Key, Hold::Streak)
}
