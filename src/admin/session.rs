//! Logging in.

use std::sync::Arc;

use poem::Request;
use poem_openapi::{Object, OpenApi, payload::Json};
use projections::event::{AdminLoggedIn, AdminLoginFailed};
use secrecy::SecretString;

use super::{
    Tag,
    problem::{AUTH, BODY, BUSY, Failure, LOG, Problem},
};
use crate::{auth::LoginError, ledger::clock::rfc3339, pool::Pool};

/// Longest name recorded of a login that failed.
const NAME_KEPT: usize = 64;

pub(super) struct SessionApi(pub(super) Option<Arc<Pool>>);

/// A name and a password.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct Login {
    /// ADMIN_USERNAME.
    username: String,
    /// ADMIN_PASSWORD, or the one that was made at the first start.
    password: String,
}

/// A token for `Authorization: Bearer`.
#[derive(Object)]
struct LoggedIn {
    access_token: String,
    /// Always `bearer`.
    token_type: String,
    /// When it ends (RFC 3339).
    expires_at: String,
}

#[OpenApi]
impl SessionApi {
    /// Log in
    ///
    /// Every try that counts is an event; wrong ones from one address wait longer and longer.
    #[oai(path = "/login", method = "post", tag = "Tag::Session", operation_id = "login")]
    async fn login(
        &self,
        request: &Request,
        body: Json<Login>,
    ) -> Result<Json<LoggedIn>, Failure<{ AUTH | BODY | BUSY | LOG }>> {
        let pool = super::serving(self.0.as_ref())?;
        let address = request.remote_addr().as_socket_addr().map(std::net::SocketAddr::ip);
        let Login { username, password } = body.0;
        let told = address.map(|address| address.to_string()).unwrap_or_default();
        match pool.admins.login(&username, SecretString::from(password), address, pool.clock.now()).await {
            Ok(token) => {
                pool.ledger.note(AdminLoggedIn { name: username, address: told }).await?;
                Ok(Json(LoggedIn {
                    access_token: token.text,
                    token_type: "bearer".to_owned(),
                    expires_at: rfc3339(token.expires),
                }))
            }
            Err(LoginError::TooMany(ms)) => Err(Problem::too_many(ms).into()),
            Err(LoginError::Wrong) => {
                let cut = username.floor_char_boundary(NAME_KEPT);
                let name = username.get(..cut).unwrap_or_default().to_owned();
                pool.ledger.note(AdminLoginFailed { name, address: told }).await?;
                Err(Problem::wrong_login().into())
            }
        }
    }
}
