//! Whose a resource is, by example.

use projections::{
    ClientId, Digest, KeyId, Millis,
    event::{Actor, ClientKeyReplaced, ClientRemoved, KeyRemoved, Released, ResourceBound, ResourceReleased},
};

use crate::given::{Given, added};

fn bound(name: &str, key: u32, project: &str, expires: Option<Millis>) -> ResourceBound {
    let (name, project) = (name.to_owned(), project.to_owned());
    ResourceBound { name, project, key: KeyId(key), expires, request: None, client: None }
}

fn removed(key: u32) -> KeyRemoved {
    KeyRemoved { key: KeyId(key), actor: Actor::Cli }
}

#[test]
fn it_belongs_to_the_project_of_the_key_that_made_it_until_it_expires() {
    let mut given = Given::keys(&["alpha", "beta"]);
    given.when(10, bound("files/a", 1, "alpha", Some(100)));
    given.when(10, bound("files/b", 2, "beta", None));
    let resources = &given.state.resources;
    assert_eq!((resources.owner("files/a", 99), resources.owner("files/a", 100)), (Some("alpha"), None));
    assert_eq!(resources.owner("files/b", Millis::MAX), Some("beta"));
    assert_eq!(resources.projects_with("files").into_iter().collect::<Vec<_>>(), ["alpha", "beta"]);
    assert!(resources.projects_with("cachedContents").is_empty());
    given.when(100, added(9, 9, "gamma"));
    assert_eq!(given.state.resources.len(), 1, "what has expired takes no room");
    given.when(101, ResourceReleased { name: "files/b".to_owned(), why: Released::Deleted });
    assert!(given.state.resources.is_empty());
    assert!(given.state.resources.projects_with("files").is_empty());
}

#[test]
fn it_stays_while_its_project_has_a_key_and_is_forgotten_with_the_last() {
    let mut given = Given::keys(&["alpha", "alpha", "beta"]);
    given.when(10, bound("files/a", 1, "alpha", None));
    given.when(11, removed(1));
    assert_eq!(given.state.resources.owner("files/a", 12), Some("alpha"));
    given.when(12, removed(2));
    assert_eq!(given.state.resources.owner("files/a", 13), None);
    given.when(13, added(4, 4, "alpha"));
    assert_eq!(given.state.resources.owner("files/a", 14), None, "a name alone proves nothing");
}

#[test]
fn it_follows_its_key_to_another_name_of_the_project() {
    let mut given = Given::keys(&["", "alpha"]);
    given.when(10, bound("files/a", 1, "key-1", None));
    // The same key under another project: what people called it was wrong.
    given.when(11, added(1, 1, "alpha"));
    assert_eq!(given.state.resources.owner("files/a", 12), Some("alpha"));
    given.when(12, removed(1));
    assert_eq!(given.state.resources.owner("files/a", 13), Some("alpha"));
}

#[test]
fn there_is_room_for_so_many_and_the_oldest_goes_first() {
    const KEPT: usize = 100_000;
    let mut given = Given::keys(&["alpha"]);
    for number in 0..=KEPT {
        given.when(10, bound(&format!("interactions/{number}"), 1, "alpha", None));
    }
    let resources = &given.state.resources;
    assert_eq!(resources.len(), KEPT);
    assert_eq!(
        (resources.owner("interactions/0", 11), resources.owner("interactions/1", 11)),
        (None, Some("alpha"))
    );
}

/// An ephemeral token lets in whoever has it, on behalf of the client that made it.
#[test]
fn a_token_ends_with_the_access_key_that_it_was_made_with() {
    let by = |name: &str, client: u32| ResourceBound {
        client: Some(ClientId(client)),
        ..bound(name, 1, "alpha", None)
    };
    let mut given = Given::keys(&["alpha"]);
    for (name, client) in [("auth_tokens/a", 1), ("auth_tokens/b", 2), ("files/a", 1), ("auth_tokens/c", 3)] {
        given.when(10, by(name, client));
    }
    given.when(11, ClientRemoved { client: ClientId(1), actor: Actor::Cli });
    given.when(
        12,
        ClientKeyReplaced {
            client: ClientId(2),
            tail: String::new(),
            digest: Digest([7; 32]),
            actor: Actor::Cli,
        },
    );
    let left: Vec<&str> = given.state.resources.live(13).map(|resource| resource.name.as_str()).collect();
    assert_eq!(left, ["files/a", "auth_tokens/c"]);
}
