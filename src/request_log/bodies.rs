//! Bodies of requests and answers, where operators want them (LOG_BODIES).
//!
//! Owns what is kept of them: text alone, cut at 64 KiB, without credentials, for
//! LOG_BODIES_RETENTION_DAYS, in derived rows of the space `bodies` by request id.
//! They are no part of the log. It refuses to hold up a request: a copy is handed
//! over and written by the index's thread, and where too many wait, it is dropped.
//! Its invariant: with LOG_BODIES=off nothing is copied.

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
};

use http::{
    HeaderMap,
    header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE},
};
use projections::{Millis, RequestId};
use serde::{Deserialize, Serialize};

use crate::{
    config::LogBodies,
    gemini::{
        classify::gunzip,
        headers::API_KEY,
        scrub::{Forms, mask_keys},
        target::query_credentials,
    },
    ledger::{Derived, OpenError, Reader},
    locks::{Mutex, Rank},
    settings::Settings,
};

pub(super) const SPACE: &str = "bodies";
/// Bytes kept of a body.
pub const MOST: usize = 64 << 10;
/// Bytes copied beyond that, so that a credential at the cut is seen whole.
const MARGIN: usize = 4 << 10;
/// Bodies that may wait to be written.
const WAITING: usize = 256;
/// Bodies removed at once.
const PAGE: usize = 64;
/// Credentials shorter than this are left alone: masking them would mask half the text.
const SHORTEST: usize = 8;
const DAY: Millis = 86_400_000;

/// A copy of a body, as far as it is kept.
#[derive(Debug, Default)]
struct Copy {
    content_type: Option<String>,
    packed: bool,
    bytes: Vec<u8>,
    length: u64,
}

impl Copy {
    fn called(&mut self, headers: &HeaderMap) {
        let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
        self.content_type = text(CONTENT_TYPE).map(str::to_owned);
        self.packed = text(CONTENT_ENCODING).is_some_and(|encoding| encoding.eq_ignore_ascii_case("gzip"));
    }

    fn push(&mut self, chunk: &[u8]) {
        self.length += chunk.len() as u64;
        let room = (MOST + MARGIN).saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(chunk.get(..room.min(chunk.len())).unwrap_or_default());
    }

    fn kept(self, secrets: &[Forms]) -> Side {
        let Self { content_type, packed, mut bytes, length } = self;
        let mut cut = length > bytes.len() as u64;
        if packed {
            let whole = gunzip(&bytes, MOST + MARGIN).unwrap_or_default();
            cut |= whole.len() >= MOST + MARGIN;
            bytes = whole;
        }
        let text = content_type.as_deref().is_none_or(is_text);
        let text = (text && !bytes.is_empty()).then(|| {
            secrets.iter().for_each(|secret| secret.mask(&mut bytes));
            mask_keys(&mut bytes);
            cut |= bytes.len() > MOST;
            bytes.truncate(MOST);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Side { content_type, bytes: length, cut, text }
    }
}

/// Whether people can read it.
fn is_text(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind.starts_with("text/") || kind.ends_with("json")
}

/// The copies of one request's bodies, while it runs.
pub struct Capture {
    errors_only: bool,
    asked: Copy,
    answered: Copy,
    secrets: Vec<Forms>,
}

impl Capture {
    /// More of the request's body.
    pub fn asked(&mut self, chunk: &[u8]) {
        self.asked.push(chunk);
    }

    /// The answer's head.
    pub fn answers(&mut self, headers: &HeaderMap) {
        self.answered.called(headers);
    }

    /// More of the answer's body.
    pub fn answered(&mut self, chunk: &[u8]) {
        self.answered.push(chunk);
    }

    /// A secret that may be in the bodies, and must not stay there.
    pub fn hide(&mut self, secret: &Forms) {
        self.secrets.push(secret.clone());
    }
}

/// What is kept of one body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// As it was told.
    pub content_type: Option<String>,
    /// How long it was, as it was sent.
    pub bytes: u64,
    /// The text is only its beginning.
    pub cut: bool,
    /// The text, where it is one.
    pub text: Option<String>,
}

/// What is kept of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// What the client sent.
    pub request: Side,
    /// What it got.
    pub answer: Side,
}

struct Waiting {
    request: RequestId,
    capture: Box<Capture>,
}

/// See the module.
pub struct Bodies {
    settings: Arc<Settings>,
    waiting: Mutex<VecDeque<Waiting>>,
    /// One writes at a time, or a body would leave the queue unwritten.
    writing: Mutex<()>,
    store: OnceLock<Reader>,
}

impl Bodies {
    /// None yet; kept as the settings say at the time.
    #[must_use]
    pub fn new(settings: Arc<Settings>) -> Self {
        Self {
            settings,
            waiting: Mutex::default(),
            writing: Mutex::ranked(Rank::BodiesWriter, ()),
            store: OnceLock::new(),
        }
    }

    /// What is kept right now.
    #[must_use]
    pub fn keeping(&self) -> LogBodies {
        self.settings.now().log_bodies
    }

    /// Begins to copy a request's bodies, if that is wanted.
    #[must_use]
    pub fn begin(&self, headers: &HeaderMap, query: &str) -> Option<Box<Capture>> {
        let errors_only = match self.keeping() {
            LogBodies::Off => return None,
            LogBodies::Errors => true,
            LogBodies::All => false,
        };
        let mut asked = Copy::default();
        asked.called(headers);
        let bearer = |value: &http::HeaderValue| {
            value.to_str().ok()?.rsplit(' ').next().map(|token| token.as_bytes().to_vec())
        };
        let own = headers.get_all(API_KEY).iter().map(|value| value.as_bytes().to_vec());
        let own = own.chain(headers.get_all(AUTHORIZATION).iter().filter_map(bearer));
        let own = own.chain(query_credentials(query).map(|value| value.as_bytes().to_vec()));
        let secrets =
            own.filter(|secret| secret.len() >= SHORTEST).map(|secret| Forms::new(&secret)).collect();
        Some(Box::new(Capture { errors_only, asked, answered: Copy::default(), secrets }))
    }

    /// Hands over what was copied; says whether it is worth writing.
    pub(super) fn offer(&self, request: RequestId, failed: bool, capture: Box<Capture>) -> bool {
        let nothing = capture.asked.length == 0 && capture.answered.length == 0;
        if nothing || capture.errors_only && !failed {
            return false;
        }
        let mut waiting = self.waiting.lock();
        if waiting.len() >= WAITING {
            drop(waiting);
            tracing::warn!(%request, "too many bodies wait to be written: this request's are not kept");
            return false;
        }
        waiting.push_back(Waiting { request, capture });
        true
    }

    pub(super) fn set_store(&self, store: Reader) {
        let _ = self.store.set(store);
    }

    /// Writes what waits, and removes what is too old.
    pub(super) fn write_out(&self, now: Millis) {
        let Some(store) = self.store.get() else { return };
        let days = self.settings.now().log_bodies_retention_days;
        let done = self.write_waiting(store).and_then(|()| expire(store, now - Millis::from(days) * DAY));
        if let Err(error) = done {
            tracing::error!(%error, "bodies cannot be kept");
        }
    }

    fn write_waiting(&self, store: &Reader) -> Result<(), OpenError> {
        let _writing = self.writing.lock();
        loop {
            // It stays until it is written, so that whoever asks finds it in one place or the other.
            let row = self.waiting.lock().front_mut().map(|waiting| {
                let Capture { asked, answered, secrets, .. } = &mut *waiting.capture;
                let side = |copy: &mut Copy| {
                    let Copy { content_type, packed, bytes, length } = copy;
                    let copy = Copy {
                        content_type: content_type.clone(),
                        packed: *packed,
                        bytes: bytes.clone(),
                        length: *length,
                    };
                    copy.kept(secrets)
                };
                (waiting.request, Kept { request: side(asked), answer: side(answered) })
            });
            let Some((request, kept)) = row else { return Ok(()) };
            let row = serde_json::to_vec(&kept).unwrap_or_default();
            let written = store.write(SPACE, &[(key_of(request), Some(row))]);
            self.waiting.lock().pop_front();
            written?;
        }
    }

    /// What was kept of a request. Blocks.
    ///
    /// # Errors
    /// [`OpenError::Journal`].
    pub fn get(&self, request: RequestId) -> Result<Option<Kept>, OpenError> {
        let Some(store) = self.store.get() else { return Ok(None) };
        // The one that waits is written a moment later.
        while self.waiting.lock().iter().any(|waiting| waiting.request == request) {
            self.write_waiting(store)?;
        }
        let row = store.get(SPACE, &key_of(request))?;
        Ok(row.and_then(|row| serde_json::from_slice(&row).ok()))
    }
}

/// Ids begin with their time, so the order of keys is that of time.
fn key_of(request: RequestId) -> Vec<u8> {
    request.0.to_be_bytes().to_vec()
}

/// Removes the bodies of requests before a time.
fn expire(store: &dyn Derived, before: Millis) -> Result<(), OpenError> {
    let end = u128::try_from(before).unwrap_or_default() << 80;
    loop {
        let rows = store.scan(SPACE, &[], &end.to_be_bytes(), false, PAGE)?;
        if rows.is_empty() {
            return Ok(());
        }
        let gone: Vec<_> = rows.into_iter().map(|(key, _)| (key, None)).collect();
        store.write(SPACE, &gone)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::memory::MemoryJournal;

    fn copy(content_type: &str, body: &[u8]) -> Copy {
        let mut copy = Copy { content_type: Some(content_type.to_owned()), ..Copy::default() };
        body.chunks(1_000).for_each(|chunk| copy.push(chunk));
        copy
    }

    #[test]
    fn a_body_is_cut_and_says_so() {
        let kept = copy("application/json", &[b'a'; MOST]).kept(&[]);
        assert_eq!((kept.bytes, kept.cut, kept.text.unwrap().len()), (MOST as u64, false, MOST));
        for length in [MOST + 1, MOST + MARGIN, 3 * MOST] {
            let kept = copy("text/plain", &vec![b'a'; length]).kept(&[]);
            assert_eq!((kept.bytes, kept.cut, kept.text.unwrap().len()), (length as u64, true, MOST));
        }
    }

    #[test]
    fn what_is_no_text_is_not_kept() {
        for kind in ["image/png", "multipart/related; boundary=x", "application/octet-stream"] {
            let kept = copy(kind, b"bytes").kept(&[]);
            assert_eq!((kept.text, kept.bytes), (None, 5), "{kind}");
        }
        for kind in ["text/event-stream", "application/json; charset=UTF-8", "application/problem+json"] {
            assert!(copy(kind, b"text").kept(&[]).text.is_some(), "{kind}");
        }
    }

    #[test]
    fn credentials_are_masked_also_at_the_cut() {
        let secret = b"client-key-for-tests-0001";
        let mut body = vec![b'.'; MOST - 4];
        body.extend(secret);
        let key = ["AIzaSyA0123456789", "0123456789abcdefghijkl"].concat();
        let text = copy("text/plain", &body).kept(&[Forms::new(secret)]).text.unwrap();
        assert!(text.ends_with(".****"), "{}", &text[MOST - 8..]);
        let text = copy("text/plain", format!("{{\"key\": \"{key}\"}}").as_bytes()).kept(&[]).text.unwrap();
        assert_eq!(text, format!("{{\"key\": \"{}\"}}", "*".repeat(key.len())));
    }

    #[test]
    fn old_ones_are_removed_by_their_time() {
        let store = MemoryJournal::new();
        let id = |ms: u128| RequestId((ms << 80) | 77);
        for ms in 1_000..1_200 {
            store.write(SPACE, &[(key_of(id(ms)), Some(vec![1]))]).unwrap();
        }
        expire(&store, 1_150).unwrap();
        assert_eq!(store.get(SPACE, &key_of(id(1_149))).unwrap(), None);
        assert!(store.get(SPACE, &key_of(id(1_150))).unwrap().is_some());
        expire(&store, -5).unwrap();
        assert_eq!(store.scan(SPACE, &[], &[255; 17], false, 1_000).unwrap().len(), 50);
    }
}
