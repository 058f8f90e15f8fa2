//! Sessions with an ephemeral token in the place of an access key.
//!
//! Google ties a token to the project of the key that it was made with, and to limits that it enforces itself; so the
//! token goes up in the place of a key, on the way of one of that project's. The pool knows the tokens that were made
//! through it: whose they are, and where. Its invariants: a token lets nobody in for longer, or to more, than the
//! access key that it was made with; and what is wrong with a token is no key's fault.

use projections::{ClientId, event::Verdict};

use crate::{
    auth::Admission,
    gemini::{
        classify::Classified,
        scrub::Forms,
        token::{EphemeralToken, tied_model},
    },
    network::Sender,
    proxy::{
        Asked, Proxy,
        affinity::{self, Seat},
        intake::Body,
        record::RequestRecord,
        rescue::Refusal,
    },
    vault::UpstreamKey,
};

impl Proxy {
    /// Whose a token is, and the project that it belongs to.
    pub(in crate::proxy) fn admit_token(
        &self,
        token: &EphemeralToken,
        sender: Sender<'_>,
    ) -> Result<(Option<ClientId>, Seat), Refusal> {
        let state = self.ledger.state();
        let known = state.resources.get(&affinity::kept_name(token.name()), self.clock.now());
        let owned = known.and_then(|known| Some((known.client, state.resources.project_of(known)?)));
        let (client, project) = owned.ok_or(Refusal::EphemeralToken)?;
        // It was made without an access key, and such are wanted by now.
        let admitted = || self.gatekeeper.admit(sender, &self.settings.now().trusted_proxies);
        if client.is_none() && admitted() != Admission::Anonymous {
            return Err(Refusal::EphemeralToken);
        }
        let name = "The ephemeral token".to_owned();
        Ok((client, Seat::Owner { name, project: project.to_owned() }))
    }
}

/// Longest request for a token that is read, in bytes; the SDKs' have some hundreds.
const LONGEST_WISH: usize = 64 << 10;

/// A client gets no token for a model that it may not ask.
pub(in crate::proxy) fn may_be_made(body: &Body, record: &RequestRecord) -> Result<(), Refusal> {
    // Who may ask any model may tie a token to any.
    let Err(not_any) = record.may_ask("") else { return Ok(()) };
    if body.payload.len() > LONGEST_WISH {
        return Err(not_any);
    }
    let bytes: Vec<u8> = body.payload.chunks().flatten().copied().collect();
    match tied_model(&bytes) {
        Ok(None) => Ok(()),
        Ok(Some(model)) => record.may_ask(&model),
        Err(_) => Err(not_any),
    }
}

impl Asked {
    /// What lets the pool in at Google: the token, where there is one, or the key.
    pub(in crate::proxy) fn secret<'a>(&'a self, key: &'a UpstreamKey) -> &'a Forms {
        self.token.as_ref().map_or(key.forms(), EphemeralToken::forms)
    }

    /// What an error of Google's means here: of a token's session only what does not depend on the token is
    /// believed of keys, projects and models.
    pub(in crate::proxy) fn means(&self, classified: Classified) -> Classified {
        use Verdict as V;
        let anyhow = matches!(
            classified.verdict,
            V::QuotaMinute
                | V::QuotaTokens
                | V::QuotaDay
                | V::QuotaSpend
                | V::QuotaUnknown
                | V::Overloaded
                | V::Location
        );
        if self.token.is_none() || anyhow {
            return classified;
        }
        Classified { reason: classified.reason, ..V::ClientFault.into() }
    }
}
