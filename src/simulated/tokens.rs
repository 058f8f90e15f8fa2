//! Owns ephemeral tokens: how many sessions each opens, until when, and of which model. Refuses everything but Live
//! sessions (ai.google.dev/gemini-api/docs/ephemeral-tokens). Invariant: a token lets in as long as its key does, and
//! no longer than it was made for. The words it is refused with are made up: nobody has published Google's.

use http::HeaderMap;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::ask::{Ask, Head};
use super::clock::rfc3339;
use super::refusal::{self, Refusal};
use super::reply::Reply;
use super::store::{Caller, json_reply};
use super::world::World;

const MINUTE: i64 = 60_000;
/// How long a token is good at most.
const LONGEST: i64 = 20 * 60 * MINUTE;

/// A token that was given out.
#[derive(Debug)]
pub(super) struct EphemeralToken {
    maker: Caller,
    /// Sessions that it may still open; none: any number.
    uses: Option<u64>,
    /// Until when it may open a new one.
    opens_until: i64,
    /// Until when it is good.
    expires: i64,
    /// The model that its sessions are tied to.
    model: Option<String>,
}

/// The token of an upgrade, by name: `Authorization: Token auth_tokens/…`.
pub(super) fn presented(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("authorization")?.to_str().ok()?;
    let name = value.strip_prefix("Token ")?;
    name.starts_with("auth_tokens/").then(|| name.to_owned())
}

fn refused(status: u16, message: &str) -> Refusal {
    Refusal::new(status, "ephemeral token", message)
}

impl World {
    pub(super) fn make_token(&mut self, ask: &Ask, maker: &Caller) -> Result<Reply, Refusal> {
        let now = self.now();
        let time = |name: &str, default: i64| match ask.json.get(name).and_then(Value::as_str) {
            None => Ok(now + default),
            Some(text) => text.parse::<Timestamp>().map(Timestamp::as_millisecond).map_err(|_| {
                refusal::bad_request(format!(
                    "Invalid value at '{name}' (type.googleapis.com/google.protobuf.Timestamp)"
                ))
            }),
        };
        let (expires, opens_until) =
            (time("expireTime", 30 * MINUTE)?, time("newSessionExpireTime", MINUTE)?);
        if expires > now + LONGEST || opens_until > now + LONGEST {
            return Err(refusal::bad_request("A token is good for 20 hours at most."));
        }
        let uses = match ask.json.get("uses").map(|uses| uses.as_u64()) {
            None => Some(1),
            Some(None) => return Err(refusal::bad_request("Invalid value at 'uses' (TYPE_INT32)")),
            // Google's word for "any number".
            Some(Some(0)) => None,
            Some(uses) => uses,
        };
        let model = ask.json.pointer("/bidiGenerateContentSetup/model").and_then(Value::as_str);
        let model = model.map(|model| model.strip_prefix("models/").unwrap_or(model).to_owned());
        let name = format!("auth_tokens/{}", self.fresh());
        let token = EphemeralToken { maker: maker.clone(), uses, opens_until, expires, model };
        self.store.tokens.insert(name.clone(), token);
        Ok(json_reply(&json!({"name": name, "expireTime": rfc3339(expires)})))
    }

    /// Who opens a session with a token. Going on with one takes no use.
    pub(super) fn redeem(
        &mut self,
        name: &str,
        head: &Head,
        model: &str,
        goes_on: bool,
    ) -> Result<Caller, Refusal> {
        let now = self.now();
        if head.version != "v1alpha" || !head.path.contains("BidiGenerateContentConstrained") {
            return Err(refused(403, "Ephemeral tokens are for v1alpha BidiGenerateContentConstrained."));
        }
        let unknown = || refused(401, "Request had invalid authentication credentials.");
        let token = self.store.tokens.get_mut(name).ok_or_else(unknown)?;
        if token.expires <= now {
            return Err(refused(401, "Token has expired."));
        }
        if token.model.as_deref().is_some_and(|only| only != model) {
            return Err(refused(403, "The session is not what the token was made for."));
        }
        if !goes_on && token.opens_until <= now {
            return Err(refused(401, "Token opens no new session any more."));
        }
        if !goes_on && token.uses == Some(0) {
            return Err(refused(403, "Token has been used too many times."));
        }
        let maker = token.maker.clone();
        if !goes_on {
            token.uses = token.uses.map(|left| left - 1);
        }
        self.admit(
            &maker.key,
            "google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContent",
            None,
        )
    }
}
