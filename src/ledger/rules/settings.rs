//! What operators may say of settings while the pool runs.
//!
//! Owns that a change is made against what its asker saw, and that what is so already is no event. Whether a
//! value is good is asked of the reader of settings, which comes as an argument. Its invariant: all of a change
//! is good, or none of it is made.

use std::collections::BTreeMap;

use projections::{
    Seq, State,
    event::{Actor, Change, SettingChange, SettingsChanged},
};

use super::{Decision, Refused, unchanged_since};

/// Changes settings: all of them, or none.
///
/// # Errors
/// [`Refused::ChangedMeanwhile`], [`Refused::BadSettings`].
pub fn change_settings(
    state: &State,
    changes: Vec<(String, Change)>,
    expected: Option<Seq>,
    actor: Actor,
    check: impl FnOnce(&BTreeMap<String, String>) -> Result<(), Vec<(String, String)>>,
) -> Result<Decision<()>, Refused> {
    unchanged_since(expected, state.settings.revision)?;
    let mut said = state.settings.values();
    let mut settings = Vec::new();
    for (name, value) in changes {
        let new = match &value {
            Change::Cleared => said.remove(&name).is_some(),
            Change::To(value) => said.insert(name.clone(), value.clone()).as_ref() != Some(value),
        };
        if new {
            settings.push(SettingChange { name, value });
        }
    }
    check(&said).map_err(Refused::BadSettings)?;
    let event = (!settings.is_empty()).then(|| SettingsChanged { actor, settings }.into());
    Ok(Decision { events: event.into_iter().collect(), secrets: Vec::new(), answer: () })
}

#[cfg(test)]
mod tests {
    use projections::{Event, Recorded};

    use super::*;

    fn change(
        state: &mut State,
        pairs: &[(&str, Option<&str>)],
        expected: Option<Seq>,
    ) -> Result<usize, Refused> {
        let changes = pairs.iter().map(|(name, value)| {
            ((*name).to_owned(), value.map_or(Change::Cleared, |value| Change::To(value.to_owned())))
        });
        let bad = |said: &BTreeMap<String, String>| match said.get("A") {
            Some(value) if value == "bad" => Err(vec![("A".to_owned(), "wants better".to_owned())]),
            _ => Ok(()),
        };
        let decision = change_settings(state, changes.collect(), expected, Actor::Cli, bad)?;
        for event in &decision.events {
            let Event::SettingsChanged(event) = event else { panic!("{event:?}") };
            state.apply(&Recorded { seq: state.seq + 1, at: 1, event: event.clone().into() });
        }
        Ok(decision.events.len())
    }

    #[test]
    fn what_is_so_already_is_no_event_and_what_is_bad_changes_nothing() {
        let mut state = State::default();
        assert_eq!(change(&mut state, &[("A", Some("1")), ("B", Some("2"))], Some(0)), Ok(1));
        assert_eq!(change(&mut state, &[("A", Some("1")), ("C", None)], None), Ok(0));
        let bad = Refused::BadSettings(vec![("A".to_owned(), "wants better".to_owned())]);
        assert_eq!(change(&mut state, &[("A", Some("bad")), ("B", None)], None), Err(bad));
        assert_eq!(state.settings.get("B").map(|said| said.value.as_str()), Some("2"));
    }

    #[test]
    fn a_change_against_what_was_is_refused() {
        let mut state = State::default();
        assert_eq!(change(&mut state, &[("A", Some("1"))], Some(0)), Ok(1));
        let meanwhile = Refused::ChangedMeanwhile { expected: 0, now: 1 };
        assert_eq!(change(&mut state, &[("A", Some("2"))], Some(0)), Err(meanwhile));
        assert_eq!(change(&mut state, &[("A", Some("2"))], Some(1)), Ok(1));
    }
}
