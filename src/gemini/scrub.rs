//! Keeps upstream keys out of what is relayed and recorded.
//!
//! Google echoes keys in some of its errors. Owns their masking, in whole texts and in
//! streams, and the search for one where nothing can be masked, because it is packed.
//! Refuses to change lengths, so that a Content-Length stays true. One invariant:
//! however a stream is cut into chunks, what comes out is what masking the whole would
//! give.

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use bytes::{Bytes, BytesMut};
use memchr::memmem;
use zeroize::Zeroizing;

const MASK: u8 = b'*';

/// Masks one secret in a stream.
pub struct Scrubber {
    /// One for each way in which the secret may be written; one feeds the next.
    masks: Vec<Mask>,
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrubber")
    }
}

impl Scrubber {
    /// A scrubber of this secret.
    #[must_use]
    pub fn new(forms: &Forms) -> Self {
        let mask = |place| Mask { forms: forms.clone(), place, held: 0 };
        Self { masks: (0..forms.0.len()).map(mask).collect() }
    }

    /// Masks the secret in a chunk. A tail of it that may be the beginning of the secret
    /// is held back until the next; where there is nothing to mask or to hold, the chunk
    /// itself is returned.
    #[must_use]
    pub fn scrub(&mut self, chunk: Bytes) -> Bytes {
        self.masks.iter_mut().fold(chunk, |chunk, mask| mask.scrub(chunk))
    }

    /// What is held back at the end of the stream.
    #[must_use]
    pub fn finish(self) -> Bytes {
        let mut rest = Bytes::new();
        for mut mask in self.masks {
            let mut out = BytesMut::from(mask.scrub(rest));
            out.extend_from_slice(mask.held());
            rest = out.freeze();
        }
        rest
    }
}

/// The ways in which one secret may be written, found once for many texts. Clones share it.
#[derive(Clone)]
pub struct Forms(Arc<[Zeroizing<Vec<u8>>]>);

impl fmt::Debug for Forms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Forms")
    }
}

impl Forms {
    /// The forms of this secret. An empty one has none, and is never found.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self(forms(secret).into())
    }

    /// Whether a text has the secret in any form.
    #[must_use]
    pub fn are_in(&self, text: &[u8]) -> bool {
        self.0.iter().any(|form| memmem::find(text, form).is_some())
    }

    fn longest(&self) -> usize {
        self.0.iter().map(|form| form.len()).max().unwrap_or_default()
    }

    /// Masks every occurrence of the secret in a text.
    pub fn mask(&self, text: &mut [u8]) {
        for form in self.0.iter() {
            mask_all(text, form);
        }
    }
}

/// Looks for a secret in a text that goes by.
pub struct Hunt {
    forms: Forms,
    /// The end of what has gone by, in which a form may have begun.
    tail: Zeroizing<Vec<u8>>,
    found: bool,
}

impl fmt::Debug for Hunt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hunt")
    }
}

impl Hunt {
    /// Before the first byte.
    #[must_use]
    pub fn new(forms: &Forms) -> Self {
        let room = 2 * forms.longest();
        Self { forms: forms.clone(), tail: Zeroizing::new(Vec::with_capacity(room)), found: false }
    }

    /// Goes on by a chunk.
    pub fn feed(&mut self, chunk: &[u8]) {
        let most = self.forms.longest().saturating_sub(1);
        if self.found || self.forms.0.is_empty() {
            return;
        }
        let end = chunk.get(chunk.len().saturating_sub(most)..).unwrap_or_default();
        self.found = self.forms.are_in(chunk) || {
            self.tail.extend_from_slice(chunk.get(..most).unwrap_or(chunk));
            self.forms.are_in(&self.tail)
        };
        if end.len() == most {
            self.tail.clear();
            self.tail.extend_from_slice(end);
        } else {
            // A short chunk is in the tail as a whole.
            let over = self.tail.len().saturating_sub(most);
            self.tail.drain(..over);
        }
    }

    /// Whether it has gone by.
    #[must_use]
    pub fn found(&self) -> bool {
        self.found
    }
}

/// Masks everything in a text that looks like a key of Google's, or a token, whoever's it is.
pub fn mask_keys(text: &mut [u8]) {
    for (start, least) in [(b"AIza".as_slice(), 30), (b"AQ.".as_slice(), 20), (b"auth_tokens/".as_slice(), 8)]
    {
        let mut at = 0;
        while let Some(found) = text.get(at..).and_then(|rest| memmem::find(rest, start)) {
            let begin = at + found;
            let rest = text.get(begin + start.len()..).unwrap_or_default();
            let is_key = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
            let length = rest.iter().take_while(|byte| is_key(byte)).count();
            at = begin + start.len() + length;
            if length >= least
                && let Some(key) = text.get_mut(begin..at)
            {
                key.fill(MASK);
            }
        }
    }
}

/// Masks occurrences from the left, and says where the last one ended.
fn mask_all(text: &mut [u8], form: &[u8]) -> usize {
    let mut end = 0;
    while let Some(rest) = text.get_mut(end..)
        && let Some(found) = memmem::find(rest, form)
    {
        if let Some(place) = rest.get_mut(found..found + form.len()) {
            place.fill(MASK);
        }
        end += found + form.len();
    }
    end
}

/// Masks one form of a secret.
struct Mask {
    forms: Forms,
    /// Which of them.
    place: usize,
    /// How many bytes are held back. They are the beginning of the form, so their number
    /// is enough.
    held: usize,
}

impl Mask {
    /// Not empty.
    fn form(&self) -> &[u8] {
        self.forms.0.get(self.place).map(|form| form.as_slice()).unwrap_or_default()
    }

    fn held(&self) -> &[u8] {
        self.form().get(..self.held).unwrap_or_default()
    }

    fn scrub(&mut self, chunk: Bytes) -> Bytes {
        if self.held == 0 && memmem::find(&chunk, self.form()).is_none() {
            self.held = self.tail(&chunk);
            return chunk.slice(..chunk.len() - self.held);
        }
        let mut out = BytesMut::with_capacity(self.held + chunk.len());
        out.extend_from_slice(self.held());
        out.extend_from_slice(&chunk);
        let end = mask_all(&mut out, self.form());
        self.held = self.tail(out.get(end..).unwrap_or_default());
        out.truncate(out.len() - self.held);
        out.freeze()
    }

    /// The length of the longest end of a text that begins the form, but is not all of it.
    fn tail(&self, text: &[u8]) -> usize {
        let Some((first, others)) = self.form().split_first() else { return 0 };
        let window = text.get(text.len().saturating_sub(others.len())..).unwrap_or_default();
        memchr::memchr_iter(*first, window)
            .filter_map(|at| window.get(at..))
            .find(|end| self.form().starts_with(end))
            .map_or(0, <[u8]>::len)
    }
}

/// The ways in which a secret may be written: as it is, and where they differ, escaped for
/// a URL (in either case of letters) or for JSON (as little as it demands, with the slash,
/// or as Google does with what HTML might take for its own).
fn forms(secret: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let written = |write: &dyn Fn(u8, &mut Vec<u8>)| {
        // Large enough never to move: a move would leave a copy behind.
        let mut form = Zeroizing::new(Vec::with_capacity(6 * secret.len()));
        secret.iter().for_each(|byte| write(*byte, &mut form));
        form
    };
    let url = |digits: &'static [u8; 16]| {
        move |byte: u8, out: &mut Vec<u8>| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte),
            _ => out.extend(b"%".iter().chain(&hex(byte, digits))),
        }
    };
    let json = |also: &'static [u8]| {
        move |byte: u8, out: &mut Vec<u8>| match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            b'/' if also.contains(&byte) => out.extend(b"\\/"),
            _ if byte < b' ' || also.contains(&byte) => {
                out.extend(b"\\u00".iter().chain(&hex(byte, b"0123456789abcdef")));
            }
            _ => out.push(byte),
        }
    };
    let mut forms = vec![
        written(&|byte, out| out.push(byte)),
        written(&url(b"0123456789ABCDEF")),
        written(&url(b"0123456789abcdef")),
        written(&json(b"")),
        written(&json(b"/")),
        written(&json(b"<>&='")),
    ];
    let mut kept: Vec<Zeroizing<Vec<u8>>> = Vec::with_capacity(forms.len());
    for form in forms.drain(..) {
        if !form.is_empty() && !kept.contains(&form) {
            kept.push(form);
        }
    }
    kept
}

fn hex(byte: u8, digits: &[u8; 16]) -> [u8; 2] {
    [byte >> 4, byte & 15].map(|digit| digits.get(usize::from(digit)).copied().unwrap_or(b'0'))
}
