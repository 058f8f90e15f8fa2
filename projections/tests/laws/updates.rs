//! What operators say of a key, by example.

use projections::{
    KeyId,
    event::{Change, KeyUpdated, Scope, Verdict, Window},
    keys::{Key, PRIORITY, WEIGHT},
};

use crate::given::{Given, closed, model, updated};

fn key(given: &Given, id: u32) -> &Key {
    given.state.keys.get(KeyId(id)).unwrap()
}

fn to(word: &str) -> Option<Change> {
    Some(Change::To(word.to_owned()))
}

fn projects(given: &Given) -> Vec<(String, Vec<u32>)> {
    let projects = given.state.keys.projects();
    projects
        .map(|(name, project)| (name.to_owned(), project.keys.iter().map(|key| key.0).collect()))
        .collect()
}

#[test]
fn what_is_said_is_so_and_the_rest_stays() {
    let mut given = Given::keys(&["alpha", "alpha"]);
    assert_eq!((key(&given, 1).weight, key(&given, 1).priority), (WEIGHT, PRIORITY));
    given.when(
        1,
        KeyUpdated {
            label: Some("mine".to_owned()),
            tags: Some(vec!["paid".to_owned()]),
            weight: Some(5),
            priority: Some(0),
            models: Some(vec!["gemini-2.5-*".to_owned(), "embedding".to_owned()]),
            proxy: to("socks5://proxy:1080"),
            ..updated(1)
        },
    );
    given.when(2, KeyUpdated { note: Some("of ann".to_owned()), ..updated(1) });
    let one = key(&given, 1);
    assert_eq!(
        (one.label.as_str(), one.note.as_str(), &one.tags[..]),
        ("mine", "of ann", &["paid".to_owned()][..])
    );
    assert_eq!((one.weight, one.priority, one.proxy.as_deref()), (5, 0, Some("socks5://proxy:1080")));
    assert_eq!((one.project.as_str(), one.declared), ("alpha", true));
    assert_eq!(key(&given, 2), key(&Given::keys(&["alpha", "alpha"]), 2));
    let serves = |model| key(&given, 1).serves(model);
    assert!(serves("gemini-2.5-pro") && serves("embedding") && !serves("gemini-3-pro"));
    assert!(serves(""), "what names no model is for every key");
    assert!(key(&given, 2).serves("gemini-3-pro"), "no list is no limit");
    given.when(3, KeyUpdated { proxy: Some(Change::Cleared), models: Some(Vec::new()), ..updated(1) });
    assert_eq!((&key(&given, 1).proxy, key(&given, 1).serves("gemini-3-pro")), (&None, true));
    given.when(4, KeyUpdated { label: Some("nobody".to_owned()), project: to("ghost"), ..updated(9) });
    assert_eq!(projects(&given), [("alpha".to_owned(), vec![1, 2])], "who is not there gets no project");
}

#[test]
fn a_key_that_moves_leaves_the_gates_of_its_project_behind() {
    let mut given = Given::keys(&["alpha", "alpha", "beta"]);
    given.when(1, closed(model("alpha", "flash", Window::Day), Verdict::QuotaDay, Some(900)));
    given.when(1, closed(Scope::Project("alpha".to_owned()), Verdict::ProjectDenied, None));
    given.when(1, closed(model("beta", "pro", Window::Day), Verdict::QuotaDay, Some(900)));
    given.when(1, closed(Scope::Key(KeyId(2)), Verdict::Overloaded, Some(500)));
    let shut = |given: &Given, id, model| given.state.keys.closed(key(given, id), model, "m", 600).is_some();
    assert!(shut(&given, 1, "flash") && shut(&given, 1, "pro"));
    given.when(2, KeyUpdated { project: to("beta"), ..updated(1) });
    assert!(!shut(&given, 1, "flash") && shut(&given, 1, "pro"), "it has beta's gates and none of alpha's");
    assert!(shut(&given, 2, "flash"), "who stayed stays closed");
    assert_eq!(projects(&given), [("alpha".to_owned(), vec![2]), ("beta".to_owned(), vec![1, 3])]);

    // The last one leaves: the project is gone with its gates, and coming back finds none.
    given.when(3, KeyUpdated { project: Some(Change::Cleared), ..updated(2) });
    assert_eq!((key(&given, 2).project.as_str(), key(&given, 2).declared), ("key-2", false));
    assert_eq!(projects(&given), [("beta".to_owned(), vec![1, 3]), ("key-2".to_owned(), vec![2])]);
    assert!(key(&given, 2).gate.is_some(), "its own gate goes with it");
    given.when(4, KeyUpdated { project: to("alpha"), ..updated(2) });
    assert!(!shut(&given, 2, "flash"));
}

/// Declaring the project that it is in anyway keeps what is known of it.
#[test]
fn a_key_that_moves_nowhere_keeps_its_gates() {
    let mut given = Given::keys(&[""]);
    given.when(1, closed(model("key-1", "flash", Window::Day), Verdict::QuotaDay, Some(900)));
    given.when(2, KeyUpdated { project: to("key-1"), ..updated(1) });
    assert!(key(&given, 1).declared);
    assert!(given.state.keys.closed(key(&given, 1), "flash", "m", 5).is_some());
    given.when(3, KeyUpdated { project: Some(Change::Cleared), ..updated(1) });
    assert!(!key(&given, 1).declared);
    assert!(given.state.keys.closed(key(&given, 1), "flash", "m", 5).is_some());
}
