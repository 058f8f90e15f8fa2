//! Settings as operators changed them while the pool ran.
//!
//! Owns what was said last of each, in its own words. Refuses to know what a setting means or takes: the
//! reader of settings does. Its invariant: what was taken back is not here any more.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    event::{Change, Event, Recorded},
    id::Seq,
};

/// Names kept: there are not so many settings, and a log may hold anything.
const KEPT: usize = 256;

/// What was said of one setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Its value, in its own words.
    pub value: String,
    /// The event that said so.
    pub seq: Seq,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    said: BTreeMap<String, Said>,
    /// The last event that changed any; 0: none did.
    pub revision: Seq,
}

impl Settings {
    /// What was said, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Said)> {
        self.said.iter().map(|(name, said)| (name.as_str(), said))
    }

    /// What was said of one setting.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Said> {
        self.said.get(name)
    }

    /// The values alone.
    #[must_use]
    pub fn values(&self) -> BTreeMap<String, String> {
        self.said.iter().map(|(name, said)| (name.clone(), said.value.clone())).collect()
    }

    /// Folds one event in.
    pub fn apply(&mut self, recorded: &Recorded) {
        let Event::SettingsChanged(event) = &recorded.event else { return };
        self.revision = recorded.seq;
        for change in &event.settings {
            match &change.value {
                Change::Cleared => drop(self.said.remove(&change.name)),
                Change::To(value) if self.said.len() < KEPT || self.said.contains_key(&change.name) => {
                    let said = Said { value: value.clone(), seq: recorded.seq };
                    self.said.insert(change.name.clone(), said);
                }
                Change::To(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Actor, SettingChange, SettingsChanged};

    fn changed(seq: Seq, name: &str, value: Change) -> Recorded {
        let settings = vec![SettingChange { name: name.to_owned(), value }];
        Recorded { seq, at: 1_000, event: SettingsChanged { actor: Actor::Cli, settings }.into() }
    }

    #[test]
    fn the_last_word_counts_and_what_is_taken_back_is_gone() {
        let mut settings = Settings::default();
        settings.apply(&changed(3, "MAX_ATTEMPTS", Change::To("5".to_owned())));
        settings.apply(&changed(4, "MAX_ATTEMPTS", Change::To("2".to_owned())));
        assert_eq!(settings.get("MAX_ATTEMPTS"), Some(&Said { value: "2".to_owned(), seq: 4 }));
        settings.apply(&changed(9, "MAX_ATTEMPTS", Change::Cleared));
        assert_eq!((settings.get("MAX_ATTEMPTS"), settings.revision), (None, 9));
    }

    #[test]
    fn it_is_bounded() {
        let mut settings = Settings::default();
        (1..1_000)
            .for_each(|seq| settings.apply(&changed(seq, &format!("S{seq}"), Change::To(String::new()))));
        assert_eq!(settings.iter().len(), KEPT);
    }
}
