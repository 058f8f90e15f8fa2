//! Owns Live sessions: the upgrade, the setup, and turns that are answered in the kind of frame they came in.
//! Refuses sound: what is sent as sound is heard as bytes. Invariant: a key's state and quota strike after the
//! setup, by a close frame, as Google's do; faults that are answers strike at the upgrade.
//!
//! A turn's text may ask for `[goaway]` (a warning before the answer), `[sound]` (1 kB of it, twice) and
//! `[bye]` (the session is ended with 1000).

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{Either, Empty};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::answer::{answer_text, count_tokens, text_of};
use super::ask::{Head, Shape};
use super::decide::refused_by;
use super::fault::{Failure, Trip, mix, spread};
use super::play::{Cut, Played, respond};
use super::refusal::{self, Refusal};
use super::reply::Reply;
use super::seen::{End, Outcome};
use super::server::Open;
use super::store::Caller;
use super::tokens;
use super::world::World;
use crate::locks::Mutex;

/// The session that a connection becomes, once its answer has gone out.
pub(super) type Session = Arc<Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>>;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Why a session ends.
enum Stop {
    /// The simulated Google says goodbye.
    Close(u16, String),
    /// The client did.
    Closed,
    /// The client left without a word.
    Left,
    /// The connection is cut, as ordered.
    Cut,
}

impl From<Error> for Stop {
    fn from(_: Error) -> Self {
        Self::Left
    }
}

impl World {
    /// What is refused at the upgrade, and what goes wrong later. A session's model is not known yet.
    fn knock(&mut self, head: &Head) -> Result<Trip, Refusal> {
        let credentials = &head.credentials;
        if credentials.in_url {
            return Err(refusal::credential_in_url());
        }
        if credentials.keys.len() + usize::from(credentials.authorization) > 1 {
            return Err(refusal::two_credentials());
        }
        let token = tokens::presented(&head.headers);
        if credentials.authorization && token.is_none() {
            return Err(refusal::unauthenticated("bearer token", "BidiGenerateContent"));
        }
        let Some(key) = credentials.keys.first().or(token.as_ref()) else {
            return Err(refusal::no_credential());
        };
        if head.header("sec-websocket-version") != Some("13") || head.header("sec-websocket-key").is_none() {
            return Err(refusal::bad_request("Not a WebSocket handshake."));
        }
        let seed = self.seed ^ spread(key);
        let faults = self.keys.get_mut(key).map(|key| &mut key.faults).into_iter().chain([&mut self.faults]);
        let trip = Trip::meet(faults.flatten(), seed, true);
        trip.failure.as_ref().and_then(refused_by).map_or(Ok(trip), Err)
    }

    /// Judges a setup as [`World::answer`] judges a request.
    fn seat(
        &mut self,
        n: u64,
        head: &Head,
        model: &str,
        handle: Option<&str>,
    ) -> Result<Caller, (u16, String)> {
        let close = |refusal: Refusal| {
            let code = match refusal.status {
                400 => 1007,
                429 | 500.. => 1011,
                _ => 1008,
            };
            (code, refusal.message().to_owned())
        };
        let caller = match tokens::presented(&head.headers) {
            Some(token) => self.redeem(&token, head, model, handle.is_some()),
            None => self.authenticate(head),
        };
        let caller = caller.map_err(close)?;
        if !self.models.get(model).is_some_and(|model| model.answers("bidiGenerateContent")) {
            return Err(close(refusal::model_not_found(model, &head.version, "bidiGenerateContent")));
        }
        let (now, seed) = (self.now(), self.seed);
        let day = self.today(now);
        if let Some(project) = self.projects.get_mut(&caller.project) {
            project.charge(model, 1, now, &day, mix(seed ^ n)).map_err(close)?;
        }
        match handle {
            Some(handle) if !handle.starts_with(&format!("{}/", caller.project)) => {
                Err((1008, "The session cannot be resumed: its handle is unknown here.".to_owned()))
            }
            _ => Ok(caller),
        }
    }
}

/// Answers an upgrade; the session, if there is to be one, is put into its place.
pub(super) async fn answer(
    head: Head,
    upgrade: OnUpgrade,
    mut call: Open,
    place: &Session,
) -> Result<Response<Either<Played, Empty<Bytes>>>, Cut> {
    let knocked = call.shared.world.lock().knock(&head);
    let trip = match knocked {
        Ok(trip) => trip,
        Err(refusal) => {
            let reply = Reply::refused(&refusal, Shape::Plain, false);
            call.shared.world.lock().decided(call.n, &reply);
            call.shared.changed.notify_waiters();
            return respond(reply, false, call).map(|response| response.map(Either::Left));
        }
    };
    if !trip.wait.is_zero() {
        tokio::time::sleep(trip.wait).await;
    }
    if trip.hold {
        call.release().await;
    }
    if trip.failure == Some(Failure::CutBeforeHead) {
        call.end = End::Cut;
        call.note(|seen| seen.outcome = Outcome::Broken("cut before head"));
        return Err(Cut);
    }
    call.note(|seen| (seen.status, seen.outcome) = (Some(101), Outcome::Served));
    let accept = derive_accept_key(head.header("sec-websocket-key").unwrap_or_default().as_bytes());
    let mut response = Response::new(Either::Right(Empty::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.extend(HeaderValue::try_from(accept).map(|accept| (header::SEC_WEBSOCKET_ACCEPT, accept)));
    *place.lock() = Some(Box::pin(async move {
        if let Ok(upgraded) = upgrade.await {
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
            Talk { socket, call, failure: trip.failure, sent: 0, binary: false }.run(head).await;
        }
    }));
    Ok(response)
}

struct Talk {
    socket: Socket,
    call: Open,
    failure: Option<Failure>,
    sent: usize,
    /// The kind of the last message heard.
    binary: bool,
}

impl Talk {
    async fn run(mut self, head: Head) {
        let Err(stop) = self.converse(&head).await;
        match stop {
            Stop::Close(code, reason) => {
                let mut end = reason.len().min(123);
                while !reason.is_char_boundary(end) {
                    end -= 1;
                }
                let reason = reason.get(..end).unwrap_or_default().into();
                let frame = CloseFrame { code: code.into(), reason };
                let _ = self.socket.send(Message::Close(Some(frame))).await;
                self.call.end = End::Whole;
                while let Some(Ok(message)) = self.socket.next().await {
                    if let Message::Close(frame) = message {
                        self.closed(frame);
                    }
                }
            }
            Stop::Closed => {
                // The answer to the client's goodbye waits to be sent.
                let _ = self.socket.flush().await;
                self.call.end = End::Whole;
            }
            Stop::Left => self.call.end = End::ClientLeft,
            Stop::Cut => self.call.end = End::Cut,
        }
    }

    async fn converse(&mut self, head: &Head) -> Result<std::convert::Infallible, Stop> {
        let first = self.hear().await?;
        let Some(setup) = first.get("setup") else {
            let text = "Invalid JSON payload received. A session begins with its setup.";
            return Err(Stop::Close(1007, text.to_owned()));
        };
        let text = |pointer: &str| setup.pointer(pointer).and_then(Value::as_str);
        let model = text("/model").unwrap_or_default();
        let model = model.strip_prefix("models/").unwrap_or(model).to_owned();
        let n = self.call.n;
        self.call.note(|seen| seen.model.clone_from(&model));
        let seated = self.call.shared.world.lock().seat(n, head, &model, text("/sessionResumption/handle"));
        let caller = seated.map_err(|(code, reason)| {
            self.call.note(|seen| seen.outcome = Outcome::Refused("closed"));
            Stop::Close(code, reason)
        })?;
        self.say(&json!({"setupComplete": {}})).await?;
        if setup.get("sessionResumption").is_some() {
            let handle = format!("{}/{n}", caller.project);
            self.say(&json!({"sessionResumptionUpdate": {"newHandle": handle, "resumable": true}})).await?;
        }
        loop {
            let turn = self.hear().await?;
            let Some(heard) = said(&turn) else { continue };
            if heard.contains("[bye]") {
                return Err(Stop::Close(1000, "as you wish".to_owned()));
            }
            if heard.contains("[goaway]") {
                self.say(&json!({"goAway": {"timeLeft": "10s"}})).await?;
            }
            if heard.contains("[sound]") {
                let part =
                    json!({"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": "QUJD".repeat(256)}});
                for _ in 0..2 {
                    self.say(&json!({"serverContent": {"modelTurn": {"role": "model", "parts": [part]}}}))
                        .await?;
                }
            }
            let answer = answer_text(&model, &heard);
            let (prompt, response) = (count_tokens(&heard), count_tokens(&answer));
            let part = json!({"text": answer});
            self.say(&json!({"serverContent": {"modelTurn": {"role": "model", "parts": [part]}}})).await?;
            self.say(&json!({
                "serverContent": {"turnComplete": true},
                "usageMetadata": {
                    "promptTokenCount": prompt,
                    "responseTokenCount": response,
                    "totalTokenCount": prompt + response,
                    "responseTokensDetails": [{"modality": "TEXT", "tokenCount": response}],
                },
            }))
            .await?;
        }
    }

    /// The next message, as JSON; `Null` where it is none.
    async fn hear(&mut self) -> Result<Value, Stop> {
        loop {
            let message = self.socket.next().await.ok_or(Stop::Left)??;
            let length = message.len() as u64;
            let bytes = match message {
                Message::Text(text) => {
                    self.binary = false;
                    Bytes::from(text)
                }
                Message::Binary(bytes) => {
                    self.binary = true;
                    bytes
                }
                Message::Close(frame) => {
                    self.closed(frame);
                    return Err(Stop::Closed);
                }
                _ => continue,
            };
            let keep = self.call.shared.world.lock().keep_bodies >= bytes.len();
            self.call.note(|seen| {
                seen.body_len += length;
                if keep && seen.body.is_none() {
                    seen.body = Some(bytes.clone());
                }
            });
            return Ok(serde_json::from_slice(&bytes).unwrap_or_default());
        }
    }

    async fn say(&mut self, value: &Value) -> Result<(), Stop> {
        match &self.failure {
            Some(Failure::CloseLive { after, code, reason }) if self.sent >= *after => {
                return Err(Stop::Close(*code, reason.clone()));
            }
            Some(Failure::CutAfter(after) | Failure::CutInside(after)) if self.sent >= *after => {
                return Err(Stop::Cut);
            }
            Some(Failure::Stall { after, lasts }) if self.sent >= *after => {
                let (lasts, release) = (*lasts, self.call.release());
                self.failure = None;
                match lasts {
                    Some(lasts) => tokio::time::sleep(lasts).await,
                    // Whoever waits for a client's goodbye hears it.
                    None => tokio::select! {
                        () = release => {}
                        gone = self.hear_nothing() => return Err(gone),
                    },
                }
            }
            _ => {}
        }
        let text = value.to_string();
        self.sent += 1;
        let message = if self.binary { Message::binary(text) } else { Message::text(text) };
        Ok(self.socket.send(message).await?)
    }

    /// Waits for the client to end the session.
    async fn hear_nothing(&mut self) -> Stop {
        loop {
            if let Err(stop) = self.hear().await {
                return stop;
            }
        }
    }

    fn closed(&self, frame: Option<CloseFrame>) {
        let closed =
            frame.map_or((1005, String::new()), |frame| (frame.code.into(), frame.reason.to_string()));
        self.call.note(|seen| seen.closed = Some(closed));
    }
}

/// What a message of the client's says to the model; `None` where nothing is to be answered yet.
fn said(message: &Value) -> Option<String> {
    if let Some(content) = message.get("clientContent") {
        let complete = content.get("turnComplete").and_then(Value::as_bool).unwrap_or(false);
        let last =
            content.get("turns").and_then(|turns| turns.as_array().map_or(Some(turns), |turns| turns.last()));
        return complete.then(|| last.map(text_of).unwrap_or_default());
    }
    let input = message.get("realtimeInput")?;
    if let Some(text) = input.get("text").and_then(Value::as_str) {
        return Some(text.to_owned());
    }
    let sound = input.pointer("/audio/data").and_then(Value::as_str)?;
    Some(format!("{} bytes of sound", sound.len()))
}
