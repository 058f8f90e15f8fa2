//! What operators, and the environment, ask for.

use projections::{
    Digest,
    event::{ClientAdded, ClientRemoved},
};

use super::*;

mod adding {
    use super::*;

    #[test]
    fn keys_are_numbered_and_named_in_their_order() {
        let mut named = new_key(2);
        (named.label, named.project) = ("mine".to_owned(), Some("alpha".to_owned()));
        let decision = add_keys(&State::default(), vec![new_key(1), named], &Actor::Cli).unwrap();
        let added = |number: u32, label: &str, project: Option<&str>| {
            Event::from(KeyAdded {
                key: KeyId(number),
                label: label.to_owned(),
                tail: "tail".to_owned(),
                fingerprint: fingerprint(number),
                project: project.map(str::to_owned),
                actor: Actor::Cli,
            })
        };
        assert_eq!(decision.events, [added(1, "key 1", None), added(2, "mine", Some("alpha"))]);
        assert_eq!(decision.secrets, [new_key(1).secret, new_key(2).secret]);
        assert_eq!(decision.answer, [Added::New(KeyId(1)), Added::New(KeyId(2))]);
    }

    #[test]
    fn what_is_there_is_left_alone_also_within_one_call() {
        let given = Given::keys(2);
        let keys = vec![new_key(2), new_key(5), new_key(1), new_key(5), new_key(6)];
        let decision = add_keys(&given.0, keys, &Actor::Cli).unwrap();
        let (known, new) = (|key| Added::Known(KeyId(key)), |key| Added::New(KeyId(key)));
        assert_eq!(decision.answer, [known(2), new(3), known(1), known(3), new(4)]);
        assert_eq!(decision.events.len(), 2);
        assert_eq!(
            decision.secrets,
            [new_key(5).secret, new_key(6).secret],
            "a known key's secret is not sealed anew"
        );
    }

    #[test]
    fn the_environment_does_not_bring_back_what_was_removed_but_people_do() {
        let mut given = Given::keys(2);
        let remove =
            change_keys(&given.0, &[KeyId(2)], KeyChange::Remove, &Actor::Cli, secret_names).unwrap();
        given.then(1, remove.events);
        let again = |actor: &Actor| add_keys(&given.0, vec![new_key(2), new_key(3)], actor).unwrap();
        let by_env = again(&Actor::Env);
        assert_eq!(by_env.answer, [Added::Removed, Added::New(KeyId(3))]);
        assert_eq!((by_env.events.len(), by_env.secrets), (1, vec![new_key(3).secret]));
        for actor in [Actor::Cli, Actor::Admin("ann".to_owned()), Actor::System] {
            let answer = again(&actor).answer;
            assert_eq!(
                answer,
                [Added::New(KeyId(3)), Added::New(KeyId(4))],
                "{actor:?}: and numbers are not reused"
            );
        }
    }

    #[test]
    fn nothing_asked_is_nothing_done() {
        let decision = add_keys(&State::default(), Vec::new(), &Actor::Env).unwrap();
        assert!(decision.events.is_empty() && decision.secrets.is_empty() && decision.answer.is_empty());
    }
}

mod changing {
    use super::*;

    const ALL: [KeyChange; 4] = [KeyChange::Enable, KeyChange::Disable, KeyChange::Reset, KeyChange::Remove];

    fn change(given: &Given, keys: &[u32], change: KeyChange) -> Result<Decision<()>, Refused> {
        let keys: Vec<_> = keys.iter().copied().map(KeyId).collect();
        change_keys(&given.0, &keys, change, &Actor::Cli, secret_names)
    }

    #[test]
    fn one_that_is_not_there_stops_it_for_all() {
        let given = Given::keys(2);
        for asked in ALL {
            assert_eq!(change(&given, &[1, 7, 2, 8], asked).unwrap_err(), Refused::NoSuchKey(KeyId(7)));
        }
        assert_eq!(Refused::NoSuchKey(KeyId(7)).to_string(), "there is no key 7");
    }

    #[test]
    fn what_is_so_already_does_not_happen_again() {
        let mut given = Given::keys(2);
        assert_eq!(change(&given, &[1, 2], KeyChange::Enable).unwrap().events, []);
        let disabled = change(&given, &[1], KeyChange::Disable).unwrap().events;
        assert_eq!(disabled, [KeyDisabled { key: KeyId(1), actor: Actor::Cli }.into()]);
        given.then(1, disabled);
        let rest = change(&given, &[1, 2], KeyChange::Disable).unwrap().events;
        assert_eq!(rest, [KeyDisabled { key: KeyId(2), actor: Actor::Cli }.into()]);
        let enabled = change(&given, &[1, 2], KeyChange::Enable).unwrap().events;
        assert_eq!(enabled, [KeyEnabled { key: KeyId(1), actor: Actor::Cli }.into()]);
    }

    #[test]
    fn a_key_named_twice_is_changed_once() {
        let given = Given::keys(2);
        for asked in [KeyChange::Disable, KeyChange::Reset, KeyChange::Remove] {
            let decision = change(&given, &[2, 1, 2], asked).unwrap();
            assert_eq!(decision.events.len(), 2, "{asked:?}");
            assert!(decision.secrets.len() <= 2);
        }
    }

    #[test]
    fn removing_destroys_the_secret_and_nothing_else_does() {
        let given = Given::keys(2);
        let decision = change(&given, &[2], KeyChange::Remove).unwrap();
        assert_eq!(decision.events, [KeyRemoved { key: KeyId(2), actor: Actor::Cli }.into()]);
        let name = secret_name(&fingerprint(2));
        assert_eq!(decision.secrets, [SecretChange { name, sealed: None }]);
        for asked in [KeyChange::Enable, KeyChange::Disable, KeyChange::Reset] {
            assert_eq!(change(&given, &[1, 2], asked).unwrap().secrets, []);
        }
    }

    #[test]
    fn a_reset_is_recorded_even_where_there_is_nothing_to_forgive() {
        let events = change(&Given::keys(1), &[1], KeyChange::Reset).unwrap().events;
        assert_eq!(events, [KeyReset { key: KeyId(1), actor: Actor::Cli }.into()]);
    }
}

mod clients_of_the_environment {
    use super::*;

    fn digest(of: u8) -> Digest {
        Digest([of; 32])
    }

    fn named(secrets: &[u8]) -> Vec<NewClient> {
        secrets.iter().map(|of| NewClient { digest: digest(*of), tail: format!("{of:04}") }).collect()
    }

    fn sync(given: &mut Given, secrets: &[u8]) -> Vec<Event> {
        let decision = sync_env_clients(&given.0, named(secrets)).unwrap();
        assert_eq!(decision.secrets, []);
        given.then(1, decision.events.clone());
        decision.events
    }

    fn allowed(given: &Given) -> Vec<u8> {
        (0..u8::MAX).filter(|of| given.0.access.by_digest(&digest(*of)).is_some()).collect()
    }

    #[test]
    fn those_named_are_added_once() {
        let mut given = Given::default();
        let events = sync(&mut given, &[1, 2, 1]);
        let added = |client: u32, of: u8| {
            let (name, tail, actor) = (format!("env {client}"), format!("{of:04}"), Actor::Env);
            Event::from(ClientAdded { client: ClientId(client), name, tail, digest: digest(of), actor })
        };
        assert_eq!(events, [added(1, 1), added(2, 2)]);
        assert_eq!(sync(&mut given, &[2, 1]), [], "a second start changes nothing");
    }

    #[test]
    fn rotation_takes_the_old_one_and_gives_the_new_one_access() {
        let mut given = Given::default();
        sync(&mut given, &[1, 2]);
        let events = sync(&mut given, &[2, 3]);
        assert_eq!(events.len(), 2);
        assert_eq!(events[0], ClientRemoved { client: ClientId(1), actor: Actor::Env }.into());
        assert_eq!(allowed(&given), [2, 3]);
        sync(&mut given, &[1]);
        assert_eq!(allowed(&given), [1], "what only the environment took, the environment gives back");
        assert_eq!(given.0.access.next_id(), ClientId(5), "under a number of its own");
        sync(&mut given, &[]);
        assert!(allowed(&given).is_empty());
    }

    #[test]
    fn what_an_operator_removed_stays_removed() {
        let mut given = Given::default();
        sync(&mut given, &[1, 2]);
        given.then(
            2,
            vec![ClientRemoved { client: ClientId(1), actor: Actor::Admin("ann".to_owned()) }.into()],
        );
        assert_eq!(sync(&mut given, &[1, 2]), []);
        assert_eq!(allowed(&given), [2]);
    }

    #[test]
    fn clients_that_operators_added_are_none_of_its_business() {
        let mut given = Given::default();
        let (name, tail, actor) = ("app".to_owned(), "tail".to_owned(), Actor::Admin("ann".to_owned()));
        given.then(1, vec![ClientAdded { client: ClientId(1), name, tail, digest: digest(7), actor }.into()]);
        assert_eq!(sync(&mut given, &[]), []);
        assert_eq!(sync(&mut given, &[7]), [], "it has access already");
        assert_eq!(sync(&mut given, &[]), [], "and keeps it");
        assert_eq!(allowed(&given), [7]);
    }
}
