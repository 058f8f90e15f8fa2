//! Keys in from another program, and out with their secrets.

use std::sync::Arc;

use poem::Request;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi, param::Header, payload::Json};
use projections::{KeyId, event::Actor};
use secrecy::{ExposeSecret, SecretString};

use super::{
    given::{Fate, MOST, Reason, flaw_of_client, flaw_of_key, told},
    wishes::NewKey,
};
use crate::{
    admin::{
        Tag, Token,
        problem::{AUTH, BODY, BUSY, CONFLICT, FRESH, Failure, LOG, MISSING, Problem, REUSED},
        serving,
        session::whence,
    },
    pool::{ExportedKey, GivenKey, Pool},
};

pub(in crate::admin) struct TransferApi(pub(in crate::admin) Option<Arc<Pool>>);

/// What to import.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct ToImport {
    /// Upstream keys, each as a text, or as an object with what is said of it.
    #[oai(default)]
    keys: Vec<NewKey>,
    /// Access keys of apps.
    #[oai(default)]
    clients: Vec<String>,
    /// Only tell what would become of them.
    #[oai(default)]
    dry_run: bool,
}

/// What became, or would become, of one of them.
#[derive(Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
enum ImportResult {
    /// It was not there.
    New,
    /// It was there already, or came twice; it stays as it is.
    Duplicate,
    /// It holds characters that no key has, or none at all.
    Invalid,
}

/// What became, or would become, of one of them.
#[derive(Object)]
struct ImportedView {
    result: ImportResult,
    /// Its number: the new one, or that of the one that is there. None in a dry run, where it is not there.
    id: Option<u32>,
    /// Why it is not new; none: it is.
    reason: Option<Reason>,
}

/// What became of each, and why.
fn views<F: Into<Fate>>(results: Vec<F>, flaws: Vec<Option<Reason>>, dry_run: bool) -> Vec<ImportedView> {
    let view = |(fate, reason)| {
        // A number that only this call gives is none before it is carried out.
        let given = |id| Some(id).filter(|_| !dry_run);
        let (result, id) = match (fate, reason) {
            (Fate::New(id), _) => (ImportResult::New, given(id)),
            (Fate::Known(id), Some(Reason::Twice)) => (ImportResult::Duplicate, given(id)),
            (Fate::Known(id), _) => (ImportResult::Duplicate, Some(id)),
            (Fate::Invalid, _) => (ImportResult::Invalid, None),
        };
        ImportedView { result, id, reason }
    };
    told(results, flaws).map(view).collect()
}

/// What became, or would become, of all of them, in their order.
#[derive(Object)]
struct ImportReport {
    keys: Vec<ImportedView>,
    clients: Vec<ImportedView>,
    /// Nothing was changed.
    dry_run: bool,
}

/// What to export.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct ToExport {
    /// The numbers of the keys; none: all.
    ids: Option<Vec<u32>>,
}

/// A key with its secret, as `keys import` and `bulk_add` read it.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct ExportedView {
    /// The secret.
    key: String,
    enabled: bool,
    label: String,
    note: String,
    tags: Vec<String>,
    /// The project, where an operator said it.
    project: Option<String>,
    weight: u16,
    priority: u8,
    models: Vec<String>,
    /// Its own outbound proxy, with user name and password.
    proxy: Option<String>,
}

/// Keys with their secrets.
#[derive(Object)]
struct Exported {
    keys: Vec<ExportedView>,
}

#[derive(ApiResponse)]
enum ExportAnswer {
    /// The keys.
    #[oai(status = 200)]
    Keys(Json<Exported>, #[oai(header = "Cache-Control")] String),
}

#[OpenApi]
impl TransferApi {
    /// Import keys and access keys
    ///
    /// Known ones are left as they are. All are added, or none.
    #[oai(path = "/keys/import", method = "post", tag = "Tag::Keys", operation_id = "import_keys")]
    async fn import(
        &self,
        token: Token,
        /// A word of the caller's: a repetition with the same word and body gets the first answer again and adds
        /// nothing.
        /// Kept for a day, and forgotten at a restart.
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 255))]
        _idempotency_key: Header<Option<String>>,
        body: Json<ToImport>,
    ) -> Result<Json<ImportReport>, Failure<{ AUTH | BODY | CONFLICT | REUSED | LOG }>> {
        let pool = serving(self.0.as_ref())?;
        let actor = token.actor(pool)?;
        let ToImport { keys, clients, dry_run } = body.0;
        if keys.len() + clients.len() > MOST {
            return Err(Problem::bad_request(format!("at most {MOST} keys in one call")).into());
        }
        let mut flaws = Vec::with_capacity(keys.len());
        let given = keys.into_iter().map(|key| {
            let (secret, wanted) = key.wanted()?;
            flaws.push(flaw_of_key(&secret));
            Ok(GivenKey { secret: SecretString::from(secret), wanted })
        });
        let given = given.collect::<Result<Vec<_>, Problem>>()?;
        let client_flaws = clients.iter().map(|client| flaw_of_client(client)).collect();
        let clients = clients.into_iter().map(SecretString::from).collect();
        let imported = pool.import(given, clients, dry_run, actor).await?;
        let keys = views(imported.keys, flaws, dry_run);
        Ok(Json(ImportReport { keys, clients: views(imported.clients, client_flaws, dry_run), dry_run }))
    }

    /// Export keys with their secrets
    ///
    /// Recorded as `KeysExported` before anything is given out. By cookie they are given for five minutes after a login.
    #[oai(path = "/keys/export", method = "post", tag = "Tag::Keys", operation_id = "export_keys")]
    async fn export(
        &self,
        request: &Request,
        token: Token,
        body: Json<ToExport>,
    ) -> Result<ExportAnswer, Failure<{ AUTH | FRESH | BODY | MISSING | BUSY | LOG }>> {
        let pool = serving(self.0.as_ref())?;
        let actor = token.actor_just_now(pool, request)?;
        let _place = pool.exports.take(token.session(pool)?.caller())?;
        let from = whence(request, pool).0.filter(|_| actor != Actor::Cli);
        let address = from.map(|address| address.to_string()).unwrap_or_default();
        let only = body.0.ids.map(|ids| ids.into_iter().map(KeyId).collect());
        let exported = pool.export_keys(only, actor, address).await?;
        let keys = exported.into_iter().map(view).collect();
        Ok(ExportAnswer::Keys(Json(Exported { keys }), "no-store".to_owned()))
    }
}

fn view(exported: ExportedKey) -> ExportedView {
    let ExportedKey { key, secret, proxy } = exported;
    ExportedView {
        key: secret.expose_secret().to_owned(),
        enabled: key.enabled,
        project: Some(key.project).filter(|_| key.declared),
        label: key.label,
        note: key.note,
        tags: key.tags,
        weight: key.weight,
        priority: key.priority,
        models: key.models,
        proxy: proxy.map(|proxy| proxy.as_str().to_owned()),
    }
}
