//! What clients asked and what became of it, by example.

use projections::{
    ClientId, RequestId,
    event::{Actor, ClientRemoved, Outcome, Verdict},
};

use crate::given::{Given, answered, attempted, client_added};

#[test]
fn a_request_has_its_own_tries_in_their_order() {
    let mut given = Given::default();
    for (request, attempt, key) in [(1, 1, 1), (2, 1, 7), (1, 2, 2), (1, 3, 3)] {
        let mut event = attempted(key, Verdict::Overloaded);
        (event.request, event.attempt) = (RequestId(request), attempt);
        given.when(1, event);
    }
    given.when(2, answered(1, Outcome::Refused, 503));
    given.when(3, answered(3, Outcome::Refused, 401));
    let recent: Vec<_> = given.state.requests.recent().collect();
    assert_eq!(recent.len(), 2, "request 2 has not ended");
    assert_eq!((recent[0].answered.request, recent[0].attempts.len()), (RequestId(3), 0), "the newest first");
    let chain: Vec<_> = recent[1].attempts.iter().map(|attempt| (attempt.attempt, attempt.key.0)).collect();
    assert_eq!(chain, [(1, 1), (2, 2), (3, 3)]);
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
