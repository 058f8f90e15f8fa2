//! Owns the reading of a request: what it asks for, which credentials it brings, and what a proxy should never
//! have sent. Pure, and apart from the world: it knows no key and no model. Invariant: any request can be read;
//! what is not understood becomes [`Call::Unknown`].

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method};
use serde_json::Value;

use super::kept::KeptCall;
use super::tokens;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Call {
    ListModels,
    GetModel,
    Generate,
    /// `sse` is `alt=sse`; without it the stream is a JSON array.
    Stream {
        sse: bool,
    },
    CountTokens,
    Embed,
    BatchEmbed,
    Chat,
    OpenAiEmbeddings,
    OpenAiModels,
    OpenAiModel,
    StartUpload,
    SendChunk {
        upload: String,
    },
    ListFiles,
    GetFile(String),
    DownloadFile(String),
    DeleteFile(String),
    CreateCache,
    ListCaches,
    GetCache(String),
    DeleteCache(String),
    CreateInteraction,
    GetInteraction(String),
    DeleteInteraction(String),
    /// A Live session.
    Live,
    Kept(KeptCall),
    Unknown,
}

impl Call {
    /// Service and RPC as Google names them in errors.
    pub(super) fn rpc(&self) -> (&'static str, &'static str) {
        match self {
            Self::ListModels | Self::OpenAiModels => ("ModelService", "ListModels"),
            Self::GetModel | Self::OpenAiModel => ("ModelService", "GetModel"),
            Self::Generate => ("GenerativeService", "GenerateContent"),
            Self::Stream { .. } => ("GenerativeService", "StreamGenerateContent"),
            Self::CountTokens => ("GenerativeService", "CountTokens"),
            Self::Embed => ("GenerativeService", "EmbedContent"),
            Self::BatchEmbed => ("GenerativeService", "BatchEmbedContents"),
            Self::Chat => ("OpenAiService", "ChatCompletions"),
            Self::OpenAiEmbeddings => ("OpenAiService", "Embeddings"),
            Self::StartUpload | Self::SendChunk { .. } => ("FileService", "CreateFile"),
            Self::ListFiles => ("FileService", "ListFiles"),
            Self::GetFile(_) => ("FileService", "GetFile"),
            Self::DownloadFile(_) => ("FileService", "DownloadFile"),
            Self::DeleteFile(_) => ("FileService", "DeleteFile"),
            Self::CreateCache => ("CacheService", "CreateCachedContent"),
            Self::ListCaches => ("CacheService", "ListCachedContents"),
            Self::GetCache(_) => ("CacheService", "GetCachedContent"),
            Self::DeleteCache(_) => ("CacheService", "DeleteCachedContent"),
            Self::CreateInteraction => ("InteractionService", "CreateInteraction"),
            Self::GetInteraction(_) => ("InteractionService", "GetInteraction"),
            Self::DeleteInteraction(_) => ("InteractionService", "DeleteInteraction"),
            Self::Live => ("GenerativeService", "BidiGenerateContent"),
            Self::Kept(call) => call.rpc(),
            Self::Unknown => ("", ""),
        }
    }
}

/// How errors are written for this kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Plain,
    /// `[{"error":…}]`: OpenAI paths and JSON-array streams.
    Array,
    /// String codes.
    Interactions,
}

/// The credentials a request brought.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    pub(super) keys: Vec<String>,
    pub(super) authorization: bool,
    pub(super) in_url: bool,
}

/// A request, as far as its head tells.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) version: String,
    pub(super) call: Call,
    pub(super) model: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) credentials: Credentials,
    pub(super) violations: Vec<String>,
    pub(super) headers: Arc<HeaderMap>,
}

impl Head {
    pub(super) fn read(parts: Parts) -> Self {
        let query = read_query(parts.uri.query().unwrap_or_default());
        let (version, call, model) = read_path(&parts.method, parts.uri.path(), &query);
        let in_url = query.iter().any(|(name, _)| name == "key" || name == "access_token");
        let credentials = Credentials {
            keys: parts.headers.get_all("x-goog-api-key").iter().map(lossy).collect(),
            authorization: parts.headers.contains_key("authorization"),
            in_url,
        };
        let mut violations: Vec<String> = parts
            .headers
            .keys()
            .map(http::HeaderName::as_str)
            // A session begins with an upgrade, and a token has its own place.
            .filter(|name| {
                let of_a_session = match *name {
                    "connection" | "upgrade" => true,
                    "authorization" => tokens::presented(&parts.headers).is_some(),
                    _ => false,
                };
                is_forbidden(name) && !(call == Call::Live && of_a_session)
            })
            .map(|name| format!("header: {name}"))
            .collect();
        let leaked = query.iter().filter(|(name, _)| name == "key" || name == "access_token");
        violations.extend(leaked.map(|(name, _)| format!("query: {name}")));
        Self {
            path: parts.uri.to_string(),
            method: parts.method,
            version,
            call,
            model,
            query,
            credentials,
            violations,
            headers: Arc::new(parts.headers),
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(super) fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A whole request.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) head: Head,
    pub(super) body: Bytes,
    /// The body as JSON, for calls that want some; `Null` when it is none.
    pub(super) json: Value,
    /// Without `models/`; for OpenAI and Interactions calls read from the body.
    pub(super) model: String,
}

impl Ask {
    pub(super) fn new(mut head: Head, body: Bytes) -> Self {
        let json = match head.call {
            Call::SendChunk { .. } => Value::Null,
            _ => serde_json::from_slice(&body).unwrap_or_default(),
        };
        let mut model = std::mem::take(&mut head.model);
        if model.is_empty() {
            let named = json.get("model").and_then(Value::as_str).unwrap_or_default();
            model = named.strip_prefix("models/").unwrap_or(named).to_owned();
        }
        Self { head, body, json, model }
    }

    /// Whether the answer is a stream of events.
    pub(super) fn streaming(&self) -> bool {
        match self.head.call {
            Call::Stream { .. } => true,
            Call::Chat | Call::CreateInteraction => {
                self.json.get("stream").and_then(Value::as_bool).unwrap_or(false)
            }
            _ => false,
        }
    }

    pub(super) fn shape(&self) -> Shape {
        match self.head.call {
            Call::Chat | Call::OpenAiEmbeddings | Call::OpenAiModels | Call::OpenAiModel => Shape::Array,
            Call::Stream { sse: false } => Shape::Array,
            Call::CreateInteraction | Call::GetInteraction(_) | Call::DeleteInteraction(_) => {
                Shape::Interactions
            }
            _ => Shape::Plain,
        }
    }
}

fn lossy(value: &http::HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// What a proxy must keep to itself: the client's credentials and origin, and the headers that speak of one
/// connection only (RFC 9110 §7.6.1). `Transfer-Encoding` is left out: a proxy's own HTTP client sets it when
/// it streams a body.
fn is_forbidden(name: &str) -> bool {
    const NAMES: [&str; 12] = [
        "authorization",
        "cookie",
        "x-goog-user-project",
        "forwarded",
        "x-real-ip",
        "connection",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
    ];
    NAMES.contains(&name) || name.starts_with("x-forwarded-")
}

fn read_query(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (percent_decode(name), percent_decode(value)))
        .collect()
}

fn read_path(method: &Method, path: &str, query: &[(String, String)]) -> (String, Call, String) {
    let path = percent_decode(path);
    let unknown = |version: &str| (version.to_owned(), Call::Unknown, String::new());
    let Some(rest) = path.strip_prefix('/') else { return unknown("") };
    let (upload, rest) = match rest.strip_prefix("upload/") {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if let Some(service) = rest.strip_prefix("ws/google.ai.generativelanguage.") {
        return match service.split_once('.') {
            Some((
                version @ ("v1" | "v1beta" | "v1alpha"),
                "GenerativeService.BidiGenerateContent" | "GenerativeService.BidiGenerateContentConstrained",
            )) => (version.to_owned(), Call::Live, String::new()),
            _ => unknown(""),
        };
    }
    let Some((version, rest)) = rest.split_once('/') else { return unknown("") };
    if !matches!(version, "v1" | "v1beta" | "v1alpha") {
        return unknown(version);
    }
    let get = *method == Method::GET;
    let post = *method == Method::POST;
    let delete = *method == Method::DELETE;
    if upload {
        let id = query.iter().find(|(name, _)| name == "upload_id").map(|(_, id)| id.clone());
        let call = match id {
            Some(upload) if rest == "files" => Call::SendChunk { upload },
            None if rest == "files" && post => Call::StartUpload,
            _ => Call::Unknown,
        };
        return (version.to_owned(), call, String::new());
    }
    if let Some((call, model)) = KeptCall::read(method, rest) {
        return (version.to_owned(), Call::Kept(call), model);
    }
    let (kind, id) = rest.split_once('/').unwrap_or((rest, ""));
    let mut model = "";
    let call = match kind {
        "models" if id.is_empty() && get => Call::ListModels,
        "models" if get => {
            model = id;
            Call::GetModel
        }
        "models" | "tunedModels" | "dynamic" if post => match id.rsplit_once(':') {
            Some((name, rpc)) => {
                model = if kind == "models" { name } else { rest.rsplit_once(':').map_or(name, |(n, _)| n) };
                generation(rpc, query)
            }
            None => Call::Unknown,
        },
        "openai" => match id {
            "chat/completions" if post => Call::Chat,
            "embeddings" if post => Call::OpenAiEmbeddings,
            "models" if get => Call::OpenAiModels,
            _ => match id.strip_prefix("models/") {
                Some(name) if get => {
                    model = name.strip_prefix("models/").unwrap_or(name);
                    Call::OpenAiModel
                }
                _ => Call::Unknown,
            },
        },
        "files" if get && id.is_empty() => Call::ListFiles,
        "files" if get => match id.strip_suffix(":download") {
            Some(id) => Call::DownloadFile(id.to_owned()),
            None => Call::GetFile(id.to_owned()),
        },
        "files" if delete => Call::DeleteFile(id.to_owned()),
        "cachedContents" if post && id.is_empty() => Call::CreateCache,
        "cachedContents" if get && id.is_empty() => Call::ListCaches,
        "cachedContents" if get => Call::GetCache(id.to_owned()),
        "cachedContents" if delete => Call::DeleteCache(id.to_owned()),
        "interactions" if post && id.is_empty() => Call::CreateInteraction,
        "interactions" if get => Call::GetInteraction(id.to_owned()),
        "interactions" if delete => Call::DeleteInteraction(id.to_owned()),
        _ => Call::Unknown,
    };
    (version.to_owned(), call, model.to_owned())
}

fn generation(rpc: &str, query: &[(String, String)]) -> Call {
    match rpc {
        "generateContent" => Call::Generate,
        "streamGenerateContent" => Call::Stream {
            sse: query.iter().any(|(name, value)| (name == "alt" || name == "$alt") && value == "sse"),
        },
        "countTokens" => Call::CountTokens,
        "embedContent" => Call::Embed,
        "batchEmbedContents" => Call::BatchEmbed,
        _ => Call::Unknown,
    }
}

fn percent_decode(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let digits = (byte == b'%').then(|| (ahead.next().and_then(hex), ahead.next().and_then(hex)));
        if let Some((Some(high), Some(low))) = digits {
            out.push(high << 4 | low);
            bytes = ahead;
        } else {
            out.push(byte);
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &str, uri: &str) -> (String, Call, String) {
        let (parts, ()) = http::Request::builder().method(method).uri(uri).body(()).unwrap().into_parts();
        let head = Head::read(parts);
        (head.version, head.call, head.model)
    }

    #[test]
    fn paths_are_read() {
        let owned = |version: &str, call: Call, model: &str| (version.to_owned(), call, model.to_owned());
        let cases = [
            ("GET", "/v1/models?pageSize=2", owned("v1", Call::ListModels, "")),
            ("GET", "/v1beta/models/gemini-2.5-pro", owned("v1beta", Call::GetModel, "gemini-2.5-pro")),
            ("POST", "/v1alpha/models/a/b:generateContent", owned("v1alpha", Call::Generate, "a/b")),
            (
                "POST",
                "/v1beta/models/m%3AstreamGenerateContent?alt=sse",
                owned("v1beta", Call::Stream { sse: true }, "m"),
            ),
            ("POST", "/v1/models/m:streamGenerateContent", owned("v1", Call::Stream { sse: false }, "m")),
            ("POST", "/v1/tunedModels/t:generateContent", owned("v1", Call::Generate, "tunedModels/t")),
            ("POST", "/v1beta/openai/chat/completions", owned("v1beta", Call::Chat, "")),
            ("GET", "/v1beta/openai/models/models/m", owned("v1beta", Call::OpenAiModel, "m")),
            ("POST", "/upload/v1/files", owned("v1", Call::StartUpload, "")),
            ("POST", "/upload/v1/files?upload_id=u", owned("v1", Call::SendChunk { upload: "u".into() }, "")),
            (
                "GET",
                "/v1beta/files/x:download?alt=media",
                owned("v1beta", Call::DownloadFile("x".into()), ""),
            ),
            (
                "GET",
                "/ws/google.ai.generativelanguage.v1.GenerativeService.BidiGenerateContent",
                owned("v1", Call::Live, ""),
            ),
            ("GET", "/v2/models", owned("v2", Call::Unknown, "")),
            ("GET", "//v1/models", owned("", Call::Unknown, "")),
        ];
        for (method, uri, expected) in cases {
            assert_eq!(read(method, uri), expected, "{method} {uri}");
        }
    }

    #[test]
    fn what_a_proxy_must_not_send_is_noted() {
        let request = http::Request::builder()
            .uri("/v1/models?key=secret&alt=json")
            .header("authorization", "Bearer x")
            .header("x-forwarded-for", "1.2.3.4")
            .header("te", "trailers")
            .header("x-goog-api-client", "fine");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let mut found = Head::read(parts).violations;
        found.sort();
        assert_eq!(found, ["header: authorization", "header: te", "header: x-forwarded-for", "query: key"]);
    }

    #[test]
    fn broken_escapes_stay_as_they_are() {
        assert_eq!(percent_decode("a%2Fb%zz%4"), "a/b%zz%4");
    }
}
