//! Owns what the simulated models say: text, embeddings and token counts, a function of the request alone.
//! Refuses to be clever: the text repeats the prompt, so that a client can tell that the answer is its own.
//! Invariant: streamed or whole, native or OpenAI's, the same prompt gets the same text.

use serde_json::Value;

use super::fault::{mix, spread};

/// Longest piece of a prompt that is repeated, in characters.
const ECHO: usize = 4_000;
/// Length of the base64 text of a simulated image: with its frame, the 1.32 MB on one line of the recordings.
const IMAGE: usize = 1_320_000;

/// The text a simulated model answers to a prompt's text.
pub fn answer_text(model: &str, prompt: &str) -> String {
    let echo: String = prompt.chars().take(ECHO).collect();
    format!("{model} heard: {echo} \u{2014} the \u{9470}\u{5319} \u{1f511} turned.")
}

/// Tokens the simulated Google counts in a text: a quarter of its characters, at least one.
pub fn count_tokens(text: &str) -> u64 {
    (text.chars().count() as u64).div_ceil(4).max(1)
}

/// The embedding of a text: unit length is not promised, equality for equal texts is.
pub(super) fn embedding(text: &str, dimensions: usize) -> Vec<f32> {
    let seed = spread(text);
    // 24 bits are exact in an f32, so every client reads the same number.
    let value = |index: u64| (mix(seed ^ index) >> 40) as f32 / (1u32 << 23) as f32 - 1.0;
    (0..dimensions as u64).map(value).collect()
}

/// What a request's contents hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Prompt {
    /// Text of the last content: what is answered.
    pub(super) text: String,
    /// Of all contents and the system instruction.
    pub(super) tokens: u64,
    /// `fileData.fileUri` of every part.
    pub(super) files: Vec<String>,
    /// `cachedContent`, if the request names one.
    pub(super) cache: Option<String>,
}

impl Prompt {
    /// Reads a `GenerateContentRequest`, a `CountTokensRequest` or an `EmbedContentRequest`; `None` when there
    /// are no contents.
    pub(super) fn read(request: &Value) -> Option<Self> {
        let request = request.get("generateContentRequest").unwrap_or(request);
        let contents = request.get("contents").or_else(|| request.get("content"))?;
        let all = list(contents);
        let mut prompt = Self::default();
        let system = request.get("systemInstruction").or_else(|| request.get("system_instruction"));
        for content in all.iter().copied().chain(system) {
            for part in content.get("parts").map(list).unwrap_or_default() {
                if let Some(text) = part.get("text").and_then(Value::as_str) {
                    prompt.tokens += count_tokens(text);
                }
                let file = part.get("fileData").or_else(|| part.get("file_data"));
                let uri = file.and_then(|file| file.get("fileUri").or_else(|| file.get("file_uri")));
                prompt.files.extend(uri.and_then(Value::as_str).map(str::to_owned));
            }
        }
        prompt.text = text_of(all.last()?);
        prompt.tokens = prompt.tokens.max(1);
        prompt.cache = request.get("cachedContent").and_then(Value::as_str).map(str::to_owned);
        (!all.is_empty()).then_some(prompt)
    }
}

/// The text of a content's parts.
pub(super) fn text_of(content: &Value) -> String {
    let parts = content.get("parts").map(list).unwrap_or_default();
    parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect()
}

fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        other => vec![other],
    }
}

/// A string as JSON, quotes included.
pub(super) fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned())
}

/// One answer of a generative model.
pub(super) struct Generation<'a> {
    pub(super) model: &'a str,
    pub(super) prompt: &'a Prompt,
    /// Tokens of the cached content that the request named.
    pub(super) cached: u64,
    /// Becomes `responseId`.
    pub(super) id: String,
}

impl Generation<'_> {
    pub(super) fn text(&self) -> String {
        answer_text(self.model, &self.prompt.text)
    }

    pub(super) fn prompt_tokens(&self) -> u64 {
        self.prompt.tokens + self.cached
    }

    pub(super) fn answer_tokens(&self) -> u64 {
        count_tokens(&self.text())
    }

    /// Thoughts are counted apart from candidates, and both are in the total.
    pub(super) fn thought_tokens(&self) -> u64 {
        7
    }

    pub(super) fn total_tokens(&self) -> u64 {
        self.prompt_tokens() + self.answer_tokens() + self.thought_tokens()
    }

    /// The prompt asks for an image, or for an answer that is blocked, by naming it in square brackets.
    fn asks_for(&self, wish: &str) -> bool {
        self.prompt.text.contains(wish)
    }

    fn blocked(&self) -> bool {
        self.asks_for("[blocked]")
    }

    fn usage(&self) -> String {
        let (prompt, answer) = (self.prompt_tokens(), self.answer_tokens());
        let (thoughts, total) = (self.thought_tokens(), self.total_tokens());
        if self.blocked() {
            return format!(r#"{{"promptTokenCount": {prompt},"totalTokenCount": {prompt}}}"#);
        }
        let cached = match self.cached {
            0 => String::new(),
            cached => format!(r#""cachedContentTokenCount": {cached},"#),
        };
        format!(
            r#"{{"promptTokenCount": {prompt},{cached}"candidatesTokenCount": {answer},"totalTokenCount": {total},"promptTokensDetails": [{{"modality": "TEXT","tokenCount": {prompt}}}],"thoughtsTokenCount": {thoughts}}}"#
        )
    }

    /// Early chunks count more than the last, and no candidates: the last one wins.
    fn early_usage(&self) -> String {
        let early = self.prompt_tokens() * 3 + 20;
        format!(
            r#"{{"promptTokenCount": {early},"totalTokenCount": {early},"promptTokensDetails": [{{"modality": "TEXT","tokenCount": {early}}}]}}"#
        )
    }

    fn object(&self, candidate: Option<(&str, bool)>, usage: &str) -> String {
        let (model, id) = (quoted(self.model), quoted(&self.id));
        let candidates = match candidate {
            None => r#""promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}"#.to_owned(),
            Some((part, last)) => {
                let finish = if last { r#""finishReason": "STOP","# } else { "" };
                format!(
                    r#""candidates": [{{"content": {{"parts": [{part}],"role": "model"}},{finish}"index": 0}}]"#
                )
            }
        };
        // No client knows `turnToken`: fields it does not know must survive a proxy.
        format!(
            r#"{{{candidates},"usageMetadata": {usage},"modelVersion": {model},"responseId": {id},"turnToken": "v1_{}"}}"#,
            self.id
        )
    }

    /// A whole answer.
    pub(super) fn whole(&self) -> String {
        if self.blocked() {
            return pretty(&self.object(None, &self.usage()));
        }
        let mut part = format!(r#"{{"text": {}}}"#, quoted(&self.text()));
        if self.asks_for("[image]") {
            part = format!("{part},{}", image());
        }
        pretty(&self.object(Some((&part, true)), &self.usage()))
    }

    /// A streamed answer of `count` objects on one line each, and one more where an image is asked for.
    pub(super) fn chunks(&self, count: usize) -> Vec<String> {
        if self.blocked() {
            return vec![self.object(None, &self.usage())];
        }
        let pieces = split(&self.text(), count);
        let mut chunks = Vec::with_capacity(pieces.len() + 1);
        let last = pieces.len().saturating_sub(1);
        for (index, piece) in pieces.iter().enumerate() {
            let part = format!(r#"{{"text": {}}}"#, quoted(piece));
            if index == last {
                if self.asks_for("[image]") {
                    chunks.push(self.object(Some((&image(), false)), &self.early_usage()));
                }
                chunks.push(self.object(Some((&part, true)), &self.usage()));
            } else {
                chunks.push(self.object(Some((&part, false)), &self.early_usage()));
            }
        }
        chunks
    }
}

fn image() -> String {
    format!(r#"{{"inlineData": {{"mimeType": "image/png","data": "{}"}}}}"#, "QUJD".repeat(IMAGE / 4))
}

/// Cuts a text into `count` pieces (fewer when it is short) that make the text again.
pub(super) fn split(text: &str, count: usize) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let size = chars.len().div_ceil(count.max(1)).max(1);
    chars.chunks(size).map(|piece| piece.iter().collect()).collect()
}

/// Indents JSON by two spaces and keeps the order of its fields.
///
/// Works on the text, since this crate's JSON values sort their fields and Google's do not.
pub(super) fn pretty(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    let newline = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    for symbol in json.chars() {
        if in_string {
            out.push(symbol);
            in_string = escaped || symbol != '"';
            escaped = !escaped && symbol == '\\';
            continue;
        }
        match symbol {
            '{' | '[' => {
                depth += 1;
                out.push(symbol);
                newline(&mut out, depth);
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                newline(&mut out, depth);
                out.push(symbol);
            }
            ',' => {
                out.push(symbol);
                newline(&mut out, depth);
            }
            ' ' | '\n' => {}
            ':' => out.push_str(": "),
            '"' => {
                in_string = true;
                out.push(symbol);
            }
            _ => out.push(symbol),
        }
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn prompt(text: &str) -> Prompt {
        Prompt::read(&json!({"contents": [{"parts": [{"text": "earlier"}]}, {"parts": [{"text": text}]}]}))
            .unwrap()
    }

    fn generation(prompt: &Prompt) -> Generation<'_> {
        Generation { model: "m", prompt, cached: 0, id: "id".into() }
    }

    fn texts(chunks: &[String]) -> String {
        let text = |chunk: &String| {
            let chunk: Value = serde_json::from_str(chunk).unwrap();
            chunk["candidates"][0]["content"]["parts"][0]["text"].as_str().map(str::to_owned)
        };
        chunks.iter().filter_map(text).collect()
    }

    #[test]
    fn chunks_make_the_whole_text_and_the_last_usage_is_smaller() {
        let prompt = prompt("quote \" and \u{5bb6}\n");
        let generation = generation(&prompt);
        let chunks = generation.chunks(4);
        assert_eq!(chunks.len(), 4);
        assert_eq!(texts(&chunks), generation.text());
        assert!(chunks.iter().all(|chunk| !chunk.contains('\n')));
        let whole: Value = serde_json::from_str(&generation.whole()).unwrap();
        assert_eq!(whole["candidates"][0]["content"]["parts"][0]["text"], generation.text());
        let usage = |chunk: &String| serde_json::from_str::<Value>(chunk).unwrap()["usageMetadata"].clone();
        let (first, last) = (usage(&chunks[0]), usage(&chunks[3]));
        assert!(first["promptTokenCount"].as_u64() > last["promptTokenCount"].as_u64());
        assert_eq!(first.get("candidatesTokenCount"), None);
        assert_eq!(last, whole["usageMetadata"]);
        assert_eq!(last["totalTokenCount"], generation.total_tokens());
    }

    #[test]
    fn an_image_is_one_long_line_and_a_blocked_prompt_has_no_candidates() {
        let prompt_image = prompt("[image]");
        let chunks = generation(&prompt_image).chunks(2);
        assert_eq!(chunks.len(), 3);
        assert!(chunks[1].len() > 1_320_000 && !chunks[1].contains('\n'));
        let blocked = prompt("[blocked]");
        let whole: Value = serde_json::from_str(&generation(&blocked).whole()).unwrap();
        assert_eq!(whole["promptFeedback"]["blockReason"], "PROHIBITED_CONTENT");
        assert_eq!(whole.get("candidates"), None);
    }

    #[test]
    fn prompts_name_their_files_and_caches() {
        let request = json!({
            "contents": {"parts": [{"text": "a"}, {"fileData": {"fileUri": "https://g/v1beta/files/f"}}]},
            "cachedContent": "cachedContents/c",
        });
        let prompt = Prompt::read(&request).unwrap();
        assert_eq!(prompt.files, ["https://g/v1beta/files/f"]);
        assert_eq!(prompt.cache.as_deref(), Some("cachedContents/c"));
        assert_eq!(Prompt::read(&json!({})), None);
        assert_eq!(Prompt::read(&json!({"contents": []})), None);
    }

    #[test]
    fn pretty_keeps_order_and_strings() {
        let text = pretty(r#"{"b": [1,"a: {\"x\", }"],"a": 2}"#);
        assert_eq!(text, "{\n  \"b\": [\n    1,\n    \"a: {\\\"x\\\", }\"\n  ],\n  \"a\": 2\n}\n");
    }

    #[test]
    fn embeddings_are_equal_for_equal_texts() {
        assert_eq!(embedding("a", 3), embedding("a", 3));
        assert_ne!(embedding("a", 3), embedding("b", 3));
        assert!(embedding("a", 100).iter().all(|value| (-1.0..1.0).contains(value)));
    }
}
