//! What a request's body refers to: files, caches, stores, interactions, each of one Google project.
//!
//! Owns the list of fields that name such things (gemini-wire §1.7), in camelCase and in snake_case, for
//! Google takes both. Refuses to parse or keep the body: it watches the bytes go by. One invariant: only
//! the API's own structure counts; what stands in a prompt's text, in a function's arguments or in a
//! schema is nobody's reference.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::{
    json::{Member, Visit, Walk},
    resources::{canonical, file_of_uri},
};

/// Longest reference, in bytes of JSON.
const LONGEST: usize = 2 * 1024;
/// Longest list of store names, in bytes of JSON.
const LONGEST_LIST: usize = 16 * 1024;
/// References kept of one body; a prompt takes some thousand files.
const MOST: usize = 8_192;

/// Objects and lists of the API that may hold references further in.
const CONTAINERS: &[&str] = &[
    "contents",
    "content",
    "parts",
    "fileData",
    "file_data",
    "functionResponse",
    "function_response",
    "systemInstruction",
    "system_instruction",
    "generateContentRequest",
    "generate_content_request",
    "tools",
    "fileSearch",
    "file_search",
    "batch",
    "inputConfig",
    "input_config",
    "requests",
    "request",
    "instances",
    "messages",
    "file",
    "input",
    "extra_body",
    "google",
    "tunedModelSource",
    "tuned_model_source",
];
/// Objects whose `uri` or `url` may be that of a file.
const MEDIA: &[&str] = &["video", "image", "lastFrame", "last_frame", "image_url", "referenceImages"];

/// Watches a body go by.
#[derive(Debug)]
pub struct References(Walk<Fields>);

#[derive(Debug, Default)]
struct Fields {
    /// By name: whether it is surely something of Google's.
    found: BTreeMap<String, bool>,
    store: Option<bool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Level {
    /// The outermost object.
    #[default]
    Top,
    Within,
    /// Interactions: what is said, in items that may carry an address of their own.
    Input,
    Media,
    Retriever,
}

#[derive(Clone, Copy, Debug)]
enum Field {
    /// A name in full, such as `cachedContents/x`.
    Name,
    /// A file's address, or its name.
    Address,
    /// A file, by its name or its bare id.
    File,
    Interaction,
    Agent,
    Environment,
    /// A list of names.
    Names,
    Store,
}

impl Visit for Fields {
    type Level = Level;
    type Tag = Field;

    fn member(&mut self, level: Level, name: &str) -> Member<Level, Field> {
        let take = |tag| Member::Take { tag, limit: LONGEST };
        match (level, name) {
            (Level::Top, "previous_interaction_id" | "previousInteractionId") => take(Field::Interaction),
            (Level::Top, "agent") => take(Field::Agent),
            (Level::Top, "environment" | "environment_id") => take(Field::Environment),
            (Level::Top, "store") => take(Field::Store),
            (Level::Top, "model") => take(Field::Name),
            (Level::Media, "uri" | "url" | "gcsUri") | (Level::Input, "uri") => take(Field::Address),
            (Level::Retriever, "source") => take(Field::Name),
            (_, "cachedContent" | "cached_content" | "tunedModel" | "tuned_model") => take(Field::Name),
            (_, "fileUri" | "file_uri") => take(Field::Address),
            (_, "fileName" | "file_name" | "file_id" | "input_file_id") => take(Field::File),
            (_, "fileSearchStoreNames" | "file_search_store_names") => {
                Member::Take { tag: Field::Names, limit: LONGEST_LIST }
            }
            (_, "semanticRetriever" | "semantic_retriever") => Member::Enter(Level::Retriever),
            (Level::Top, "input") => Member::Enter(Level::Input),
            (Level::Input, "content") => Member::Enter(Level::Input),
            (_, media) if MEDIA.contains(&media) => Member::Enter(Level::Media),
            (_, container) if CONTAINERS.contains(&container) => Member::Enter(Level::Within),
            _ => Member::Skip,
        }
    }

    fn value(&mut self, field: Field, raw: Option<&[u8]>) {
        // What is too long is no reference: mostly it is the data itself.
        let Some(raw) = raw else { return };
        match field {
            Field::Store => {
                self.store = serde_json::from_slice(raw).ok();
                return;
            }
            Field::Names => {
                let names: Vec<String> = serde_json::from_slice(raw).unwrap_or_default();
                names.iter().for_each(|name| self.note(canonical(name), true));
                return;
            }
            _ => {}
        }
        let Ok(text) = serde_json::from_slice::<String>(raw) else { return };
        let below = |root: &str| {
            let id = text.strip_prefix(root).and_then(|rest| rest.strip_prefix('/')).unwrap_or(&text);
            canonical(&format!("{root}/{id}"))
        };
        match field {
            Field::Name => self.note(canonical(&text), true),
            Field::Address => match file_of_uri(&text) {
                Some((name, googles)) => self.note(Some(name), googles),
                None if text.starts_with("files/") => self.note(canonical(&text), true),
                None => {}
            },
            Field::File => self.note(below("files"), text.starts_with("files/")),
            Field::Interaction => self.note(below("interactions"), true),
            // Google has agents and environments of its own, which are everybody's.
            Field::Agent => self.note(below("agents"), false),
            Field::Environment => self.note(below("environments"), false),
            Field::Names | Field::Store => {}
        }
    }
}

impl Fields {
    fn note(&mut self, name: Option<String>, sure: bool) {
        if let Some(name) = name
            && self.found.len() < MOST
        {
            *self.found.entry(name).or_default() |= sure;
        }
    }
}

impl Default for References {
    fn default() -> Self {
        Self(Walk::new(Fields::default()))
    }
}

impl References {
    /// Goes on by a chunk.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.0.feed(chunk);
    }

    /// Nothing that comes can change the answers.
    #[must_use]
    pub fn done(&self) -> bool {
        self.0.over()
    }

    /// Names of what is referred to, by which the owner is found; and whether each is surely something
    /// that belongs to a project.
    pub fn found(&self) -> impl Iterator<Item = (&str, bool)> {
        self.0.visitor().found.iter().map(|(name, sure)| (name.as_str(), *sure))
    }

    /// The client said that nothing of the interaction is to be kept.
    #[must_use]
    pub fn keeps_nothing(&self) -> bool {
        self.0.visitor().store == Some(false)
    }
}

/// All that it says of a body that comes in these pieces.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn fuzzed_references(pieces: &[&[u8]]) -> (BTreeMap<String, bool>, Option<bool>) {
    let mut references = References::default();
    pieces.iter().for_each(|piece| references.feed(piece));
    let Fields { found, store } = references.0.visitor();
    (found.clone(), *store)
}
