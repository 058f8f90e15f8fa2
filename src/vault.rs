//! Sealed secrets: upstream keys, beside the log and never in it.
//!
//! Owns the sealing (XChaCha20-Poly1305 under a random data key per secret,
//! which is itself sealed under the master key, both bound to the secret's
//! name), the keyed digests that tell secrets apart, and the opened secrets in
//! memory. It refuses to do IO: the journal stores what it seals. Its invariant:
//! a secret leaves this module as a header for Google, as bytes to mask in what
//! comes back, or to an operator whose asking is on record; and in no other way.

use std::{collections::HashMap, fmt, sync::Arc};

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use http::HeaderValue;
use projections::{Digest, Event, Fingerprint, KeyId, Recorded, State};
use secrecy::{ExposeSecret, SecretBox, SecretString};
use zeroize::Zeroizing;

use crate::{
    gemini::{route::Route, scrub::Forms},
    journal::SecretChange,
    ledger::View,
    locks::{Mutex, Rank, RwLock},
};

const VERSION: u8 = 1;
const NONCE: usize = 24;
const KEY: usize = 32;
const TAG: usize = 16;
/// The secret from which digests are keyed: made once, kept sealed.
const DIGEST_KEY: &str = "meta/digest-key";
/// What the master key is derived for; changing it locks everybody out.
const MASTER_CONTEXT: &str = "gemini-pool 2026-11 master key";
const FINGERPRINT_CONTEXT: &str = "gemini-pool 2026-11 upstream key fingerprint";
const CLIENT_CONTEXT: &str = "gemini-pool 2026-11 client key digest";

/// Why a secret cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The master key is another one, or the sealed bytes were changed.
    #[error(
        "the sealed secret `{name}` does not open: MASTER_KEY (or the file master.key in DATA_DIR) is not the one \
         it was sealed with, or its bytes were changed"
    )]
    DoesNotOpen {
        /// Which one.
        name: String,
    },
    /// The machine gives no random numbers.
    #[error("the machine gives no random numbers")]
    Random(#[source] getrandom::Error),
    /// It cannot stand in an HTTP header.
    #[error("a key may hold visible ASCII characters only, up to 512 of them")]
    NotAKey,
    /// A newer program sealed it, perhaps.
    #[error("the sealed secret `{name}` is no outbound proxy that this program knows")]
    NotAProxy {
        /// Which one.
        name: String,
    },
}

/// Whether a text that somebody gives can be an upstream key: 8 to 512 letters, digits, `.`, `_` and `-`.
///
/// Google's forms (`AIza…`, `AQ.…`) changed before, so no more is asked of it; but a page of HTML, a sentence or a line
/// of another program's settings is none.
#[must_use]
pub fn may_be_a_key(text: &str) -> bool {
    let of_a_key = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (8..=512).contains(&text.len()) && text.bytes().all(of_a_key)
}

/// An upstream key, opened, with its way to Google.
#[derive(Clone)]
pub struct UpstreamKey {
    header: HeaderValue,
    bytes: Arc<Zeroizing<Vec<u8>>>,
    forms: Forms,
    route: Route,
}

impl UpstreamKey {
    /// Checks that it can be sent at all; its form is Google's business and has changed before.
    ///
    /// # Errors
    /// [`Error::NotAKey`].
    pub fn new(secret: &str) -> Result<Self, Error> {
        let fits = (1..=512).contains(&secret.len()) && secret.bytes().all(|byte| byte.is_ascii_graphic());
        let mut header = HeaderValue::from_str(secret).ok().filter(|_| fits).ok_or(Error::NotAKey)?;
        header.set_sensitive(true);
        let bytes = Arc::new(Zeroizing::new(secret.as_bytes().to_vec()));
        Ok(Self { header, forms: Forms::new(&bytes), bytes, route: Route::Pool })
    }

    /// The way its calls go.
    #[must_use]
    pub fn route(&self) -> &Route {
        &self.route
    }

    /// For `x-goog-api-key`.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    /// For an operator who asked for it, once that is in the log.
    #[must_use]
    pub fn reveal(&self) -> SecretString {
        SecretString::from(String::from_utf8_lossy(&self.bytes).into_owned())
    }

    /// For sealing it.
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// For masking it in what Google sends back.
    #[must_use]
    pub fn forms(&self) -> &Forms {
        &self.forms
    }

    /// The last four characters, or fewer of a short one: never more than a quarter of it.
    #[must_use]
    pub fn tail(&self) -> String {
        tail_of(&self.bytes)
    }
}

impl fmt::Debug for UpstreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UpstreamKey(…)")
    }
}

/// The end of a secret that people may see.
#[must_use]
pub fn tail_of(secret: &[u8]) -> String {
    let shown = (secret.len() / 4).min(4);
    let tail = secret.get(secret.len() - shown..).unwrap_or_default();
    String::from_utf8_lossy(tail).into_owned()
}

/// See the module.
pub struct Vault {
    master: RwLock<SecretBox<[u8; KEY]>>,
    /// Held while something that was sealed is on its way into the journal; alone, while the master key changes.
    sealing: tokio::sync::RwLock<()>,
    fingerprints: SecretBox<[u8; KEY]>,
    clients: SecretBox<[u8; KEY]>,
    open: RwLock<HashMap<Fingerprint, UpstreamKey>>,
    /// Keys whose `KeyAdded` is on its way through the ledger.
    admitted: Mutex<HashMap<Fingerprint, UpstreamKey>>,
    /// Ways that the command being appended gives to keys.
    staged: Mutex<HashMap<KeyId, Route>>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("open", &self.open.read().len()).finish_non_exhaustive()
    }
}

impl Vault {
    /// Opens every sealed secret. In a new data directory it also gives the secrets
    /// that must be stored before anything else is.
    ///
    /// # Errors
    /// [`Error`].
    pub fn open(
        master: &SecretString,
        sealed: &[(String, Vec<u8>)],
    ) -> Result<(Self, Vec<SecretChange>), Error> {
        let master = blake3::derive_key(MASTER_CONTEXT, master.expose_secret().as_bytes());
        let mut fresh = Vec::new();
        let digest_key = match sealed.iter().find(|(name, _)| name == DIGEST_KEY) {
            Some((name, sealed)) => unseal(&master, name, sealed)?,
            None => {
                let random = Zeroizing::new(random::<KEY>()?.to_vec());
                let sealed = Some(seal(&master, DIGEST_KEY, &random)?);
                fresh.push(SecretChange { name: DIGEST_KEY.to_owned(), sealed });
                random
            }
        };
        let derive = |context| SecretBox::new(Box::new(blake3::derive_key(context, &digest_key)));
        let vault = Self {
            master: RwLock::new(SecretBox::new(Box::new(master))),
            sealing: tokio::sync::RwLock::default(),
            fingerprints: derive(FINGERPRINT_CONTEXT),
            clients: derive(CLIENT_CONTEXT),
            open: RwLock::ranked(Rank::VaultOpen, HashMap::new()),
            admitted: Mutex::ranked(Rank::VaultAdmitted, HashMap::new()),
            staged: Mutex::default(),
        };
        for (name, sealed) in sealed.iter().filter(|(name, _)| name.starts_with(KEY_PREFIX)) {
            let secret = unseal(&master, name, sealed)?;
            let text = str::from_utf8(&secret).map_err(|_| Error::NotAKey)?;
            let key = UpstreamKey::new(text)?;
            vault.open.write().insert(vault.fingerprint(&key), key);
        }
        let routes = sealed.iter().filter(|(name, _)| name.starts_with(ROUTE_PREFIX));
        let routes: HashMap<&str, &[u8]> = routes.map(|(name, sealed)| (&**name, &**sealed)).collect();
        for (fingerprint, key) in vault.open.write().iter_mut() {
            let name = route_name(fingerprint);
            let Some(sealed) = routes.get(&*name) else { continue };
            let secret = unseal(vault.master.read().expose_secret(), &name, sealed)?;
            let route = str::from_utf8(&secret).ok().and_then(|text| Route::parse(text).ok());
            key.route = route.ok_or(Error::NotAProxy { name })?;
        }
        Ok((vault, fresh))
    }

    /// Tells an upstream key from others, to whoever has this vault.
    #[must_use]
    pub fn fingerprint(&self, key: &UpstreamKey) -> Fingerprint {
        let hash = blake3::keyed_hash(self.fingerprints.expose_secret(), key.bytes());
        let mut short = [0; 16];
        for (to, from) in short.iter_mut().zip(hash.as_bytes()) {
            *to = *from;
        }
        Fingerprint(short)
    }

    /// What a client access key is known by.
    #[must_use]
    pub fn client_digest(&self, presented: &[u8]) -> Digest {
        Digest(*blake3::keyed_hash(self.clients.expose_secret(), presented).as_bytes())
    }

    /// Seals a key for storage, and holds it until the event that adds it opens it; then say [`Vault::dismiss`].
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn admit(&self, key: UpstreamKey) -> Result<(Fingerprint, SecretChange), Error> {
        let fingerprint = self.fingerprint(&key);
        let name = secret_name(&fingerprint);
        let sealed = Some(seal(self.master.read().expose_secret(), &name, key.bytes())?);
        self.admitted.lock().insert(fingerprint, key);
        Ok((fingerprint, SecretChange { name, sealed }))
    }

    /// Forgets keys that were admitted, whether or not they were added.
    pub fn dismiss(&self, fingerprints: &[Fingerprint]) {
        self.admitted.lock().retain(|fingerprint, _| !fingerprints.contains(fingerprint));
    }

    /// Seals a key's way to Google for storage; the pool's own way leaves nothing to store.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn seal_route(&self, fingerprint: &Fingerprint, route: &Route) -> Result<SecretChange, Error> {
        let name = route_name(fingerprint);
        match route.secret() {
            Some(secret) => self.seal(&name, secret.as_bytes()),
            None => Ok(SecretChange { name, sealed: None }),
        }
    }

    /// Takes note of the ways that a command gives to keys, until its events open them. To be said by the
    /// command itself, on the ledger's thread: so nothing comes between, and what a command that failed left
    /// behind is gone.
    pub fn stage(&self, routes: impl IntoIterator<Item = (KeyId, Route)>) {
        *self.staged.lock() = routes.into_iter().collect();
    }

    /// Seals something else under a name of its own.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn seal(&self, name: &str, secret: &[u8]) -> Result<SecretChange, Error> {
        let sealed = Some(seal(self.master.read().expose_secret(), name, secret)?);
        Ok(SecretChange { name: name.to_owned(), sealed })
    }

    /// Opens what [`Vault::seal`] sealed.
    ///
    /// # Errors
    /// [`Error::DoesNotOpen`].
    pub fn unseal(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        unseal(self.master.read().expose_secret(), name, sealed)
    }

    /// To be held from sealing something until it is committed: else a change of the master key may come between,
    /// and what was sealed before it never opens again. A rule that seals on the ledger's thread needs it not.
    pub async fn sealing(&self) -> tokio::sync::RwLockReadGuard<'_, ()> {
        self.sealing.read().await
    }

    /// To be held while the master key changes.
    pub async fn sealing_alone(&self) -> tokio::sync::RwLockWriteGuard<'_, ()> {
        self.sealing.write().await
    }

    /// Whether this is the master key already.
    #[must_use]
    pub fn is_master(&self, key: &SecretString) -> bool {
        blake3::derive_key(MASTER_CONTEXT, key.expose_secret().as_bytes())
            == *self.master.read().expose_secret()
    }

    /// Everything that is stored, sealed under another master key, with new data keys.
    ///
    /// # Errors
    /// [`Error`]: one of them does not open.
    pub fn reseal(
        &self,
        sealed: &[(String, Vec<u8>)],
        new: &SecretString,
    ) -> Result<Vec<SecretChange>, Error> {
        let new = Zeroizing::new(blake3::derive_key(MASTER_CONTEXT, new.expose_secret().as_bytes()));
        let changes = sealed.iter().map(|(name, sealed)| {
            let secret = self.unseal(name, sealed)?;
            Ok(SecretChange { name: name.clone(), sealed: Some(seal(&new, name, &secret)?) })
        });
        changes.collect()
    }

    /// From here on this one seals.
    pub fn change_master(&self, new: &SecretString) {
        let new = blake3::derive_key(MASTER_CONTEXT, new.expose_secret().as_bytes());
        *self.master.write() = SecretBox::new(Box::new(new));
    }

    /// The opened key; none once it was removed.
    #[must_use]
    pub fn upstream_key(&self, fingerprint: &Fingerprint) -> Option<UpstreamKey> {
        self.open.read().get(fingerprint).cloned()
    }
}

/// Opens the secrets of added keys and forgets those of removed ones, in the log's order.
impl View for Vault {
    /// A key whose way is said to be its own, and is not here, must not go the pool's: it is left out.
    fn rebuild(&self, state: &State) {
        self.open.write().retain(|fingerprint, key| {
            let known = state.keys.by_fingerprint(fingerprint).and_then(|key| state.keys.get(key));
            let lost = known.is_some_and(|known| known.proxy != key.route.shown());
            if lost {
                tracing::error!(%fingerprint, "the sealed outbound proxy of this key is not the one in the log; the key is not used");
            }
            !lost
        });
    }

    fn folded(&self, state: &State, events: &[Recorded]) {
        for recorded in events {
            match &recorded.event {
                Event::KeyAdded(event) => {
                    if let Some(key) = self.admitted.lock().get(&event.fingerprint) {
                        self.open.write().insert(event.fingerprint, key.clone());
                    }
                }
                Event::KeyUpdated(event) if event.proxy.is_some() => {
                    let route = self.staged.lock().remove(&event.key);
                    let known = state.keys.get(event.key).map(|key| key.fingerprint);
                    if let (Some(route), Some(fingerprint)) = (route, known)
                        && let Some(key) = self.open.write().get_mut(&fingerprint)
                    {
                        key.route = route;
                    }
                }
                _ => {}
            }
        }
        if events.iter().any(|recorded| matches!(recorded.event, Event::KeyRemoved(_))) {
            self.open.write().retain(|fingerprint, _| !state.keys.was_removed(fingerprint));
        }
    }
}

const KEY_PREFIX: &str = "key/";
const ROUTE_PREFIX: &str = "proxy/";
/// How the names of keys' secrets begin.
pub const KEYS_PREFIXES: [&str; 2] = [KEY_PREFIX, ROUTE_PREFIX];

/// The name under which an upstream key's secret is stored.
#[must_use]
pub fn secret_name(fingerprint: &Fingerprint) -> String {
    format!("{KEY_PREFIX}{fingerprint}")
}

/// The name under which a key's own way to Google is stored.
fn route_name(fingerprint: &Fingerprint) -> String {
    format!("{ROUTE_PREFIX}{fingerprint}")
}

/// Every name under which something of a key may be stored.
#[must_use]
pub fn secret_names(fingerprint: &Fingerprint) -> [String; 2] {
    [secret_name(fingerprint), route_name(fingerprint)]
}

/// Random bytes from the operating system.
///
/// # Errors
/// [`Error::Random`].
pub fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(Error::Random)?;
    Ok(bytes)
}

/// version ‖ nonce ‖ sealed data key ‖ nonce ‖ sealed secret
fn seal(master: &[u8; KEY], name: &str, secret: &[u8]) -> Result<Vec<u8>, Error> {
    let data_key = Zeroizing::new(random::<KEY>()?);
    let mut sealed = vec![VERSION];
    for (key, plain) in [(master, data_key.as_slice()), (&*data_key, secret)] {
        let nonce = random::<NONCE>()?;
        let payload = Payload { msg: plain, aad: name.as_bytes() };
        let boxed = XChaCha20Poly1305::new(key.into())
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| Error::NotAKey)?;
        sealed.extend(nonce);
        sealed.extend(boxed);
    }
    Ok(sealed)
}

fn unseal(master: &[u8; KEY], name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let closed = || Error::DoesNotOpen { name: name.to_owned() };
    let open = |key: &[u8; KEY], nonce: &[u8; NONCE], boxed: &[u8]| {
        let payload = Payload { msg: boxed, aad: name.as_bytes() };
        let plain = XChaCha20Poly1305::new(key.into()).decrypt(&XNonce::from(*nonce), payload);
        plain.map(Zeroizing::new).map_err(|_| closed())
    };
    let rest = sealed.strip_prefix(&[VERSION]).ok_or_else(closed)?;
    let (nonce, rest) = rest.split_first_chunk::<NONCE>().ok_or_else(closed)?;
    let (boxed, rest) = rest.split_first_chunk::<{ KEY + TAG }>().ok_or_else(closed)?;
    let data_key = open(master, nonce, boxed)?;
    let data_key = data_key.first_chunk::<KEY>().ok_or_else(closed)?;
    let (nonce, boxed) = rest.split_first_chunk::<NONCE>().ok_or_else(closed)?;
    open(data_key, nonce, boxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn master(text: &str) -> SecretString {
        SecretString::from(text.to_owned())
    }

    fn vault() -> Vault {
        Vault::open(&master("a master key for tests"), &[]).unwrap().0
    }

    #[test]
    fn a_sealed_key_opens_under_the_same_master_key_only() {
        let (vault, fresh) = Vault::open(&master("right"), &[]).unwrap();
        let key = UpstreamKey::new("AIzaSy-secret").unwrap();
        let (fingerprint, change) = vault.admit(key).unwrap();
        let stored: Vec<_> =
            fresh.into_iter().chain([change]).map(|change| (change.name, change.sealed.unwrap())).collect();
        let (reopened, fresh) = Vault::open(&master("right"), &stored).unwrap();
        assert!(fresh.is_empty());
        assert_eq!(reopened.upstream_key(&fingerprint).unwrap().bytes(), b"AIzaSy-secret");
        let refused = Vault::open(&master("wrong"), &stored).unwrap_err();
        assert!(refused.to_string().contains("MASTER_KEY"), "{refused}");
    }

    #[test]
    fn a_sealed_secret_does_not_open_under_another_name_or_changed() {
        let vault = vault();
        let sealed = vault.seal("one", b"secret").unwrap().sealed.unwrap();
        assert_eq!(*vault.unseal("one", &sealed).unwrap(), b"secret");
        assert!(vault.unseal("two", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(vault.unseal("one", &changed).is_err(), "byte {at}");
            assert!(vault.unseal("one", &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn what_is_sealed_anew_opens_under_the_new_master_key_only() {
        let (vault, fresh) = Vault::open(&master("the old one"), &[]).unwrap();
        let (fingerprint, key) = vault.admit(UpstreamKey::new("AIzaSy-secret").unwrap()).unwrap();
        let other = vault.seal("meta/other", b"something else").unwrap();
        let stored = |changes: Vec<SecretChange>| -> Vec<_> {
            changes.into_iter().map(|change| (change.name, change.sealed.unwrap())).collect()
        };
        let before = stored(fresh.into_iter().chain([key, other]).collect());
        let after = stored(vault.reseal(&before, &master("the new one")).unwrap());
        assert_eq!(after.len(), 3);
        assert!(Vault::open(&master("the old one"), &after).is_err());
        let (opened, fresh) = Vault::open(&master("the new one"), &after).unwrap();
        assert!(fresh.is_empty() && opened.upstream_key(&fingerprint).is_some());
        assert_eq!(*opened.unseal("meta/other", &after[2].1).unwrap(), b"something else");
        // All or nothing: one that does not open stops it.
        let mut damaged = before.clone();
        damaged[1].1[40] ^= 1;
        assert!(vault.reseal(&damaged, &master("the new one")).is_err());
        vault.change_master(&master("the new one"));
        assert!(vault.is_master(&master("the new one")) && !vault.is_master(&master("the old one")));
        assert!(vault.unseal("meta/other", &before[2].1).is_err());
        let sealed = vault.seal("meta/more", b"more").unwrap().sealed.unwrap();
        assert_eq!(*opened.unseal("meta/more", &sealed).unwrap(), b"more");
    }

    #[test]
    fn a_keys_own_way_is_sealed_beside_it() {
        let (vault, fresh) = Vault::open(&master("right"), &[]).unwrap();
        let (fingerprint, key) = vault.admit(UpstreamKey::new("AIzaSy-secret").unwrap()).unwrap();
        let route = Route::parse("socks5://ann:s3cret@proxy:1080").unwrap();
        let way = vault.seal_route(&fingerprint, &route).unwrap();
        assert_eq!(secret_names(&fingerprint), [key.name.clone(), way.name.clone()]);
        assert!(memchr::memmem::find(way.sealed.as_ref().unwrap(), b"s3cret").is_none());
        let stored: Vec<_> =
            fresh.into_iter().chain([key, way]).map(|change| (change.name, change.sealed.unwrap())).collect();
        let (reopened, _) = Vault::open(&master("right"), &stored).unwrap();
        assert_eq!(*reopened.upstream_key(&fingerprint).unwrap().route(), route);
        let (without, _) = Vault::open(&master("right"), &stored[..2]).unwrap();
        assert_eq!(*without.upstream_key(&fingerprint).unwrap().route(), Route::Pool);
        assert_eq!(vault.seal_route(&fingerprint, &Route::Pool).unwrap().sealed, None);
        assert!(!format!("{:?}", reopened.upstream_key(&fingerprint).unwrap().route()).contains("s3cret"));
    }

    /// The secrets are stored with the events, so this takes a damaged or a doctored store.
    #[test]
    fn a_key_whose_own_way_is_lost_goes_no_other() {
        use projections::event::{Actor, Change, KeyAdded, KeyUpdated};
        let vault = vault();
        let fingerprint = vault.fingerprint(&UpstreamKey::new("AIzaSy-secret").unwrap());
        let mut state = State::default();
        let added = KeyAdded {
            key: KeyId(1),
            label: String::new(),
            tail: String::new(),
            fingerprint,
            project: None,
            actor: Actor::Cli,
        };
        let updated = KeyUpdated {
            key: KeyId(1),
            actor: Actor::Cli,
            label: None,
            note: None,
            tags: None,
            project: None,
            weight: None,
            priority: None,
            models: None,
            proxy: Some(Change::To("http://proxy:80".to_owned())),
        };
        let events: [Event; 2] = [added.into(), updated.into()];
        for (seq, event) in (1..).zip(events) {
            state.apply(&Recorded { seq, at: 0, event });
        }
        vault.open.write().insert(fingerprint, UpstreamKey::new("AIzaSy-secret").unwrap());
        vault.rebuild(&state);
        assert!(vault.upstream_key(&fingerprint).is_none());
        let mut key = UpstreamKey::new("AIzaSy-secret").unwrap();
        key.route = Route::parse("http://ann:s3cret@proxy:80").unwrap();
        vault.open.write().insert(fingerprint, key);
        vault.rebuild(&state);
        assert!(vault.upstream_key(&fingerprint).is_some());
    }

    #[test]
    fn nothing_prints_a_key() {
        let key = UpstreamKey::new("AIzaSy-secret").unwrap();
        let printed = format!("{key:?} {:?} {:?}", key.header(), vault());
        assert!(!printed.contains("secret"), "{printed}");
    }

    #[test]
    fn any_opaque_key_is_taken_and_nothing_that_breaks_a_header() {
        for good in ["AIzaSyA-1_2", "AQ.Ab8RN6J", "x"] {
            UpstreamKey::new(good).unwrap();
        }
        for bad in ["", "two words", "line\nbreak", "鑰匙", &"x".repeat(513)] {
            assert!(UpstreamKey::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_tail_tells_little_of_a_short_key() {
        assert_eq!(tail_of(b"AIzaSy0123456789"), "6789");
        assert_eq!(tail_of(b"12345678"), "78");
        assert_eq!(tail_of(b"abc"), "");
    }
}
