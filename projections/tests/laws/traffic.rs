//! What clients asked and what became of it, by example.

use projections::{
    ClientId, KeyId,
    event::{Actor, ClientRemoved, KeyRemoved, Outcome, Verdict},
    usage::Requests,
};

use crate::given::{Given, answered, attempted, client_added};

#[test]
fn tries_are_counted_by_key_model_hour_and_verdict() {
    let mut given = Given::keys(&["alpha", "alpha"]);
    given.when(10, attempted(1, Verdict::Success));
    given.when(20, attempted(1, Verdict::Overloaded));
    given.when(30, attempted(2, Verdict::ClientFault));
    let mut other = attempted(2, Verdict::Success);
    other.model = "pro".to_owned();
    given.when(3_600_000, other);
    let usage = &given.state.usage;
    let one = usage.keys[&KeyId(1)];
    assert_eq!((one.count, one.succeeded, one.failed(), one.neutral, one.last), (2, 1, 1, 0, 20));
    assert_eq!((one.prompt_tokens, one.output_tokens, one.cached_tokens, one.latency_ms), (10, 18, 6, 20));
    let two = usage.keys[&KeyId(2)];
    assert_eq!((two.count, two.succeeded, two.failed(), two.neutral), (2, 1, 0, 1));
    assert_eq!((usage.models["flash"].count, usage.models["pro"].count), (3, 1));
    assert_eq!((usage.hours[&0].attempts.count, usage.hours[&1].attempts.count), (3, 1));
    assert_eq!((usage.verdicts[&Verdict::Success], usage.verdicts[&Verdict::Overloaded]), (2, 1));
    assert_eq!(usage.total.attempts.count, 4);
    assert_eq!(usage.total.requests, Requests::default(), "a try is not a request");
}

#[test]
fn what_the_client_caused_is_nobodys_failure() {
    for (verdict, failed) in [
        (Verdict::ClientFault, 0),
        (Verdict::AffinityMiss, 0),
        (Verdict::Cancelled, 0),
        (Verdict::Success, 0),
        (Verdict::Truncated, 1),
        (Verdict::BadKey, 1),
    ] {
        let mut given = Given::default();
        given.when(1, attempted(1, verdict));
        assert_eq!(given.state.usage.total.attempts.failed(), failed, "{verdict:?}");
    }
}

#[test]
fn requests_are_counted_by_their_end() {
    let mut given = Given::default();
    for (outcome, status) in [
        (Outcome::Complete, 200),
        (Outcome::Complete, 399),
        (Outcome::Complete, 400),
        (Outcome::Truncated, 200),
        (Outcome::Cancelled, 0),
        (Outcome::Refused, 429),
    ] {
        given.when(5, answered(1, outcome, status));
    }
    let mut anonymous = answered(2, Outcome::Refused, 401);
    anonymous.client = None;
    given.when(6, anonymous);
    let expected = Requests { served: 2, errors: 1, truncated: 1, cancelled: 1, refused: 1 };
    let usage = &given.state.usage;
    assert_eq!(usage.clients[&ClientId(1)], expected);
    assert_eq!(usage.total.requests, Requests { refused: 2, ..expected });
    assert_eq!(usage.hours[&0].requests, usage.total.requests);
    assert_eq!(usage.total.attempts.count, 0, "a request is not a try");
}

#[test]
fn who_leaves_takes_the_counters_along() {
    let mut given = Given::keys(&["alpha"]);
    given.when(1, client_added(1, 1, Actor::Cli));
    given.when(1, attempted(1, Verdict::Success)).when(1, answered(1, Outcome::Complete, 200));
    given.when(2, KeyRemoved { key: KeyId(1), actor: Actor::Cli });
    given.when(2, ClientRemoved { client: ClientId(1), actor: Actor::Cli });
    let usage = &given.state.usage;
    assert!(usage.keys.is_empty() && usage.clients.is_empty());
    assert_eq!((usage.total.attempts.count, usage.total.requests.served), (1, 1), "the sums stay");
}

#[test]
fn hours_before_1970_are_hours_too() {
    let mut given = Given::default();
    given.when(-1, attempted(1, Verdict::Success));
    assert_eq!(given.state.usage.hours[&-1].attempts.count, 1);
}

#[test]
fn a_model_is_wanted_since_it_was_last_asked_for() {
    let mut given = Given::default();
    for (model, started) in [("pro", 10), ("flash", 20), ("pro", 30), ("pro", 5), ("", 40)] {
        let mut event = answered(1, Outcome::Complete, 200);
        (event.model, event.started) = (model.to_owned(), started);
        given.when(50, event);
    }
    let since = |time| given.state.asked.since(time).collect::<Vec<_>>();
    assert_eq!((since(20), since(21), since(31)), (vec!["flash", "pro"], vec!["pro"], vec![]));
}

/// The environment may take back and give again; what an operator took stays taken.
#[test]
fn only_an_operators_removal_is_remembered() {
    for (actor, remembered) in
        [(Actor::Env, false), (Actor::Cli, true), (Actor::Admin("ann".to_owned()), true)]
    {
        let mut given = Given::default();
        let added = client_added(1, 5, Actor::Env);
        let digest = added.digest;
        given.when(1, added);
        assert_eq!(given.state.access.by_digest(&digest).map(|client| client.id), Some(ClientId(1)));
        given.when(2, ClientRemoved { client: ClientId(1), actor: actor.clone() });
        assert!(given.state.access.by_digest(&digest).is_none());
        assert_eq!(given.state.access.was_removed(&digest), remembered, "{actor:?}");
        assert_eq!(given.state.access.next_id(), ClientId(2));
        given.when(3, client_added(2, 5, Actor::Cli));
        assert!(!given.state.access.was_removed(&digest), "it is here again");
    }
}
