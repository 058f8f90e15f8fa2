//! What may not be lost: resources at Google that only the keys about to leave can reach.

use std::collections::{BTreeMap, BTreeSet};

use projections::{KeyId, Millis, State};

use super::Refused;

/// Names told as examples.
const TOLD: usize = 3;

/// Says no where keys that leave the pool take with them the last way to something that lives.
///
/// # Errors
/// [`Refused::ResourcesLive`].
pub fn none_is_lost(state: &State, leaving: &[KeyId], now: Millis) -> Result<(), Refused> {
    let leaving: BTreeSet<KeyId> = leaving.iter().copied().collect();
    let emptied = state.keys.projects().filter(|(_, project)| project.keys.is_subset(&leaving));
    let emptied: BTreeSet<&str> = emptied.map(|(name, _)| name).collect();
    if emptied.is_empty() {
        return Ok(());
    }
    let mut lost = BTreeMap::<&str, (usize, Vec<String>)>::new();
    for resource in state.resources.live(now) {
        let project = state.resources.project_of(resource).filter(|project| emptied.contains(project));
        let Some((count, examples)) = project.map(|project| lost.entry(project).or_default()) else {
            continue;
        };
        *count += 1;
        if examples.len() < TOLD {
            examples.push(resource.name.clone());
        }
    }
    match lost.pop_first() {
        None => Ok(()),
        Some((project, (count, examples))) => {
            Err(Refused::ResourcesLive { project: project.to_owned(), count, examples })
        }
    }
}

#[cfg(test)]
mod tests {
    use projections::{
        Event, Fingerprint, Recorded,
        event::{Actor, KeyAdded, ResourceBound},
    };

    use super::*;

    /// Keys 1 and 2 of alpha, key 3 of beta.
    fn pool() -> State {
        let mut state = State::default();
        for (number, project) in [(1, "alpha"), (2, "alpha"), (3, "beta")] {
            let event = KeyAdded {
                key: KeyId(number),
                label: String::new(),
                tail: String::new(),
                fingerprint: Fingerprint([number as u8; 16]),
                project: Some(project.to_owned()),
                actor: Actor::Cli,
            };
            apply(&mut state, event);
        }
        state
    }

    fn apply(state: &mut State, event: impl Into<Event>) {
        state.apply(&Recorded { seq: state.seq + 1, at: 1_000, event: event.into() });
    }

    fn bound(name: &str, key: u32, expires: Option<Millis>) -> ResourceBound {
        let project = if key == 3 { "beta" } else { "alpha" };
        let (name, project) = (name.to_owned(), project.to_owned());
        ResourceBound { name, project, key: KeyId(key), expires, request: None, client: None }
    }

    #[test]
    fn the_last_key_of_a_project_stays_while_something_lives_there() {
        let mut state = pool();
        for name in ["a", "b", "c", "d"] {
            apply(&mut state, bound(&format!("files/{name}"), 1, Some(5_000)));
        }
        assert_eq!(none_is_lost(&state, &[KeyId(1)], 2_000), Ok(()), "key 2 reaches them");
        assert_eq!(none_is_lost(&state, &[KeyId(3)], 2_000), Ok(()), "nothing is there");
        let examples = ["files/a", "files/b", "files/c"].map(str::to_owned).to_vec();
        let no = Refused::ResourcesLive { project: "alpha".to_owned(), count: 4, examples };
        assert_eq!(none_is_lost(&state, &[KeyId(2), KeyId(1), KeyId(3)], 2_000), Err(no));
        assert_eq!(none_is_lost(&state, &[KeyId(1), KeyId(2)], 5_000), Ok(()), "by then they have expired");
    }
}
