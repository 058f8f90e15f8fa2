//! A new master key.

use std::sync::Arc;

use poem_openapi::{Object, OpenApi, payload::Json};
use secrecy::SecretString;

use super::{
    Tag, Token,
    problem::{AUTH, BODY, Failure, LOG, Problem},
};
use crate::pool::{self, Pool};

pub(super) struct MasterKeyApi(pub(super) Option<Arc<Pool>>);

/// Which key the secrets are to be sealed with.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct NewMasterKey {
    /// The new key, of 16 characters at least; none: one is made, where the pool keeps it in DATA_DIR/master.key.
    new_key: Option<String>,
}

/// What a change of the master key came to.
#[derive(Object)]
struct MasterKeyChange {
    /// Secrets that were sealed anew.
    secrets: u32,
    /// Whether the pool keeps the new key, in DATA_DIR/master.key. If not, it has to be told the new one (MASTER_KEY)
    /// at its next start.
    kept: bool,
}

#[OpenApi]
impl MasterKeyApi {
    /// Seal all secrets under another master key
    ///
    /// All of them at once, or none. A backup that was made before is sealed under the old one.
    #[oai(path = "/master_key", method = "post", tag = "Tag::Server", operation_id = "change_master_key")]
    async fn change(
        &self,
        token: Token,
        body: Json<NewMasterKey>,
    ) -> Result<Json<MasterKeyChange>, Failure<{ AUTH | BODY | LOG }>> {
        let pool = super::serving(self.0.as_ref())?;
        let actor = token.actor(pool)?;
        let changed = pool.change_master_key(body.0.new_key.map(SecretString::from), actor).await;
        let changed = changed.map_err(|error| match error {
            pool::Error::NewMaster(bad) => Problem::bad_request(bad.to_string()),
            error => error.into(),
        })?;
        Ok(Json(MasterKeyChange { secrets: changed.secrets, kept: changed.file.is_some() }))
    }
}
