//! Walks over a JSON document as its bytes arrive, without keeping it.
//!
//! Owns the one lexer that request bodies and answers are read with. It looks into the
//! few containers that its visitor asks for, hands over the few values that it wants,
//! and skips all else at the speed of a byte search: most of a large body is inside
//! strings. Refuses to validate. One invariant: how the bytes are cut into chunks makes
//! no difference.
//!
//! It knows where in the document it is, so text that merely looks like a member, in a
//! string or deeper down in a client's or a model's own data, is never taken for one.

use std::{borrow::Cow, fmt::Debug};

/// What to do with the value of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Member<L, T> {
    /// Nothing.
    Skip,
    /// Hand it over, as raw JSON.
    Take {
        /// What to call it.
        tag: T,
        /// The most bytes it may have.
        limit: usize,
    },
    /// Look into it, if it is an object or an array of objects.
    Enter(L),
}

/// Says what is wanted of a document, and receives it.
pub(super) trait Visit: Debug {
    /// Where a member stands; the default is the outermost object.
    type Level: Copy + Debug + Default;
    /// Names a value that was asked for.
    type Tag: Copy + Debug;

    /// Asked for each member of a container that is looked into.
    fn member(&mut self, level: Self::Level, name: &str) -> Member<Self::Level, Self::Tag>;

    /// Given each value that was asked for; none where it is over its limit.
    fn value(&mut self, tag: Self::Tag, raw: Option<&[u8]>);

    /// Given the first bytes, up to its limit, of each value that is longer.
    fn long(&mut self, tag: Self::Tag, _: &[u8]) {
        self.value(tag, None);
    }

    /// Told of the end of each object that was looked into, the outermost included.
    fn closed(&mut self, _: Self::Level) {}
}

/// Most containers that are looked into at once; those further in are skipped.
const DEEPEST: usize = 16;
/// Longest name of a member that can be asked for, in bytes of JSON.
const LONGEST_NAME: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before a value.
    Value,
    /// Before the name of a member, or the end of an object.
    Name,
    InName,
    Colon,
    /// In a string, a number or a literal that stands by itself.
    Text,
    Word,
    /// In a container that is not looked into, outside and inside of a string there.
    Passed,
    PassedText,
    /// After a value, in a container that is looked into.
    After,
    /// After the document.
    Done,
    /// It is no JSON that anybody here wants.
    Broken,
}

#[derive(Clone, Copy, Debug, Default)]
struct Frame<L> {
    array: bool,
    level: L,
}

/// A walk over one document after another.
#[derive(Debug)]
pub(super) struct Walk<V: Visit> {
    visitor: V,
    at: At,
    /// The containers that are being looked into.
    open: [Frame<V::Level>; DEEPEST],
    depth: usize,
    /// How many containers are open in one that is not.
    passed: usize,
    /// The last byte was a backslash, in a string.
    escaped: bool,
    /// The name under way, in its quotes.
    name: Vec<u8>,
    /// What to do with the value ahead.
    plan: Member<V::Level, V::Tag>,
    /// The value under way, if it is wanted, and its limit; and its bytes so far.
    taking: Option<(V::Tag, usize)>,
    taken: Vec<u8>,
}

impl<V: Visit> Walk<V> {
    pub(super) fn new(visitor: V) -> Self {
        Self {
            visitor,
            at: At::Value,
            open: [Frame::default(); DEEPEST],
            depth: 0,
            passed: 0,
            escaped: false,
            name: Vec::new(),
            plan: Member::Enter(V::Level::default()),
            taking: None,
            taken: Vec::new(),
        }
    }

    pub(super) fn visitor(&self) -> &V {
        &self.visitor
    }

    pub(super) fn visitor_mut(&mut self) -> &mut V {
        &mut self.visitor
    }

    /// The document ended as JSON does.
    pub(super) fn whole(&self) -> bool {
        self.at == At::Done
    }

    /// No further byte can matter.
    pub(super) fn over(&self) -> bool {
        matches!(self.at, At::Done | At::Broken)
    }

    /// Nothing has begun yet.
    pub(super) fn fresh(&self) -> bool {
        self.at == At::Value && self.depth == 0
    }

    /// The value that was being taken when the document was cut, unless over its limit.
    pub(super) fn partial(&self) -> Option<(V::Tag, &[u8])> {
        self.taking
            .filter(|(_, limit)| self.taken.len() <= *limit)
            .map(|(tag, _)| (tag, self.taken.as_slice()))
    }

    /// Begins another document.
    pub(super) fn restart(&mut self) {
        (self.at, self.depth, self.passed, self.escaped) = (At::Value, 0, 0, false);
        self.plan = Member::Enter(V::Level::default());
        self.taking = None;
        self.taken.clear();
    }

    /// Goes on by a chunk.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while let Some(&byte) = bytes.first() {
            let used = match self.at {
                At::Value => self.begin(byte),
                At::Name => self.name_or_end(byte),
                At::InName | At::Text | At::PassedText => self.text(bytes),
                At::Colon => self.colon(byte),
                At::Word => self.word(bytes),
                At::Passed => self.pass(bytes),
                At::After => self.after(byte),
                At::Done | At::Broken => return,
            };
            bytes = bytes.get(used..).unwrap_or_default();
        }
    }

    fn begin(&mut self, byte: u8) -> usize {
        if byte.is_ascii_whitespace() {
            return 1;
        }
        let in_array = self.depth > 0 && self.frame().array;
        if byte == b']' && in_array {
            self.close();
            return 1;
        }
        let plan = std::mem::replace(&mut self.plan, Member::Skip);
        if let Member::Take { tag, limit } = plan {
            self.taking = Some((tag, limit));
        }
        let container = matches!(byte, b'{' | b'[');
        if let (Member::Enter(level), true) = (plan, container)
            && let Some(frame) = self.open.get_mut(self.depth)
        {
            let array = byte == b'[';
            *frame = Frame { array, level };
            self.depth += 1;
            if array {
                self.plan = plan;
            }
            self.at = if array { At::Value } else { At::Name };
            return 1;
        }
        match byte {
            b'{' | b'[' => (self.at, self.passed) = (At::Passed, 1),
            // By itself it is nothing that anybody here could want.
            _ if self.depth == 0 => self.at = At::Broken,
            b'"' => self.at = At::Text,
            _ => {
                self.at = At::Word;
                return 0;
            }
        }
        self.keep(&[byte]);
        1
    }

    fn name_or_end(&mut self, byte: u8) -> usize {
        match byte {
            b'"' => {
                self.name.clear();
                self.name.push(byte);
                self.at = At::InName;
            }
            b'}' => self.close(),
            _ if byte.is_ascii_whitespace() => {}
            _ => self.at = At::Broken,
        }
        1
    }

    fn colon(&mut self, byte: u8) -> usize {
        match byte {
            b':' => {
                self.plan = self.ask();
                self.at = At::Value;
            }
            _ if byte.is_ascii_whitespace() => {}
            _ => self.at = At::Broken,
        }
        1
    }

    fn after(&mut self, byte: u8) -> usize {
        match byte {
            b',' => {
                let frame = self.frame();
                self.plan = Member::Enter(frame.level);
                self.at = if frame.array { At::Value } else { At::Name };
            }
            b'}' | b']' => self.close(),
            _ if byte.is_ascii_whitespace() => {}
            _ => self.at = At::Broken,
        }
        1
    }

    /// To the end of a string, or of the chunk.
    fn text(&mut self, bytes: &[u8]) -> usize {
        let (used, closed) = self.find_quote(bytes);
        let part = bytes.get(..used).unwrap_or_default();
        if self.at == At::InName {
            // One that is too long loses its closing quote, and is no name then.
            let room = LONGEST_NAME.saturating_sub(self.name.len());
            self.name.extend(part.iter().take(room));
        } else {
            self.keep(part);
        }
        match self.at {
            _ if !closed => {}
            At::InName => self.at = At::Colon,
            At::PassedText => self.at = At::Passed,
            _ => self.end_value(),
        }
        used
    }

    /// How far a string goes, and whether its closing quote is there.
    fn find_quote(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut from = usize::from(std::mem::take(&mut self.escaped));
        while let Some(rest) = bytes.get(from..) {
            let Some(found) = memchr::memchr2(b'"', b'\\', rest) else { break };
            if rest.get(found) == Some(&b'"') {
                return (from + found + 1, true);
            }
            // A backslash: whatever comes next is no quote.
            from += found + 2;
        }
        self.escaped = from > bytes.len();
        (bytes.len(), false)
    }

    fn word(&mut self, bytes: &[u8]) -> usize {
        let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace();
        let end = bytes.iter().position(ends);
        let used = end.unwrap_or(bytes.len());
        self.keep(bytes.get(..used).unwrap_or_default());
        if end.is_some() {
            self.end_value();
        }
        used
    }

    /// To the next string in a container that is skipped, or to its end.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'{' | b'[' => self.passed += 1,
                b'}' | b']' => self.passed -= 1,
                b'"' => self.at = At::PassedText,
                _ => continue,
            }
            if self.passed == 0 || self.at == At::PassedText {
                self.keep(bytes.get(..=at).unwrap_or_default());
                if self.passed == 0 {
                    self.end_value();
                }
                return at + 1;
            }
        }
        self.keep(bytes);
        bytes.len()
    }

    fn keep(&mut self, part: &[u8]) {
        if let Some((_, limit)) = self.taking {
            // One byte over the limit tells that it is too long.
            let room = (limit + 1).saturating_sub(self.taken.len());
            self.taken.extend_from_slice(part.get(..room).unwrap_or(part));
        }
    }

    fn end_value(&mut self) {
        if let Some((tag, limit)) = self.taking.take() {
            match self.taken.get(..limit) {
                Some(start) if self.taken.len() > limit => self.visitor.long(tag, start),
                _ => self.visitor.value(tag, Some(&self.taken)),
            }
            self.taken.clear();
        }
        self.at = if self.depth == 0 { At::Done } else { At::After };
    }

    fn close(&mut self) {
        let frame = self.frame();
        if !frame.array {
            self.visitor.closed(frame.level);
        }
        self.depth -= 1;
        self.end_value();
    }

    /// The innermost container that is looked into; asked only inside of one.
    fn frame(&self) -> Frame<V::Level> {
        self.open.get(self.depth.wrapping_sub(1)).copied().unwrap_or_default()
    }

    /// Asks the visitor about the member whose name has just ended.
    fn ask(&mut self) -> Member<V::Level, V::Tag> {
        let level = self.frame().level;
        let name = match self.name.as_slice() {
            [b'"', plain @ .., b'"'] if !plain.contains(&b'\\') => {
                std::str::from_utf8(plain).ok().map(Cow::Borrowed)
            }
            quoted => serde_json::from_slice(quoted).ok().map(Cow::Owned),
        };
        name.map_or(Member::Skip, |name: Cow<'_, str>| self.visitor.member(level, &name))
    }
}
