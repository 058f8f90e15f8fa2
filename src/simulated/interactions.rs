//! Owns the Interactions dialect, as little of it as clients need to get an answer. Refuses to decide
//! anything. Invariant: the text is the one the native API would give to the same prompt.

use serde_json::{Value, json};

use super::answer::{Generation, Prompt, count_tokens, split};
use super::clock::rfc3339;

/// Reads `input`: a text, a content, a list of contents, or a list of steps that hold contents.
pub(super) fn read(request: &Value) -> Option<Prompt> {
    let input = request.get("input")?;
    let text = match input {
        Value::Array(items) if items.iter().any(|item| item.get("content").is_some()) => {
            items.last().map(text_of).unwrap_or_default()
        }
        other => text_of(other),
    };
    Some(Prompt { tokens: count_tokens(&text_of(input)), text, ..Prompt::default() })
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text_of).collect(),
        Value::Object(fields) => match (fields.get("text"), fields.get("content")) {
            (Some(Value::String(text)), _) => text.clone(),
            (_, Some(content)) => text_of(content),
            _ => String::new(),
        },
        _ => String::new(),
    }
}

impl Generation<'_> {
    /// A completed interaction.
    pub(super) fn interaction(&self, id: &str, now: i64) -> Value {
        json!({
            "id": id,
            "object": "interaction",
            "model": self.model,
            "status": "completed",
            "role": "model",
            "created": rfc3339(now),
            "updated": rfc3339(now),
            "steps": [{"type": "model_output", "content": [{"type": "text", "text": self.text()}]}],
            "usage": {
                "total_input_tokens": self.prompt_tokens(),
                "total_output_tokens": self.answer_tokens(),
                "total_thought_tokens": self.thought_tokens(),
                "total_cached_tokens": self.cached,
                "total_tokens": self.total_tokens(),
                "input_tokens_by_modality": [{"modality": "text", "tokens": self.prompt_tokens()}],
            },
        })
    }

    /// The events of a streamed interaction, without the terminator.
    pub(super) fn interaction_events(&self, completed: &Value, count: usize) -> Vec<String> {
        let id = completed.get("id").cloned().unwrap_or_default();
        let started =
            json!({"id": id, "object": "interaction", "model": self.model, "status": "in_progress"});
        let delta = |piece: &String| json!({"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": piece}});
        let pieces = split(&self.text(), count);
        let mut events = vec![
            json!({"event_type": "interaction.created", "interaction": started}),
            json!({"event_type": "step.start", "index": 0, "step": {"type": "model_output"}}),
        ];
        events.extend(pieces.iter().map(delta));
        events.push(json!({"event_type": "step.stop", "index": 0}));
        events.push(json!({"event_type": "interaction.completed", "interaction": completed}));
        events.iter().map(Value::to_string).collect()
    }
}
