//! What clients asked and what became of it, by example.

use projections::{
    ClientId,
    event::{Actor, ClientRemoved, Outcome},
};

use crate::given::{Given, answered, client_added};

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
