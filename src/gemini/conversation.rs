//! Which conversation a request's body goes on with, as a number.
//!
//! Owns the choice of what stays the same from turn to turn, which is what Google's implicit cache finds
//! again: the system's instruction, the tools, the explicit cache, and what was said first. Refuses to parse
//! or keep the body: it watches the bytes go by, and of each of these the first [`HEARD`] count. One
//! invariant: how the bytes are cut into chunks, and in which order the members stand, makes no difference.

#[cfg(test)]
mod tests;

use super::{
    json::{Member, Visit, Walk},
    target::Shape,
};

/// Bytes of JSON that count of each member: enough to tell prompts apart, little enough to keep.
pub const HEARD: usize = 16 << 10;
/// What the hash is of; another meaning of it wants another text.
const CONTEXT: &str = "gemini-pool 2026-11-23 conversation";

/// Watches a body go by.
#[derive(Debug)]
pub struct Conversation(Walk<Fields>);

#[derive(Clone, Copy, Debug)]
enum Part {
    System,
    Cache,
    Tools,
    /// What is said, of which the beginning counts.
    Said,
    /// The interaction before, which stands for all that was said.
    Previous,
}

#[derive(Debug)]
struct Fields {
    shape: Shape,
    system: Option<blake3::Hash>,
    cache: Option<blake3::Hash>,
    tools: Option<blake3::Hash>,
    said: Option<blake3::Hash>,
    previous: Option<blake3::Hash>,
}

impl Fields {
    fn hear(&mut self, part: Part, raw: &[u8]) {
        let (slot, raw) = match part {
            Part::System => (&mut self.system, raw),
            Part::Cache => (&mut self.cache, raw),
            Part::Tools => (&mut self.tools, raw),
            Part::Said => (&mut self.said, beginning(raw, self.shape)),
            Part::Previous => (&mut self.previous, raw),
        };
        // An empty list or text says nothing, and neither does a null.
        *slot = (raw.len() > 2 && raw != b"null").then(|| blake3::hash(raw));
    }
}

impl Visit for Fields {
    type Level = ();
    type Tag = Part;

    fn member(&mut self, (): (), name: &str) -> Member<(), Part> {
        let tag = match (name, self.shape) {
            ("systemInstruction" | "system_instruction", _) => Part::System,
            ("cachedContent" | "cached_content", _) => Part::Cache,
            ("tools", _) => Part::Tools,
            ("contents", Shape::Native) | ("messages", Shape::OpenAi) | ("input", Shape::Interactions) => {
                Part::Said
            }
            ("previous_interaction_id" | "previousInteractionId", Shape::Interactions) => Part::Previous,
            _ => return Member::Skip,
        };
        Member::Take { tag, limit: HEARD }
    }

    fn value(&mut self, part: Part, raw: Option<&[u8]>) {
        if let Some(raw) = raw {
            self.hear(part, raw);
        }
    }

    fn long(&mut self, part: Part, start: &[u8]) {
        self.hear(part, start);
    }
}

impl Conversation {
    /// Before the first byte of a body of this shape.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        let (system, cache, tools, said, previous) = (None, None, None, None, None);
        Self(Walk::new(Fields { shape, system, cache, tools, said, previous }))
    }

    /// Goes on by a chunk.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.0.feed(chunk);
    }

    /// Nothing that comes can change the answer.
    #[must_use]
    pub fn done(&self) -> bool {
        self.0.over()
    }

    /// The conversation's number, for this client and this model; none where the body is no part of one.
    #[must_use]
    pub fn id(&self, client: u32, model: &str) -> Option<u64> {
        let Fields { system, cache, tools, said, previous, .. } = self.0.visitor();
        said.or(*previous)?;
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(&client.to_be_bytes());
        hasher.update(blake3::hash(model.as_bytes()).as_bytes());
        // What was said so far is with the interaction before; what is said now is new in each turn.
        let said = if previous.is_some() { &None } else { said };
        for part in [system, cache, tools, said, previous] {
            match part {
                Some(hash) => hasher.update(&[1]).update(hash.as_bytes()),
                None => hasher.update(&[0]),
            };
        }
        let mut id = [0; 8];
        hasher.finalize_xof().fill(&mut id);
        Some(u64::from_be_bytes(id))
    }
}

/// Of what was said, the part that later turns repeat: the first element of a list, and in OpenAI's shape what
/// stands before the first answer (the system's messages and the user's first). All of what is no list.
fn beginning(raw: &[u8], shape: Shape) -> &[u8] {
    if !raw.starts_with(b"[") {
        return raw;
    }
    let (mut from, mut end) = (None, 0);
    for element in (Elements { raw, at: 1 }) {
        from.get_or_insert(element.0);
        end = element.1;
        if shape != Shape::OpenAi || !is_systems(raw.get(element.0..element.1).unwrap_or_default()) {
            break;
        }
    }
    raw.get(from.unwrap_or_default()..end).unwrap_or_default()
}

/// Whether a message is the system's, so that the conversation begins after it.
fn is_systems(message: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Message {
        role: String,
    }
    // One that was cut is long enough by itself.
    serde_json::from_slice::<Message>(message)
        .is_ok_and(|message| matches!(message.role.as_str(), "system" | "developer"))
}

/// Where the elements of a list, which may be cut, begin and end.
struct Elements<'a> {
    raw: &'a [u8],
    at: usize,
}

impl Iterator for Elements<'_> {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<(usize, usize)> {
        let rest = self.raw.get(self.at..)?;
        let skipped =
            rest.iter().position(|byte| !(byte.is_ascii_whitespace() || matches!(byte, b',' | b']')))?;
        let from = self.at + skipped;
        let (mut depth, mut text, mut escaped) = (0_usize, false, false);
        let mut end = self.raw.len();
        for (byte, at) in self.raw.get(from..)?.iter().zip(from..) {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if text => escaped = true,
                b'"' => text = !text,
                _ if text => {}
                b'{' | b'[' => depth += 1,
                b',' | b']' if depth == 0 => {
                    end = at;
                    break;
                }
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        self.at = end;
        let element = self.raw.get(from..end)?;
        Some((from, from + element.trim_ascii_end().len()))
    }
}
