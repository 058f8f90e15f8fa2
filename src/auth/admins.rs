//! The administrator's name and password.
//!
//! Owns the comparison: Argon2id, whoever asks and whatever the name, one at a time ([`super::turns`]). It refuses to
//! know how often somebody may try ([`super::attempts`]). Its invariants: a wrong name costs the same time as a wrong
//! password; and what a comparison came to is judged also when whoever asked for it is gone.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use projections::{Millis, Seq};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::{
    Role, Session, Signer, Token,
    turns::{Kind, Place, Rest, Turns},
};
use crate::{locks::RwLock, network::Range};

/// A password cannot be hashed.
#[derive(Debug, thiserror::Error)]
#[error("the password cannot be hashed: {0}")]
pub struct HashError(String);

/// What a new hash costs: 9 MiB, four times over. As good against guessing as 19 MiB twice (OWASP, "Password Storage
/// Cheat Sheet"), and strangers can have the pool hold half as much.
fn argon2() -> Result<Argon2<'static>, HashError> {
    let params = Params::new(9 << 10, 4, 1, None).map_err(|error| HashError(error.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// Hashes a password for storage (Argon2id, PHC string). Slow on purpose.
///
/// # Errors
/// [`HashError`].
pub fn hash_password(password: &SecretString) -> Result<String, HashError> {
    let hash = argon2()?.hash_password(password.expose_secret().as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| HashError(error.to_string()))
}

/// Whether a password is the one that was hashed. Slow on purpose.
#[must_use]
pub fn verify_password(password: &SecretString, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| {
        Argon2::default().verify_password(password.expose_secret().as_bytes(), &hash).is_ok()
    })
}

/// See the module.
pub struct Admins {
    name: String,
    /// The password in force, as a hash.
    hash: RwLock<Arc<str>>,
    /// The environment says the password: nothing else changes it.
    told: bool,
    signer: Signer,
    /// Of new tokens, in seconds.
    lifetime: AtomicU64,
    turns: Arc<Turns>,
    /// Before it, those of others.
    others: Arc<Turns>,
    /// Logins that came too early, and were not looked at.
    unlooked: AtomicU64,
}

impl fmt::Debug for Admins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admins").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The right to look at one login, or to change the password; nobody else does meanwhile.
pub struct Turn {
    admins: Arc<Admins>,
    _place: Place,
    _rest: Option<Rest>,
}

impl Admins {
    /// `hash` is of the password in force; `told`: it is the environment's.
    #[must_use]
    pub fn new(name: &str, hash: &str, told: bool, signer: Signer, lifetime: Duration) -> Self {
        Self {
            name: name.to_owned(),
            hash: RwLock::new(hash.into()),
            told,
            signer,
            lifetime: AtomicU64::new(lifetime.as_secs()),
            turns: Arc::default(),
            others: Arc::default(),
            unlooked: AtomicU64::new(0),
        }
    }

    /// Says how long new tokens are good: ACCESS_TOKEN_EXPIRE_MINUTES may change.
    pub fn set_lifetime(&self, lifetime: Duration) {
        self.lifetime.store(lifetime.as_secs(), Ordering::Relaxed);
    }

    /// Counts a login that came too early: nothing else is kept of it, or whoever guesses could fill the log.
    pub fn too_early(&self) {
        self.unlooked.fetch_add(1, Ordering::Relaxed);
    }

    /// Logins since the start that came too early, and were not looked at.
    #[must_use]
    pub fn unlooked(&self) -> u64 {
        self.unlooked.load(Ordering::Relaxed)
    }

    /// The administrator's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the password is the environment's.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.told
    }

    /// Waits for a turn; none: too many of that kind, or from that network, wait already.
    pub async fn turn(self: &Arc<Self>, kind: Kind, network: Option<Range>) -> Option<Turn> {
        let alone = match kind {
            Kind::Other => Some(self.others.take(kind, network).await?),
            Kind::ThisMachine | Kind::Known => None,
        };
        let place = self.turns.take(kind, network).await?;
        Some(Turn { admins: Arc::clone(self), _place: place, _rest: alone.map(Rest::after) })
    }

    /// A token for the command line.
    #[must_use]
    pub fn cli_token(&self, now: Millis) -> Token {
        self.signer.cli_token(now)
    }

    /// What a token says, if it is good by itself: the log may know more.
    #[must_use]
    pub fn read(&self, token: &str, now: Millis) -> Option<Session> {
        let session = self.signer.read(token)?;
        // The machine's clock may be behind the log's, by which an administrator's token was made.
        let good = session.role == Role::Cli || (session.name == self.name && session.expires > now);
        good.then_some(session)
    }
}

impl Turn {
    /// Looks whether these are the administrator's name and password, and has it judged; the turn comes back if they
    /// are.
    pub async fn fits(
        self,
        name: &str,
        password: SecretString,
        judge: impl FnOnce(bool) + Send + 'static,
    ) -> Option<Self> {
        let hash = Arc::clone(&self.admins.hash.read());
        let named = bool::from(name.as_bytes().ct_eq(self.admins.name.as_bytes()));
        let checked = tokio::task::spawn_blocking(move || {
            let fits = verify_password(&password, &hash) & named;
            judge(fits);
            fits.then_some(self)
        });
        checked.await.ok().flatten()
    }

    /// A token for the administrator, while the password is as the event `password` left it.
    #[must_use]
    pub fn token(&self, password: Seq, now: Millis) -> Token {
        let lifetime = Duration::from_secs(self.admins.lifetime.load(Ordering::Relaxed));
        self.admins.signer.admin_token(&self.admins.name, lifetime, password, now)
    }

    /// From now on this is the hash of the password; it is on the disk already.
    pub fn change(&self, hash: &str) {
        *self.admins.hash.write() = hash.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretString {
        SecretString::from(text.to_owned())
    }

    fn admins() -> Arc<Admins> {
        let hash = hash_password(&secret("correct horse")).unwrap();
        let signer = Signer::new(&secret("0123456789abcdef"));
        Arc::new(Admins::new("admin", &hash, false, signer, Duration::from_secs(60)))
    }

    async fn turn(admins: &Arc<Admins>) -> Turn {
        admins.turn(Kind::ThisMachine, None).await.unwrap()
    }

    #[tokio::test]
    async fn only_the_right_name_and_the_right_password_fit_together() {
        let admins = admins();
        let fits = async |name: &str, password: &str| {
            turn(&admins).await.fits(name, secret(password), |_| {}).await.is_some()
        };
        assert!(fits("admin", "correct horse").await);
        assert!(!fits("root", "correct horse").await);
        assert!(!fits("admin", "correct-horse").await);
        turn(&admins).await.change(&hash_password(&secret("another one")).unwrap());
        assert!(!fits("admin", "correct horse").await);
        assert!(fits("admin", "another one").await);
    }

    #[tokio::test]
    async fn who_hangs_up_is_judged_all_the_same_and_makes_no_room_before() {
        let admins = admins();
        let (judged, hears) = std::sync::mpsc::channel();
        let mut looks = Box::pin(
            turn(&admins).await.fits("admin", secret("wrong"), move |fits| judged.send(fits).unwrap()),
        );
        let polled =
            std::future::poll_fn(|context| std::task::Poll::Ready(looks.as_mut().poll(context).is_ready()));
        assert!(!polled.await);
        drop(looks);
        drop(turn(&admins).await);
        assert_eq!(hears.try_recv(), Ok(false), "judged before the next one's turn");
    }

    #[tokio::test]
    async fn another_administrators_token_stands_for_nobody() {
        let admins = admins();
        let now = crate::ledger::clock::Clock::system().now();
        let token = |name: &str| admins.signer.admin_token(name, Duration::from_secs(60), 0, now).text;
        assert!(admins.read(token("admin").expose_secret(), now).is_some());
        assert!(admins.read(token("former").expose_secret(), now).is_none());
        assert!(admins.read(token("admin").expose_secret(), now + 60_000).is_none());
    }
}
