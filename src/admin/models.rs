//! Models, as the pool knows them: which key can serve which, and if not, why and until when.
//!
//! Owns the shapes; [`projections::grid`] answers.

use std::sync::Arc;

use poem_openapi::{Enum, Object, OpenApi, param::Query, payload::Json};
use projections::{
    KeyId, Millis, State,
    grid::{self, Cell, Standing},
    keys::Key,
};

use super::{
    Tag, Token,
    keys::{find::Filter, view::word},
    page::{self, default_limit},
    problem::{AUTH, Failure, INPUT, MISSING, Problem},
    projects::WindowName,
};
use crate::{ledger::clock::rfc3339, pool::Pool};

const LIST: &str = "models";

pub(super) struct ModelsApi(pub(super) Option<Arc<Pool>>);

/// How a key stands for a model.
#[derive(Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
enum CellState {
    /// It can serve now.
    Ready,
    /// It rests until a time.
    Cooling,
    /// A quota is used up until its window turns.
    Spent,
    /// Google does not offer the model to its project.
    NotOffered,
    /// Its credential failed: a check that passes brings it back.
    BadCredential,
    /// Its project failed: a check that passes brings it back.
    BadProject,
    /// The model is in trouble at Google, for everybody.
    ModelDown,
    /// An operator disabled it.
    Disabled,
    /// An operator allows it for other models alone.
    NotAllowed,
}

impl From<Standing> for CellState {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Ready => Self::Ready,
            Standing::Cooling => Self::Cooling,
            Standing::Spent => Self::Spent,
            Standing::NotOffered => Self::NotOffered,
            Standing::BadCredential => Self::BadCredential,
            Standing::BadProject => Self::BadProject,
            Standing::ModelDown => Self::ModelDown,
            Standing::Disabled => Self::Disabled,
            Standing::NotAllowed => Self::NotAllowed,
        }
    }
}

/// A model, over all keys.
#[derive(Object)]
struct ModelSummary {
    model: String,
    /// Projects with a key that can serve it now.
    ready: u32,
    /// Projects with a key that may serve it.
    projects: u32,
    /// When the next project is back by itself (RFC 3339); none: not by itself, or none is away.
    next_back_at: Option<String>,
    /// The same, in words.
    says: String,
}

/// A limit that Google named, and what is left of it.
#[derive(Object)]
struct CellQuota {
    window: WindowName,
    /// Requests, or tokens, in a window.
    limit: u64,
    left: u64,
    /// When the window turns (RFC 3339); none: not known.
    turns_at: Option<String>,
}

/// One key for one model.
#[derive(Object)]
struct ModelCell {
    model: String,
    state: CellState,
    /// Why, in the log's words; none: nothing is in the way, or an operator said so.
    cause: Option<String>,
    /// The quota that is in the way, where one is.
    window: Option<WindowName>,
    /// When it can serve again by itself (RFC 3339); none: now, or not by itself.
    back_at: Option<String>,
    /// From when on one request at a time may try it (RFC 3339); none: nobody.
    probe_at: Option<String>,
    /// The event behind it.
    seq: Option<u64>,
    /// What is left of the limits that Google named to its project.
    quotas: Vec<CellQuota>,
}

/// A key, with how it stands for each model.
#[derive(Object)]
struct GridRow {
    /// The key's number.
    key: u32,
    label: String,
    project: String,
    models: Vec<ModelCell>,
}

/// Keys by models.
#[derive(Object)]
struct ModelGrid {
    /// Every model that the pool knows, over all keys.
    models: Vec<ModelSummary>,
    /// The keys of this page.
    keys: Vec<GridRow>,
    /// Where to go on with keys: the next page's `cursor`; none: this is the last page.
    next: Option<String>,
    /// How many keys the filters leave, on all pages.
    matching: u64,
    /// How many keys there are in all, whatever the filters.
    total: u64,
}

fn says(summary: &grid::Summary) -> String {
    let grid::Summary { ready, projects, back } = summary;
    let back = back.map(|back| format!("; next back at {}", rfc3339(back))).unwrap_or_default();
    format!("{ready} of {projects} project{} can serve now{back}", if *projects == 1 { "" } else { "s" })
}

fn model_summaries(state: &State, models: &[&str], now: Millis) -> Vec<ModelSummary> {
    let summaries = grid::summaries(&state.keys, models, now);
    let told = models.iter().zip(&summaries).map(|(model, summary)| ModelSummary {
        model: (*model).to_owned(),
        ready: summary.ready,
        projects: summary.projects,
        next_back_at: summary.back.map(rfc3339),
        says: says(summary),
    });
    told.collect()
}

fn model_cell(state: &State, key: &Key, model: &str, now: Millis) -> ModelCell {
    let Cell { standing, cause, window, back, probe, seq } = grid::cell(&state.keys, key, model, now);
    let quotas = grid::quotas(&state.keys, key, model, now);
    ModelCell {
        model: model.to_owned(),
        state: standing.into(),
        cause: cause.map(word),
        window: window.map(WindowName::from),
        back_at: back.map(rfc3339),
        probe_at: probe.map(rfc3339),
        seq,
        quotas: quotas
            .map(|room| CellQuota {
                window: room.window.into(),
                limit: room.limit,
                left: room.left,
                turns_at: room.turns.map(rfc3339),
            })
            .collect(),
    }
}

#[OpenApi]
impl ModelsApi {
    /// Show which key can serve which model
    ///
    /// For every model that the pool knows (from traffic, closed gates, learned limits): over all keys, whatever the
    /// filters of keys say, and key by key, page by page of keys. Filters hold together.
    #[oai(path = "/models", method = "get", tag = "Tag::Models", operation_id = "list_models")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the call")]
    async fn list(
        &self,
        token: Token,
        /// Only this model, known or not.
        #[oai(validator(min_length = 1, max_length = 128))]
        model: Query<Option<String>>,
        /// Only this key.
        key: Query<Option<u32>>,
        /// Only keys with this part of a label, tail, fingerprint, note, project or tag, in small or capital letters.
        #[oai(validator(max_length = 200))]
        q: Query<Option<String>>,
        /// Only keys of this project.
        project: Query<Option<String>>,
        /// How many keys at most.
        #[oai(default = "default_limit", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<u32>,
        /// Where to go on: what `next` said.
        cursor: Query<Option<String>>,
    ) -> Result<Json<ModelGrid>, Failure<{ INPUT | AUTH | MISSING }>> {
        let pool = super::serving(self.0.as_ref())?;
        token.actor(pool)?;
        let after: Option<u32> = page::position(LIST, cursor.0.as_deref())?;
        let (state, now) = (pool.ledger.state(), pool.clock.now());
        if let Some(key) = key.0.filter(|key| state.keys.get(KeyId(*key)).is_none()) {
            return Err(Problem::not_found(format!("there is no key {key}")).into());
        }
        let known = grid::models(&state);
        let models: Vec<&str> = match &model.0 {
            Some(model) => vec![model.strip_prefix("models/").unwrap_or(model)],
            None => known.into_iter().collect(),
        };
        let filter = Filter::of(q.0, project.0).lowered();
        let keys = state.keys.iter().filter(|known| key.0.is_none_or(|key| known.id.0 == key));
        let keys: Vec<&Key> = keys.filter(|key| filter.takes(&state, key, now)).collect();
        let matching = keys.len() as u64;
        let keys = keys.into_iter().skip_while(|key| after.is_some_and(|after| key.id.0 <= after));
        let (keys, more) = page::take(keys, limit.0);
        let next = keys.last().filter(|_| more).map(|key| page::cursor(LIST, &key.id.0));
        let rows = keys.into_iter().map(|key| GridRow {
            key: key.id.0,
            label: key.label.clone(),
            project: key.project.clone(),
            models: models.iter().map(|model| model_cell(&state, key, model, now)).collect(),
        });
        Ok(Json(ModelGrid {
            keys: rows.collect(),
            models: model_summaries(&state, &models, now),
            next,
            matching,
            total: state.keys.len() as u64,
        }))
    }
}
