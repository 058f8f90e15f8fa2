//! Who may come in: apps with client access keys, and administrators.
//!
//! Owns both checks and keeps them apart: a client key never administers, and an
//! administrator's token never proxies. What is presented is compared by keyed
//! digest or in constant time. Its invariant: default closed.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use http::{HeaderMap, header::AUTHORIZATION};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use parking_lot::{Mutex, RwLock};
use projections::{ClientId, Digest, Event, Millis, Recorded, State, event::Actor};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::{
    gemini::{headers::API_KEY, target::query_credentials},
    ledger::View,
    vault::Vault,
};

/// What a request's credentials come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// A known client.
    Client(ClientId),
    /// Nobody needs a credential here.
    Anonymous,
    /// Not let in.
    Unknown {
        /// Whether a credential was presented at all.
        presented: bool,
    },
}

/// Lets apps in.
pub struct Gatekeeper {
    vault: Arc<Vault>,
    clients: RwLock<HashMap<Digest, ClientId>>,
    /// Whether everybody may come in while no client is configured.
    open: AtomicBool,
}

impl Gatekeeper {
    /// Closed until [`Gatekeeper::open_when_without_clients`].
    #[must_use]
    pub fn new(vault: Arc<Vault>) -> Self {
        Self { vault, clients: RwLock::default(), open: AtomicBool::new(false) }
    }

    /// Says whether requests without a credential are let in while there are no clients.
    pub fn open_when_without_clients(&self, open: bool) {
        self.open.store(open, Ordering::Release);
    }

    /// Looks for a known credential in the four places where Google's clients put one.
    pub fn admit(&self, headers: &HeaderMap, query: &str) -> Admission {
        let clients = self.clients.read();
        if clients.is_empty() && self.open.load(Ordering::Acquire) {
            return Admission::Anonymous;
        }
        let mut presented = false;
        let mut find = |credential: &[u8]| {
            presented = true;
            // The digest is keyed, so how long the look-up takes says nothing about any credential.
            clients.get(&self.vault.client_digest(credential)).copied()
        };
        let in_header = headers.get(API_KEY).and_then(|value| find(value.as_bytes()));
        let client = in_header
            .or_else(|| {
                headers.get_all(AUTHORIZATION).iter().find_map(|value| find(bearer(value.as_bytes())?))
            })
            .or_else(|| query_credentials(query).find_map(|value| find(value.as_bytes())));
        client.map_or(Admission::Unknown { presented }, Admission::Client)
    }
}

impl View for Gatekeeper {
    fn rebuild(&self, state: &State) {
        *self.clients.write() = state.access.iter().map(|client| (client.digest, client.id)).collect();
    }

    fn folded(&self, state: &State, events: &[Recorded]) {
        let about_clients = |event: &Event| matches!(event, Event::ClientAdded(_) | Event::ClientRemoved(_));
        if events.iter().any(|recorded| about_clients(&recorded.event)) {
            self.rebuild(state);
        }
    }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// How an administrator's password is checked.
enum Password {
    /// As the environment says it.
    Told(SecretString),
    /// As an Argon2id hash (PHC string).
    Hashed(String),
}

/// What an administrator's token says.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: String,
    /// `admin`, or `cli` for the command line on this machine.
    role: String,
    iat: i64,
    exp: i64,
}

/// An access token, for `Authorization: Bearer`.
#[derive(Clone, Debug)]
pub struct Token {
    /// The token itself.
    pub text: String,
    /// When it ends.
    pub expires: Millis,
}

/// Why a login failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginError {
    /// Wrong name or password; which one is not told.
    Wrong,
    /// Too many wrong ones lately; milliseconds until the next try counts.
    TooMany(Millis),
}

/// Wrong logins from one address, or in all, after which further ones wait.
const WRONG_LOGINS: u32 = 5;
/// First wait, doubling to the longest.
const WAIT_MS: (Millis, Millis) = (1_000, 300_000);
/// Addresses remembered.
const ADDRESSES_KEPT: usize = 10_000;

/// Lets administrators in.
pub struct Admins {
    name: String,
    password: Arc<Password>,
    encoding: EncodingKey,
    decoding: DecodingKey,
    /// Of new tokens, in seconds.
    lifetime: AtomicU64,
    wrong: Mutex<HashMap<Option<IpAddr>, (u32, Millis)>>,
    /// Hashing takes memory on purpose: one at a time.
    hashing: tokio::sync::Semaphore,
}

impl fmt::Debug for Admins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admins").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A password cannot be hashed.
#[derive(Debug, thiserror::Error)]
#[error("the password cannot be hashed: {0}")]
pub struct HashError(String);

/// Hashes a password for storage (Argon2id, PHC string). Slow on purpose.
///
/// # Errors
/// [`HashError`].
pub fn hash_password(password: &SecretString) -> Result<String, HashError> {
    let hash = Argon2::default().hash_password(password.expose_secret().as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| HashError(error.to_string()))
}

impl Admins {
    /// `told` is the password in the environment; without it `hashed` counts.
    #[must_use]
    pub fn new(
        name: &str,
        told: Option<SecretString>,
        hashed: String,
        secret: &SecretString,
        lifetime: Duration,
    ) -> Self {
        Self {
            name: name.to_owned(),
            password: Arc::new(told.map_or(Password::Hashed(hashed), Password::Told)),
            encoding: EncodingKey::from_secret(secret.expose_secret().as_bytes()),
            decoding: DecodingKey::from_secret(secret.expose_secret().as_bytes()),
            lifetime: AtomicU64::new(lifetime.as_secs()),
            wrong: Mutex::default(),
            hashing: tokio::sync::Semaphore::new(1),
        }
    }

    /// Says how long new tokens are good: ACCESS_TOKEN_EXPIRE_MINUTES may change.
    pub fn set_lifetime(&self, lifetime: Duration) {
        self.lifetime.store(lifetime.as_secs(), Ordering::Relaxed);
    }

    /// Checks a name and password.
    ///
    /// # Errors
    /// [`LoginError`].
    pub async fn login(
        &self,
        name: &str,
        password: SecretString,
        address: Option<IpAddr>,
        now: Millis,
    ) -> Result<Token, LoginError> {
        let turn = self.hashing.acquire().await;
        let wait = self.wait(address, now);
        if wait > 0 {
            return Err(LoginError::TooMany(wait));
        }
        let known = Arc::clone(&self.password);
        let fits = tokio::task::spawn_blocking(move || match known.as_ref() {
            Password::Told(told) => {
                let digest = |text: &SecretString| blake3::hash(text.expose_secret().as_bytes());
                bool::from(digest(told).as_bytes().ct_eq(digest(&password).as_bytes()))
            }
            Password::Hashed(hash) => PasswordHash::new(hash).is_ok_and(|hash| {
                Argon2::default().verify_password(password.expose_secret().as_bytes(), &hash).is_ok()
            }),
        })
        .await
        .unwrap_or(false);
        drop(turn);
        let named = bool::from(name.as_bytes().ct_eq(self.name.as_bytes()));
        if fits & named {
            self.wrong.lock().remove(&address);
            return Ok(self.token(&self.name, "admin", now));
        }
        self.count_wrong(address, now);
        Err(LoginError::Wrong)
    }

    fn wait(&self, address: Option<IpAddr>, now: Millis) -> Millis {
        let wrong = self.wrong.lock();
        let until = wrong.get(&address).map_or(0, |(count, last)| {
            let doublings = count.saturating_sub(WRONG_LOGINS).min(16);
            let pause = if *count < WRONG_LOGINS { 0 } else { (WAIT_MS.0 << doublings).min(WAIT_MS.1) };
            last.saturating_add(pause)
        });
        until.saturating_sub(now).max(0)
    }

    fn count_wrong(&self, address: Option<IpAddr>, now: Millis) {
        let mut wrong = self.wrong.lock();
        if wrong.len() >= ADDRESSES_KEPT {
            wrong.retain(|_, (_, last)| now.saturating_sub(*last) < WAIT_MS.1);
        }
        // Still full: so many at once are one attack, and count as one.
        let full = wrong.len() >= ADDRESSES_KEPT && !wrong.contains_key(&address);
        let slot = wrong.entry(if full { None } else { address }).or_default();
        *slot = (slot.0.saturating_add(1), now);
    }

    fn token(&self, name: &str, role: &str, now: Millis) -> Token {
        let seconds = now / 1_000;
        let lifetime = i64::try_from(self.lifetime.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        let exp = seconds.saturating_add(lifetime);
        let claims = Claims { sub: name.to_owned(), role: role.to_owned(), iat: seconds, exp };
        let text = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding);
        // Signing with a shared secret has no way to fail; an empty token opens nothing.
        Token { text: text.unwrap_or_default(), expires: exp.saturating_mul(1_000) }
    }

    /// A token for the command line: whoever can read the signing secret can administer anyway.
    #[must_use]
    pub fn cli_token(&self, now: Millis) -> Token {
        self.token("cli", "cli", now)
    }

    /// Who a token stands for; none: nobody.
    #[must_use]
    pub fn actor(&self, token: &str) -> Option<Actor> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        let claims = jsonwebtoken::decode::<Claims>(token, &self.decoding, &validation).ok()?.claims;
        match claims.role.as_str() {
            "cli" => Some(Actor::Cli),
            "admin" => Some(Actor::Admin(claims.sub)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admins(lifetime: Duration) -> Admins {
        let password = SecretString::from("correct horse".to_owned());
        Admins::new(
            "admin",
            Some(password),
            String::new(),
            &SecretString::from("0123456789abcdef".to_owned()),
            lifetime,
        )
    }

    fn now() -> Millis {
        crate::ledger::clock::Clock::system().now()
    }

    fn secret(text: &str) -> SecretString {
        SecretString::from(text.to_owned())
    }

    #[tokio::test]
    async fn the_right_name_and_password_get_a_token_that_says_who() {
        let admins = admins(Duration::from_secs(60));
        let token = admins.login("admin", secret("correct horse"), None, now()).await.unwrap();
        assert_eq!(admins.actor(&token.text), Some(Actor::Admin("admin".to_owned())));
        assert_eq!(
            admins.login("root", secret("correct horse"), None, now()).await.unwrap_err(),
            LoginError::Wrong
        );
        assert_eq!(admins.login("admin", secret("wrong"), None, now()).await.unwrap_err(), LoginError::Wrong);
    }

    #[tokio::test]
    async fn a_hashed_password_is_checked_too() {
        let hash = hash_password(&secret("made up")).unwrap();
        let admins = Admins::new("admin", None, hash, &secret("0123456789abcdef"), Duration::from_secs(60));
        assert!(admins.login("admin", secret("made up"), None, now()).await.is_ok());
        assert!(admins.login("admin", secret("made-up"), None, now()).await.is_err());
    }

    #[test]
    fn old_foreign_and_altered_tokens_stand_for_nobody() {
        let admins = admins(Duration::from_secs(60));
        let old = admins.cli_token(now() - 61_000);
        assert_eq!(admins.actor(&old.text), None);
        let other = Admins::new(
            "admin",
            None,
            String::new(),
            &secret("another secret of 16"),
            Duration::from_secs(60),
        );
        assert_eq!(admins.actor(&other.cli_token(now()).text), None);
        let good = admins.cli_token(now()).text;
        assert_eq!(admins.actor(&good), Some(Actor::Cli));
        assert_eq!(admins.actor(&good[..good.len() - 2]), None);
        let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", good.split('.').nth(1).unwrap());
        assert_eq!(admins.actor(&unsigned), None);
    }

    #[tokio::test]
    async fn wrong_logins_wait_longer_and_longer_and_the_right_one_works_after() {
        let admins = admins(Duration::from_secs(60));
        let address = Some(IpAddr::from([127, 0, 0, 9]));
        let mut time = now();
        for _ in 0..WRONG_LOGINS {
            assert_eq!(
                admins.login("admin", secret("x"), address, time).await.unwrap_err(),
                LoginError::Wrong
            );
        }
        let early = admins.login("admin", secret("correct horse"), address, time).await;
        assert_eq!(early.unwrap_err(), LoginError::TooMany(1_000));
        time += 1_000;
        assert_eq!(admins.login("admin", secret("x"), address, time).await.unwrap_err(), LoginError::Wrong);
        let early = admins.login("admin", secret("correct horse"), address, time + 1_999).await;
        assert_eq!(early.unwrap_err(), LoginError::TooMany(1));
        assert!(
            admins.login("admin", secret("correct horse"), None, time).await.is_ok(),
            "others are not held up"
        );
        assert!(admins.login("admin", secret("correct horse"), address, time + 2_000).await.is_ok());
    }
}
