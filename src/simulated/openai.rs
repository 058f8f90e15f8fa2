//! Owns the OpenAI dialect: reading its prompts, writing its answers. Refuses to decide anything. Invariant:
//! the text is the one the native API would give to the same prompt.

use serde_json::{Value, json};

use super::answer::{Generation, Prompt, count_tokens, embedding, quoted, split};

/// Reads the messages of a chat; `None` when there are none.
pub(super) fn read_chat(request: &Value) -> Option<Prompt> {
    let messages = request.get("messages")?.as_array()?;
    let mut prompt = Prompt { text: content_text(messages.last()?), ..Prompt::default() };
    prompt.tokens = messages.iter().map(|message| count_tokens(&content_text(message))).sum();
    let cache = request.pointer("/extra_body/google/cached_content").and_then(Value::as_str);
    prompt.cache = cache.map(str::to_owned);
    Some(prompt)
}

fn content_text(message: &Value) -> String {
    match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect()
        }
        _ => String::new(),
    }
}

impl Generation<'_> {
    fn openai_usage(&self) -> String {
        // Thoughts are in the total, but in neither of its parts.
        format!(
            r#"{{"completion_tokens":{},"prompt_tokens":{},"total_tokens":{}}}"#,
            self.answer_tokens(),
            self.prompt_tokens(),
            self.total_tokens()
        )
    }

    /// A `chat.completion`; `created` is in Unix seconds.
    pub(super) fn chat(&self, created: i64) -> String {
        let (text, model, id) = (quoted(&self.text()), quoted(self.model), quoted(&self.id));
        format!(
            r#"{{"choices":[{{"finish_reason":"stop","index":0,"message":{{"content":{text},"role":"assistant"}}}}],"created":{created},"id":{id},"model":{model},"object":"chat.completion","usage":{}}}"#,
            self.openai_usage()
        )
    }

    /// The `chat.completion.chunk`s of a streamed answer; with `usage`, the last one has it and no choices.
    pub(super) fn chat_chunks(&self, created: i64, count: usize, usage: bool) -> Vec<String> {
        let (model, id) = (quoted(self.model), quoted(&self.id));
        let pieces = split(&self.text(), count);
        let last = pieces.len().saturating_sub(1);
        let frame = |choices: &str, more: &str| {
            format!(
                r#"{{"choices":[{choices}],"created":{created},"id":{id},"model":{model},"object":"chat.completion.chunk"{more}}}"#
            )
        };
        let chunk = |(index, piece): (usize, &String)| {
            let finish = if index == last { r#""stop""# } else { "null" };
            let text = quoted(piece);
            let choice = format!(
                r#"{{"delta":{{"content":{text},"role":"assistant"}},"finish_reason":{finish},"index":0}}"#
            );
            frame(&choice, "")
        };
        let mut chunks: Vec<String> = pieces.iter().enumerate().map(chunk).collect();
        if usage {
            chunks.push(frame("", &format!(r#","usage":{}"#, self.openai_usage())));
        }
        chunks
    }
}

/// The texts of an embeddings request.
pub(super) fn read_input(request: &Value) -> Vec<String> {
    match request.get("input") {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(texts)) => {
            texts.iter().map(|text| text.as_str().map_or_else(|| text.to_string(), str::to_owned)).collect()
        }
        _ => Vec::new(),
    }
}

/// The answer to an embeddings request. Clients that name no format ask for base64 and decode it.
pub(super) fn embeddings(request: &Value, model: &str, texts: &[String], dimensions: usize) -> Value {
    let base64 = request.get("encoding_format").and_then(Value::as_str) == Some("base64");
    let entry = |(index, text): (usize, &String)| {
        let values = embedding(text, dimensions);
        let values = if base64 { json!(base64_of(&values)) } else { json!(values) };
        json!({"object": "embedding", "index": index, "embedding": values})
    };
    let data: Vec<Value> = texts.iter().enumerate().map(entry).collect();
    let tokens: u64 = texts.iter().map(|text| count_tokens(text)).sum();
    json!({
        "object": "list", "data": data, "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    })
}

/// Base64 (RFC 4648 §4) of little-endian floats.
fn base64_of(values: &[f32]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for digit in 0..4 {
            let letter = LETTERS.get((bits >> (18 - 6 * digit) & 63) as usize).copied().unwrap_or(b'=');
            text.push(if digit <= group.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_the_standard_one() {
        assert_eq!(base64_of(&[1.0]), "AACAPw==");
        assert_eq!(base64_of(&[1.0, -2.0]), "AACAPwAAAMA=");
        assert_eq!(base64_of(&[1.0, -2.0, 0.5]), "AACAPwAAAMAAAAA/");
    }

    #[test]
    fn chats_are_read_in_both_content_shapes() {
        let request = json!({"messages": [
            {"role": "system", "content": "terse"},
            {"role": "user", "content": [{"type": "text", "text": "hi "}, {"type": "text", "text": "there"}]},
        ]});
        let prompt = read_chat(&request).unwrap();
        assert_eq!((prompt.text.as_str(), prompt.tokens), ("hi there", 2 + 2));
    }

    #[test]
    fn chunks_make_the_whole_answer() {
        let prompt = Prompt { text: "hello".into(), tokens: 2, ..Prompt::default() };
        let generation = Generation { model: "m", prompt: &prompt, cached: 0, id: "i".into() };
        let whole: Value = serde_json::from_str(&generation.chat(1)).unwrap();
        let chunks: Vec<Value> =
            generation.chat_chunks(1, 3, true).iter().map(|c| serde_json::from_str(c).unwrap()).collect();
        let text: String =
            chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(whole["choices"][0]["message"]["content"], text);
        assert_eq!(chunks[3]["usage"], whole["usage"]);
        assert_eq!(chunks[2]["choices"][0]["finish_reason"], "stop");
    }
}
