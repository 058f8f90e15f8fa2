//! Opening a session with Google: one key after the other, until one gets an answer.
//!
//! A key is refused at the upgrade, as in any call, or by a close frame in the place of
//! the first message. Both are recorded and folded before the next key is chosen.

use futures_util::{SinkExt, StreamExt};
use projections::event::Verdict;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::{Error, Message, protocol::CloseFrame};

use super::{Asked, Farewell, Proxy, Refusal, RequestRecord};
use crate::{
    gemini::{
        Call, Payload,
        classify::{Blame, Classified, classify_close},
        live::{Dialled, Upstream, masked, masked_text},
        meter::Meter,
        scrub::Forms,
    },
    proxy::{
        attempt::{Attempted, ErrorAnswer, Failure, error_answer, out_of_time},
        queue::{self, Journey, NoTurn, Word},
        record::AttemptRecord,
        rescue::close_text,
        retry::{Budget, at_the_door},
        seek::Unserved,
    },
    vault::UpstreamKey,
};

/// A session in which Google has said its first word.
pub(super) struct Open {
    pub(super) socket: Upstream,
    /// What lets the pool in there, for masking it.
    pub(super) secret: Forms,
    pub(super) attempt: AttemptRecord,
    /// That word, as it goes to the client.
    pub(super) first: Message,
}

/// A try that came to nothing; it is recorded and folded.
struct Missed {
    failure: Failure,
    /// Google's last word, without the key.
    frame: Option<CloseFrame>,
}

impl Proxy {
    /// Opens the session and sends the client's first message.
    pub(super) async fn open(
        &self,
        asked: &Asked,
        setup: &Message,
        record: &mut RequestRecord,
        meter: &Meter,
    ) -> Result<Open, Farewell> {
        let mut journey = Journey::default();
        let mut budget = Budget::new(self.settings.now().max_attempts);
        let mut last: Option<Missed> = None;
        loop {
            let chosen = self.choose(asked, &mut journey, 0).await;
            record.waited = journey.waited;
            let (choice, release) = match chosen {
                Ok(chosen) => chosen,
                Err(none) => {
                    return Err(self.farewell(asked, last, Some(none)));
                }
            };
            journey.tried.push(choice.key);
            // Otherwise it was removed between the choice and now.
            let Some(key) = self.vault.upstream_key(&choice.fingerprint) else { continue };
            let reservation = match timeout_at(asked.deadline, self.ledger.reserve()).await {
                Ok(Some(reservation)) => reservation,
                Ok(None) => return Err(Farewell::from(&Refusal::Stopping)),
                Err(_) => return Err(Farewell::from(&Refusal::TooSlow { seconds: asked.timeout.as_secs() })),
            };
            if record.answered.attempts == 0 {
                self.allowance.lock().first_try();
            }
            record.answered.attempts = record.answered.attempts.saturating_add(1);
            let attempt = self.begin(asked, choice, reservation, record, setup.len());
            let missed = match self.try_key(asked, setup, key, attempt, meter).await {
                Ok(open) => {
                    queue::tell(release, Word::Served);
                    return Ok(open);
                }
                Err(missed) => missed,
            };
            if at_the_door(missed.failure.classified.blame) {
                journey.refused();
                queue::tell(release, Word::Refused);
            } else {
                drop(release);
            }
            // A token is its own project's, and may be good for one session only: the client knows what to do.
            if asked.token.is_some() {
                return Err(self.farewell(asked, Some(missed), None));
            }
            if !self.may_repeat(asked, &missed.failure, &journey, &mut budget).await {
                let none = self.nobody_left(asked, &missed.failure, &journey);
                return Err(self.farewell(asked, Some(missed), none));
            }
            last = Some(missed);
        }
    }

    async fn try_key(
        &self,
        asked: &Asked,
        setup: &Message,
        key: UpstreamKey,
        mut attempt: AttemptRecord,
        meter: &Meter,
    ) -> Result<Open, Missed> {
        let began = Instant::now();
        let call = Call {
            verb: &asked.verb,
            path: &asked.target.path,
            query: &asked.target.query,
            headers: &asked.headers,
            payload: &Payload::default(),
        };
        let secret = asked.secret(&key).clone();
        let dialling = self.gemini.dial(&call, &key, asked.token.as_ref(), meter);
        let mut socket = match timeout_at(asked.deadline, dialling).await {
            Err(_) => return Err(missed(attempt, out_of_time(asked, began), None).await),
            Ok(Err(error)) => {
                let classified = Classified { reason: Some(error.to_string()), ..error.verdict().into() };
                return Err(missed(attempt, classified.on(key.route()), None).await);
            }
            Ok(Ok(Dialled::Refused(response))) => {
                let (head, body) = response.into_parts();
                attempt.attempted.status = head.status.as_u16();
                if !(head.status.is_client_error() || head.status.is_server_error()) {
                    let reason = Some("no WebSocket where one was asked for".to_owned());
                    let classified = Classified { reason, ..Verdict::ServerError.into() };
                    return Err(missed(attempt, classified, None).await);
                }
                return Err(
                    match error_answer(head.status, head.headers, body, &key, asked, attempt).await {
                        Attempted::Failed(failure) => Missed { failure: *failure, frame: None },
                        // An error is no answer.
                        Attempted::Answered(_) => Missed { failure: unknown(), frame: None },
                    },
                );
            }
            Ok(Ok(Dialled::Open(socket))) => *socket,
        };
        attempt.attempted.status = 101;
        let first = timeout_at(asked.deadline, async {
            socket.send(setup.clone()).await?;
            loop {
                match socket.next().await {
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                    Some(message) => return message,
                    None => return Err(Error::ConnectionClosed),
                }
            }
        });
        let first = match first.await {
            Err(_) => return Err(missed(attempt, out_of_time(asked, began), None).await),
            Ok(Err(error)) => {
                let reason = Some(close_text(&masked_text(&error.to_string(), &secret)));
                let classified = Classified { reason, ..Verdict::ConnectionLost.into() };
                return Err(missed(attempt, classified, None).await);
            }
            Ok(Ok(first)) => masked(first, &secret),
        };
        if let Message::Close(frame) = first {
            let code = frame.as_ref().map(|frame| frame.code.into());
            let text = frame.as_ref().map_or("", |frame| frame.reason.as_str());
            let classified = asked.means(classify_close(code, text));
            return Err(missed(attempt, classified, frame).await);
        }
        attempt.first_byte();
        Ok(Open { socket, secret, attempt, first })
    }

    /// What the client is told when no key got an answer.
    fn farewell(&self, asked: &Asked, last: Option<Missed>, none: Option<NoTurn>) -> Farewell {
        // Google's own word where it is about the request, the place, or Google; or about a token.
        let own =
            |blame| asked.token.is_some() || matches!(blame, Blame::Client | Blame::Egress | Blame::Upstream);
        let last = match last {
            Some(Missed { failure, frame: Some(frame) }) if own(failure.classified.blame) => {
                let reason = failure.classified.reason.unwrap_or_default();
                return Farewell { frame, reason };
            }
            Some(Missed { failure: Failure { answer: Some(answer), .. }, .. }) if asked.token.is_some() => {
                return closing(&answer);
            }
            last => last.map(|missed| missed.failure),
        };
        match self.conclude(asked, Unserved::Failed(last.map(Box::new), none)) {
            Ok(answer) => closing(&answer),
            Err(refusal) => Farewell::from(&refusal),
        }
    }
}

async fn missed(attempt: AttemptRecord, classified: Classified, frame: Option<CloseFrame>) -> Missed {
    attempt.fail(&classified).await;
    Missed { failure: Failure { classified, answer: None }, frame }
}

fn unknown() -> Failure {
    Failure { classified: Verdict::ServerError.into(), answer: None }
}

/// An error of Google's over HTTP, said again as the end of a session.
fn closing(answer: &ErrorAnswer) -> Farewell {
    let status = answer.status.as_u16();
    let code: u16 = match status {
        400 => 1007,
        413 => 1009,
        503 => 1013,
        500.. => 1011,
        _ => 1008,
    };
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let message =
        body.pointer("/error/message").and_then(Value::as_str).unwrap_or("Google refused the session");
    let reason = close_text(&format!("{status}: {message}"));
    Farewell { frame: CloseFrame { code: code.into(), reason: reason.clone().into() }, reason }
}
