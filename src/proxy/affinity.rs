//! Which project a request has to go to, because of what it names.
//!
//! Owns the step from names to owners, by the log's own state, and the learning of names from answers: a
//! name is in the log before the client can read it. Refuses to know how names are written
//! ([`crate::gemini::resources`]). Its invariant: what is known to be one project's is never asked of another.

use http::{HeaderMap, Method, StatusCode};
use projections::{
    ClientId, KeyId, Millis, RequestId, State,
    event::{Released, ResourceBound, ResourceReleased},
    resources::TOKENS,
};

use super::{Asked, Proxy, attempt::Answer, intake::Body, rescue::Refusal};
use crate::{
    gemini::{
        headers,
        references::References,
        resources::{Shown, Watch, root_of},
        target::{Upload, upload_id},
    },
    ledger::{
        Fact, Ledger,
        clock::{Clock, millis_of},
    },
};

const HOUR: Millis = 3_600_000;

/// Where a request may go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Seat {
    /// To any key.
    #[default]
    Anywhere,
    /// To the one key that is asked about all that nobody is known to own.
    Keeper,
    /// Best to this project, where the client's other things are; else to any.
    Home(String),
    /// To this project and no other.
    Owner {
        /// What it is about.
        name: String,
        /// Whose that is.
        project: String,
    },
}

impl Proxy {
    /// Whether a client holds an upload's address that this pool gave out.
    pub(super) fn knows_upload(&self, id: &str) -> bool {
        self.ledger.state().resources.get(&upload_name(id), self.clock.now()).is_some()
    }

    /// Finds where a request may go.
    pub(super) fn seat(&self, asked: &Asked, body: &References) -> Result<Seat, Refusal> {
        let free = asked.place.name.is_none() && !asked.place.makes && !asked.target.bound;
        if free && body.found().next().is_none() {
            return Ok(Seat::Anywhere);
        }
        let state = self.ledger.state();
        let now = self.clock.now();
        let upload = match &asked.target.upload {
            Some(Upload::Chunk { id }) => Some(upload_name(id)),
            _ => None,
        };
        let path = asked.place.name.as_deref().map(kept_name);
        let named = upload.or(path).map(|name| (name, true));
        let referred = body.found().map(|(name, sure)| (kept_name(name), sure));
        let mut owner: Option<(String, &str)> = None;
        let mut unknown = false;
        for (name, sure) in named.into_iter().chain(referred) {
            match (state.resources.owner(&name, now), &owner) {
                (None, _) => unknown |= sure,
                (Some(project), None) => owner = Some((name, project)),
                (Some(project), Some((_, other))) if project == *other => {}
                (Some(project), Some((first, other))) => {
                    return Err(Refusal::TwoProjects {
                        first: (first.clone(), (*other).to_owned()),
                        second: (name, project.to_owned()),
                    });
                }
            }
        }
        Ok(match owner {
            Some((name, project)) => Seat::Owner { name, project: project.to_owned() },
            None if unknown => keeper(&state),
            None if asked.place.wants_a_home() => {
                home(&state, asked.client).map_or(Seat::Anywhere, Seat::Home)
            }
            None if asked.place.makes || !asked.target.bound => Seat::Anywhere,
            None => keeper(&state),
        })
    }

    /// Records what an answer's head says, and prepares to read the rest. What it says is in the log when
    /// this returns.
    pub(super) async fn learn(&self, asked: &Asked, answer: &Answer) -> Option<Learning> {
        if !answer.status.is_success() {
            return None;
        }
        let attempted = &answer.attempt.attempted;
        let (key, project, request) = (attempted.key, attempted.project.clone(), attempted.request);
        let download = asked.target.method == "download"
            || asked.target.query.split('&').any(|pair| matches!(pair, "alt=media" | "$alt=media"));
        let watched = (asked.target.bound || asked.place.makes) && !asked.keeps_nothing && !download;
        let watch = Watch::new(answer.framing, asked.target.shape, root_of(&asked.place), answer.gzip);
        let mut learning = Learning {
            watch: watched.then_some(watch),
            ledger: self.ledger.clone(),
            clock: self.clock.clone(),
            key,
            project,
            request,
            client: attempted.client,
            upload: None,
        };
        let chunk = match &asked.target.upload {
            Some(Upload::Chunk { id }) => Some(upload_name(id)),
            _ => None,
        };
        let status = answer.headers.get("x-goog-upload-status").and_then(|status| status.to_str().ok());
        match (chunk, status.unwrap_or_default()) {
            // Not before the file's own name is known: a client that lost the answer asks again.
            (Some(upload), "final") => learning.upload = Some(upload),
            (Some(upload), "cancelled") => learning.release(upload, Released::Deleted).await,
            _ => {}
        }
        if asked.verb == Method::DELETE
            && asked.place.exact
            && let Some(name) = &asked.place.name
        {
            learning.release(kept_name(name), Released::Deleted).await;
        }
        let names = started(&answer.headers).map(|name| Shown { name, expires: None });
        learning.bind(names.into_iter().collect()).await;
        // The answer to a DELETE may still show what is gone.
        learning.watch.take_if(|_| asked.verb == Method::DELETE || answer.status == StatusCode::NO_CONTENT);
        learning.watch.is_some().then_some(learning)
    }
}

/// What a body refers to.
pub(super) fn references(asked: &Asked, body: &Body) -> References {
    let mut references = References::default();
    let writes = matches!(asked.verb, Method::POST | Method::PUT | Method::PATCH);
    if writes && !matches!(asked.target.upload, Some(Upload::Chunk { .. })) {
        for chunk in body.payload.chunks() {
            if references.done() {
                break;
            }
            references.feed(chunk);
        }
    }
    references
}

/// Reads a copy of an answer and records the names in it.
pub(super) struct Learning {
    watch: Option<Watch>,
    ledger: Ledger,
    clock: Clock,
    key: KeyId,
    project: String,
    request: RequestId,
    client: Option<ClientId>,
    /// The upload that this answer ends.
    upload: Option<String>,
}

impl Learning {
    /// Goes on by a chunk of the answer, as it came. When it returns, the names in it are in the log.
    pub(super) async fn follow(&mut self, chunk: &[u8]) {
        let shown = self.watch.as_mut().map(|watch| watch.feed(chunk)).unwrap_or_default();
        self.bind(shown).await;
    }

    async fn bind(&mut self, shown: Vec<Shown>) {
        if shown.is_empty() {
            return;
        }
        let now = self.clock.now();
        let bound: Vec<ResourceBound> = {
            let state = self.ledger.state();
            shown.into_iter().filter_map(|shown| self.news(&state, shown, now)).collect()
        };
        let released = self.upload.take().map(|name| ResourceReleased { name, why: Released::Finished });
        if !bound.is_empty() || released.is_some() {
            self.record(bound, released).await;
        }
    }

    async fn release(&mut self, name: String, why: Released) {
        if self.ledger.state().resources.get(&name, Millis::MIN).is_some() {
            self.record(Vec::new(), Some(ResourceReleased { name, why })).await;
        }
    }

    async fn record(&self, bound: Vec<ResourceBound>, released: Option<ResourceReleased>) {
        if let Some(reservation) = self.ledger.reserve().await {
            reservation.record_and_fold(Fact::Resources(bound, released)).await;
        }
    }

    /// What is to be recorded of a name that was shown, unless it is known.
    fn news(&self, state: &State, shown: Shown, now: Millis) -> Option<ResourceBound> {
        let name = kept_name(&shown.name);
        let told = shown.expires.as_deref().and_then(millis_of);
        let known = state.resources.get(&name, now).is_some_and(|known| {
            let owner = state.resources.project_of(known);
            owner == Some(self.project.as_str()) && told.is_none_or(|told| known.expires == Some(told))
        });
        let expires = told.or_else(|| expiry(&name, now));
        let (project, key, request) = (self.project.clone(), self.key, Some(self.request));
        (!known).then_some(ResourceBound { name, project, key, expires, request, client: self.client })
    }
}

/// How long things are kept at Google that do not say it themselves, at most.
fn lifetime(name: &str) -> Option<Millis> {
    match name.split('/').next()? {
        // ai.google.dev/gemini-api/docs/files; what models make is kept as long.
        "files" | "generatedFiles" | "models" => Some(48 * HOUR),
        // ai.google.dev/gemini-api/docs/ephemeral-tokens: 20 hours at most.
        TOKENS => Some(20 * HOUR),
        // The handle of a Live session: some hours after its end, and nobody says how long it runs.
        "sessions" => Some(24 * HOUR),
        // Nobody says how long an upload may take; those that take longer have been given up.
        "uploads" => Some(24 * HOUR),
        // ai.google.dev/gemini-api/docs/interactions: 55 days where billing is on, one day elsewhere.
        "interactions" => Some(55 * 24 * HOUR),
        _ => None,
    }
}

/// When something that begins now is gone at Google, where that is known.
pub(super) fn expiry(name: &str, now: Millis) -> Option<Millis> {
    lifetime(name).map(|lifetime| now.saturating_add(lifetime))
}

/// The key that keeps what nobody is known to own; where there is one project only, all keys of it do.
fn keeper(state: &State) -> Seat {
    // With several projects, asking one after the other would cost a try and perhaps a quota each, and what
    // was made without this pool may be anywhere. One and the same key gives at least one and the same answer.
    let mut projects = state.keys.projects();
    match (projects.next(), projects.next()) {
        (Some((only, _)), None) => Seat::Home(only.to_owned()),
        _ => Seat::Keeper,
    }
}

/// The project where a client's things are made: the same one as long as it has a key that may be used, and
/// another one for other clients, so that what a client makes can be used together.
pub(super) fn home(state: &State, client: u32) -> Option<String> {
    let usable = state.keys.projects().filter(|(_, project)| {
        let shut = |gate: Option<&projections::keys::Gate>| gate.is_some_and(|gate| gate.until.is_none());
        let mut keys = project.keys.iter().filter_map(|key| state.keys.get(*key));
        !shut(project.gate.as_ref()) && keys.any(|key| key.enabled && !shut(key.gate.as_ref()))
    });
    // Rendezvous: of all projects the one that draws the highest number for the client. When one goes, only
    // its own clients move.
    usable.max_by_key(|(name, _)| draw(client, name)).map(|(name, _)| name.to_owned())
}

/// A number for a client and a project, the same at every start: FNV-1a, and then mixed, because a pool may
/// have as many projects as keys and each draws.
fn draw(client: u32, project: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let bytes = client.to_le_bytes().into_iter().chain(project.bytes());
    let mut mixed = bytes.fold(0xcbf2_9ce4_8422_2325, step);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The upload that an answer's head says has begun.
fn started(headers: &HeaderMap) -> Option<String> {
    let address = headers.get(headers::UPLOAD_URL).or_else(|| headers.get(http::header::LOCATION))?;
    let (_, query) = address.to_str().ok()?.split_once('?')?;
    upload_id(query).map(|id| upload_name(&id))
}

/// An upload's id lets its holder in, so it is not kept.
fn upload_name(id: &str) -> String {
    format!("uploads/{}", digest(id))
}

/// A Live session's handle lets its holder go on with it, so it is not kept.
pub(super) fn session_name(handle: &str) -> String {
    format!("sessions/{}", digest(handle))
}

/// The name under which something is kept: a token's would let its reader in.
pub(super) fn kept_name(name: &str) -> String {
    match name.strip_prefix(TOKENS).and_then(|name| name.strip_prefix('/')) {
        Some(token) => format!("{TOKENS}/{}", digest(token)),
        None => name.to_owned(),
    }
}

fn digest(secret: &str) -> String {
    blake3::hash(secret.as_bytes()).to_hex().chars().take(32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients spread over projects, and a project that goes moves nobody but its own.
    #[test]
    fn homes_are_spread_and_stay() {
        let all = ["alpha", "beta", "gamma", "key-4"];
        let home = |client: u32, projects: &[&'static str]| {
            projects.iter().copied().max_by_key(|project| draw(client, project)).unwrap()
        };
        for project in all {
            let at_home = (0..4_000).filter(|client| home(*client, &all) == project).count();
            assert!((800..1_200).contains(&at_home), "{project} is home to {at_home} of 4000");
        }
        let left: Vec<&str> = all.into_iter().filter(|project| *project != "gamma").collect();
        for client in (0..4_000).filter(|client| home(*client, &all) != "gamma") {
            assert_eq!(home(client, &left), home(client, &all));
        }
    }

    #[test]
    fn what_lets_its_holder_in_is_not_kept() {
        let kept = [upload_name("an-upload"), kept_name("auth_tokens/a-token")];
        for (kept, root) in kept.iter().zip(["uploads/", "auth_tokens/"]) {
            let digest = kept.strip_prefix(root).unwrap();
            assert!(digest.len() == 32 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{kept}");
        }
        assert_ne!(upload_name("an-upload"), upload_name("another"));
        assert_eq!(kept_name("files/a"), "files/a");
    }
}
