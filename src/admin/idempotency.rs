//! Repetitions of calls that create: `Idempotency-Key`.
//!
//! Owns the answers of calls that gave such a key, so that a caller who did not hear one may ask again. Refuses
//! to keep what a repetition should try anew (refusals at the door, a log that is down). Its invariants: of
//! several calls with one key one is carried out, also when its caller is gone before the answer; and it is
//! bounded, in time, in answers and in bytes. A restart forgets all of it.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use poem::{
    Body, IntoResponse, Response,
    http::{HeaderMap, HeaderValue, StatusCode},
};
use projections::Millis;
use tokio::sync::watch;

use super::problem::{Code, Problem};
use crate::locks::Mutex;

/// How long an answer is kept.
const DAY: Millis = 24 * 60 * 60_000;
/// Answers kept.
const ANSWERS: usize = 1_000;
/// Bytes of all of them together.
const BYTES: usize = 32 << 20;
/// Longest key.
const LONGEST: usize = 255;

/// Who asks, and the word of theirs.
type Name = (String, String);

/// An answer, kept.
#[derive(Clone)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

enum Entry {
    /// It is on its way; the channel closes when it is here.
    Coming(watch::Receiver<()>),
    Here(Millis, Answer),
}

#[derive(Default)]
struct Kept {
    entries: HashMap<Name, (blake3::Hash, Entry)>,
    bytes: usize,
}

/// See the module.
#[derive(Default)]
pub(super) struct Repeats(Arc<Mutex<Kept>>);

/// What a call finds.
enum Found {
    First(Place),
    Wait(watch::Receiver<()>),
    Again(Answer),
    Other,
}

/// The place of an answer that is to come; dropped without one, the next call is the first.
struct Place {
    kept: Arc<Mutex<Kept>>,
    name: Name,
    _coming: watch::Sender<()>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut kept = self.kept.lock();
        if matches!(kept.entries.get(&self.name), Some((_, Entry::Coming(_)))) {
            kept.entries.remove(&self.name);
        }
    }
}

impl Place {
    fn fill(&self, answer: &Answer, now: Millis) {
        let mut kept = self.kept.lock();
        if let Some((_, entry)) = kept.entries.get_mut(&self.name) {
            *entry = Entry::Here(now, answer.clone());
            kept.bytes += answer.body.len();
        }
    }
}

impl Kept {
    fn remove(&mut self, name: &Name) {
        if let Some((_, Entry::Here(_, answer))) = self.entries.remove(name) {
            self.bytes = self.bytes.saturating_sub(answer.body.len());
        }
    }

    /// Old answers go, and then the oldest, until there is room for one more.
    fn make_room(&mut self, now: Millis) {
        let here = self.entries.iter().filter_map(|(name, (_, entry))| match entry {
            Entry::Here(at, _) => Some((*at, name.clone())),
            Entry::Coming(_) => None,
        });
        let mut here: Vec<(Millis, Name)> = here.collect();
        here.sort();
        let mut left = here.len();
        for (at, name) in here {
            if now.saturating_sub(at) < DAY && left < ANSWERS && self.bytes < BYTES {
                break;
            }
            self.remove(&name);
            left -= 1;
        }
    }
}

impl Repeats {
    /// Carries a call out, or gives the answer of the one before it. `digest` is of all that it says.
    pub(super) async fn answer(
        &self,
        actor: String,
        key: &HeaderValue,
        digest: blake3::Hash,
        now: Millis,
        call: impl Future<Output = Response> + Send + 'static,
    ) -> Response {
        let plain = key
            .to_str()
            .ok()
            .filter(|key| (1..=LONGEST).contains(&key.len()) && !key.contains(char::is_control));
        let Some(plain) = plain else {
            let text = format!("`Idempotency-Key` wants 1 to {LONGEST} visible ASCII characters");
            return Problem::of(Code::BadParameter, text).into_response();
        };
        let name = (actor, plain.to_owned());
        let place = loop {
            match self.find(&name, digest, now) {
                Found::First(place) => break place,
                Found::Again(answer) => return answer.again(),
                Found::Wait(mut coming) => while coming.changed().await.is_ok() {},
                Found::Other => {
                    let text = "this Idempotency-Key was used for another request: take a new one for each";
                    return Problem::of(Code::IdempotencyKeyReused, text).into_response();
                }
            }
        };
        // By itself, so that it comes to its end though the caller hangs up.
        let carried_out = tokio::spawn(async move {
            let (head, body) = call.await.into_parts();
            let body = body.into_bytes().await.unwrap_or_default();
            let answer = Answer { status: head.status, headers: head.headers, body };
            if is_an_end(answer.status) {
                place.fill(&answer, now);
            }
            answer
        });
        match carried_out.await {
            Ok(answer) => answer.first(),
            Err(_) => Problem::of(Code::Internal, "the server's log says more").into_response(),
        }
    }

    fn find(&self, name: &Name, digest: blake3::Hash, now: Millis) -> Found {
        let mut kept = self.0.lock();
        kept.make_room(now);
        match kept.entries.get(name) {
            Some((of, _)) if *of != digest => Found::Other,
            Some((_, Entry::Coming(coming))) => Found::Wait(coming.clone()),
            Some((_, Entry::Here(_, answer))) => Found::Again(answer.clone()),
            None => {
                let (sender, coming) = watch::channel(());
                kept.entries.insert(name.clone(), (digest, Entry::Coming(coming)));
                Found::First(Place { kept: Arc::clone(&self.0), name: name.clone(), _coming: sender })
            }
        }
    }
}

/// What a repetition would hear again anyhow; the rest may be otherwise next time.
fn is_an_end(status: StatusCode) -> bool {
    status.is_success() || matches!(status.as_u16(), 400 | 404 | 409)
}

impl Answer {
    fn first(self) -> Response {
        let mut response = Response::builder().status(self.status).body(Body::from_bytes(self.body));
        *response.headers_mut() = self.headers;
        response
    }

    fn again(self) -> Response {
        let mut response = self.first();
        response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
        response
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    struct Stage {
        repeats: Arc<Repeats>,
        calls: Arc<AtomicU32>,
    }

    impl Stage {
        fn new() -> Self {
            Self { repeats: Arc::default(), calls: Arc::default() }
        }

        /// A call that says how many there were, once it is let go on.
        fn call(
            &self,
            status: u16,
            go_on: Option<oneshot::Receiver<()>>,
        ) -> impl Future<Output = Response> + use<> {
            let calls = Arc::clone(&self.calls);
            async move {
                let number = calls.fetch_add(1, Ordering::SeqCst) + 1;
                if let Some(go_on) = go_on {
                    let _ = go_on.await;
                }
                let status = StatusCode::from_u16(status).unwrap();
                Response::builder().status(status).header("x", "y").body(format!("call {number}"))
            }
        }

        async fn ask(
            &self,
            actor: &str,
            key: &str,
            body: &str,
            status: u16,
            now: Millis,
        ) -> (u16, bool, String) {
            let key = HeaderValue::from_str(key).unwrap();
            let call = self.call(status, None);
            let digest = blake3::hash(body.as_bytes());
            seen(self.repeats.answer(actor.to_owned(), &key, digest, now, call).await).await
        }
    }

    async fn seen(response: Response) -> (u16, bool, String) {
        let again = response.headers().contains_key("idempotency-replayed");
        (response.status().as_u16(), again, response.into_body().into_string().await.unwrap())
    }

    #[tokio::test]
    async fn the_first_answer_comes_again_for_a_day() {
        let stage = Stage::new();
        assert_eq!(stage.ask("ann", "k", "a", 201, 0).await, (201, false, "call 1".to_owned()));
        assert_eq!(stage.ask("ann", "k", "a", 201, DAY - 1).await, (201, true, "call 1".to_owned()));
        let (status, _, told) = stage.ask("ann", "k", "b", 201, 5).await;
        assert!(status == 422 && told.contains("idempotency_key_reused"), "{told}");
        assert_eq!(stage.ask("bob", "k", "b", 201, 5).await.2, "call 2", "each has words of their own");
        assert_eq!(stage.ask("ann", "k", "a", 201, DAY).await, (201, false, "call 3".to_owned()));
    }

    #[tokio::test]
    async fn what_may_be_otherwise_next_time_is_tried_again() {
        let stage = Stage::new();
        assert_eq!(stage.ask("ann", "k", "a", 503, 0).await.2, "call 1");
        assert_eq!(stage.ask("ann", "k", "a", 409, 0).await.2, "call 2");
        assert_eq!(stage.ask("ann", "k", "a", 200, 0).await, (409, true, "call 2".to_owned()));
    }

    #[tokio::test]
    async fn a_repetition_waits_for_the_first_also_when_its_caller_is_gone() {
        let stage = Stage::new();
        let (go_on, waits) = oneshot::channel();
        let key = HeaderValue::from_static("k");
        let digest = blake3::hash(b"a");
        let first = {
            let (repeats, call, key) =
                (Arc::clone(&stage.repeats), stage.call(200, Some(waits)), key.clone());
            tokio::spawn(async move { repeats.answer("ann".to_owned(), &key, digest, 0, call).await })
        };
        while stage.calls.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let second = {
            let (repeats, call) = (Arc::clone(&stage.repeats), stage.call(200, None));
            tokio::spawn(
                async move { seen(repeats.answer("ann".to_owned(), &key, digest, 0, call).await).await },
            )
        };
        tokio::task::yield_now().await;
        first.abort();
        let _ = first.await;
        go_on.send(()).unwrap();
        assert_eq!(second.await.unwrap(), (200, true, "call 1".to_owned()));
    }

    #[tokio::test]
    async fn it_is_bounded() {
        let stage = Stage::new();
        for number in 0..ANSWERS + 5 {
            let now = Millis::try_from(number).unwrap();
            stage.ask("ann", &number.to_string(), "a", 200, now).await;
        }
        assert!(stage.repeats.0.lock().entries.len() <= ANSWERS);
        assert!(!stage.ask("ann", "0", "a", 200, 2_000).await.1, "the oldest went");
        assert!(stage.ask("ann", "1004", "a", 200, 2_000).await.1);
        for key in ["k\u{7f}", ""] {
            let Ok(key) = HeaderValue::from_bytes(key.as_bytes()) else { continue };
            let call = stage.call(200, None);
            let answer = stage.repeats.answer("ann".to_owned(), &key, blake3::hash(b""), 0, call).await;
            assert_eq!(answer.status(), 400);
        }
    }
}
