//! What a request asks for, read from its method, path and query.
//!
//! Owns the map of Google's paths: which model, which RPC, which shape the answer has,
//! whether it may be sent twice, whether it belongs to one project. Refuses paths that
//! are not the API's or that could mean another one upstream. One invariant: **what goes
//! up is what was checked**: the path and query here are the client's own bytes, less
//! doubled slashes and credentials, and nobody decodes or rebuilds them later.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use http::Method;

use super::text::{Undecodable, cut, decode, decode_lossy};

/// The shape of answers and errors that the client expects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// Gemini's own.
    #[default]
    Native,
    /// OpenAI's; errors come wrapped in an array.
    OpenAi,
    /// The interactions family's; error codes are words.
    Interactions,
}

/// A step of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upload {
    /// The first: Google answers with where to send the chunks.
    Start,
    /// A chunk, or a question about one.
    Chunk {
        /// `upload_id`: a capability of its own, given out by Google.
        id: String,
    },
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The path to send upstream: percent-encoded as it came, slashes single.
    pub path: String,
    /// The query to send upstream, without `?` and without credentials.
    pub query: String,
    /// What the client expects back.
    pub shape: Shape,
    /// The model named in the path: without `models/` (but `tunedModels/x` in full), decoded,
    /// at most 128 bytes; empty where none is named.
    pub model: String,
    /// The RPC (`generateContent`), or a word for what is done (`files.get`). At most 64
    /// bytes. An RPC's name is the client's own word: anybody can make new ones.
    pub method: String,
    /// The path or query asks for a stream. Elsewhere the body may.
    pub streamed: bool,
    /// The body names the model, and whether the answer is streamed.
    pub model_in_body: bool,
    /// Doing it twice does no more than doing it once.
    pub repeatable: bool,
    /// It is about something that belongs to the project of one key, or makes such a thing.
    pub bound: bool,
    /// A step of an upload.
    pub upload: Option<Upload>,
    /// A session over a WebSocket; its first message names the model.
    pub live: bool,
}

impl Target {
    /// Whether it asks a model that only its body can name. Files and the like name none.
    #[must_use]
    pub fn asks_a_model(&self) -> bool {
        self.model_in_body && !self.method.starts_with("files.")
    }
}

/// Why a request is not sent on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    /// Longer than [`LONGEST`].
    #[error("path and query are longer than {LONGEST} bytes")]
    TooLong,
    /// Not one of the API's.
    #[error("no such path here: it must begin with /v1, /v1beta, /v1alpha or /upload/ and one of these")]
    Version,
    /// The client's base URL ends in a version, and its library added another.
    #[error(
        "the path has two API versions: the client adds one by itself, and its base URL already contains /{0}: drop it there"
    )]
    TwoVersions(String),
    /// `.` or `..`, in plain or encoded.
    #[error("the path has a segment of dots")]
    Dots,
    /// A space, a control byte or a backslash, in plain or encoded.
    #[error("the path or query has a character that does not belong in a URL")]
    Character,
    /// A `%` without two hexadecimal digits.
    #[error("the path has a malformed percent escape")]
    Escape,
    /// Not UTF-8 once decoded.
    #[error("the path is not UTF-8")]
    Utf8,
    /// More than one `upload_id`, so that ours need not be Google's.
    #[error("the query has more than one upload_id")]
    TwoUploads,
}

/// Longest path and query together, in bytes.
pub const LONGEST: usize = 8 * 1024;

/// Collections whose names become part of a method's name; others are `other`.
const COLLECTIONS: &[&str] = &[
    "models",
    "tunedModels",
    "dynamic",
    "files",
    "cachedContents",
    "batches",
    "operations",
    "generatedFiles",
    "corpora",
    "documents",
    "chunks",
    "permissions",
    "ragStores",
    "fileSearchStores",
    "auth_tokens",
    "interactions",
    "agents",
    "webhooks",
    "triggers",
    "executions",
    "environments",
    "credentials",
    "decisions",
    "voices",
];

/// The collections of the interactions API.
const INTERACTIONS: &[&str] =
    &["interactions", "agents", "webhooks", "triggers", "environments", "credentials", "decisions", "voices"];

/// RPCs by POST that leave nothing behind: asked twice, they answer twice.
const REPEATABLE: &[&str] = &[
    "generateContent",
    "streamGenerateContent",
    "generateAnswer",
    "generateText",
    "generateMessage",
    "countTokens",
    "countTextTokens",
    "countMessageTokens",
    "embedContent",
    "batchEmbedContents",
    "embedText",
    "batchEmbedText",
    "predict",
    "query",
];

/// RPCs on a model whose answer names something that belongs to the key's project.
const BINDING: &[&str] = &["predictLongRunning", "batchGenerateContent", "asyncBatchEmbedContent"];

/// Paths under `openai/` that generate, and leave nothing behind.
const OPENAI_REPEATABLE: &[&str] =
    &["chat/completions", "completions", "embeddings", "images/generations", "images/edits"];

/// Collections under `openai/`.
const OPENAI_COLLECTIONS: &[&str] = &["models", "files", "batches", "videos", "responses"];

/// Reads what a request asks for.
pub fn parse(method: &Method, path: &str, query: Option<&str>) -> Result<Target, BadTarget> {
    let query = query.unwrap_or_default();
    if path.len() + query.len() > LONGEST {
        return Err(BadTarget::TooLong);
    }
    let path = normalise(path)?;
    if query.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(BadTarget::Character);
    }
    let decoded = check(&path)?;
    if let Some(rpc) = live(&path) {
        let (method, query) = (cut(rpc, 64), without_credentials(query));
        let target = Target {
            method,
            path,
            query,
            streamed: true,
            repeatable: true,
            live: true,
            ..blank(Shape::Native)
        };
        return Ok(Target { bound: false, ..target });
    }
    let (uploading, rest) = below_version(&path, &decoded)?;
    let upload = if uploading { upload_step(method, query)? } else { None };
    let mut target = match rest.strip_prefix("openai").filter(|rest| rest.is_empty() || rest.starts_with('/'))
    {
        Some(below) => openai(method, below.trim_matches('/')),
        None => native(method, rest, query),
    };
    if uploading {
        if !target.method.starts_with("upload") {
            target.method = format!("{}.upload", target.method.split('.').next().unwrap_or("other"));
        }
        (target.bound, target.repeatable) = (true, false);
    }
    Ok(Target { path, query: without_credentials(query), upload, ..target })
}

/// The credentials in a query, decoded: values of `key` and `access_token`.
pub fn query_credentials(query: &str) -> impl Iterator<Item = Cow<'_, str>> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(name, _)| is_credential(name))
        .map(|(_, value)| decode_lossy(value))
}

/// Google takes every system parameter with or without `$`.
fn is_credential(name: &str) -> bool {
    let name = decode_lossy(name);
    let name = name.strip_prefix('$').unwrap_or(&name);
    ["key", "access_token", "oauth_token"].iter().any(|known| known.eq_ignore_ascii_case(name))
}

fn without_credentials(query: &str) -> String {
    let kept = query.split('&').filter(|pair| !is_credential(pair.split('=').next().unwrap_or(pair)));
    kept.collect::<Vec<_>>().join("&")
}

/// Exactly one slash wherever there are some; Live clients send two at the start.
fn normalise(path: &str) -> Result<String, BadTarget> {
    if !path.starts_with('/') {
        return Err(BadTarget::Version);
    }
    let mut single = String::with_capacity(path.len());
    for c in path.chars() {
        if c <= ' ' || c == '\u{7f}' || c == '\\' {
            return Err(BadTarget::Character);
        }
        if !(c == '/' && single.ends_with('/')) {
            single.push(c);
        }
    }
    Ok(single)
}

/// The path decoded once, as Google does; refused where it could then mean another one.
fn check(path: &str) -> Result<Cow<'_, str>, BadTarget> {
    let decoded = decode(path).map_err(|error| match error {
        Undecodable::Escape => BadTarget::Escape,
        Undecodable::Utf8 => BadTarget::Utf8,
    })?;
    if decoded.chars().any(|c| c.is_control() || c == '\\') {
        return Err(BadTarget::Character);
    }
    // After decoding, so that `..` may hide neither its dots nor its slashes.
    if decoded.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(BadTarget::Dots);
    }
    Ok(decoded)
}

fn is_version(segment: &str) -> bool {
    matches!(segment, "v1" | "v1beta" | "v1alpha")
}

/// The RPC of a path such as `/ws/google.ai.generativelanguage.v1.GenerativeService.BidiGenerateContent`.
fn live(path: &str) -> Option<&str> {
    let name = path.strip_prefix("/ws/google.ai.generativelanguage.")?;
    let (version, name) = name.split_once('.')?;
    let (service, rpc) = name.split_once('.')?;
    let word = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (is_version(version) && word(service) && word(rpc)).then_some(rpc)
}

/// What comes after the version, decoded, and whether it is an upload. The version is
/// never rewritten, so it has to stand in the path in plain.
fn below_version<'a>(path: &str, decoded: &'a str) -> Result<(bool, &'a str), BadTarget> {
    let (uploading, prefix) = if path.starts_with("/upload/") { (true, "/upload/") } else { (false, "/") };
    let raw = path.strip_prefix(prefix).unwrap_or_default();
    let version = raw.split('/').next().unwrap_or_default();
    if !is_version(version) {
        return Err(BadTarget::Version);
    }
    // In plain, so both begin alike.
    let rest = decoded.get(prefix.len() + version.len()..).unwrap_or_default();
    let rest = rest.strip_prefix('/').unwrap_or(rest);
    let next = rest.split('/').next().unwrap_or_default();
    if is_version(next) || (next == "upload" && rest.split('/').nth(1).is_some_and(is_version)) {
        return Err(BadTarget::TwoVersions(version.to_owned()));
    }
    Ok((uploading, rest))
}

/// The `upload_id` in a query, such as that of the address Google gives an upload; decoded.
pub fn upload_id(query: &str) -> Option<Cow<'_, str>> {
    upload_ids(query).next()
}

fn upload_ids(query: &str) -> impl Iterator<Item = Cow<'_, str>> {
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .filter(|(name, _)| decode_lossy(name) == "upload_id")
        .map(|(_, value)| decode_lossy(value))
}

fn upload_step(method: &Method, query: &str) -> Result<Option<Upload>, BadTarget> {
    let mut ids = upload_ids(query);
    match (ids.next(), ids.next()) {
        (_, Some(_)) => Err(BadTarget::TwoUploads),
        (Some(id), None) => Ok(Some(Upload::Chunk { id: id.into_owned() })),
        (None, None) => Ok((*method == Method::POST).then_some(Upload::Start)),
    }
}

/// A target with what the shape alone tells.
fn blank(shape: Shape) -> Target {
    Target {
        path: String::new(),
        query: String::new(),
        shape,
        model: String::new(),
        method: String::new(),
        streamed: false,
        model_in_body: false,
        repeatable: false,
        bound: true,
        upload: None,
        live: false,
    }
}

/// Gemini's own paths, and the interactions family's.
fn native(method: &Method, rest: &str, query: &str) -> Target {
    let rest = rest.trim_end_matches('/');
    let (resource, rpc) = split_rpc(rest);
    let segments: Vec<&str> = resource.split('/').collect();
    let root = segments.first().copied().unwrap_or_default();
    let (collection, at) = last_collection(&segments);
    let names_item = segments.len() > at + 1;
    let shape = if INTERACTIONS.contains(&root) { Shape::Interactions } else { Shape::Native };
    let generates = matches!(root, "models" | "dynamic") && at == 0;
    Target {
        model: model_in(&segments, at),
        method: match rpc {
            Some(rpc) => rpc.to_owned(),
            None if *method == Method::POST && segments.last() == Some(&"cancel") => {
                format!("{collection}.cancel")
            }
            None => format!("{collection}.{}", verb(method, names_item)),
        },
        streamed: rpc.is_some_and(|rpc| rpc.starts_with("stream"))
            || (root == "interactions" && query.split('&').any(|pair| pair == "stream=true")),
        model_in_body: root == "interactions" && *method == Method::POST && !names_item,
        repeatable: method.is_safe()
            || (*method == Method::POST && rpc.is_some_and(|rpc| REPEATABLE.contains(&rpc))),
        // What merely generates, and the list of models, is the same everywhere. All
        // else, and all that is new, is taken to belong to a project.
        bound: !generates || rpc.is_some_and(|rpc| BINDING.contains(&rpc)),
        ..blank(shape)
    }
}

/// Everything below `openai/` passes through; what is known of it is named.
fn openai(method: &Method, below: &str) -> Target {
    let (root, item) = below.split_once('/').unwrap_or((below, ""));
    let posted = *method == Method::POST;
    let repeatable = OPENAI_REPEATABLE.contains(&below);
    Target {
        model: if root == "models" { model_name(item) } else { String::new() },
        method: if repeatable {
            below.to_owned()
        } else if OPENAI_COLLECTIONS.contains(&root) {
            format!("{root}.{}", verb(method, !item.is_empty()))
        } else {
            "other".to_owned()
        },
        model_in_body: posted,
        repeatable: method.is_safe() || (posted && repeatable),
        bound: !repeatable && root != "models",
        ..blank(Shape::OpenAi)
    }
}

/// The RPC is what follows the last colon, if that is a name.
fn split_rpc(rest: &str) -> (&str, Option<&str>) {
    match rest.rsplit_once(':') {
        Some((resource, rpc))
            if (1..=64).contains(&rpc.len())
                && rpc.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') =>
        {
            (resource, Some(rpc))
        }
        _ => (rest, None),
    }
}

/// The innermost known collection, and its place. Names and ids take turns; an id may
/// have slashes of its own, and then the rest is all part of it.
fn last_collection<'a>(segments: &[&'a str]) -> (&'a str, usize) {
    let known = |at: usize| segments.get(at).copied().filter(|name| COLLECTIONS.contains(name));
    let mut at = 0;
    while known(at + 2).is_some() {
        at += 2;
    }
    (known(at).unwrap_or("other"), at)
}

/// The model that a path names, itself or as the owner of an operation.
fn model_in(segments: &[&str], collection: usize) -> String {
    let Some((root, below)) = segments.split_first() else { return String::new() };
    let id = if collection == 0 { below } else { below.get(..1).unwrap_or_default() };
    let id = id.join("/");
    match *root {
        _ if id.is_empty() => String::new(),
        "models" => model_name(&id),
        "tunedModels" | "dynamic" => cut(&format!("{root}/{id}"), 128),
        _ => String::new(),
    }
}

fn model_name(id: &str) -> String {
    cut(id.strip_prefix("models/").unwrap_or(id), 128)
}

fn verb(method: &Method, names_item: bool) -> &'static str {
    match (method.as_str(), names_item) {
        ("GET" | "HEAD", true) => "get",
        ("GET" | "HEAD", false) => "list",
        ("POST", _) => "create",
        ("PATCH" | "PUT", _) => "update",
        ("DELETE", _) => "delete",
        _ => "other",
    }
}
