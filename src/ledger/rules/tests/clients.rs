//! Access keys: what may be said of them, and by whom.

use projections::{
    Digest,
    event::{Cap, ClientAdded, ClientKeyReplaced, ClientRemoved, ClientUpdated},
};

use super::*;

fn new(of: u8) -> NewClient {
    NewClient { digest: Digest([of; 32]), tail: format!("{of:04}") }
}

fn wishes(wish: impl FnOnce(&mut ClientWishes)) -> ClientWishes {
    let mut wishes = ClientWishes::default();
    wish(&mut wishes);
    wishes
}

/// A state with clients 1 (made by the command line) and 2 (of the environment).
fn given() -> Given {
    let mut given = Given::default();
    let made = add_client(&given.0, new(1), wishes(|wish| wish.name = Some(" app ".to_owned())), &Actor::Cli);
    let made = made.unwrap();
    assert_eq!(made.answer, ClientId(1));
    given.then(5, made.events);
    given.then(6, sync_env_clients(&given.0, vec![new(2)]).unwrap().events);
    given
}

fn update(given: &Given, id: u32, wishes: ClientWishes) -> Result<Vec<Event>, Refused> {
    update_client(&given.0, ClientId(id), wishes, None, &Actor::Cli).map(|decision| decision.events)
}

#[test]
fn a_client_is_added_with_what_is_said_of_it() {
    let given = Given::default();
    let all = wishes(|wish| {
        wish.name = Some(String::new());
        wish.models = Some(vec!["models/gemini-2.5-*".to_owned()]);
        wish.addresses = Some(vec!["10.0.0.0/8".to_owned(), "::ffff:192.0.2.1".to_owned()]);
        wish.concurrent = Some(Cap::To(3));
        wish.requests_per_day = Some(Cap::Lifted);
    });
    let events = add_client(&given.0, new(1), all, &Actor::Cli).unwrap().events;
    let [Event::ClientAdded(ClientAdded { name, .. }), Event::ClientUpdated(update)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(name, "client 1");
    assert_eq!(update.models.as_deref(), Some(&["gemini-2.5-*".to_owned()][..]));
    assert_eq!(update.addresses.as_deref(), Some(&["10.0.0.0/8".to_owned(), "192.0.2.1".to_owned()][..]));
    assert_eq!((update.concurrent, update.requests_per_day, &update.name), (Some(Cap::To(3)), None, &None));
    let plain = add_client(&given.0, new(1), ClientWishes::default(), &Actor::Cli).unwrap();
    assert_eq!(plain.events.len(), 1);
}

#[test]
fn what_is_so_already_is_no_event_and_the_rest_stays() {
    let mut given = given();
    let change = || {
        wishes(|wish| {
            (wish.tokens_per_day, wish.expires) = (Some(Cap::To(9)), Some(Cap::To(77)));
            wish.note = Some("of Ann".to_owned());
        })
    };
    let events = update(&given, 1, change()).unwrap();
    given.then(10, events);
    assert!(update(&given, 1, change()).unwrap().is_empty());
    assert!(update(&given, 1, wishes(|wish| wish.enabled = Some(true))).unwrap().is_empty());
    let client = given.0.access.get(ClientId(1)).unwrap();
    assert_eq!((client.name.as_str(), client.note.as_str(), client.expires), ("app", "of Ann", Some(77)));
    let events = update(&given, 1, wishes(|wish| wish.expires = Some(Cap::Lifted))).unwrap();
    assert!(matches!(&events[..], [Event::ClientUpdated(ClientUpdated { expires: Some(Cap::Lifted), .. })]));
}

#[test]
fn every_bad_value_is_named() {
    let given = given();
    for (wish, wanted) in [
        (wishes(|wish| wish.name = Some("a\nb".to_owned())), "name"),
        (wishes(|wish| wish.name = Some("x".repeat(101))), "name"),
        (wishes(|wish| wish.note = Some("\u{7}".to_owned())), "note"),
        (wishes(|wish| wish.models = Some(vec!["a b".to_owned()])), "models"),
        (wishes(|wish| wish.models = Some(vec![String::new()])), "models"),
        (wishes(|wish| wish.addresses = Some(vec!["10.0.0.1/8".to_owned()])), "addresses"),
        (wishes(|wish| wish.addresses = Some(vec!["here".to_owned()])), "addresses"),
        (wishes(|wish| wish.requests_per_minute = Some(Cap::To(0))), "requests_per_minute"),
        (wishes(|wish| wish.requests_per_day = Some(Cap::To(u64::MAX))), "requests_per_day"),
        (wishes(|wish| wish.tokens_per_day = Some(Cap::To(0))), "tokens_per_day"),
        (wishes(|wish| wish.concurrent = Some(Cap::To(0))), "concurrent"),
        (wishes(|wish| wish.expires = Some(Cap::To(u64::MAX))), "expires_at"),
    ] {
        match update(&given, 1, wish.clone()) {
            Err(Refused::BadValue { name, .. }) => assert_eq!(name, wanted),
            other => panic!("{wish:?}: {other:?}"),
        }
    }
    assert_eq!(update(&given, 9, ClientWishes::default()).unwrap_err(), Refused::NoSuchClient(ClientId(9)));
}

#[test]
fn a_change_of_what_somebody_else_changed_is_refused() {
    let mut given = given();
    let seen = given.0.access.get(ClientId(1)).unwrap().revision;
    let off = || wishes(|wish| wish.enabled = Some(false));
    let events = update_client(&given.0, ClientId(1), off(), Some(seen), &Actor::Cli).unwrap().events;
    given.then(10, events);
    let revision = given.0.access.get(ClientId(1)).unwrap().revision;
    assert!(revision > seen);
    let late = Refused::ChangedMeanwhile { expected: seen, now: revision };
    assert_eq!(update_client(&given.0, ClientId(1), off(), Some(seen), &Actor::Cli).unwrap_err(), late);
    assert_eq!(remove_client(&given.0, ClientId(1), Some(seen), &Actor::Cli).unwrap_err(), late);
    assert_eq!(replace_client_key(&given.0, ClientId(1), new(3), Some(seen), &Actor::Cli).unwrap_err(), late);
}

#[test]
fn a_secret_opens_one_door_and_an_old_one_none() {
    let mut given = given();
    let taken = add_client(&given.0, new(2), ClientWishes::default(), &Actor::Cli).unwrap_err();
    assert!(matches!(taken, Refused::SecretTaken(_)));
    for of in [1, 2] {
        let taken = replace_client_key(&given.0, ClientId(1), new(of), None, &Actor::Cli).unwrap_err();
        assert!(matches!(taken, Refused::SecretTaken(_)), "{of}");
    }
    let events = replace_client_key(&given.0, ClientId(1), new(3), None, &Actor::Cli).unwrap().events;
    assert!(matches!(&events[..], [Event::ClientKeyReplaced(ClientKeyReplaced { .. })]));
    given.then(10, events);
    assert_eq!(given.0.access.by_digest(&new(1).digest), None);
    assert_eq!(given.0.access.by_digest(&new(3).digest).unwrap().replaced, Some(10));
    let named = vec![new(1), new(2)];
    assert!(sync_env_clients(&given.0, named).unwrap().events.is_empty(), "the old one stays shut");
}

#[test]
fn what_the_environment_names_may_be_limited_and_revoked_but_not_replaced() {
    let mut given = given();
    let limited = update(&given, 2, wishes(|wish| wish.concurrent = Some(Cap::To(1)))).unwrap();
    given.then(10, limited);
    let refused = replace_client_key(&given.0, ClientId(2), new(4), None, &Actor::Cli).unwrap_err();
    assert!(matches!(refused, Refused::OfEnvironment(_)));
    assert!(sync_env_clients(&given.0, vec![new(2)]).unwrap().events.is_empty(), "it keeps its limits");
    let removed = remove_client(&given.0, ClientId(2), None, &Actor::Cli).unwrap().events;
    assert!(matches!(&removed[..], [Event::ClientRemoved(ClientRemoved { .. })]));
    given.then(11, removed);
    assert!(sync_env_clients(&given.0, vec![new(2)]).unwrap().events.is_empty(), "it stays revoked");
}
