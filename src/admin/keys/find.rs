//! Which keys a list shows, and in which order.
//!
//! Owns filters and orders. Its invariant: an order is total (ties go by number), and a page goes on behind the
//! last key of the one before it, whatever happened to that key meanwhile.

use std::cmp::Ordering;

use poem_openapi::Enum;
use projections::{Millis, State, keys::Key};
use serde::{Deserialize, Serialize};

use super::view::{KeyState, last_used};
use crate::admin::{page, problem::Problem};

/// What keys are ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub(super) enum KeySort {
    /// Their number: the order in which they were added.
    #[default]
    Id,
    Label,
    State,
    Project,
    /// When they were added.
    Added,
    /// When a try with them last ended; first those that were not used yet. A key that is used between two pages
    /// moves, and may be on both or on none.
    LastUsed,
}

/// From small to large, or the other way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub(super) enum Order {
    #[default]
    Asc,
    Desc,
}

/// Which keys; what is none leaves all.
#[derive(Clone, Debug, Default)]
pub(in crate::admin) struct Filter {
    pub(super) q: Option<String>,
    pub(super) state: Option<KeyState>,
    pub(super) project: Option<String>,
    pub(super) tag: Option<String>,
    pub(super) model: Option<String>,
    pub(super) priority: Option<u8>,
}

impl Filter {
    /// Keys with a part of a text, and those of a project.
    pub(in crate::admin) fn of(q: Option<String>, project: Option<String>) -> Self {
        Self { q, project, ..Self::default() }
    }

    /// With its part of a text in small letters, as [`Self::takes`] wants it.
    pub(in crate::admin) fn lowered(mut self) -> Self {
        self.q = self.q.map(|part| part.to_lowercase());
        self
    }

    /// Whether it leaves a key.
    pub(in crate::admin) fn takes(&self, state: &State, key: &Key, now: Millis) -> bool {
        let holds = |text: &str, part: &str| text.to_lowercase().contains(part);
        let found = |part: &str| {
            let fingerprint = key.fingerprint.to_string();
            let words = [&key.label, &key.tail, &fingerprint, &key.note, &key.project];
            words.into_iter().chain(&key.tags).any(|text| holds(text, part))
        };
        self.q.as_ref().is_none_or(|part| found(part))
            && self.state.is_none_or(|wanted| KeyState::from(state.keys.condition(key, now)) == wanted)
            && self.project.as_ref().is_none_or(|project| *project == key.project)
            && self.tag.as_ref().is_none_or(|tag| key.tags.contains(tag))
            && self.model.as_ref().is_none_or(|model| key.serves(model))
            && self.priority.is_none_or(|priority| priority == key.priority)
    }
}

/// A key's place in an order: what it is ordered by, then its number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Place(By, u32);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum By {
    Nothing,
    Number(i64),
    Text(String),
}

fn place(state: &State, key: &Key, sort: KeySort, now: Millis) -> Place {
    let by = match sort {
        KeySort::Id => By::Nothing,
        KeySort::Label => By::Text(key.label.to_lowercase()),
        KeySort::State => By::Number(state.keys.condition(key, now) as i64),
        KeySort::Project => By::Text(key.project.clone()),
        KeySort::Added => By::Number(key.added),
        KeySort::LastUsed => By::Number(last_used(state, key).unwrap_or_default()),
    };
    Place(by, key.id.0)
}

/// A page of keys.
pub(super) struct Found<'a> {
    pub(super) keys: Vec<&'a Key>,
    /// The cursor of the next page.
    pub(super) next: Option<String>,
    /// How many keys the filter leaves, on all pages.
    pub(super) matching: u64,
}

/// A page of the keys that a filter leaves.
pub(super) fn page<'a>(
    state: &'a State,
    filter: &Filter,
    (sort, order): (KeySort, Order),
    (limit, cursor): (u32, Option<&str>),
    now: Millis,
) -> Result<Found<'a>, Problem> {
    let list = format!("keys {sort:?} {order:?}");
    let after: Option<Place> = page::position(&list, cursor)?;
    let directed = |ordering: Ordering| if order == Order::Desc { ordering.reverse() } else { ordering };
    let filter = filter.clone().lowered();
    let found = state.keys.iter().filter(|key| filter.takes(state, key, now));
    let mut found: Vec<(Place, &Key)> = found.map(|key| (place(state, key, sort, now), key)).collect();
    let matching = found.len() as u64;
    found.retain(|(place, _)| after.as_ref().is_none_or(|after| directed(place.cmp(after)).is_gt()));
    found.sort_by(|(one, _), (other, _)| directed(one.cmp(other)));
    let (shown, more) = page::take(found.into_iter(), limit);
    let next = shown.last().filter(|_| more).map(|(place, _)| page::cursor(&list, place));
    Ok(Found { keys: shown.into_iter().map(|(_, key)| key).collect(), next, matching })
}

#[cfg(test)]
mod tests {
    use projections::{
        Event, Fingerprint, KeyId, Recorded,
        event::{Actor, KeyAdded, KeyDisabled, KeyRemoved, KeyUpdated},
    };

    use super::*;

    fn apply(state: &mut State, event: impl Into<Event>) {
        state.apply(&Recorded { seq: state.seq + 1, at: 1_000 + state.seq as i64, event: event.into() });
    }

    fn add(state: &mut State, number: u32, label: &str, tags: &[&str]) {
        let (key, actor) = (KeyId(number), Actor::Cli);
        apply(
            state,
            KeyAdded {
                key,
                label: label.to_owned(),
                tail: format!("t{number:03}"),
                fingerprint: Fingerprint([number as u8; 16]),
                project: Some(if number.is_multiple_of(2) { "even" } else { "odd" }.to_owned()),
                actor: actor.clone(),
            },
        );
        apply(
            state,
            KeyUpdated {
                key,
                actor,
                label: None,
                note: Some(format!("note of {label}")),
                tags: Some(tags.iter().map(|tag| (*tag).to_owned()).collect()),
                project: None,
                weight: None,
                priority: Some(number as u8),
                models: (number == 1).then(|| vec!["gemini-2.5-*".to_owned()]),
                proxy: None,
            },
        );
    }

    fn pool() -> State {
        let mut state = State::default();
        for (number, label, tags) in [
            (1, "Bob", &["x"][..]),
            (2, "ann", &["x", "y"]),
            (3, "ann", &[]),
            (4, "Zoe", &[]),
            (5, "carl", &["y"]),
        ] {
            add(&mut state, number, label, tags);
        }
        apply(&mut state, KeyDisabled { key: KeyId(4), actor: Actor::Cli });
        state
    }

    fn ids(keys: &[&Key]) -> Vec<u32> {
        keys.iter().map(|key| key.id.0).collect()
    }

    fn all(state: &State, filter: &Filter) -> Vec<u32> {
        let found = page(state, filter, Default::default(), (1_000, None), 9_000).unwrap();
        assert_eq!((found.next, found.matching), (None, found.keys.len() as u64));
        ids(&found.keys)
    }

    #[test]
    fn each_filter_leaves_what_it_names() {
        let state = pool();
        let q = |part: &str| Filter { q: Some(part.to_owned()), ..Filter::default() };
        assert_eq!(all(&state, &Filter::default()), [1, 2, 3, 4, 5]);
        assert_eq!(all(&state, &q("ANN")), [2, 3], "a label");
        assert_eq!(all(&state, &q("T005")), [5], "a tail");
        assert_eq!(all(&state, &q("0404")), [4], "a fingerprint");
        assert_eq!(all(&state, &q("note of zoe")), [4], "a note");
        assert_eq!(all(&state, &q("EVEN")), [2, 4], "a project");
        let tag = |tag: &str| Filter { tag: Some(tag.to_owned()), ..Filter::default() };
        assert_eq!((all(&state, &tag("y")), all(&state, &tag("Y"))), (vec![2, 5], vec![]));
        let model = Filter { model: Some("gemini-3-pro".to_owned()), ..Filter::default() };
        assert_eq!(all(&state, &model), [2, 3, 4, 5]);
        let disabled = Filter { state: Some(KeyState::Disabled), ..Filter::default() };
        assert_eq!(all(&state, &disabled), [4]);
        let both = Filter { project: Some("odd".to_owned()), priority: Some(3), ..Filter::default() };
        assert_eq!(all(&state, &both), [3]);
    }

    #[test]
    fn pages_go_on_behind_the_last_key_though_it_left() {
        let mut state = pool();
        let by_label = (KeySort::Label, Order::Desc);
        let Found { keys: first, next, matching } =
            page(&state, &Filter::default(), by_label, (2, None), 9_000).unwrap();
        assert_eq!((ids(&first), matching), (vec![4, 5], 5));
        apply(&mut state, KeyRemoved { key: KeyId(5), actor: Actor::Cli });
        add(&mut state, 6, "bart", &[]);
        let second = page(&state, &Filter::default(), by_label, (9, next.as_deref()), 9_000).unwrap();
        assert_eq!((ids(&second.keys), second.next, second.matching), (vec![1, 6, 3, 2], None, 5));
        let other = (KeySort::Label, Order::Asc);
        assert!(page(&state, &Filter::default(), other, (9, next.as_deref()), 9_000).is_err());
    }

    #[test]
    fn every_order_shows_every_key_once() {
        let state = pool();
        for sort in
            [KeySort::Id, KeySort::Label, KeySort::State, KeySort::Project, KeySort::Added, KeySort::LastUsed]
        {
            for order in [Order::Asc, Order::Desc] {
                let (mut seen, mut cursor) = (Vec::new(), None);
                loop {
                    let wanted = (2, cursor.as_deref());
                    let found = page(&state, &Filter::default(), (sort, order), wanted, 9_000).unwrap();
                    seen.extend(ids(&found.keys));
                    cursor = found.next;
                    if cursor.is_none() {
                        break;
                    }
                }
                seen.sort_unstable();
                assert_eq!(seen, [1, 2, 3, 4, 5], "{sort:?} {order:?}");
            }
        }
    }
}
