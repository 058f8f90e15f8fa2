//! Owns the things that a project makes and names, beside files and caches: operations, batches, file search
//! stores, tuned models. Refuses to let time pass: what is begun is done. Invariant: a thing is
//! there for the project that made it, and for no other.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::ask::{Ask, Head};
use super::clock::rfc3339;
use super::model::Model;
use super::refusal::{self, Refusal};
use super::reply::Reply;
use super::store::{Caller, FILE_ORIGIN, json_reply, page};
use super::world::World;

const COLLECTIONS: [&str; 5] = ["batches", "fileSearchStores", "tunedModels", "corpora", "auth_tokens"];

/// What is asked of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeptCall {
    Make(&'static str),
    List(String),
    Get(String),
    Delete(String),
    Cancel(String),
    /// Takes a file into a file search store.
    Import(String),
    /// Makes a video.
    LongRunning,
    /// Makes a batch of prompts.
    Batch,
}

impl KeptCall {
    /// Reads method and path below the version; the model where one is named.
    pub(super) fn read(method: &Method, rest: &str) -> Option<(Self, String)> {
        let (root, below) = rest.split_once('/').unwrap_or((rest, ""));
        let collection = COLLECTIONS.into_iter().find(|known| *known == root);
        let plain = |call| Some((call, String::new()));
        match (method.as_str(), rest.rsplit_once(':')) {
            ("POST", Some((name, "predictLongRunning"))) => Some((Self::LongRunning, model(name))),
            ("POST", Some((name, "batchGenerateContent"))) => Some((Self::Batch, model(name))),
            ("POST", Some((name, "cancel"))) if root == "batches" => plain(Self::Cancel(name.to_owned())),
            ("POST", Some((name, "importFile"))) => plain(Self::Import(name.to_owned())),
            ("POST", None) if below.is_empty() => plain(Self::Make(collection?)),
            ("GET", None) if below.is_empty() => plain(Self::List(collection?.to_owned())),
            ("GET", None) if root == "models" && rest.ends_with("/operations") => {
                plain(Self::List(rest.to_owned()))
            }
            ("GET", None) if collection.is_some() || rest.contains("/operations/") => {
                plain(Self::Get(rest.to_owned()))
            }
            ("DELETE", None) if collection.is_some() => plain(Self::Delete(rest.to_owned())),
            _ => None,
        }
    }

    pub(super) fn rpc(&self) -> (&'static str, &'static str) {
        match self {
            Self::Make(_) => ("ResourceService", "Create"),
            Self::List(_) => ("ResourceService", "List"),
            Self::Get(_) => ("ResourceService", "Get"),
            Self::Delete(_) => ("ResourceService", "Delete"),
            Self::Cancel(_) => ("BatchService", "CancelBatch"),
            Self::Import(_) => ("FileSearchStoreService", "ImportFile"),
            Self::LongRunning => ("PredictionService", "PredictLongRunning"),
            Self::Batch => ("BatchService", "BatchGenerateContent"),
        }
    }
}

fn model(name: &str) -> String {
    name.strip_prefix("models/").unwrap_or(name).to_owned()
}

/// Everything kept, by name.
pub(super) type Kept = BTreeMap<String, (String, Value)>;

fn missing() -> Refusal {
    Refusal::new(404, "foreign resource", "Requested entity was not found.")
}

impl World {
    /// Whether a project may use a thing by its name.
    pub(super) fn own(&self, name: &str, project: &str) -> Result<&Value, Refusal> {
        let found = self.store.kept.get(name).filter(|(owner, _)| owner == project);
        found.map(|(_, value)| value).ok_or_else(missing)
    }

    pub(super) fn keep(&mut self, call: &KeptCall, ask: &Ask, caller: &Caller) -> Result<Reply, Refusal> {
        let project = caller.project.as_str();
        match call {
            KeptCall::Make("auth_tokens") => self.make_token(ask, caller),
            KeptCall::Make(collection) => Ok(self.make(collection, ask, project)),
            KeptCall::List(collection) => Ok(self.list_kept(&ask.head, collection, project)),
            KeptCall::Get(name) => self.own(name, project).map(json_reply),
            KeptCall::Delete(name) => {
                self.own(name, project)?;
                self.store.kept.retain(|kept, _| kept != name && !kept.starts_with(&format!("{name}/")));
                Ok(Reply::whole("{}\n"))
            }
            KeptCall::Cancel(name) => self.own(name, project).map(|_| Reply::whole("{}\n")),
            KeptCall::Import(store) => {
                self.own(store, project)?;
                let file = ask.json.get("fileName").or_else(|| ask.json.get("file_name"));
                self.readable(file, project)?;
                let name = format!("{store}/operations/{}", self.fresh());
                Ok(self.put(project, json!({"name": name, "done": true, "response": {}})))
            }
            KeptCall::LongRunning => {
                for video in ask.json.pointer("/instances").and_then(Value::as_array).into_iter().flatten() {
                    self.readable(video.pointer("/video/uri"), project)?;
                }
                let file = self.generated(project, Bytes::from_static(b"a video"));
                let uri = format!("{FILE_ORIGIN}/v1beta/{file}:download?alt=media");
                let name = format!("models/{}/operations/{}", ask.model, self.fresh());
                let response =
                    json!({"generateVideoResponse": {"generatedSamples": [{"video": {"uri": uri}}]}});
                self.put(project, json!({"name": name, "done": true, "response": response}));
                // It is told when it is asked for.
                Ok(json_reply(&json!({"name": name})))
            }
            KeptCall::Batch => {
                let input = ask
                    .json
                    .pointer("/batch/inputConfig")
                    .or_else(|| ask.json.pointer("/batch/input_config"));
                let file = input.and_then(|input| input.get("fileName").or_else(|| input.get("file_name")));
                self.readable(file, project)?;
                let answers = self.generated(project, Bytes::from_static(b"{\"key\":\"1\"}\n"));
                let name = format!("batches/{}", self.fresh());
                let metadata = json!({"name": name, "state": "BATCH_STATE_SUCCEEDED", "output": {"responsesFile": answers}});
                let response = json!({"responsesFile": answers});
                self.put(
                    project,
                    json!({"name": name, "metadata": metadata, "done": true, "response": response}),
                );
                Ok(json_reply(
                    &json!({"name": name, "metadata": {"name": name, "state": "BATCH_STATE_PENDING"}}),
                ))
            }
        }
    }

    pub(super) fn fresh(&mut self) -> String {
        self.store.fresh_id(self.seed)
    }

    fn generated(&mut self, project: &str, bytes: Bytes) -> String {
        let (seed, now) = (self.seed, self.now());
        self.store.generate_file(project, bytes, seed, now)
    }

    /// A file that a request names, by name or address, has to be the project's.
    fn readable(&self, named: Option<&Value>, project: &str) -> Result<(), Refusal> {
        let Some(named) = named.and_then(Value::as_str) else { return Ok(()) };
        let address = if named.starts_with("files/") { format!("/{named}") } else { named.to_owned() };
        let address = address.split(":download").next().unwrap_or_default();
        self.store.may_read(address, project, self.now())
    }

    fn put(&mut self, project: &str, value: Value) -> Reply {
        let reply = json_reply(&value);
        let name = value.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        self.store.kept.insert(name, (project.to_owned(), value));
        reply
    }

    fn make(&mut self, collection: &str, ask: &Ask, project: &str) -> Reply {
        let name = format!("{collection}/{}", self.fresh());
        let mut value = json!({"name": name, "createTime": rfc3339(self.now())});
        let told = ask.json.get("displayName").or_else(|| ask.json.get("display_name"));
        if let (Some(told), Some(fields)) = (told, value.as_object_mut()) {
            fields.insert("displayName".to_owned(), told.clone());
        }
        if collection != "tunedModels" {
            return self.put(project, value);
        }
        self.put(project, value);
        self.models.insert(name.clone(), Model::generative());
        let operation = format!("{name}/operations/{}", self.fresh());
        self.put(project, json!({"name": operation, "metadata": {"tunedModel": name}, "done": true}))
    }

    fn list_kept(&self, head: &Head, collection: &str, project: &str) -> Reply {
        let inside = |name: &str| name.rsplit_once('/').is_some_and(|(folder, _)| folder == collection);
        let own = self.store.kept.iter().filter(|(name, (owner, _))| owner == project && inside(name));
        // Batches are listed as what they are: operations.
        let member = match collection.rsplit('/').next() {
            Some("batches") | None => "operations",
            Some(last) => last,
        };
        page(head, member, own.map(|(_, (_, value))| value.clone()).collect(), 10, 100)
    }

    /// Refuses what a request for an answer names that is another project's: a tuned model, stores to search.
    pub(super) fn check_kept(&self, ask: &Ask, project: &str) -> Result<(), Refusal> {
        if ask.model.starts_with("tunedModels/") {
            self.own(&ask.model, project).map_err(|_| refusal::not_allowed())?;
        }
        for tool in ask.json.get("tools").and_then(Value::as_array).into_iter().flatten() {
            let search = tool.get("fileSearch").or_else(|| tool.get("file_search"));
            let names = search.and_then(|search| {
                search.get("fileSearchStoreNames").or_else(|| search.get("file_search_store_names"))
            });
            for name in names.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
                self.own(name, project)?;
            }
        }
        Ok(())
    }
}
