//! Administrators' tokens: signed, short-lived, and each with a number of its own, so that one can be ended.
//!
//! Owns the signature and what a token says. Whether it was ended, or the password changed since, is in the log.
//! Its invariant: a token of the command line opens nothing a minute after it was made.

use std::{fmt, time::Duration};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use projections::{Millis, Seq, event::Actor, sessions::Sessions};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

/// How long a token of the command line is good: it is made for one call.
const CLI: Duration = Duration::from_secs(60);

/// Whose token it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// An administrator who logged in.
    Admin,
    /// The command line on this machine: whoever can read the signing secret can administer anyway.
    Cli,
}

/// What a token says.
#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    role: Role,
    iat: i64,
    exp: i64,
    /// Its number, in hexadecimal.
    jti: String,
    /// The event that had changed the password last when it was made.
    #[serde(default)]
    password: Seq,
}

/// An access token, for `Authorization: Bearer`.
#[derive(Clone)]
pub struct Token {
    /// The token itself.
    pub text: SecretString,
    /// When it ends.
    pub expires: Millis,
}

/// Who a good token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The administrator's name; `cli` for the command line.
    pub name: String,
    /// Whose it is.
    pub role: Role,
    /// The token's number.
    pub token: u128,
    /// When its owner logged in.
    pub began: Millis,
    /// When it ends by itself.
    pub expires: Millis,
    password: Seq,
}

impl Session {
    /// Who acts.
    #[must_use]
    pub fn actor(&self) -> Actor {
        match self.role {
            Role::Cli => Actor::Cli,
            Role::Admin => Actor::Admin(self.name.clone()),
        }
    }

    /// Whose places it takes: its own, but all calls of the command line are one caller.
    #[must_use]
    pub fn caller(&self) -> u128 {
        match self.role {
            Role::Cli => 0,
            Role::Admin => self.token,
        }
    }

    /// Whether the log says that it is over: logged out, or from before the password changed.
    #[must_use]
    pub fn is_over(&self, sessions: &Sessions) -> bool {
        let outdated = self.role == Role::Admin && self.password != sessions.password();
        outdated || sessions.is_revoked(self.token)
    }
}

/// Signs and reads tokens.
pub struct Signer {
    encoding: EncodingKey,
    decoding: DecodingKey,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(…)")
    }
}

impl Signer {
    /// By this secret.
    #[must_use]
    pub fn new(secret: &SecretString) -> Self {
        let secret = secret.expose_secret().as_bytes();
        Self { encoding: EncodingKey::from_secret(secret), decoding: DecodingKey::from_secret(secret) }
    }

    /// A token for an administrator who logged in while the password was as `password` says.
    #[must_use]
    pub fn admin_token(&self, name: &str, lifetime: Duration, password: Seq, now: Millis) -> Token {
        self.token(name, Role::Admin, lifetime, password, now)
    }

    /// A token for the command line.
    #[must_use]
    pub fn cli_token(&self, now: Millis) -> Token {
        self.token("cli", Role::Cli, CLI, 0, now)
    }

    fn token(&self, name: &str, role: Role, lifetime: Duration, password: Seq, now: Millis) -> Token {
        let seconds = now / 1_000;
        let exp = seconds.saturating_add(i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX));
        let jti = format!("{:032x}", uuid::Uuid::now_v7().as_u128());
        let claims = Claims { sub: name.to_owned(), role, iat: seconds, exp, jti, password };
        let text = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding);
        // Signing with a shared secret has no way to fail; an empty token opens nothing.
        Token { text: SecretString::from(text.unwrap_or_default()), expires: exp.saturating_mul(1_000) }
    }

    /// What a token says, if it is one of this signer's and its time is not over.
    #[must_use]
    pub fn read(&self, token: &str) -> Option<Session> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        let claims = jsonwebtoken::decode::<Claims>(token, &self.decoding, &validation).ok()?.claims;
        Some(Session {
            name: claims.sub,
            role: claims.role,
            token: u128::from_str_radix(&claims.jti, 16).ok()?,
            began: claims.iat.saturating_mul(1_000),
            expires: claims.exp.saturating_mul(1_000),
            password: claims.password,
        })
    }
}

#[cfg(test)]
mod tests {
    use projections::{
        Recorded,
        event::{AdminLoggedOut, AdminPasswordChanged},
    };

    use super::*;

    fn signer(secret: &str) -> Signer {
        Signer::new(&SecretString::from(secret.to_owned()))
    }

    fn now() -> Millis {
        crate::ledger::clock::Clock::system().now()
    }

    #[test]
    fn a_token_says_who_and_is_like_no_other() {
        let signer = signer("0123456789abcdef");
        let token = || signer.admin_token("ann", Duration::from_secs(600), 7, now());
        let (one, other) =
            (signer.read(token().text.expose_secret()), signer.read(token().text.expose_secret()));
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_eq!((one.actor(), one.role), (Actor::Admin("ann".to_owned()), Role::Admin));
        assert_ne!(one.token, other.token);
        assert!(one.expires > now() + 590_000 && one.expires <= now() + 600_000);
    }

    #[test]
    fn old_foreign_and_altered_tokens_stand_for_nobody() {
        let signer = signer("0123456789abcdef");
        let text = |token: Token| token.text.expose_secret().to_owned();
        assert_eq!(signer.read(&text(signer.cli_token(now() - 61_000))), None);
        let good = text(signer.cli_token(now() - 50_000));
        assert_eq!(signer.read(&good).map(|session| session.actor()), Some(Actor::Cli));
        assert_eq!(signer.read(&text(self::signer("another secret of 16").cli_token(now()))), None);
        assert_eq!(signer.read(&good[..good.len() - 2]), None);
        let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", good.split('.').nth(1).unwrap());
        assert_eq!(signer.read(&unsigned), None);
    }

    #[test]
    fn a_token_is_over_once_it_is_ended_or_the_password_changes() {
        let signer = signer("0123456789abcdef");
        let read = |token: Token| signer.read(token.text.expose_secret()).unwrap();
        let admin = read(signer.admin_token("ann", Duration::from_secs(600), 0, now()));
        let other = read(signer.admin_token("ann", Duration::from_secs(600), 0, now()));
        let cli = read(signer.cli_token(now()));
        let mut sessions = Sessions::default();
        assert!(!admin.is_over(&sessions) && !other.is_over(&sessions));
        let event = AdminLoggedOut { name: "ann".to_owned(), token: admin.token, expires: admin.expires };
        sessions.apply(&Recorded { seq: 1, at: now(), event: event.into() });
        assert!(admin.is_over(&sessions) && !other.is_over(&sessions));
        let event = AdminPasswordChanged { actor: Actor::Cli };
        sessions.apply(&Recorded { seq: 2, at: now(), event: event.into() });
        assert!(admin.is_over(&sessions) && other.is_over(&sessions) && !cli.is_over(&sessions));
        assert!(!read(signer.admin_token("ann", Duration::from_secs(600), 2, now())).is_over(&sessions));
    }
}
