use projections::{
    Digest,
    event::{Actor, Answered, Attempted, Cap, ClientAdded, ClientUpdated, Outcome, Tokens},
};

use super::*;

const APP: ClientId = ClientId(1);
/// The beginning of a day of UTC.
const NOON: Millis = 20_000 * 86_400_000 + 43_200_000;

/// A state, and the doors that follow it.
#[derive(Default)]
struct Given {
    state: State,
    access: Access,
}

impl Given {
    fn client(change: impl FnOnce(&mut ClientUpdated)) -> Self {
        let mut given = Self::default();
        let (name, tail, digest) = ("app".to_owned(), String::new(), Digest([7; 32]));
        given.then(NOON, ClientAdded { client: APP, name, tail, digest, actor: Actor::Cli });
        given.say(change);
        given
    }

    fn say(&mut self, change: impl FnOnce(&mut ClientUpdated)) {
        let mut event = ClientUpdated {
            client: APP,
            actor: Actor::Cli,
            name: None,
            note: None,
            enabled: None,
            expires: None,
            models: None,
            addresses: None,
            requests_per_minute: None,
            requests_per_day: None,
            tokens_per_day: None,
            concurrent: None,
        };
        change(&mut event);
        self.then(NOON, event);
    }

    fn then(&mut self, at: Millis, event: impl Into<Event>) {
        let recorded = Recorded { seq: self.state.seq + 1, at, event: event.into() };
        self.state.apply(&recorded);
        self.access.folded(&self.state, &[recorded]);
    }

    fn tokens(&mut self, at: Millis, total: u32) {
        let tokens = Tokens { total, ..Tokens::default() };
        self.then(at, Attempted { client: Some(APP), tokens, ..Attempted::default() });
    }

    fn enter(&self, now: Millis) -> Result<Visit, Denied> {
        self.access.enter(APP, Some([10, 0, 0, 1].into()), now)
    }

    /// A request that went to Google and ended.
    fn ask(&self, now: Millis) -> Result<(), Denied> {
        self.enter(now).map(|mut visit| visit.sent())
    }

    /// The same pool after a restart.
    fn restarted(self) -> Self {
        let access = Access::default();
        access.rebuild(&self.state);
        Self { access, ..self }
    }
}

fn answered(started: Millis, attempts: u8) -> Answered {
    Answered {
        request: projections::RequestId(1),
        client: Some(APP),
        address: String::new(),
        verb: String::new(),
        path: String::new(),
        model: String::new(),
        method: String::new(),
        streamed: false,
        started,
        duration_ms: 0,
        first_byte_ms: None,
        status: 200,
        attempts,
        outcome: Outcome::Complete,
        reason: None,
        bytes: 0,
        waited_ms: 0,
    }
}

#[test]
fn who_may_not_come_in_is_told_why() {
    let mut given = Given::client(|say| say.addresses = Some(vec!["10.0.0.0/8".to_owned()]));
    assert!(given.enter(NOON).is_ok());
    let stranger = [192, 0, 2, 1].into();
    assert_eq!(given.access.enter(APP, Some(stranger), NOON).unwrap_err(), Denied::Address(Some(stranger)));
    assert_eq!(given.access.enter(APP, None, NOON).unwrap_err(), Denied::Address(None));
    given.say(|say| say.expires = Some(Cap::To(u64::try_from(NOON).unwrap() + 5)));
    assert!(given.enter(NOON + 4).is_ok());
    assert_eq!(given.enter(NOON + 5).unwrap_err(), Denied::Expired(NOON + 5));
    given.say(|say| (say.expires, say.enabled) = (Some(Cap::Lifted), Some(false)));
    assert_eq!(given.enter(NOON).unwrap_err(), Denied::Disabled);
    assert_eq!(given.access.enter(ClientId(2), None, NOON).unwrap_err(), Denied::Disabled);
}

#[test]
fn an_address_list_that_cannot_be_read_lets_nobody_in() {
    let given = Given::client(|say| say.addresses = Some(vec!["everywhere".to_owned()]));
    assert!(matches!(given.enter(NOON).unwrap_err(), Denied::Address(_)));
}

#[test]
fn models_are_those_that_were_said() {
    let given = Given::client(|say| say.models = Some(vec!["gemini-2.5-flash*".to_owned()]));
    let visit = given.enter(NOON).unwrap();
    assert!(visit.may_ask("gemini-2.5-flash-lite").is_ok());
    assert_eq!(visit.may_ask("gemini-2.5-pro").unwrap_err(), Denied::Model("gemini-2.5-pro".to_owned()));
    assert!(Given::client(|_| ()).enter(NOON).unwrap().may_ask("anything").is_ok());
}

#[test]
fn of_a_minute_exactly_so_many_and_the_rest_when_told() {
    let given = Given::client(|say| say.requests_per_minute = Some(Cap::To(3)));
    for at in [NOON, NOON + 10_000, NOON + 20_500] {
        given.ask(at).unwrap();
    }
    assert_eq!(given.ask(NOON + 30_000).unwrap_err(), Denied::Minute { limit: 3, back_in: 30_000 });
    assert!(given.ask(NOON + 59_999).is_err());
    given.ask(NOON + 60_000).unwrap();
    assert!(given.ask(NOON + 60_001).is_err(), "what was refused did not count, and what was let in did");
}

#[test]
fn of_a_day_exactly_so_many_until_midnight_of_utc() {
    let given = Given::client(|say| say.requests_per_day = Some(Cap::To(2)));
    given.ask(NOON).unwrap();
    given.ask(NOON + 1).unwrap();
    let half = 43_200_000;
    assert_eq!(given.ask(NOON + 2).unwrap_err(), Denied::Day { limit: 2, back_in: half - 2 });
    given.ask(NOON + half).unwrap();
}

#[test]
fn the_request_that_crosses_the_limit_of_tokens_is_served_and_the_next_is_not() {
    let mut given = Given::client(|say| say.tokens_per_day = Some(Cap::To(100)));
    given.tokens(NOON, 99);
    let crossing = given.enter(NOON).unwrap();
    let beside = given.enter(NOON).unwrap();
    given.tokens(NOON, 500);
    assert!(matches!(given.enter(NOON).unwrap_err(), Denied::Tokens { limit: 100, .. }));
    drop((crossing, beside));
    assert!(given.enter(NOON + 43_200_000).is_ok(), "tomorrow");
    assert!(given.restarted().enter(NOON).is_err(), "also after a restart");
}

#[test]
fn places_at_the_same_time_are_given_back_however_it_ends() {
    let given = Given::client(|say| say.concurrent = Some(Cap::To(2)));
    let (one, mut two) = (given.enter(NOON).unwrap(), given.enter(NOON).unwrap());
    assert_eq!(given.enter(NOON).unwrap_err(), Denied::Concurrent { limit: 2, back_in: 1_000 });
    two.sent();
    drop(two);
    let three = given.enter(NOON).unwrap();
    assert!(given.enter(NOON).is_err());
    drop((one, three));
    let usage = given.access.usage(APP, NOON);
    assert_eq!((usage.running, usage.day, usage.minute), (0, 1, 1), "only one went to Google");
    assert_eq!(usage.last, Some(NOON));
}

#[test]
fn new_terms_know_what_was_used_before() {
    let mut given = Given::client(|_| ());
    let running = given.enter(NOON).unwrap();
    given.ask(NOON).unwrap();
    given.say(|say| say.concurrent = Some(Cap::To(1)));
    assert!(matches!(given.enter(NOON).unwrap_err(), Denied::Concurrent { .. }));
    drop(running);
    given.say(|say| say.requests_per_day = Some(Cap::To(1)));
    assert!(matches!(given.enter(NOON).unwrap_err(), Denied::Day { .. }));
}

#[test]
fn a_restart_forgets_nothing_of_the_minute_and_the_day() {
    let mut given = Given::client(|say| {
        (say.requests_per_minute, say.requests_per_day) = (Some(Cap::To(2)), Some(Cap::To(3)));
    });
    for at in [NOON - 120_000, NOON - 30_000, NOON - 10_000] {
        given.then(NOON, answered(at, 1));
    }
    given.then(NOON, answered(NOON - 10_000, 0));
    let given = given.restarted();
    assert_eq!(given.enter(NOON).unwrap_err(), Denied::Day { limit: 3, back_in: 43_200_000 });
    let usage = given.access.usage(APP, NOON);
    assert_eq!((usage.minute, usage.day), (2, 3), "what was never sent to Google does not count");
}

proptest::proptest! {
    /// However they come, no 60 seconds hold more than may, and who waits as told is let in.
    #[test]
    fn law_a_minute_holds_no_more_and_the_told_wait_is_enough(
        limit in 1u64..6,
        steps in proptest::collection::vec(0i64..25_000, 1..80),
    ) {
        let given = Given::client(|say| say.requests_per_minute = Some(Cap::To(limit)));
        let mut now = NOON;
        let mut let_in = Vec::new();
        for step in steps {
            now += step;
            match given.ask(now) {
                Ok(()) => let_in.push(now),
                Err(Denied::Minute { back_in, .. }) => {
                    proptest::prop_assert!((1..=60_000).contains(&back_in));
                    proptest::prop_assert!(given.ask(now + back_in - 1).is_err(), "not a moment earlier");
                    now += back_in;
                    proptest::prop_assert!(given.ask(now).is_ok());
                    let_in.push(now);
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        let size = usize::try_from(limit).unwrap();
        for (first, next) in let_in.iter().zip(let_in.iter().skip(size)) {
            proptest::prop_assert!(next / 1_000 - first / 1_000 >= 60, "{first} {next}");
        }
    }
}

#[test]
fn of_many_at_once_exactly_so_many_are_let_in() {
    let given = Given::client(|say| say.requests_per_minute = Some(Cap::To(50)));
    let let_in = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let entered = given.ask(NOON).is_ok();
                    let_in.fetch_add(usize::from(entered), std::sync::atomic::Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(let_in.into_inner(), 50);
}
