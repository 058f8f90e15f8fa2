//! What operators do with keys and what they say of them, secrets included.
//!
//! Its invariant: a secret (a key, or a proxy's credentials) is sealed and appended with
//! the event that speaks of it, or not at all.

use std::{collections::BTreeSet, sync::Arc};

use http::HeaderValue;
use projections::{
    Fingerprint, KeyId, Seq, State,
    event::{Actor, Change, KeyRevealed},
};
use secrecy::{ExposeSecret, SecretString};

use super::{Error, Pool};
use crate::{
    gemini::route::Route,
    ledger::{
        CommitError,
        rules::{self, Added, Decision, KeyChange, NewKey, NewProxy, Refused, Wishes},
    },
    vault::{UpstreamKey, Vault, may_be_a_key, secret_names},
};

/// What an operator wants of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// All but the way to Google; what is said of that here is overwritten.
    pub wishes: Wishes,
    /// Its way to Google; none: it stays as it is.
    pub route: Option<Route>,
}

impl Wanted {
    /// What is wanted here, and where nothing is, there.
    #[must_use]
    pub fn or(self, there: &Self) -> Self {
        let (here, other) = (self.wishes, there.wishes.clone());
        Self {
            wishes: Wishes {
                enabled: here.enabled.or(other.enabled),
                label: here.label.or(other.label),
                note: here.note.or(other.note),
                tags: here.tags.or(other.tags),
                project: here.project.or(other.project),
                weight: here.weight.or(other.weight),
                priority: here.priority.or(other.priority),
                models: here.models.or(other.models),
                proxy: here.proxy.or(other.proxy),
            },
            route: self.route.or_else(|| there.route.clone()),
        }
    }
}

/// A key as an operator gives it.
#[derive(Debug)]
pub struct GivenKey {
    /// The secret.
    pub secret: SecretString,
    /// What is wanted of it.
    pub wanted: Wanted,
}

/// What became of one given key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenResult {
    /// See [`Added`].
    Taken(Added),
    /// It cannot be a key.
    NotAKey,
}

/// Keys to add, sealed and ready for the rules.
pub(super) struct Prepared {
    /// What is decided already; none where the rules decide.
    results: Vec<Option<GivenResult>>,
    pub(super) new: Vec<(NewKey, Wishes)>,
    routes: Vec<Option<Route>>,
    pub(super) fingerprints: Vec<Fingerprint>,
}

impl Prepared {
    /// Takes out what goes to the rules.
    pub(super) fn take(&mut self) -> (Vec<(NewKey, Wishes)>, Vec<Option<Route>>) {
        (std::mem::take(&mut self.new), std::mem::take(&mut self.routes))
    }

    /// With what the rules said of each of the rest, in order.
    pub(super) fn results(self, added: Vec<Added>) -> Vec<GivenResult> {
        let mut added = added.into_iter();
        let results = self.results.into_iter();
        results.filter_map(|result| result.or_else(|| added.next().map(GivenResult::Taken))).collect()
    }
}

/// The ways of those that are new.
pub(super) fn ways(added: &[Added], routes: Vec<Option<Route>>) -> Vec<(KeyId, Route)> {
    let ways = added.iter().zip(routes).filter_map(|(added, route)| match added {
        Added::New(key) => Some((*key, route?)),
        Added::Known(_) | Added::Removed => None,
    });
    ways.collect()
}

impl Pool {
    /// Adds keys; tells what became of each, in order.
    ///
    /// # Errors
    /// [`Error::Commit`]: none was added. [`Error::Vault`].
    pub async fn add_keys(&self, given: Vec<GivenKey>, actor: Actor) -> Result<Vec<GivenResult>, Error> {
        let _sealing = self.vault.sealing().await;
        let mut prepared = self.prepare(given)?;
        let (new, routes) = prepared.take();
        let vault = Arc::clone(&self.vault);
        let added = self.ledger.commit(move |state| {
            let decision = rules::add_keys_as(state, new, &actor)?;
            vault.stage(ways(&decision.answer, routes));
            Ok(decision)
        });
        let added = added.await;
        self.vault.dismiss(&prepared.fingerprints);
        Ok(prepared.results(added?))
    }

    /// Seals keys, for a rule that adds them; say [`Vault::dismiss`] of their fingerprints afterwards.
    pub(super) fn prepare(&self, given: Vec<GivenKey>) -> Result<Prepared, Error> {
        let mut results = Vec::with_capacity(given.len());
        let (mut new, mut routes, mut fingerprints) = (Vec::new(), Vec::new(), Vec::new());
        for GivenKey { secret, wanted: Wanted { mut wishes, route } } in given {
            let key = Some(secret.expose_secret()).filter(|text| may_be_a_key(text));
            let Some(Ok(key)) = key.map(UpstreamKey::new) else {
                results.push(Some(GivenResult::NotAKey));
                continue;
            };
            let tail = key.tail();
            let (fingerprint, secret) = self.vault.admit(key)?;
            let route = route.filter(|route| *route != Route::Pool);
            wishes.proxy = route.as_ref().map(|route| wish(&self.vault, &fingerprint, route)).transpose()?;
            let (label, project) = (String::new(), None);
            new.push((NewKey { fingerprint, tail, label, project, secret }, wishes));
            routes.push(route);
            fingerprints.push(fingerprint);
            results.push(None);
        }
        Ok(Prepared { results, new, routes, fingerprints })
    }

    /// Changes what operators say of keys: of all of them, or of none; gives those that became different.
    ///
    /// # Errors
    /// [`Error::Commit`]: nothing was changed. [`Error::Vault`].
    pub async fn update_keys(
        &self,
        keys: Vec<KeyId>,
        wanted: Wanted,
        actor: Actor,
    ) -> Result<BTreeSet<KeyId>, Error> {
        self.update_keys_if(keys, None, wanted, actor).await
    }

    /// The same, where each has the revision that the asker saw.
    ///
    /// # Errors
    /// [`Error::Commit`]: nothing was changed. [`Error::Vault`].
    pub async fn update_keys_if(
        &self,
        keys: Vec<KeyId>,
        expected: Option<Seq>,
        wanted: Wanted,
        actor: Actor,
    ) -> Result<BTreeSet<KeyId>, Error> {
        let _sealing = self.vault.sealing().await;
        let Wanted { wishes, route } = wanted;
        let mut updates = Vec::with_capacity(keys.len());
        for id in keys {
            let mut wishes = Wishes { proxy: None, ..wishes.clone() };
            let fingerprint = self.ledger.state().keys.get(id).map(|key| key.fingerprint);
            if let (Some(route), Some(fingerprint)) = (&route, fingerprint) {
                wishes.proxy = Some(wish(&self.vault, &fingerprint, route)?);
            }
            updates.push((id, fingerprint, wishes));
        }
        let vault = Arc::clone(&self.vault);
        let changed = self.ledger.commit(move |state| {
            rules::keys_unchanged_since(state, updates.iter().map(|(id, ..)| *id), expected)?;
            let known = |fingerprint: Option<Fingerprint>| vault.upstream_key(&fingerprint?);
            let updates = updates.into_iter().map(|(id, fingerprint, mut wishes)| {
                // The log does not know credentials; the vault does.
                let so_already = known(fingerprint).is_some_and(|key| Some(key.route()) == route.as_ref());
                wishes.proxy.take_if(|_| so_already);
                (id, wishes)
            });
            let updates: Vec<_> = updates.collect();
            let routes: Vec<_> = updates
                .iter()
                .filter(|(_, wishes)| wishes.proxy.is_some())
                .filter_map(|(id, _)| Some((*id, route.clone()?)))
                .collect();
            let decision = rules::update_keys(state, updates, &actor)?;
            vault.stage(routes);
            Ok(decision.telling_changed_keys())
        });
        Ok(changed.await?)
    }

    /// Adds tags to keys and takes tags away: of all of them, or of none; gives those that became different.
    ///
    /// # Errors
    /// [`CommitError`]: nothing was changed.
    pub async fn tag_keys(
        &self,
        keys: Vec<KeyId>,
        add: Vec<String>,
        remove: Vec<String>,
        actor: Actor,
    ) -> Result<BTreeSet<KeyId>, CommitError> {
        let rule = move |state: &State| {
            Ok(rules::tag_keys(state, &keys, &add, &remove, &actor)?.telling_changed_keys())
        };
        self.ledger.commit(rule).await
    }

    /// Changes keys: all of them, or none; gives those that became different.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn change_keys(
        &self,
        keys: Vec<KeyId>,
        change: KeyChange,
        actor: Actor,
    ) -> Result<BTreeSet<KeyId>, CommitError> {
        self.change_keys_if(keys, None, change, actor).await
    }

    /// The same, where each has the revision that the asker saw.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn change_keys_if(
        &self,
        keys: Vec<KeyId>,
        expected: Option<Seq>,
        change: KeyChange,
        actor: Actor,
    ) -> Result<BTreeSet<KeyId>, CommitError> {
        let now = self.clock.now();
        let rule = move |state: &State| {
            rules::keys_unchanged_since(state, keys.iter().copied(), expected)?;
            if change == KeyChange::Remove {
                rules::resources::none_is_lost(state, &keys, now)?;
            }
            Ok(rules::change_keys(state, &keys, change, &actor, secret_names)?.telling_changed_keys())
        };
        self.ledger.commit(rule).await
    }

    /// Gives a key's secret out, once the log says to whom and where.
    ///
    /// # Errors
    /// [`CommitError`]; then it is not given.
    pub async fn reveal_key(
        &self,
        key: KeyId,
        actor: Actor,
        address: String,
    ) -> Result<Revealed, CommitError> {
        let vault = Arc::clone(&self.vault);
        let rule = move |state: &State| {
            let known = state.keys.get(key).ok_or(Refused::NoSuchKey(key))?;
            let secret = vault.upstream_key(&known.fingerprint).ok_or(Refused::NoSuchKey(key))?.header();
            let answer = Revealed { label: known.label.clone(), secret, seq: state.seq.saturating_add(1) };
            let event = KeyRevealed { key, actor, address };
            Ok(Decision { events: vec![event.into()], secrets: Vec::new(), answer })
        };
        self.ledger.commit(rule).await
    }
}

/// A key's secret, on its way to an operator.
#[derive(Debug)]
pub struct Revealed {
    /// What people call the key.
    pub label: String,
    /// The secret; it does not print.
    pub secret: HeaderValue,
    /// The event that tells of it.
    pub seq: Seq,
}

/// A way to Google as the rules want it: what may be seen of it, and all of it, sealed.
fn wish(vault: &Vault, fingerprint: &Fingerprint, route: &Route) -> Result<NewProxy, Error> {
    let shown = route.shown().map_or(Change::Cleared, Change::To);
    Ok(NewProxy { shown, secret: vault.seal_route(fingerprint, route)? })
}
