//! Keys that move to another project.

use projections::event::{Change, KeyUpdated};

use super::*;

fn moved(key: u32, project: Change) -> Event {
    KeyUpdated {
        key: KeyId(key),
        actor: Actor::Cli,
        label: None,
        note: None,
        tags: None,
        project: Some(project),
        weight: None,
        priority: None,
        models: None,
        proxy: None,
    }
    .into()
}

fn of(project: &str) -> Change {
    Change::To(project.to_owned())
}

#[test]
fn a_key_that_moves_has_the_gates_of_the_project_it_moves_to() {
    let mut world = World::new(Strategy::LeastLoaded);
    world.tell([added(1, Some("alpha")), added(2, Some("beta"))]);
    world.tell([1, 2].map(|key| served(key, "", "")));
    let scope = Scope::Model { project: "alpha".to_owned(), model: "pro".to_owned(), window: Window::Day };
    let cause = Verdict::QuotaDay;
    world.tell([
        GateClosed { scope, cause, until: Some(9_000), probe: None, request: None, key: KeyId(1) }.into()
    ]);
    let pro = |key| Ask { model: "pro", ..only(key) };
    assert_eq!((world.key(&pro(1)), world.key(&pro(2))), (None, Some(2)));
    let held = world.choose(&only(1), 0).unwrap();
    world.tell([moved(2, of("alpha")), moved(1, of("beta"))]);
    assert_eq!((world.key(&pro(1)), world.key(&pro(2))), (Some(1), None));
    let again = world.choose(&only(1), 0).unwrap();
    assert_eq!((&*again.project, again.why.in_flight), ("beta", 1), "what it has under way goes with it");
    assert_eq!(&*held.project, "alpha", "a request that has begun stays with the quota it used");
    // One that was not there before: what closes for it closes for the key.
    world.tell([moved(1, Change::Cleared)]);
    let scope = Scope::Project("key-1".to_owned());
    let cause = Verdict::ProjectDenied;
    world.tell([
        GateClosed { scope, cause, until: FOR_EVER, probe: None, request: None, key: KeyId(1) }.into()
    ]);
    assert_eq!(world.key(&only(1)), None);
}
