//! Keys whose project is learned while requests are under way.

use projections::event::ProjectLearned;

use super::*;

fn learned(key: u32, consumer: &str) -> Event {
    ProjectLearned { key: KeyId(key), consumer: consumer.to_owned() }.into()
}

#[test]
fn keys_of_one_project_share_its_gates_once_that_is_known() {
    let mut world = World::of(Strategy::LeastLoaded, 3);
    world.tell([
        closed(model_scope(&own(1), "pro"), Some(9_000)),
        closed(Scope::Project(own(2)), Some(7_000)),
    ]);
    let held = world.choose(&only(3), 0).unwrap();
    world.tell([learned(3, "projects/1")]);
    assert_eq!(&*world.choose(&only(3), 0).unwrap().project, "projects/1");
    assert_eq!(world.in_flight(3), 1);
    assert_eq!(world.key(&model("pro")), Some(3));
    // What was known of key 1 comes along, and stands in front of key 3 as well.
    world.tell([learned(1, "projects/1")]);
    assert_eq!(world.opens(&Ask { from: From::Project("projects/1"), ..model("pro") }), Some(9_000));
    assert_eq!(world.choose(&model("pro"), 0).unwrap_err().passed_over.model_gate, 2);
    world.tell([learned(2, "projects/1")]);
    assert_eq!(world.opens(&any()), Some(7_000), "and so does the gate of the whole project");
    world.at = 9_000;
    world.tell([closed(model_scope("projects/1", "pro"), Some(9_500))]);
    assert_eq!(world.choose(&model("pro"), 0).unwrap_err().passed_over.model_gate, 3);
    assert_eq!(world.opens(&Ask { from: From::Project("key-1"), ..any() }), None, "nobody is there any more");
    drop(held);
    assert_eq!(world.in_flight(3), 0);
}

/// Ten thousand rebuilds of ten thousand keys would take minutes: this takes a moment, or the test times out.
#[test]
fn ten_thousand_keys_learn_their_projects_one_after_the_other() {
    const MANY: u32 = 10_000;
    let mut world = World::of(Strategy::LeastLoaded, MANY);
    world.tell((1..=50).map(|key| closed(model_scope(&own(key), &format!("model-{key}")), Some(9_000))));
    for key in 1..=MANY {
        world.tell([learned(key, &format!("projects/{}", key / 2))]);
    }
    assert_eq!(world.roster.slots.rows.len(), MANY as usize + 1, "rows that were left are used again");
    let expected = world.keys.projects().count();
    assert_eq!(world.roster.slots.by_project.len(), expected);
    let nobody =
        world.choose(&Ask { from: From::Project("projects/25"), ..model("model-50") }, 0).unwrap_err();
    assert_eq!(nobody.opens, Some(9_000), "key 51 shares the gate of key 50");
}
