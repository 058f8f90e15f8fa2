//! Owns a model: what it can do, how its answers are paced, its faults, and its entry in the model lists.
//! Invariant: a model is listed with exactly the methods it answers.

use std::time::Duration;

use serde_json::{Value, json};

use super::fault::Fault;

/// A model that the simulated Google serves.
#[derive(Debug, Clone)]
pub struct Model {
    /// RPCs it answers, as in `supportedGenerationMethods`; `streamGenerateContent` comes with
    /// `generateContent`.
    pub methods: Vec<String>,
    /// Events of a streamed answer.
    pub chunks: usize,
    /// Silence before the head of every answer.
    pub first_byte: Duration,
    /// Silence between the events of a stream.
    pub gap: Duration,
    /// What goes wrong with calls that ask for it.
    pub faults: Vec<Fault>,
}

impl Model {
    /// A model that writes.
    pub fn generative() -> Self {
        Self::with_methods(&["generateContent", "countTokens", "createCachedContent", "batchGenerateContent"])
    }

    /// A model that embeds.
    pub fn embedding() -> Self {
        Self::with_methods(&["embedContent", "countTextTokens", "countTokens", "asyncBatchEmbedContent"])
    }

    /// A model that talks, over a WebSocket.
    pub fn live() -> Self {
        Self::with_methods(&["bidiGenerateContent"])
    }

    fn with_methods(methods: &[&str]) -> Self {
        Self {
            methods: methods.iter().map(|method| (*method).to_owned()).collect(),
            chunks: 4,
            first_byte: Duration::ZERO,
            gap: Duration::ZERO,
            faults: Vec::new(),
        }
    }

    pub(super) fn answers(&self, method: &str) -> bool {
        self.methods.iter().any(|known| known == method)
    }

    /// Its entry in `models.list`.
    pub(super) fn entry(&self, name: &str) -> Value {
        json!({
            "name": format!("models/{name}"),
            "version": "001",
            "displayName": name,
            "description": format!("The simulated {name}."),
            "inputTokenLimit": 1_048_576,
            "outputTokenLimit": 65_536,
            "supportedGenerationMethods": self.methods,
            "temperature": 1,
            "topP": 0.95,
            "topK": 64,
            "maxTemperature": 2,
        })
    }

    /// Its entry in OpenAI's list.
    pub(super) fn openai_entry(name: &str) -> Value {
        json!({"id": format!("models/{name}"), "object": "model", "owned_by": "google", "display_name": name})
    }
}
