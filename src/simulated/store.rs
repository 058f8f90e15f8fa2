//! Owns what projects keep at Google: uploads under way, files, cached contents, interactions. Refuses quotas
//! and key states. Invariant: a resource is served only to the project that made it; an upload goes on for
//! whoever knows its id, without a key.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};

use super::ask::{Ask, Call, Head};
use super::clock::{MINUTE, rfc3339};
use super::fault::mix;
use super::refusal::{self, Refusal};
use super::reply::Reply;

/// Files are deleted after 48 hours (ai.google.dev/gemini-api/docs/files).
const FILE_LIFE: i64 = 48 * 60 * MINUTE;
/// Files keep Google's host in their `uri`, whatever the origin of the upload.
pub(super) const FILE_ORIGIN: &str = "https://generativelanguage.googleapis.com";

/// Everything kept, by id.
#[derive(Default)]
pub(super) struct Store {
    uploads: BTreeMap<String, Upload>,
    files: BTreeMap<String, File>,
    caches: BTreeMap<String, Cache>,
    /// Project by interaction.
    interactions: BTreeMap<String, (String, Value)>,
    pub(super) kept: super::kept::Kept,
    /// Ephemeral tokens, by name.
    pub(super) tokens: BTreeMap<String, super::tokens::EphemeralToken>,
    made: u64,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) key: String,
    pub(super) project: String,
}

struct Upload {
    owner: Caller,
    mime: String,
    name: Option<String>,
    received: Vec<u8>,
}

struct File {
    project: String,
    mime: String,
    name: Option<String>,
    made: i64,
    bytes: Bytes,
}

struct Cache {
    project: String,
    model: String,
    tokens: u64,
    made: i64,
}

/// What an upload needs to know about the world.
pub(super) struct UploadRules<'a> {
    pub(super) now: i64,
    pub(super) seed: u64,
    pub(super) origin: &'a str,
    pub(super) granularity: u64,
    pub(super) processing: i64,
}

impl Store {
    pub(super) fn fresh_id(&mut self, seed: u64) -> String {
        self.made += 1;
        // Google's ids are a dozen lower-case letters and digits.
        const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let mut bits = mix(seed ^ mix(self.made));
        let letter = || {
            let letter = LETTERS.get((bits % 36) as usize).copied().unwrap_or(b'x');
            bits /= 36;
            char::from(letter)
        };
        std::iter::repeat_with(letter).take(12).collect()
    }

    /// The caller that started the upload which a chunk belongs to.
    pub(super) fn owner_of_upload(&self, call: &Call) -> Option<&Caller> {
        match call {
            Call::SendChunk { upload } => self.uploads.get(upload).map(|upload| &upload.owner),
            _ => None,
        }
    }

    pub(super) fn start_upload(
        &mut self,
        ask: &Ask,
        caller: &Caller,
        rules: &UploadRules<'_>,
    ) -> Result<Reply, Refusal> {
        let head = &ask.head;
        let command = head.header("x-goog-upload-command").unwrap_or_default();
        let protocol = head.header("x-goog-upload-protocol").unwrap_or_default();
        if !protocol.eq_ignore_ascii_case("resumable") || command != "start" {
            return Err(refusal::bad_request("The simulated Google takes resumable uploads only."));
        }
        let id = format!("{}{}", self.fresh_id(rules.seed), self.fresh_id(rules.seed));
        let file = ask.json.get("file").unwrap_or(&Value::Null);
        let text = |camel, snake| file.get(camel).or_else(|| file.get(snake)).and_then(Value::as_str);
        let typed = head.header("x-goog-upload-header-content-type").or(text("mimeType", "mime_type"));
        let upload = Upload {
            owner: caller.clone(),
            mime: typed.unwrap_or("application/octet-stream").to_owned(),
            name: text("displayName", "display_name").map(str::to_owned),
            received: Vec::new(),
        };
        self.uploads.insert(id.clone(), upload);
        let (origin, version) = (rules.origin, &head.version);
        let url = format!("{origin}/upload/{version}/files?upload_id={id}&upload_protocol=resumable");
        Ok(Reply::whole(Bytes::new())
            .header("x-goog-upload-status", "active")
            .header("x-goog-upload-url", url.clone())
            .header("x-goog-upload-control-url", url)
            .header("x-goog-upload-chunk-granularity", rules.granularity.to_string())
            .header("x-guploader-uploadid", id))
    }

    pub(super) fn send_chunk(
        &mut self,
        id: &str,
        ask: &Ask,
        caller: &Caller,
        rules: &UploadRules<'_>,
    ) -> Result<Reply, Refusal> {
        let Some(upload) = self.uploads.get_mut(id) else { return Err(unknown_upload()) };
        if upload.owner.project != caller.project {
            return Err(unknown_upload());
        }
        let commands: Vec<String> = ask
            .head
            .header("x-goog-upload-command")
            .unwrap_or_default()
            .split(',')
            .map(|command| command.trim().to_ascii_lowercase())
            .collect();
        let told = |command: &str| commands.iter().any(|given| given == command);
        let finalize = told("finalize");
        if told("cancel") {
            self.uploads.remove(id);
            return Ok(Reply::whole(Bytes::new()).header("x-goog-upload-status", "cancelled"));
        }
        let size = upload.received.len() as u64;
        if told("upload") {
            let offset = ask.head.header("x-goog-upload-offset").and_then(|offset| offset.parse().ok());
            if offset != Some(size) {
                return Err(refusal::bad_request(format!("The upload goes on at {size}.")));
            }
            if !finalize && !(ask.body.len() as u64).is_multiple_of(rules.granularity.max(1)) {
                let granularity = rules.granularity;
                return Err(refusal::bad_request(format!("Chunks come in multiples of {granularity}.")));
            }
            upload.received.extend_from_slice(&ask.body);
        } else if !finalize && !told("query") {
            return Err(refusal::bad_request("Unknown X-Goog-Upload-Command."));
        }
        if !finalize {
            let size = upload.received.len().to_string();
            return Ok(Reply::whole(Bytes::new())
                .header("x-goog-upload-status", "active")
                .header("x-goog-upload-size-received", size));
        }
        let Some(upload) = self.uploads.remove(id) else { return Err(unknown_upload()) };
        let file_id = self.fresh_id(rules.seed);
        let file = File {
            project: upload.owner.project,
            mime: upload.mime,
            name: upload.name,
            made: rules.now,
            bytes: Bytes::from(upload.received),
        };
        let entry = file.entry(&file_id, rules.now, rules.processing);
        let size = file.bytes.len().to_string();
        self.files.insert(file_id, file);
        Ok(json_reply(&json!({"file": entry}))
            .header("x-goog-upload-status", "final")
            .header("x-goog-upload-size-received", size))
    }

    /// Keeps a file that a model made; gives its name.
    pub(super) fn generate_file(&mut self, project: &str, bytes: Bytes, seed: u64, now: i64) -> String {
        let id = self.fresh_id(seed);
        let (project, mime) = (project.to_owned(), "application/octet-stream".to_owned());
        self.files.insert(id.clone(), File { project, mime, name: None, made: now, bytes });
        format!("files/{id}")
    }

    fn file(&self, id: &str, project: &str, now: i64) -> Result<&File, Refusal> {
        let own = |file: &&File| file.project == project && now < file.made + FILE_LIFE;
        self.files.get(id).filter(own).ok_or_else(|| refusal::foreign_file(id))
    }

    /// Refuses a `fileData.fileUri` of another project. Addresses elsewhere are not ours to judge.
    pub(super) fn may_read(&self, uri: &str, project: &str, now: i64) -> Result<(), Refusal> {
        match uri.split_once("/files/") {
            Some((_, id)) => self.file(id, project, now).map(|_| ()),
            None => Ok(()),
        }
    }

    pub(super) fn list_files(&self, head: &Head, project: &str, now: i64, processing: i64) -> Reply {
        let own =
            self.files.iter().filter(|(_, file)| file.project == project && now < file.made + FILE_LIFE);
        let entries: Vec<Value> = own.map(|(id, file)| file.entry(id, now, processing)).collect();
        page(head, "files", entries, 10, 100)
    }

    pub(super) fn get_file(
        &self,
        id: &str,
        project: &str,
        now: i64,
        processing: i64,
    ) -> Result<Reply, Refusal> {
        let file = self.file(id, project, now)?;
        Ok(json_reply(&file.entry(id, now, processing)))
    }

    pub(super) fn download(&self, id: &str, project: &str, now: i64) -> Result<Reply, Refusal> {
        let file = self.file(id, project, now)?;
        let mut reply = Reply::whole(file.bytes.clone());
        reply.content_type = "application/octet-stream";
        Ok(reply)
    }

    pub(super) fn delete_file(&mut self, id: &str, project: &str, now: i64) -> Result<Reply, Refusal> {
        self.file(id, project, now)?;
        self.files.remove(id);
        Ok(Reply::whole("{}\n"))
    }

    pub(super) fn create_cache(
        &mut self,
        ask: &Ask,
        tokens: u64,
        project: &str,
        now: i64,
        seed: u64,
    ) -> Reply {
        let id = self.fresh_id(seed);
        let cache = Cache { project: project.to_owned(), model: ask.model.clone(), tokens, made: now };
        let entry = cache.entry(&id);
        self.caches.insert(id, cache);
        json_reply(&entry)
    }

    fn cache(&self, id: &str, project: &str) -> Result<&Cache, Refusal> {
        self.caches.get(id).filter(|cache| cache.project == project).ok_or_else(refusal::foreign_cache)
    }

    /// Tokens of a cached content, named as in a request's `cachedContent`.
    pub(super) fn cached_tokens(&self, name: &str, project: &str) -> Result<u64, Refusal> {
        let id = name.strip_prefix("cachedContents/").unwrap_or(name);
        self.cache(id, project).map(|cache| cache.tokens)
    }

    pub(super) fn list_caches(&self, head: &Head, project: &str) -> Reply {
        let own = self.caches.iter().filter(|(_, cache)| cache.project == project);
        page(head, "cachedContents", own.map(|(id, cache)| cache.entry(id)).collect(), 50, 1_000)
    }

    pub(super) fn get_cache(&self, id: &str, project: &str) -> Result<Reply, Refusal> {
        Ok(json_reply(&self.cache(id, project)?.entry(id)))
    }

    pub(super) fn delete_cache(&mut self, id: &str, project: &str) -> Result<Reply, Refusal> {
        self.cache(id, project)?;
        self.caches.remove(id);
        Ok(Reply::whole("{}\n"))
    }

    /// Keeps an interaction made by `write` from its new id.
    pub(super) fn create_interaction(
        &mut self,
        project: &str,
        seed: u64,
        write: impl FnOnce(&str) -> Value,
    ) -> Value {
        let id = self.fresh_id(seed);
        let value = write(&id);
        self.interactions.insert(id, (project.to_owned(), value.clone()));
        value
    }

    pub(super) fn interaction(&self, id: &str, project: &str) -> Result<&Value, Refusal> {
        let found = self.interactions.get(id).filter(|(owner, _)| owner == project);
        let missing = || Refusal::new(404, "foreign interaction", "Interaction not found.");
        found.map(|(_, value)| value).ok_or_else(missing)
    }

    pub(super) fn delete_interaction(&mut self, id: &str, project: &str) -> Result<Reply, Refusal> {
        self.interaction(id, project)?;
        self.interactions.remove(id);
        Ok(Reply::whole("{}\n"))
    }
}

impl File {
    fn entry(&self, id: &str, now: i64, processing: i64) -> Value {
        let state = if now < self.made + processing { "PROCESSING" } else { "ACTIVE" };
        let mut entry = json!({
            "name": format!("files/{id}"),
            "mimeType": self.mime,
            "sizeBytes": self.bytes.len().to_string(),
            "createTime": rfc3339(self.made),
            "updateTime": rfc3339(self.made),
            "expirationTime": rfc3339(self.made + FILE_LIFE),
            "uri": format!("{FILE_ORIGIN}/v1beta/files/{id}"),
            "state": state,
            "source": "UPLOADED",
        });
        if let (Some(name), Some(fields)) = (&self.name, entry.as_object_mut()) {
            fields.insert("displayName".to_owned(), json!(name));
        }
        entry
    }
}

impl Cache {
    fn entry(&self, id: &str) -> Value {
        json!({
            "name": format!("cachedContents/{id}"),
            "model": format!("models/{}", self.model),
            "createTime": rfc3339(self.made),
            "updateTime": rfc3339(self.made),
            "expireTime": rfc3339(self.made + 60 * MINUTE),
            "usageMetadata": {"totalTokenCount": self.tokens},
        })
    }
}

fn unknown_upload() -> Refusal {
    Refusal::new(404, "unknown upload", "Upload not found.")
}

/// A pretty-printed JSON answer.
pub(super) fn json_reply(value: &Value) -> Reply {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    Reply::whole(text)
}

/// One page of a list in the order of names; the token is the last name shown, so that a list goes on where it
/// was whatever is made meanwhile.
pub(super) fn page(head: &Head, member: &str, entries: Vec<Value>, default: usize, most: usize) -> Reply {
    let size = head.param("pageSize").and_then(|size| size.parse().ok()).filter(|size| *size > 0);
    let size = size.unwrap_or(default).min(most);
    let after = head.param("pageToken").and_then(|token| token.strip_prefix("page-")).unwrap_or_default();
    let name = |entry: &Value| entry.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut left = entries.into_iter().filter(|entry| name(entry).as_str() > after);
    let shown: Vec<Value> = left.by_ref().take(size).collect();
    let next = shown.last().map(name).filter(|_| left.next().is_some());
    let mut body = serde_json::Map::new();
    if !shown.is_empty() {
        body.insert(member.to_owned(), Value::Array(shown));
    }
    if let Some(next) = next {
        body.insert("nextPageToken".to_owned(), json!(format!("page-{next}")));
    }
    json_reply(&Value::Object(body))
}
