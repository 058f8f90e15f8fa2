//! Settings that operators change while the pool runs.

use std::{collections::BTreeMap, sync::Arc};

use projections::{
    Seq,
    event::{Actor, Change},
};

use super::Pool;
use crate::ledger::{
    CommitError,
    rules::{self},
};

impl Pool {
    /// Changes settings: all of them, or none; a value of none takes back what was said. In force when this returns.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn change_settings(
        &self,
        changes: BTreeMap<String, Option<String>>,
        expected: Option<Seq>,
        actor: Actor,
    ) -> Result<(), CommitError> {
        let settings = Arc::clone(&self.settings);
        let changes = changes.into_iter().map(|(name, value)| {
            let value = value.map_or(Change::Cleared, |value| Change::To(value.trim().to_owned()));
            (name, value)
        });
        let changes = changes.collect();
        let check = move |said: &BTreeMap<String, String>| {
            settings.check(said).map_err(|mistakes| {
                mistakes.0.into_iter().map(|mistake| (mistake.name, mistake.wants)).collect()
            })
        };
        let rule = move |state: &_| rules::change_settings(state, changes, expected, actor, check);
        self.ledger.commit(rule).await
    }
}
