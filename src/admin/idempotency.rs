//! Repetitions of calls that create: `Idempotency-Key`.
//!
//! Owns the answers of calls that gave such a key, so that a caller who did not hear one may ask again. Refuses
//! to keep what a repetition should try anew (refusals at the door, a log that is down). Its invariants: of
//! several calls with one key one is carried out, also when its caller is gone before the answer; and it is
//! bounded, in time, in answers and in bytes, and so is the share of one session: beyond it the session loses its own
//! oldest answers, and never another's. A restart forgets all of it.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use poem::{
    Body, IntoResponse, Response,
    http::{HeaderMap, HeaderValue, StatusCode},
};
use projections::Millis;
use tokio::sync::watch;

use super::problem::{Code, Problem};
use crate::{
    locks::Mutex,
    shares::{Full, Share, Shares},
};

/// How long an answer is kept.
const DAY: Millis = 24 * 60 * 60_000;
/// Answers kept.
const ANSWERS: usize = 1_000;
/// Bytes of all of them together.
const BYTES: usize = 32 << 20;
/// Calls under way, and of those of one session.
const RUNNING: (usize, usize) = (256, 32);
/// Of the answers and their bytes a session has no more than one part in so many.
const SHARE: usize = 2;
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
    Here(Millis, u128, Answer),
}

#[derive(Default)]
struct Kept {
    entries: HashMap<Name, (blake3::Hash, Entry)>,
    bytes: usize,
}

/// See the module.
pub(super) struct Repeats {
    kept: Arc<Mutex<Kept>>,
    running: Shares,
}

impl Default for Repeats {
    fn default() -> Self {
        Self { kept: Arc::default(), running: Shares::new(RUNNING.0, RUNNING.1) }
    }
}

/// Who asks: whose answers they are, and whose share they take.
#[derive(Clone)]
pub(super) struct Asker {
    pub(super) actor: String,
    pub(super) caller: u128,
}

/// What a call finds.
enum Found {
    First(Place),
    Wait(watch::Receiver<()>),
    Again(Answer),
    Other,
    Full(Full),
}

/// The place of an answer that is to come; dropped without one, the next call is the first.
struct Place {
    kept: Arc<Mutex<Kept>>,
    name: Name,
    caller: u128,
    _running: Share,
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
            *entry = Entry::Here(now, self.caller, answer.clone());
            kept.bytes += answer.body.len();
        }
    }
}

impl Kept {
    fn remove(&mut self, name: &Name) {
        if let Some((_, Entry::Here(_, _, answer))) = self.entries.remove(name) {
            self.bytes = self.bytes.saturating_sub(answer.body.len());
        }
    }

    /// Old answers go, and then the oldest of a session that has its share, and then the oldest, until there is room
    /// for one more.
    fn make_room(&mut self, caller: u128, now: Millis) {
        let here = self.entries.iter().filter_map(|(name, (_, entry))| match entry {
            Entry::Here(at, whose, answer) => Some((*at, name.clone(), *whose, answer.body.len())),
            Entry::Coming(_) => None,
        });
        let mut here: Vec<(Millis, Name, u128, usize)> = here.collect();
        here.sort_unstable();
        let own = here.iter().filter(|(_, _, whose, _)| *whose == caller);
        let (mut own, mut own_bytes) =
            own.fold((0, 0), |(own, bytes), (_, _, _, length)| (own + 1, bytes + length));
        let mut left = here.len();
        for (at, name, whose, length) in here {
            let is_own = whose == caller;
            let share_taken = is_own && (own >= ANSWERS / SHARE || own_bytes >= BYTES / SHARE);
            let full = left >= ANSWERS || self.bytes >= BYTES;
            if now.saturating_sub(at) < DAY && !share_taken && !full {
                continue;
            }
            self.remove(&name);
            left -= 1;
            if is_own {
                (own, own_bytes) = (own - 1, own_bytes - length);
            }
        }
    }
}

impl Repeats {
    /// Carries a call out, or gives the answer of the one before it. `digest` is of all that it says.
    pub(super) async fn answer(
        &self,
        asker: Asker,
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
        let name = (asker.actor, plain.to_owned());
        let place = loop {
            match self.find(&name, asker.caller, digest, now) {
                Found::First(place) => break place,
                Found::Again(answer) => return answer.again(),
                Found::Wait(mut coming) => while coming.changed().await.is_ok() {},
                Found::Full(full) => {
                    let (number, whose) = match full {
                        Full::All(all) => (all, ""),
                        Full::Share(each) => (each, " of this session"),
                    };
                    let text = format!(
                        "{number} calls{whose} with an Idempotency-Key are under way: wait until one is done"
                    );
                    return Problem::of(Code::TooManyRepeats, text).after(1).into_response();
                }
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

    fn find(&self, name: &Name, caller: u128, digest: blake3::Hash, now: Millis) -> Found {
        let running = self.running.take(caller);
        let mut kept = self.kept.lock();
        kept.make_room(caller, now);
        match kept.entries.get(name) {
            Some((of, _)) if *of != digest => Found::Other,
            Some((_, Entry::Coming(coming))) => Found::Wait(coming.clone()),
            Some((_, Entry::Here(_, _, answer))) => Found::Again(answer.clone()),
            None => {
                let running = match running {
                    Ok(running) => running,
                    Err(full) => return Found::Full(full),
                };
                let (sender, coming) = watch::channel(());
                kept.entries.insert(name.clone(), (digest, Entry::Coming(coming)));
                let (kept, name) = (Arc::clone(&self.kept), name.clone());
                Found::First(Place { kept, name, caller, _running: running, _coming: sender })
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
            seen(self.repeats.answer(asker(actor), &key, digest, now, call).await).await
        }
    }

    /// Each with a session of its own.
    fn asker(actor: &str) -> Asker {
        Asker { actor: actor.to_owned(), caller: actor.len() as u128 }
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
            tokio::spawn(async move { repeats.answer(asker("ann"), &key, digest, 0, call).await })
        };
        while stage.calls.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let second = {
            let (repeats, call) = (Arc::clone(&stage.repeats), stage.call(200, None));
            tokio::spawn(async move { seen(repeats.answer(asker("ann"), &key, digest, 0, call).await).await })
        };
        tokio::task::yield_now().await;
        first.abort();
        let _ = first.await;
        go_on.send(()).unwrap();
        assert_eq!(second.await.unwrap(), (200, true, "call 1".to_owned()));
    }

    #[tokio::test]
    async fn one_session_has_only_so_many_calls_under_way() {
        let stage = Stage::new();
        let mut ends = Vec::new();
        let begin = |who: &str, number: usize, waits| {
            let (repeats, call) = (Arc::clone(&stage.repeats), stage.call(200, Some(waits)));
            let (asker, key) = (asker(who), HeaderValue::from_str(&number.to_string()).unwrap());
            tokio::spawn(async move { repeats.answer(asker, &key, blake3::hash(b"a"), 0, call).await })
        };
        for number in 0..RUNNING.1 {
            let (go_on, waits) = oneshot::channel();
            ends.push((go_on, begin("ann", number, waits)));
        }
        while stage.calls.load(Ordering::SeqCst) < u32::try_from(RUNNING.1).unwrap() {
            tokio::task::yield_now().await;
        }
        assert_eq!(stage.ask("ann", "more", "a", 200, 0).await.0, 429);
        assert_eq!(stage.ask("robert", "more", "a", 200, 0).await.0, 200, "others are served");
        for (go_on, answer) in ends {
            go_on.send(()).unwrap();
            assert_eq!(answer.await.unwrap().status(), 200);
        }
        assert_eq!(stage.ask("ann", "more", "a", 200, 0).await.0, 200);
    }

    #[tokio::test]
    async fn it_is_bounded_and_one_session_does_not_push_out_another() {
        let stage = Stage::new();
        stage.ask("ann", "first", "a", 200, 0).await;
        for number in 0..ANSWERS + 5 {
            let now = Millis::try_from(number).unwrap();
            stage.ask("robert", &number.to_string(), "a", 200, now).await;
        }
        assert!(stage.repeats.kept.lock().entries.len() <= ANSWERS / SHARE + 1);
        assert!(stage.ask("ann", "first", "a", 200, 2_000).await.1, "another's is still there");
        assert!(!stage.ask("robert", "0", "a", 200, 2_000).await.1, "the oldest went");
        assert!(stage.ask("robert", "1004", "a", 200, 2_000).await.1);
        for number in 0..ANSWERS {
            let actor = "x".repeat(10 + number % 5);
            stage.ask(&actor, &number.to_string(), "a", 200, 2_000).await;
        }
        assert!(stage.repeats.kept.lock().entries.len() <= ANSWERS);
        for key in ["k\u{7f}", ""] {
            let Ok(key) = HeaderValue::from_bytes(key.as_bytes()) else { continue };
            let call = stage.call(200, None);
            let answer = stage.repeats.answer(asker("ann"), &key, blake3::hash(b""), 0, call).await;
            assert_eq!(answer.status(), 400);
        }
    }
}
