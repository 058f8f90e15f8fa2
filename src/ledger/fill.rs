//! A made-up history, written as fast as the disk takes it: for measuring how a long log behaves.
//!
//! Owns a believable life of a pool: apps that ask day and night, models of unequal weight, quotas that run out
//! and come back, trouble at Google. What follows from a try is what the rules say, so gates, budgets and days are
//! the real ones. It refuses to touch a log that is in use. The same seed writes the same events.

use projections::{
    ClientId, Event, KeyId, Millis, Recorded, RequestId, Seq, State,
    event::{Answered, Attempted, Outcome, Scope, Tokens, Verdict, Violation, Window},
};

use super::{
    OpenError,
    checkpoint::{self, EVERY, Kind, Packed},
    replay::replay,
    rules::{self, Penalty},
    writer::segment_of,
};
use crate::{
    gemini::classify::{Blame, Hold},
    journal::{self, Batch, Frame, Journal, codec},
};

/// Events appended at once.
const BATCH: usize = 1_000;
/// Models, and how often of a hundred times each is asked.
const MODELS: [(&str, u64); 6] = [
    ("gemini-2.5-flash", 46),
    ("gemini-2.5-flash-lite", 22),
    ("gemini-2.5-pro", 14),
    ("gemini-embedding-001", 10),
    ("gemini-2.0-flash", 6),
    ("gemini-3-pro-preview", 2),
];
const DAY_MS: Millis = 24 * 3_600_000;

/// How much to make up.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Events at least, all together.
    pub events: u64,
    /// When the last one happens.
    pub until: Millis,
    /// What everything is drawn from.
    pub seed: u64,
}

struct Life<'a> {
    journal: &'a dyn Journal,
    state: State,
    hash: codec::ChainHash,
    frames: Vec<Frame>,
    next_checkpoint: Seq,
    random: u64,
}

/// Writes a history into a log that has keys and, if wanted, clients; tells now and then how far it is.
///
/// # Errors
/// [`OpenError`].
pub fn fill(journal: &dyn Journal, wish: Wish, progress: &mut dyn FnMut(u64)) -> Result<(), OpenError> {
    let (state, hash, _) = replay(journal, EVERY)?;
    let keys: Vec<(KeyId, String)> = state.keys.iter().map(|key| (key.id, key.project.clone())).collect();
    let clients: Vec<ClientId> = state.access.iter().map(|client| client.id).collect();
    let next_checkpoint = state.seq + EVERY;
    let mut life = Life { journal, state, hash, frames: Vec::new(), next_checkpoint, random: wish.seed };
    let (begun, left) = (life.state.at, wish.events.saturating_sub(life.state.seq).max(1));
    let (from, span) = (life.state.seq, wish.until.saturating_sub(begun).max(1));
    let mut told = 0;
    while life.state.seq < wish.events && !keys.is_empty() {
        let done = (life.state.seq - from) as f64 / left as f64;
        let even = begun.saturating_add((span as f64 * done) as Millis);
        // More by day than by night, and never back; at both ends as it is told, for nothing lies beyond them.
        let hour = even.rem_euclid(DAY_MS) as f64 / DAY_MS as f64;
        let swing = 2.0 * 3_600_000.0 * (4.0 * done.min(1.0 - done)).clamp(0.0, 1.0);
        let now = even.saturating_add((swing * (hour * std::f64::consts::TAU).sin()) as Millis);
        life.request(&keys, &clients, now.min(wish.until).max(life.state.at))?;
        if life.state.seq / 100_000 > told {
            told = life.state.seq / 100_000;
            progress(life.state.seq);
        }
    }
    life.flush()?;
    let packed = Packed::new(&life.state, life.hash).map_err(journal::Error::from)?;
    checkpoint::keep(journal, &packed, false)?;
    journal.sync()?;
    Ok(())
}

/// Removes every checkpoint that is made anew where it is missing, so that a start without them can be measured.
///
/// # Errors
/// [`journal::Error`].
pub fn forget_checkpoints(journal: &dyn Journal) -> Result<(), journal::Error> {
    for kind in [Kind::Full, Kind::Past] {
        checkpoint::forget(journal, kind, &checkpoint::places(journal, kind, Seq::MAX)?)?;
    }
    journal.sync()
}

impl Life<'_> {
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, below: u64) -> u64 {
        self.random() % below.max(1)
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        let at = self.below(from.len() as u64);
        from.get(usize::try_from(at).unwrap_or(0)).cloned()
    }

    fn request(
        &mut self,
        keys: &[(KeyId, String)],
        clients: &[ClientId],
        now: Millis,
    ) -> Result<(), OpenError> {
        let mut drawn = self.below(100);
        let fits = |(model, share): &(&'static str, u64)| {
            let fits = drawn < *share;
            drawn = drawn.saturating_sub(*share);
            fits.then_some(*model)
        };
        let model = MODELS.iter().find_map(fits).unwrap_or("gemini-2.5-flash");
        let (client, id) = (self.pick(clients), self.random());
        let request = RequestId((u128::from(now.unsigned_abs()) << 80) | (7 << 76) | u128::from(id >> 2));
        let (mut attempt, mut last) = (0, None);
        while attempt < 3 {
            let Some((key, project)) = self.open_key(keys, model, now) else { break };
            attempt += 1;
            let (tried, penalty) = self.attempt(request, attempt, client, (key, project), model, now);
            let verdict = tried.verdict;
            last = Some((verdict, tried.status, tried.latency_ms, tried.bytes_received));
            let follows = rules::attempted(&self.state, tried, penalty, 3, now);
            self.push(follows, now)?;
            if verdict.is_success() || verdict == Verdict::ClientFault {
                break;
            }
        }
        let (verdict, status, latency, bytes) = last.unwrap_or((Verdict::QuotaMinute, 429, 0, 0));
        let passed = verdict.is_success() || verdict == Verdict::ClientFault;
        let answered = Answered {
            request,
            client,
            address: "192.0.2.7".to_owned(),
            verb: "POST".to_owned(),
            path: format!("/v1beta/models/{model}:generateContent"),
            model: model.to_owned(),
            method: "generateContent".to_owned(),
            streamed: id.is_multiple_of(2),
            started: now,
            duration_ms: latency.saturating_add(3),
            first_byte_ms: passed.then_some(latency / 3),
            status,
            attempts: attempt,
            outcome: if passed { Outcome::Complete } else { Outcome::Refused },
            reason: None,
            bytes,
            waited_ms: 0,
        };
        self.push(vec![answered.into()], now)
    }

    fn open_key(&mut self, keys: &[(KeyId, String)], model: &str, now: Millis) -> Option<(KeyId, String)> {
        for _ in 0..8 {
            let (key, project) = self.pick(keys)?;
            let scopes = [
                Scope::Key(key),
                Scope::Project(project.clone()),
                Scope::Model { project: project.clone(), model: model.to_owned(), window: Window::Minute },
                Scope::Model { project: project.clone(), model: model.to_owned(), window: Window::Day },
            ];
            if !scopes.iter().any(|scope| self.state.keys.gate(scope).is_some_and(|gate| gate.is_closed(now)))
            {
                return Some((key, project));
            }
        }
        None
    }

    fn attempt(
        &mut self,
        request: RequestId,
        attempt: u8,
        client: Option<ClientId>,
        (key, project): (KeyId, String),
        model: &str,
        now: Millis,
    ) -> (Attempted, Penalty) {
        let spread = self.below(1_000) as u16;
        let (verdict, status, blame, hold) = match self.below(1_000) {
            0..20 => (Verdict::QuotaMinute, 429, Blame::Model, Hold::For { ms: 30_000 }),
            20..22 => (Verdict::QuotaDay, 429, Blame::Model, Hold::DayTurns),
            22..32 => (Verdict::Overloaded, 503, Blame::Upstream, Hold::Streak),
            32..40 => (Verdict::ClientFault, 400, Blame::Client, Hold::None),
            _ => (Verdict::Success, 200, Blame::Nobody, Hold::None),
        };
        let ok = verdict.is_success();
        let refused = matches!(verdict, Verdict::QuotaMinute | Verdict::QuotaDay);
        let window = if verdict == Verdict::QuotaDay { Window::Day } else { Window::Minute };
        let (prompt, output) = (self.below(8_000) as u32, self.below(1_200) as u32);
        let latency = self.below(9_000) as u32 + 80;
        let tried = Attempted {
            request,
            attempt,
            client,
            key,
            project,
            model: model.to_owned(),
            method: "generateContent".to_owned(),
            started: now,
            latency_ms: latency,
            first_byte_ms: ok.then_some(latency / 3),
            status,
            verdict,
            reason: (!ok).then(|| "RESOURCE_EXHAUSTED".to_owned()),
            violations: if refused {
                vec![Violation {
                    metric: "generativelanguage.googleapis.com/generate_content_requests".to_owned(),
                    id: "GenerateRequestsPerMinutePerProjectPerModel".to_owned(),
                    model: Some(model.to_owned()),
                    limit: Some(1_000),
                    window: Some(window),
                }]
            } else {
                Vec::new()
            },
            tokens: if ok {
                Tokens { prompt, output, total: prompt + output, ..Tokens::default() }
            } else {
                Tokens::default()
            },
            finish_reason: ok.then(|| "STOP".to_owned()),
            bytes_sent: u64::from(prompt) * 4,
            bytes_received: u64::from(output) * 5,
            retry_delay_ms: refused.then_some(30_000),
            ..Attempted::default()
        };
        (tried, Penalty { blame, hold, spread })
    }

    fn push(&mut self, events: Vec<Event>, at: Millis) -> Result<(), OpenError> {
        for event in events {
            let seq = self.state.seq + 1;
            let encoded = codec::encode(seq, at, &event, &self.hash).map_err(journal::Error::from)?;
            self.frames.push(Frame { segment: segment_of(&event, at), bytes: encoded.0 });
            self.hash = encoded.1;
            self.state.apply(&Recorded { seq, at, event });
        }
        if self.frames.len() < BATCH {
            return Ok(());
        }
        self.flush()?;
        if self.state.seq >= self.next_checkpoint {
            self.next_checkpoint = self.state.seq + EVERY;
            let packed = Packed::new(&self.state, self.hash).map_err(journal::Error::from)?;
            checkpoint::keep(self.journal, &packed, true)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), OpenError> {
        let after = self.state.seq - self.frames.len() as Seq;
        self.journal.append(Batch { after, frames: &self.frames, secrets: &[] })?;
        self.frames.clear();
        Ok(())
    }
}
