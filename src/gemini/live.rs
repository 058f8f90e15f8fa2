//! Live sessions: a WebSocket to Google, opened with a key, and what its messages say.
//!
//! Owns the upgrade of a connection and the few members that the pool reads: the model
//! and the session to resume in the first message, handles and token counts later on.
//! Refuses to rebuild a message. One invariant: a session carries one credential, a key or a
//! client's token, in the header of its upgrade, and never in its address.

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{
        AUTHORIZATION, CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
    },
};
use hyper::{body::Incoming, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use memchr::memmem;
use projections::event::Tokens;
use serde::Deserialize;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message, Utf8Bytes,
        handshake::{client::generate_key, derive_accept_key},
        protocol::{CloseFrame, Role, WebSocketConfig},
    },
};

use super::{
    Call, CallError, Gemini, Sending, headers,
    meter::{Meter, Metered},
    scrub::Forms,
    stream::{Framing, Reader},
    target::Shape,
    token::EphemeralToken,
};
use crate::vault::UpstreamKey;

/// Largest message in either direction, in bytes. Sound comes in pieces of some kilobytes; a picture or a long
/// history in a turn may have megabytes. More than this belongs into the Files API.
pub const MOST_MESSAGE_BYTES: usize = 16 << 20;
/// Read at once from a socket, in bytes: sessions are many, and most of their messages small.
const READ: usize = 16 << 10;

/// A session's end at Google.
pub type Upstream = WebSocketStream<Metered<TokioIo<Upgraded>>>;

/// What came of dialling.
pub enum Dialled {
    /// The session is open; nothing was said in it.
    Open(Box<Upstream>),
    /// An HTTP answer instead.
    Refused(Response<Incoming>),
}

/// How sockets are to be read and written on both sides.
#[must_use]
pub fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ)
        .max_message_size(Some(MOST_MESSAGE_BYTES))
        .max_frame_size(Some(MOST_MESSAGE_BYTES))
}

impl Gemini {
    /// Opens a session with a key, or on a key's way with a token. Extensions and subprotocols that the client offered are not offered on: each
    /// side is agreed on by itself. What Google says is counted by `meter`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn dial(
        &self,
        call: &Call<'_>,
        key: &UpstreamKey,
        token: Option<&EphemeralToken>,
        meter: &Meter,
    ) -> Result<Dialled, CallError> {
        let mark = if call.query.is_empty() { "" } else { "?" };
        let uri = [self.base.as_str(), call.path, mark, call.query].concat();
        let nonce = generate_key();
        let accept = derive_accept_key(nonce.as_bytes());
        let mut request = Request::builder()
            .method(Method::GET)
            .uri(uri)
            .body(Sending::nothing())
            .map_err(CallError::Address)?;
        let sent = request.headers_mut();
        let passed = call.headers.iter().filter(|(name, _)| !name.as_str().starts_with("sec-websocket-"));
        sent.extend(passed.map(|(name, value)| (name.clone(), value.clone())));
        match token {
            Some(token) => sent.insert(AUTHORIZATION, token.header()),
            None => sent.insert(headers::API_KEY, key.header()),
        };
        sent.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        sent.insert(UPGRADE, HeaderValue::from_static("websocket"));
        sent.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        sent.extend(HeaderValue::try_from(nonce).map(|nonce| (SEC_WEBSOCKET_KEY, nonce)));
        let response = self.egress.send(key.route(), request).await.map_err(CallError::of)?;
        let agreed = response.headers().get(SEC_WEBSOCKET_ACCEPT).is_some_and(|value| *value == accept);
        if response.status() != StatusCode::SWITCHING_PROTOCOLS || !agreed {
            return Ok(Dialled::Refused(response));
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(CallError::Upgrade)?;
        let socket = Metered::new(TokioIo::new(upgraded), meter.clone());
        Ok(Dialled::Open(Box::new(
            WebSocketStream::from_raw_socket(socket, Role::Client, Some(limits())).await,
        )))
    }
}

/// What a session's first message says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    /// The model, without `models/`; empty where none is named. At most 128 bytes.
    pub model: String,
    /// The session to go on with, which belongs to one project.
    pub handle: Option<String>,
}

#[derive(Deserialize)]
struct First {
    setup: Option<Body>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    model: Option<String>,
    #[serde(rename = "sessionResumption", alias = "session_resumption")]
    resumption: Option<Resumption>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Resumption {
    handle: Option<String>,
}

/// Reads a session's first message. What cannot be read says nothing: Google tells the client what is wrong with it.
#[must_use]
pub fn setup(message: &[u8]) -> Setup {
    let body =
        serde_json::from_slice::<First>(message).ok().and_then(|first| first.setup).unwrap_or_default();
    let model = body.model.unwrap_or_default();
    let model = super::text::cut(model.strip_prefix("models/").unwrap_or(&model), 128);
    let handle = body.resumption.and_then(|resumption| resumption.handle);
    Setup { model, handle: handle.filter(|handle| !handle.is_empty()) }
}

/// The handle in a message of Google's by which the session can be gone on with later.
#[must_use]
pub fn new_handle(message: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Said {
        session_resumption_update: Update,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Update {
        new_handle: String,
    }
    memmem::find(message, b"\"sessionResumptionUpdate\"")?;
    let said = serde_json::from_slice::<Said>(message).ok()?;
    Some(said.session_resumption_update.new_handle).filter(|handle| !handle.is_empty())
}

/// The count of tokens in a message of Google's.
#[must_use]
pub fn tokens(message: &[u8]) -> Option<Tokens> {
    // Most messages have none, and most of those are sound.
    memmem::find(message, b"\"usageMetadata\"")?;
    let mut reader = Reader::new(Framing::Json, Shape::Native, false);
    reader.feed(message);
    Some(reader.finish().tokens).filter(|tokens| *tokens != Tokens::default())
}

/// A message of Google's as it goes to the client: itself, but for a key echoed in it.
#[must_use]
pub fn masked(message: Message, key: &Forms) -> Message {
    match message {
        Message::Text(text) if key.are_in(text.as_bytes()) => Message::Text(masked_text(&text, key)),
        Message::Binary(bytes) if key.are_in(&bytes) => {
            let mut bytes = bytes.to_vec();
            key.mask(&mut bytes);
            Message::Binary(Bytes::from(bytes))
        }
        Message::Close(Some(frame)) => {
            Message::Close(Some(CloseFrame { reason: masked_text(&frame.reason, key), ..frame }))
        }
        other => other,
    }
}

/// A text without the key.
#[must_use]
pub fn masked_text(text: &str, key: &Forms) -> Utf8Bytes {
    let mut bytes = text.as_bytes().to_vec();
    key.mask(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_message_names_its_model_and_the_session_it_goes_on_with() {
        let read = |text: &str| setup(text.as_bytes());
        let some = |model: &str, handle: Option<&str>| Setup {
            model: model.into(),
            handle: handle.map(str::to_owned),
        };
        assert_eq!(read(r#"{"setup":{"model":"models/live-1","x":[1]}}"#), some("live-1", None));
        assert_eq!(
            read(r#"{"setup":{"sessionResumption":{"handle":"h"},"model":"live-1"},"other":0}"#),
            some("live-1", Some("h"))
        );
        assert_eq!(read(r#"{"setup":{"session_resumption":{"handle":"h"}}}"#), some("", Some("h")));
        assert_eq!(read(r#"{"setup":{"sessionResumption":{}}}"#), some("", None));
        for nothing in
            ["", "{", "[]", r#"{"clientContent":{"model":"models/x"}}"#, r#"{"setup":{"model":7}}"#, "\u{0}"]
        {
            assert_eq!(read(nothing), Setup::default(), "{nothing}");
        }
        assert_eq!(read(&format!(r#"{{"setup":{{"model":"{}"}}}}"#, "é".repeat(100))).model.len(), 128);
    }

    #[test]
    fn counts_and_handles_are_read_from_googles_own_members_only() {
        let counted = br#"{"serverContent":{"turnComplete":true},"usageMetadata":{"promptTokenCount":3,"responseTokenCount":5,"totalTokenCount":8}}"#;
        let found = tokens(counted).unwrap();
        assert_eq!((found.prompt, found.output, found.total), (3, 5, 8));
        let said = br#"{"serverContent":{"modelTurn":{"parts":[{"text":"{\"usageMetadata\":{\"promptTokenCount\":9}}"}]}}}"#;
        assert_eq!(tokens(said), None);
        let deeper = br#"{"toolCall":{"args":{"usageMetadata":{"promptTokenCount":9}}}}"#;
        assert_eq!(tokens(deeper), None);
        let update = br#"{"sessionResumptionUpdate":{"newHandle":"h-1","resumable":true}}"#;
        assert_eq!(new_handle(update).as_deref(), Some("h-1"));
        assert_eq!(new_handle(br#"{"sessionResumptionUpdate":{"resumable":false}}"#), None);
        assert_eq!(new_handle(br#"{"toolCall":{"sessionResumptionUpdate":{"newHandle":"x"}}}"#), None);
    }

    #[test]
    fn a_key_is_masked_in_every_kind_of_message_and_nothing_else_changes() {
        let forms = Forms::new(b"AIza-secret");
        let echo = "the key is AIza-secret, \u{9470}";
        let hidden = "the key is ***********, \u{9470}";
        assert_eq!(masked(Message::text(echo), &forms), Message::text(hidden));
        assert_eq!(masked(Message::binary(echo.to_owned()), &forms), Message::binary(hidden.to_owned()));
        let close =
            |reason: &str| Message::Close(Some(CloseFrame { code: 1008.into(), reason: reason.into() }));
        assert_eq!(masked(close(echo), &forms), close(hidden));
        for other in [Message::Close(None), Message::text("AIza-secre"), Message::binary(vec![0, 255])] {
            assert_eq!(masked(other.clone(), &forms), other);
        }
    }
}
