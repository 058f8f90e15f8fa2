//! Settings: what is in force, where it came from, and what may change while the pool runs.
//!
//! Owns the shapes. Refuses to check values: the reader of settings does, and all that is wrong is told at once.
//! Its invariant: no secret is shown, and none can be said here.

use std::{collections::HashMap, sync::Arc};

use poem_openapi::{ApiResponse, Enum, Object, OpenApi, param::Header, payload::Json, types::Any};
use serde_json::Value;

use super::{
    Tag, Token,
    precondition::{IfMatch, etag},
    problem::{AUTH, BODY, Code, Failure, INPUT, LOG, Problem, STALE, Wrong},
};
use crate::{
    config::{self, SETTINGS, Shown},
    pool::Pool,
};

pub(super) struct SettingsApi(pub(super) Option<Arc<Pool>>);

/// Where a value came from.
#[derive(Clone, Copy, Enum)]
#[oai(rename = "SettingOrigin", rename_all = "snake_case")]
enum Origin {
    /// Nobody said.
    Default,
    /// The file `.env`.
    DotEnv,
    /// The environment.
    Environment,
    /// The file that a variable ending in `_FILE` names.
    File,
    /// The command line.
    Flag,
    /// An operator, while the pool ran.
    Log,
}

impl From<config::Origin> for Origin {
    fn from(origin: config::Origin) -> Self {
        match origin {
            config::Origin::Default => Self::Default,
            config::Origin::DotEnv => Self::DotEnv,
            config::Origin::Environment => Self::Environment,
            config::Origin::File => Self::File,
            config::Origin::Flag => Self::Flag,
            config::Origin::Log => Self::Log,
        }
    }
}

/// A setting.
#[derive(Object)]
struct SettingView {
    /// Its name, such as `MAX_ATTEMPTS`.
    name: String,
    /// Its value, in its own words; a secret's is masked; empty: none.
    value: String,
    origin: Origin,
    /// What is in force when nobody says otherwise; empty: see the help.
    default: String,
    /// What it takes; none: anything, or it is a secret.
    wants: Option<String>,
    /// What it does.
    help: String,
    /// Its value is not shown.
    secret: bool,
    /// It may change while the pool runs.
    live: bool,
    /// The event that said its value; none: it is as it was at the start.
    seq: Option<u64>,
}

/// Every setting.
#[derive(Object)]
struct SettingList {
    settings: Vec<SettingView>,
    /// The last event that changed one; 0: none did. Their ETag.
    revision: u64,
}

#[derive(ApiResponse)]
enum SettingsAnswer {
    /// Every setting, as it is now.
    #[oai(status = 200)]
    All(
        Json<SettingList>,
        /// Their revision, for If-Match.
        #[oai(header = "ETag")]
        String,
    ),
}

/// The settings as they stand; a pool's state and what is in force are read together, or a change could come between.
fn all(pool: &Pool) -> SettingsAnswer {
    let state = pool.ledger.state();
    let now = pool.settings.now();
    let views = now.shown.iter().filter_map(|shown| {
        let Shown { name, value, origin, wants } = shown;
        let setting = SETTINGS.iter().find(|setting| setting.name == *name)?;
        Some(SettingView {
            name: (*name).to_owned(),
            value: value.clone(),
            origin: (*origin).into(),
            default: setting.default.to_owned(),
            wants: wants.clone(),
            help: setting.help.to_owned(),
            secret: setting.secret,
            live: setting.live,
            seq: state.settings.get(name).map(|said| said.seq),
        })
    });
    let revision = state.settings.revision;
    SettingsAnswer::All(Json(SettingList { settings: views.collect(), revision }), etag(revision))
}

/// A value in a setting's own words; none: null, which takes back what was said.
fn in_words(name: &str, value: &Value) -> Result<Option<String>, Wrong> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Number(number) => Ok(Some(number.to_string())),
        Value::Bool(flag) => Ok(Some(flag.to_string())),
        Value::Array(_) | Value::Object(_) => {
            Err(Wrong { name: name.to_owned(), wants: "a text, a number, true, false or null".to_owned() })
        }
    }
}

#[OpenApi]
impl SettingsApi {
    /// List settings
    ///
    /// Each with its value, where that came from, and whether it may change while the pool runs.
    #[oai(path = "/settings", method = "get", tag = "Tag::Settings", operation_id = "list_settings")]
    async fn list(&self, token: Token) -> Result<SettingsAnswer, Failure<{ AUTH }>> {
        let pool = super::serving(self.0.as_ref())?;
        token.actor(pool)?;
        Ok(all(pool))
    }

    /// Change settings: all that are named, or none
    ///
    /// What is said here wins over the environment, from the next request on and after a restart, until null takes
    /// it back.
    #[oai(path = "/settings", method = "patch", tag = "Tag::Settings", operation_id = "update_settings")]
    async fn update(
        &self,
        token: Token,
        /// The ETag of the settings that the change is about: another one is refused.
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
        body: Json<HashMap<String, Any<Value>>>,
    ) -> Result<SettingsAnswer, Failure<{ INPUT | AUTH | STALE | BODY | LOG }>> {
        let pool = super::serving(self.0.as_ref())?;
        let actor = token.actor(pool)?;
        let IfMatch(expected) = IfMatch::parse(if_match.0.as_deref())?;
        let words = body.0.iter().map(|(name, Any(value))| Ok((name.clone(), in_words(name, value)?)));
        let (good, bad): (Vec<_>, Vec<_>) = words.partition(Result::is_ok);
        let mut wrong: Vec<Wrong> = bad.into_iter().filter_map(Result::err).collect();
        if !wrong.is_empty() {
            wrong.sort_by(|one, other| one.name.cmp(&other.name));
            let text = wrong.iter().map(|Wrong { name, wants }| format!("{name}: {wants}"));
            let text = text.collect::<Vec<_>>().join("; ");
            return Err(Problem::of(Code::BadSettings, text).with(wrong).into());
        }
        let changes = good.into_iter().filter_map(Result::ok).collect();
        pool.change_settings(changes, expected, actor).await?;
        Ok(all(pool))
    }
}
