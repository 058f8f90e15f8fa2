//! Owns the order in which a call is judged: credential, key, project, place, model, request, references,
//! quota, faults, answer. Refuses framing and IO. Invariant: a call is charged to a quota only when its
//! credential and its request are good, and a fault meets only what was charged; so a 503 costs a request, as
//! is reported of Google.

use std::time::Duration;

use serde_json::{Value, json};

use super::answer::{Generation, Prompt, count_tokens, embedding, text_of};
use super::ask::{Ask, Call, Head};
use super::fault::{Failure, Trip, mix, spread};
use super::interactions;
use super::key::bad;
use super::model::Model;
use super::openai;
use super::project::ProjectState;
use super::refusal::{self, Refusal};
use super::reply::{Framing, Reply};
use super::store::{Caller, UploadRules, json_reply, page};
use super::world::World;

/// Dimensions of an embedding that asks for none; real models have hundreds, which would tell a test no more.
const DIMENSIONS: usize = 16;

/// What a generation request asks, whichever dialect it came in.
struct Wanted {
    prompt: Prompt,
    /// Whether it counts against the quotas.
    charged: bool,
}

impl World {
    pub(super) fn decide(&mut self, n: u64, ask: &Ask) -> Reply {
        self.serve(n, ask).unwrap_or_else(|refusal| self.refuse(ask, &refusal))
    }

    fn refuse(&self, ask: &Ask, refusal: &Refusal) -> Reply {
        let events = matches!(ask.head.call, Call::Stream { sse: true });
        Reply::refused(refusal, ask.shape(), events && (self.errors_as_events || refusal.status == 404))
    }

    fn serve(&mut self, n: u64, ask: &Ask) -> Result<Reply, Refusal> {
        if ask.head.call == Call::Unknown {
            return Err(refusal::unknown_path());
        }
        let caller = self.authenticate(&ask.head)?;
        if self.location_refused {
            return Err(refusal::location());
        }
        let wanted = self.wanted(ask)?;
        let mut cached = 0;
        if let Some(wanted) = &wanted {
            cached = self.check(ask, wanted, &caller)?;
            self.charge(ask, wanted, cached, &caller, n)?;
        }
        let trip = self.meet_faults(ask, &caller);
        let failure = trip.failure.as_ref();
        if let Some(refusal) = failure.and_then(refused_by) {
            return Ok(self.refuse(ask, &refusal).delayed(&trip, Duration::ZERO));
        }
        let reply = match &wanted {
            Some(wanted) => self.generate(ask, wanted, cached, &caller, n, failure),
            None => self.manage(ask, &caller)?,
        };
        let first_byte = self.models.get(&ask.model).map(|model| model.first_byte).unwrap_or_default();
        Ok(reply.damaged(failure).delayed(&trip, first_byte))
    }

    pub(super) fn authenticate(&mut self, head: &Head) -> Result<Caller, Refusal> {
        let (service, rpc) = head.call.rpc();
        let method = format!("google.ai.generativelanguage.{}.{service}.{rpc}", head.version);
        let credentials = &head.credentials;
        if credentials.in_url {
            return Err(refusal::credential_in_url());
        }
        if credentials.keys.len() + usize::from(credentials.authorization) > 1 {
            return Err(refusal::two_credentials());
        }
        if credentials.authorization {
            return Err(refusal::unauthenticated("bearer token", &method));
        }
        let Some(secret) = credentials.keys.first().filter(|key| !key.is_empty()) else {
            return self.store.owner_of_upload(&head.call).cloned().ok_or_else(refusal::no_credential);
        };
        self.admit(secret, &method, head.header("referer"))
    }

    /// Whether a key, and its project, are good for an RPC.
    pub(super) fn admit(
        &mut self,
        secret: &str,
        method: &str,
        referrer: Option<&str>,
    ) -> Result<Caller, Refusal> {
        let Some(key) = self.keys.get_mut(secret) else { return Err(bad(secret)) };
        let Some(project) = self.projects.get(&key.project) else { return Err(bad(secret)) };
        key.check(secret, project.number, method, referrer)?;
        match project.state {
            ProjectState::Good => {}
            ProjectState::Denied => return Err(refusal::project_denied()),
            ProjectState::ServiceDisabled => return Err(refusal::service_disabled(project.number)),
            ProjectState::BillingDisabled => return Err(refusal::billing_disabled(project.number)),
            ProjectState::CreditsGone(status) => return Err(refusal::credits_gone(status)),
        }
        Ok(Caller { key: secret.to_owned(), project: key.project.clone() })
    }

    /// Reads a request for a model's work; `None` is a call that manages things.
    fn wanted(&self, ask: &Ask) -> Result<Option<Wanted>, Refusal> {
        let json = &ask.json;
        let (read, method): (fn(&Value) -> Option<Prompt>, _) = match &ask.head.call {
            Call::Generate | Call::Stream { .. } => (Prompt::read, "generateContent"),
            Call::CountTokens => (Prompt::read, "countTokens"),
            Call::Embed => (Prompt::read, "embedContent"),
            Call::BatchEmbed => (read_batch, "embedContent"),
            Call::Chat => (openai::read_chat, "generateContent"),
            Call::OpenAiEmbeddings => (read_inputs, "embedContent"),
            Call::CreateInteraction => (interactions::read, "generateContent"),
            Call::CreateCache => (read_cache, "createCachedContent"),
            _ => return Ok(None),
        };
        if json.is_null() {
            return Err(refusal::bad_request("Invalid JSON payload received. Unexpected end of string."));
        }
        if !self.models.get(&ask.model).is_some_and(|model| model.answers(method)) {
            return Err(refusal::model_not_found(&ask.model, &ask.head.version, method));
        }
        let Some(prompt) = read(json) else {
            let message = "* GenerateContentRequest.contents: contents is not specified\n";
            return Err(refusal::bad_request(message));
        };
        let deadline = ask.head.header("x-server-timeout").and_then(|seconds| seconds.parse::<f64>().ok());
        if let Some(seconds) = deadline.filter(|seconds| *seconds < 10.0) {
            return Err(refusal::bad_request(format!(
                "Manually set deadline {seconds}s is too short. Minimum allowed deadline is 10s."
            )));
        }
        let charged = !matches!(ask.head.call, Call::CountTokens | Call::CreateCache);
        Ok(Some(Wanted { prompt, charged }))
    }

    /// Checks what the request refers to; returns the tokens of its cached content.
    fn check(&self, ask: &Ask, wanted: &Wanted, caller: &Caller) -> Result<u64, Refusal> {
        let project = &caller.project;
        if self.projects.get(project).is_some_and(|project| project.forbidden_models.contains(&ask.model)) {
            return Err(refusal::not_allowed());
        }
        let now = self.now();
        for uri in &wanted.prompt.files {
            self.store.may_read(uri, project, now)?;
        }
        if let Some(previous) = ask.json.get("previous_interaction_id").and_then(Value::as_str) {
            self.store.interaction(previous, project)?;
        }
        self.check_kept(ask, project)?;
        let cache = wanted.prompt.cache.as_deref();
        cache.map_or(Ok(0), |name| self.store.cached_tokens(name, project))
    }

    fn charge(
        &mut self,
        ask: &Ask,
        wanted: &Wanted,
        cached: u64,
        caller: &Caller,
        n: u64,
    ) -> Result<(), Refusal> {
        let now = self.now();
        let day = self.today(now);
        match self.projects.get_mut(&caller.project) {
            Some(project) if wanted.charged => {
                project.charge(&ask.model, wanted.prompt.tokens + cached, now, &day, mix(self.seed ^ n))
            }
            _ => Ok(()),
        }
    }

    fn meet_faults(&mut self, ask: &Ask, caller: &Caller) -> Trip {
        // Two keys with the same share of failures fail at different calls.
        let seed = self.seed ^ spread(&caller.key);
        let key = self.keys.get_mut(&caller.key).map(|key| &mut key.faults);
        let model = self.models.get_mut(&ask.model).map(|model| &mut model.faults);
        let faults = key.into_iter().chain(model).chain([&mut self.faults]).flatten();
        Trip::meet(faults, seed, ask.streaming())
    }

    fn generate(
        &mut self,
        ask: &Ask,
        wanted: &Wanted,
        cached: u64,
        caller: &Caller,
        n: u64,
        failure: Option<&Failure>,
    ) -> Reply {
        let prompt = &wanted.prompt;
        let (seed, now) = (self.seed, self.now());
        let id = format!("{:016x}{n:06x}", mix(seed ^ n));
        let made = Generation { model: &ask.model, prompt, cached, id };
        let model = self.models.get(&ask.model);
        let (chunks, gap) = model.map_or((1, Duration::ZERO), |model| (model.chunks, model.gap));
        let stream = |parts: &[String], framing| Reply::stream(parts, framing, gap, failure);
        match &ask.head.call {
            Call::Stream { sse: true } => stream(&made.chunks(chunks), Framing::Sse),
            Call::Stream { sse: false } => {
                let parts: Vec<String> = made.chunks(chunks).iter().map(|part| indented(part)).collect();
                stream(&parts, Framing::Array)
            }
            Call::CountTokens => {
                let tokens = prompt.tokens + cached;
                let details = json!([{"modality": "TEXT", "tokenCount": tokens}]);
                json_reply(&json!({"totalTokens": tokens, "promptTokensDetails": details}))
            }
            Call::Embed => {
                let values = embedding(&prompt.text, dimensions(&ask.json, "outputDimensionality"));
                json_reply(&json!({"embedding": {"values": values}}))
            }
            Call::BatchEmbed => json_reply(&batch_embeddings(&ask.json)),
            Call::Chat if ask.streaming() => {
                let usage = ask.json.pointer("/stream_options/include_usage").and_then(Value::as_bool);
                let parts = made.chat_chunks(now / 1_000, chunks, usage.unwrap_or(false));
                stream(&parts, Framing::SseDone)
            }
            Call::Chat => Reply::whole(made.chat(now / 1_000)),
            Call::OpenAiEmbeddings => {
                let texts = openai::read_input(&ask.json);
                let size = dimensions(&ask.json, "dimensions");
                json_reply(&openai::embeddings(&ask.json, &ask.model, &texts, size))
            }
            Call::CreateInteraction => {
                let project = &caller.project;
                let value = self.store.create_interaction(project, seed, |id| made.interaction(id, now));
                if ask.streaming() {
                    stream(&made.interaction_events(&value, chunks), Framing::SseDone)
                } else {
                    json_reply(&value)
                }
            }
            Call::CreateCache => self.store.create_cache(ask, prompt.tokens, &caller.project, now, seed),
            // `wanted` names no other call.
            _ => Reply::whole(made.whole()),
        }
    }

    fn manage(&mut self, ask: &Ask, caller: &Caller) -> Result<Reply, Refusal> {
        if let Call::Kept(call) = &ask.head.call {
            return self.keep(call, ask, caller);
        }
        let (now, seed, project) = (self.now(), self.seed, caller.project.as_str());
        let processing = i64::try_from(self.file_processing.as_millis()).unwrap_or(i64::MAX);
        let origin = self.public_origin.as_deref().unwrap_or(&self.origin);
        let rules = UploadRules { now, seed, origin, granularity: self.chunk_granularity, processing };
        let head = &ask.head;
        match &head.call {
            Call::ListModels => {
                let entries = self.models.iter().map(|(name, model)| model.entry(name)).collect();
                Ok(page(head, "models", entries, 50, 1_000))
            }
            Call::GetModel => self.model_entry(ask).map(|(name, model)| json_reply(&model.entry(name))),
            Call::OpenAiModels => {
                let entries: Vec<Value> = self.models.keys().map(|name| Model::openai_entry(name)).collect();
                Ok(json_reply(&json!({"object": "list", "data": entries})))
            }
            Call::OpenAiModel => {
                self.model_entry(ask).map(|(name, _)| json_reply(&Model::openai_entry(name)))
            }
            Call::StartUpload => self.store.start_upload(ask, caller, &rules),
            Call::SendChunk { upload } => self.store.send_chunk(upload, ask, caller, &rules),
            Call::ListFiles => Ok(self.store.list_files(head, project, now, processing)),
            Call::GetFile(id) => self.store.get_file(id, project, now, processing),
            Call::DownloadFile(id) => self.store.download(id, project, now),
            Call::DeleteFile(id) => self.store.delete_file(id, project, now),
            Call::ListCaches => Ok(self.store.list_caches(head, project)),
            Call::GetCache(id) => self.store.get_cache(id, project),
            Call::DeleteCache(id) => self.store.delete_cache(id, project),
            Call::GetInteraction(id) => self.store.interaction(id, project).map(json_reply),
            Call::DeleteInteraction(id) => self.store.delete_interaction(id, project),
            _ => Err(refusal::unknown_path()),
        }
    }

    fn model_entry<'a>(&'a self, ask: &'a Ask) -> Result<(&'a str, &'a Model), Refusal> {
        let missing = || refusal::model_not_found(&ask.model, &ask.head.version, "GetModel");
        self.models.get(&ask.model).map(|model| (ask.model.as_str(), model)).ok_or_else(missing)
    }
}

/// The refusal a failure amounts to, if it is one.
pub(super) fn refused_by(failure: &Failure) -> Option<Refusal> {
    Some(match failure {
        Failure::Overloaded => refusal::overloaded(),
        Failure::HighDemand => refusal::high_demand(),
        Failure::Internal => refusal::internal(),
        Failure::Deadline => refusal::deadline(),
        Failure::BadGateway => refusal::bad_gateway(),
        Failure::BareExhausted => refusal::bare_exhausted("bare"),
        _ => return None,
    })
}

fn indented(json: &str) -> String {
    super::answer::pretty(json).trim_end().to_owned()
}

fn dimensions(request: &Value, field: &str) -> usize {
    let asked = request.get(field).and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
    asked.unwrap_or(DIMENSIONS).clamp(1, 3_072)
}

fn read_batch(request: &Value) -> Option<Prompt> {
    let prompts = request.get("requests")?.as_array()?.iter().map(Prompt::read);
    let prompts: Vec<Prompt> = prompts.collect::<Option<_>>()?;
    let tokens = prompts.iter().map(|prompt| prompt.tokens).sum();
    (!prompts.is_empty()).then(|| Prompt { tokens, ..Prompt::default() })
}

fn batch_embeddings(request: &Value) -> Value {
    let requests = request.get("requests").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let embed = |one: &Value| {
        let text = one.get("content").map(text_of).unwrap_or_default();
        json!({"values": embedding(&text, dimensions(one, "outputDimensionality"))})
    };
    json!({"embeddings": requests.iter().map(embed).collect::<Vec<_>>()})
}

fn read_inputs(request: &Value) -> Option<Prompt> {
    let texts = openai::read_input(request);
    let tokens = texts.iter().map(|text| count_tokens(text)).sum();
    (!texts.is_empty()).then(|| Prompt { tokens, ..Prompt::default() })
}

/// A cached content may hold a system instruction alone.
fn read_cache(request: &Value) -> Option<Prompt> {
    let instruction = request.get("systemInstruction").map(text_of);
    Prompt::read(request).or_else(|| {
        let tokens = count_tokens(&instruction?);
        Some(Prompt { tokens, ..Prompt::default() })
    })
}
