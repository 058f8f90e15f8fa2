//! Settings as operators had said them at a moment.
//!
//! Owns the shape. What the environment said then is in no log, so what nobody had said shows no value. Its
//! invariant: no secret is shown, whatever a log holds.

use poem_openapi::Object;
use projections::State;

use crate::config::SETTINGS;

/// In the place of what is not shown.
const MASK: &str = "********";

/// A setting that an operator had said.
#[derive(Debug, PartialEq, Eq, Object)]
pub(super) struct SettingThen {
    /// Its name, such as `MAX_ATTEMPTS`.
    name: String,
    /// Its value, in its own words; a secret's is masked.
    value: String,
    /// The event that said so.
    seq: u64,
}

fn shown(name: &str, value: &str) -> String {
    // What is no setting of this program's may have been a secret of another's.
    let open = SETTINGS.iter().any(|setting| setting.name == name && !setting.secret);
    if open || value.is_empty() { value.to_owned() } else { MASK.to_owned() }
}

/// What had been said, by name.
pub(super) fn said(state: &State) -> Vec<SettingThen> {
    let said = state.settings.iter().map(|(name, said)| SettingThen {
        name: name.to_owned(),
        value: shown(name, &said.value),
        seq: said.seq,
    });
    said.collect()
}

/// The same for every setting that may change, for comparison; none: nobody had said it.
pub(super) fn all(state: &State) -> impl Iterator<Item = (String, Option<String>)> {
    let said = |name: &str| state.settings.get(name).map(|said| shown(name, &said.value));
    let live = SETTINGS.iter().filter(|setting| setting.live).map(|setting| setting.name);
    let others = state.settings.iter().map(|(name, _)| name);
    let names: std::collections::BTreeSet<&str> = live.chain(others).collect();
    names.into_iter().map(move |name| (name.to_owned(), said(name)))
}

#[cfg(test)]
mod tests {
    use projections::{
        Recorded,
        event::{Actor, Change, SettingChange, SettingsChanged},
    };

    use super::*;

    #[test]
    fn what_was_said_is_shown_and_secrets_are_not() {
        let mut state = State::default();
        let settings = [("MAX_ATTEMPTS", "5"), ("OUTBOUND_PROXY", "http://u:p@h:1"), ("OF_ANOTHER", "x")];
        let change = |(name, value): &(&str, &str)| SettingChange {
            name: (*name).to_owned(),
            value: Change::To((*value).to_owned()),
        };
        let event = SettingsChanged { actor: Actor::Cli, settings: settings.iter().map(change).collect() };
        state.apply(&Recorded { seq: 1, at: 1_000, event: event.into() });
        let seen: Vec<_> = said(&state).into_iter().map(|one| (one.name, one.value, one.seq)).collect();
        let wanted = [("MAX_ATTEMPTS", "5"), ("OF_ANOTHER", MASK), ("OUTBOUND_PROXY", MASK)];
        assert_eq!(seen, wanted.map(|(name, value)| (name.to_owned(), value.to_owned(), 1)));
        let all: std::collections::BTreeMap<_, _> = all(&state).collect();
        assert_eq!(all["MAX_ATTEMPTS"].as_deref(), Some("5"));
        assert_eq!((all["OF_ANOTHER"].as_deref(), &all["STRATEGY"]), (Some(MASK), &None));
    }
}
