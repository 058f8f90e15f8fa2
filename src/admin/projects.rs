//! Projects, as the pool knows them: what they have left, what is closed, and which may be one.
//!
//! Owns the shapes. What is left is asked of [`projections::headroom`], what may be one of
//! [`projections::siblings`]; an operator confirms by saying the keys' project (`PATCH /keys/ID`).

use std::sync::Arc;

use poem_openapi::{Enum, Object, OpenApi, param::Query, payload::Json};
use projections::{
    Millis, State,
    event::Window,
    headroom,
    keys::{Gate, Keys, Project},
    siblings::Suggestion,
};

use super::{
    Tag, Token, page,
    problem::{AUTH, Failure, INPUT},
};
use crate::{ledger::clock::rfc3339, pool::Pool, words::word};

pub(super) struct ProjectsApi(pub(super) Option<Arc<Pool>>);

/// What a quota, or a gate, is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub(super) enum WindowName {
    /// Requests per minute.
    Minute,
    /// Requests per day.
    Day,
    /// Input tokens per minute.
    Tokens,
    /// Money in ten minutes.
    Spend,
    /// The model is not offered to the project.
    Offer,
    /// Google did not say.
    Unknown,
}

impl From<Window> for WindowName {
    fn from(window: Window) -> Self {
        match window {
            Window::Minute => Self::Minute,
            Window::Day => Self::Day,
            Window::Tokens => Self::Tokens,
            Window::Spend => Self::Spend,
            Window::Offer => Self::Offer,
            Window::Unknown => Self::Unknown,
        }
    }
}

/// Something that is closed for a project.
#[derive(Debug, Object)]
pub(super) struct ProjectGate {
    /// The model; none: all of the project.
    model: Option<String>,
    /// The quota's window; none: it is not about one.
    window: Option<WindowName>,
    /// Why.
    cause: String,
    /// When it opens by itself (RFC 3339); none: not by itself.
    until: Option<String>,
    /// From when on one request at a time may try it (RFC 3339); none: nobody.
    probe: Option<String>,
    /// The event that closed it.
    seq: u64,
}

/// A limit that Google named, and what is left of it.
#[derive(Debug, Object)]
struct Quota {
    model: String,
    window: WindowName,
    /// Requests, or tokens, in a window.
    limit: u64,
    /// What this pool used of it in the window that runs.
    used: u64,
    left: u64,
    /// When the window turns (RFC 3339); none: not known.
    turns_at: Option<String>,
    /// When Google last named the limit (RFC 3339).
    confirmed_at: String,
}

/// A Google project: the owner of quota.
#[derive(Debug, Object)]
pub(super) struct ProjectView {
    /// What it is called here; `key-N` where nobody said.
    name: String,
    /// Its keys' numbers.
    keys: Vec<u32>,
    /// Whether an operator named it.
    declared: bool,
    /// Google's own name for it, `projects/N`, where an answer told.
    consumer: Option<String>,
    /// What is closed for all its keys, now.
    gates: Vec<ProjectGate>,
    /// What is left of the limits that Google named.
    quotas: Vec<Quota>,
}

/// A model that is in trouble at Google, for everybody.
#[derive(Debug, Object)]
pub(super) struct ModelView {
    model: String,
    /// What the last failures were.
    cause: String,
    /// Failures in a row, over all keys.
    failures: u32,
    /// When it is used again by itself (RFC 3339); none: not by itself.
    until: Option<String>,
    /// From when on one request at a time may try it (RFC 3339); none: nobody.
    probe: Option<String>,
}

/// Keys that seem to belong to one project. Nothing follows from it until somebody says so.
#[derive(Debug, Object)]
struct SuggestionView {
    /// Their numbers.
    keys: Vec<u32>,
    /// What shows it.
    why: String,
}

/// Projects, models in trouble, and what an operator might confirm.
#[derive(Debug, Object)]
struct ProjectList {
    projects: Vec<ProjectView>,
    models: Vec<ModelView>,
    suggestions: Vec<SuggestionView>,
    /// Where to go on: the next page's `cursor`; none: this is the last page.
    next: Option<String>,
    /// How many projects there are in all, whatever the search.
    total: u64,
}

/// Which projects, and how many of them.
struct Wanted {
    /// Part of a name, in small letters; none: all.
    q: Option<String>,
    limit: u32,
    /// Behind this one.
    after: Option<String>,
}

impl Wanted {
    fn takes(&self, keys: &Keys, name: &str, project: &Project) -> bool {
        let Some(part) = &self.q else { return true };
        let holds = |text: &str| text.to_lowercase().contains(part);
        let own = project.keys.iter().filter_map(|key| keys.get(*key));
        holds(name)
            || own.into_iter().any(|key| holds(&key.label) || key.consumer.as_deref().is_some_and(holds))
    }
}

pub(super) fn gate_view(model: Option<&str>, window: Option<Window>, gate: &Gate) -> ProjectGate {
    ProjectGate {
        model: model.map(str::to_owned),
        window: window.map(WindowName::from),
        cause: word(gate.cause),
        until: gate.until.map(rfc3339),
        probe: gate.probe.map(rfc3339),
        seq: gate.seq,
    }
}

pub(super) fn project_view(keys: &Keys, name: &str, project: &Project, now: Millis) -> ProjectView {
    let whole = project.gate.iter().map(|gate| (None, None, gate));
    let models = project.models.iter().flat_map(|(model, windows)| {
        windows.iter().map(|(window, gate)| (Some(model.as_str()), Some(*window), gate))
    });
    let closed = whole.chain(models).filter(|(_, _, gate)| gate.is_closed(now));
    let own = || project.keys.iter().filter_map(|key| keys.get(*key));
    let quotas = headroom::of_project(keys, name, project, now);
    ProjectView {
        name: name.to_owned(),
        keys: project.keys.iter().map(|key| key.0).collect(),
        declared: own().any(|key| key.declared),
        consumer: own().find_map(|key| key.consumer.clone()),
        gates: closed.map(|(model, window, gate)| gate_view(model, window, gate)).collect(),
        quotas: quotas
            .map(|room| Quota {
                model: room.model.to_owned(),
                window: room.window.into(),
                limit: room.limit,
                used: room.used,
                left: room.left,
                turns_at: room.turns.map(rfc3339),
                confirmed_at: rfc3339(room.confirmed),
            })
            .collect(),
    }
}

fn suggestion_view(suggestion: &Suggestion) -> SuggestionView {
    let Suggestion { keys, times, model, limit, .. } = suggestion;
    let window = if suggestion.window == Window::Day { "day" } else { "minute" };
    SuggestionView {
        keys: keys.iter().map(|key| key.0).collect(),
        why: format!(
            "in {times} windows or more Google refused them together at {limit} requests a {window}, lately for {model}, \
             though each had served well below that; all together they had served about that much"
        ),
    }
}

/// The models whose circuits are open.
pub(super) fn models_in_trouble(keys: &Keys, now: Millis) -> impl Iterator<Item = ModelView> {
    keys.upstreams().filter_map(move |(model, upstream)| {
        let gate = upstream.gate.as_ref().filter(|gate| gate.is_closed(now))?;
        Some(ModelView {
            model: model.to_owned(),
            cause: word(gate.cause),
            failures: upstream.failures,
            until: gate.until.map(rfc3339),
            probe: gate.probe.map(rfc3339),
        })
    })
}

/// What a cursor is a position in.
const LIST: &str = "projects";

fn view(state: &State, wanted: &Wanted, now: Millis) -> ProjectList {
    let keys = &state.keys;
    // They are in the order of their names.
    let behind = |name: &str| wanted.after.as_ref().is_none_or(|after| name > after.as_str());
    let found = keys.projects().filter(|(name, project)| behind(name) && wanted.takes(keys, name, project));
    let (shown, more) = page::take(found, wanted.limit);
    ProjectList {
        next: shown.last().filter(|_| more).map(|(name, _)| page::cursor(LIST, name)),
        total: keys.projects().count() as u64,
        projects: shown.into_iter().map(|(name, project)| project_view(keys, name, project, now)).collect(),
        models: models_in_trouble(keys, now).collect(),
        suggestions: state.siblings.suggestions(keys).iter().map(suggestion_view).collect(),
    }
}

#[OpenApi]
impl ProjectsApi {
    /// All projects
    ///
    /// With what is left of the limits that Google named, what is closed, the models that are in trouble at Google,
    /// and keys that seem to belong to one project. Say `project` of those keys to confirm it. Projects come in the order
    /// of their names; models and suggestions are on every page, all of them.
    #[oai(path = "/projects", method = "get", tag = "Tag::Projects", operation_id = "list_projects")]
    async fn list(
        &self,
        token: Token,
        /// Part of a project's name, of Google's own name for it, or of a label of its keys, in small or capital letters.
        #[oai(validator(max_length = 200))]
        q: Query<Option<String>>,
        /// How many projects at most, 1 to 1,000; left out: all.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<Option<u32>>,
        /// Where to go on: what `next` said.
        cursor: Query<Option<String>>,
    ) -> Result<Json<ProjectList>, Failure<{ INPUT | AUTH }>> {
        let pool = super::serving(self.0.as_ref())?;
        token.actor(pool)?;
        let after = page::position(LIST, cursor.0.as_deref())?;
        let q = q.0.map(|part| part.to_lowercase()).filter(|part| !part.is_empty());
        let wanted = Wanted { q, limit: limit.0.unwrap_or(u32::MAX), after };
        let now = pool.clock.now();
        Ok(Json(view(&pool.ledger.state(), &wanted, now)))
    }
}
