//! The same events give the same state, however they are cut, carried or stored.

use projections::{Event, Recorded, State};
use proptest::prelude::*;

use crate::history::{event, history, nonsense};

/// The events, folded into what is there.
fn fold(mut state: State, events: &[Recorded]) -> State {
    events.iter().for_each(|recorded| state.apply(recorded));
    state
}

proptest! {
    #[test]
    fn a_prefix_and_then_the_rest_is_the_whole((events, cut) in history(80).prop_flat_map(|events| {
        let length = events.len();
        (Just(events), 0..=length)
    })) {
        let (before, after) = events.split_at(cut);
        prop_assert_eq!(fold(State::replay(before), after), State::replay(&events));
    }

    #[test]
    fn a_state_that_was_stored_goes_on_like_one_that_was_not((events, cut) in history(80).prop_flat_map(|events| {
        let length = events.len();
        (Just(events), 0..=length)
    })) {
        let (before, after) = events.split_at(cut);
        let state = State::replay(before);
        let stored = serde_json::to_string(&state).unwrap();
        let restored: State = serde_json::from_str(&stored).unwrap();
        prop_assert_eq!(&restored, &state);
        prop_assert_eq!(serde_json::to_string(&restored).unwrap(), stored);
        prop_assert_eq!(fold(restored, after), State::replay(&events));
    }

    /// The pool as it was is the pool, but for its statistics.
    #[test]
    fn the_past_differs_by_its_statistics_alone((events, cut) in history(80).prop_flat_map(|events| {
        let length = events.len();
        (Just(events), 0..=length)
    })) {
        let (before, after) = events.split_at(cut);
        let mut past = State::replay(before);
        past.forget_statistics();
        after.iter().for_each(|recorded| past.apply_past(recorded));
        let mut whole = State::replay(&events);
        whole.forget_statistics();
        prop_assert_eq!(past, whole);
    }

    #[test]
    fn an_event_survives_json(event in event()) {
        let text = serde_json::to_string(&event).unwrap();
        prop_assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
    }

    #[test]
    fn the_state_knows_where_it_stands(events in history(30)) {
        let state = State::replay(&events);
        let last = events.last().map_or((0, 0), |last| (last.seq, last.at));
        prop_assert_eq!((state.seq, state.at), last);
    }

    /// No number, time or order makes a fold panic, or lets two machines disagree.
    #[test]
    fn nonsense_is_folded_like_anything_else(events in nonsense(120)) {
        prop_assert_eq!(State::replay(&events), State::replay(&events));
    }
}
