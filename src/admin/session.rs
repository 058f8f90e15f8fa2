//! Coming in, going out, and the password.
//!
//! Owns the shapes; who may come in is decided by [`crate::pool`] and the rules below it.

use std::{net::IpAddr, sync::Arc};

use poem::Request;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi, payload::Json};
use secrecy::{ExposeSecret, SecretString};

use super::{
    Tag, Token,
    cookie::{self, ByCookie},
    problem::{AUTH, BODY, BUSY, CONFLICT, Failure, LOG},
};
use crate::{
    ledger::{clock::rfc3339, rules::logins::Who},
    network,
    pool::Pool,
};

pub(super) struct SessionApi(pub(super) Option<Arc<Pool>>);

/// A name and a password.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct Login {
    /// ADMIN_USERNAME.
    username: String,
    /// ADMIN_PASSWORD, or the one that was made at the first start or set since.
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

/// How a request showed its token.
#[derive(Enum)]
#[oai(rename_all = "snake_case")]
enum How {
    /// `Authorization: Bearer`.
    Bearer,
    /// The cookie that logging in gave.
    Cookie,
}

/// Who asks.
#[derive(Object)]
struct SessionView {
    /// The administrator's name; `cli` for the command line.
    name: String,
    how: How,
    /// When it ends by itself (RFC 3339).
    expires_at: String,
}

/// Another password.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct NewPassword {
    /// The one in force; the command line needs none.
    current_password: Option<String>,
    /// The new one, 8 to 1,024 characters; none: one is made.
    new_password: Option<String>,
}

/// The password that was made.
#[derive(Object)]
struct MadePassword {
    /// Shown this once; none: it was given.
    password: Option<String>,
}

#[derive(ApiResponse)]
enum LoginAnswer {
    /// Logged in.
    #[oai(status = 200)]
    Ok(
        Json<LoggedIn>,
        /// The same token for browsers: HttpOnly, SameSite=Strict, for `/api`.
        #[oai(header = "Set-Cookie")]
        String,
        #[oai(header = "Cache-Control")] String,
    ),
}

#[derive(ApiResponse)]
enum LogoutAnswer {
    /// The token is refused from now on.
    #[oai(status = 204)]
    Ok(
        /// Takes the cookie back.
        #[oai(header = "Set-Cookie")]
        String,
    ),
}

/// Where a request comes from, and whether from this machine: through no proxy, and under no foreign name, by which a
/// page of another site reaches it (DNS rebinding).
pub(super) fn whence(request: &Request, pool: &Pool) -> (Option<IpAddr>, bool) {
    let settings = pool.settings.now();
    let headers = request.headers();
    let peer = request.remote_addr().as_socket_addr().map(|address| address.ip());
    let address = peer.map(|peer| network::client_address(peer, headers, &settings.trusted_proxies));
    let sender = network::Sender { peer, version: request.version(), uri: request.original_uri(), headers };
    // Without a peer it is the command line's, within this process.
    (address, peer.is_none() || sender.is_local(&settings.trusted_proxies))
}

/// Whether the browser spoke TLS, to the pool or to the proxy before it.
fn is_secure(request: &Request, pool: &Pool) -> bool {
    let settings = pool.settings.now();
    let public = settings.public_url.as_ref().is_some_and(|url| url.starts_with("https://"));
    let peer = request.remote_addr().as_socket_addr().map(|address| address.ip());
    public
        || request.scheme() == &poem::http::uri::Scheme::HTTPS
        || network::came_over_https(peer, request.headers(), &settings.trusted_proxies)
}

#[OpenApi]
impl SessionApi {
    /// Log in
    ///
    /// A login that was looked at is an event; of wrong ones the first ten of a minute, and the number of the others.
    /// Wrong ones from one address wait longer and longer, and so do those from one network or of one name after many;
    /// one that comes too early is not looked at. While the log cannot be written, logins work without a record. The token comes in the body for programs and
    /// in a cookie for browsers; changes by cookie want the header `X-Requested-With: gemini-pool`.
    #[oai(path = "/login", method = "post", tag = "Tag::Session", operation_id = "login")]
    async fn login(
        &self,
        request: &Request,
        body: Json<Login>,
    ) -> Result<LoginAnswer, Failure<{ AUTH | BODY | BUSY | LOG }>> {
        let pool = super::serving(self.0.as_ref())?;
        let (address, local) = whence(request, pool);
        let Login { username, password } = body.0;
        let who = Who::new(&username, address, local);
        let token = pool.log_in(&username, SecretString::from(password), who).await?;
        // A browser that forgets it a moment late does no harm.
        let seconds = (token.expires.saturating_sub(pool.clock.now()) + 999) / 1_000;
        let text = token.text.expose_secret();
        let cookie = cookie::set(text, seconds, is_secure(request, pool));
        let body = LoggedIn {
            access_token: text.to_owned(),
            token_type: "bearer".to_owned(),
            expires_at: rfc3339(token.expires),
        };
        Ok(LoginAnswer::Ok(Json(body), cookie, "no-store".to_owned()))
    }

    /// Log out
    ///
    /// The token is refused from now on, also after a restart.
    #[oai(path = "/logout", method = "post", tag = "Tag::Session", operation_id = "logout")]
    async fn logout(&self, token: Token, request: &Request) -> Result<LogoutAnswer, Failure<{ AUTH | LOG }>> {
        let pool = super::serving(self.0.as_ref())?;
        let session = token.session(pool)?;
        pool.log_out(session).await?;
        Ok(LogoutAnswer::Ok(cookie::set("", 0, is_secure(request, pool))))
    }

    /// Who is logged in
    #[oai(path = "/session", method = "get", tag = "Tag::Session", operation_id = "get_session")]
    async fn session(&self, token: Token, request: &Request) -> Result<Json<SessionView>, Failure<{ AUTH }>> {
        let pool = super::serving(self.0.as_ref())?;
        let session = token.session(pool)?;
        let how = if request.extensions().get::<ByCookie>().is_some() { How::Cookie } else { How::Bearer };
        Ok(Json(SessionView { name: session.name, how, expires_at: rfc3339(session.expires) }))
    }

    /// Change the administrator's password
    ///
    /// Ends every session. Refused where ADMIN_PASSWORD says the password.
    #[oai(path = "/admin/password", method = "post", tag = "Tag::Session", operation_id = "change_password")]
    async fn password(
        &self,
        token: Token,
        request: &Request,
        body: Json<NewPassword>,
    ) -> Result<Json<MadePassword>, Failure<{ AUTH | BODY | BUSY | CONFLICT | LOG }>> {
        let pool = super::serving(self.0.as_ref())?;
        let session = token.session(pool)?;
        let (address, local) = whence(request, pool);
        let NewPassword { current_password, new_password } = body.0;
        let (current, new) = (current_password.map(SecretString::from), new_password.map(SecretString::from));
        let made = pool.change_password(&session, current, new, (address, local)).await?;
        Ok(Json(MadePassword { password: made.map(|made| made.expose_secret().to_owned()) }))
    }
}
