//! Looking for an answer: one key after the other, until one answers or none may be tried any more.
//!
//! Owns the loop of a request's tries, and what is said when it ends without an answer.
//! Its invariant: a failure is folded before the next key is chosen.

use poem::Response;
use projections::{Millis, event::Verdict};

use super::{
    Asked, Proxy,
    affinity::Seat,
    attempt::{self, Answer, Attempted, ErrorAnswer, Failure},
    intake::{self, Body},
    queue::{self, Journey, NoTurn, Word},
    record::RequestRecord,
    refuse,
    rescue::Refusal,
    retry::{Budget, at_the_door},
};
use crate::{
    gemini::{Call, classify::Blame},
    vault::UpstreamKey,
};

/// No key answered.
pub(super) enum Unserved {
    /// For a reason of the pool's own.
    Refused(Refusal),
    /// The last failure, and why nobody else was tried.
    Failed(Option<Box<Failure>>, Option<NoTurn>),
}

impl Proxy {
    pub(super) async fn try_keys(&self, asked: &Asked, body: Body, mut record: RequestRecord) -> Response {
        let passing = body.payload.passes().cloned();
        let cut = body.cut();
        let served = tokio::select! {
            served = self.seek(asked, body, &mut record) => served,
            // What was tried is recorded as cancelled, and no key is to blame.
            () = cut.cancelled() => Err(Unserved::Refused(Refusal::MemoryShare)),
        };
        match served {
            Ok((answer, key)) => {
                let learning = self.learn(asked, &answer).await;
                self.relay(asked, answer, &key, record, learning).await
            }
            Err(unserved) => {
                intake::drain_passing(passing).await;
                self.give_up(asked, record, unserved).await
            }
        }
    }

    /// One key after the other, until one answers or none may be tried any more.
    pub(super) async fn seek(
        &self,
        asked: &Asked,
        body: Body,
        record: &mut RequestRecord,
    ) -> Result<(Answer, UpstreamKey), Unserved> {
        let mut journey = Journey::default();
        let tokens = body.tokens();
        let mut budget = Budget::new(self.settings.now().max_attempts);
        let mut last: Option<Failure> = None;
        loop {
            let chosen = self.choose(asked, &mut journey, tokens).await;
            record.waited = journey.waited;
            let (choice, release) = match chosen {
                Ok(chosen) => chosen,
                Err(none) => return Err(Unserved::Failed(last.map(Box::new), Some(none))),
            };
            journey.tried.push(choice.key);
            let Some(key) = self.vault.upstream_key(&choice.fingerprint) else {
                // Removed between the choice and now.
                continue;
            };
            let reserved = tokio::time::timeout_at(asked.deadline, self.ledger.reserve()).await;
            let Ok(Some(reservation)) = reserved else {
                let late = Refusal::TooSlow { seconds: asked.timeout.as_secs() };
                return Err(Unserved::Refused(if reserved.is_ok() { Refusal::Stopping } else { late }));
            };
            if record.answered.attempts == 0 {
                self.allowance.lock().first_try();
            }
            record.answered.attempts = record.answered.attempts.saturating_add(1);
            let attempt = self.begin(asked, choice, reservation, record, body.payload.len());
            let call = Call {
                verb: &asked.verb,
                path: &asked.target.path,
                query: &asked.target.query,
                headers: &asked.headers,
                payload: &body.payload,
            };
            match attempt::run(&self.gemini, &call, &key, asked, attempt).await {
                Attempted::Answered(answer) => {
                    queue::tell(release, Word::Served);
                    return Ok((*answer, key));
                }
                Attempted::Failed(failure) => {
                    if at_the_door(failure.classified.blame) {
                        journey.refused();
                        queue::tell(release, Word::Refused);
                    } else {
                        drop(release);
                    }
                    match body.payload.passes() {
                        Some(passing) if passing.is_broken() => {
                            return Err(Unserved::Refused(Refusal::BodyBroken));
                        }
                        // It is gone, and cannot be sent again.
                        Some(_) => return Err(Unserved::Failed(Some(failure), None)),
                        None => {}
                    }
                    if !self.may_repeat(asked, &failure, &journey, &mut budget).await {
                        let none = self.nobody_left(asked, &failure, &journey);
                        return Err(Unserved::Failed(Some(failure), none));
                    }
                    last = Some(*failure);
                }
            }
        }
    }

    /// The answer when there is none to relay.
    pub(super) async fn give_up(&self, asked: &Asked, record: RequestRecord, unserved: Unserved) -> Response {
        match self.conclude(asked, unserved) {
            Ok(answer) => self.relay_error(record, answer).await,
            Err(refusal) => refuse(record, &refusal, asked.target.shape).await,
        }
    }

    /// What there is to say when no key answered: Google's own word, or the pool's.
    pub(super) fn conclude(&self, asked: &Asked, unserved: Unserved) -> Result<ErrorAnswer, Refusal> {
        let (last, none) = match unserved {
            Unserved::Refused(refusal) => return Err(refusal),
            Unserved::Failed(last, none) => (last.map(|last| *last), none),
        };
        Err(match (last, none) {
            // Google's own word where it is about the request, the place, or Google.
            (Some(Failure { classified, answer: Some(answer), .. }), _)
                if matches!(classified.blame, Blame::Client | Blame::Egress | Blame::Upstream)
                    || classified.verdict == Verdict::Location =>
            {
                return Ok(answer);
            }
            (Some(Failure { classified, .. }), _)
                if matches!(classified.verdict, Verdict::TimedOut | Verdict::Cancelled) =>
            {
                Refusal::TooSlow { seconds: asked.timeout.as_secs() }
            }
            (Some(Failure { classified, .. }), _)
                if matches!(classified.blame, Blame::Upstream | Blame::Egress | Blame::Pool)
                    || classified.verdict == Verdict::ConnectFailed =>
            {
                Refusal::Unanswered {
                    last: classified.reason.unwrap_or_else(|| format!("{:?}", classified.verdict)),
                }
            }
            (None, Some(_)) if self.ledger.state().keys.is_empty() => Refusal::NoKeys,
            (_, Some(none)) => self.nothing_left(asked, none),
            // So many keys were refused at the door that the rest is not worth the client's time; those are gated now.
            (_, None) => Refusal::TriesSpent { model: asked.model.clone() },
        })
    }
}

/// Every key that the request may go to is out.
pub(super) fn all_out(asked: &Asked, back_in: Option<Millis>, daily: bool) -> Refusal {
    let model = asked.model.clone();
    match &asked.seat {
        Seat::Owner { name, project } => {
            Refusal::OwnerOut { model, name: name.clone(), project: project.clone(), back_in }
        }
        _ => Refusal::AllOut { model, back_in, daily },
    }
}
