//! The client's side of the upgrade (RFC 6455 §4.2): is it one, and the answer to it.
//!
//! No extension and no subprotocol is agreed on: messages have to be read here, and
//! packing them anew would cost more than it saves.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE},
};
use poem::{OnUpgrade, Request, Response};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// A connection that can become a WebSocket.
pub(in crate::proxy) struct Door {
    upgrade: OnUpgrade,
    accept: String,
}

impl Door {
    /// None where the request does not ask for a WebSocket, or not for one of the known version.
    pub(in crate::proxy) fn at(request: &Request) -> Option<Self> {
        let headers = request.headers();
        let asks = *request.method() == Method::GET
            && lists(headers, &UPGRADE, "websocket")
            && lists(headers, &CONNECTION, "upgrade")
            && headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
        let nonce = headers.get(SEC_WEBSOCKET_KEY).filter(|_| asks)?;
        let accept = derive_accept_key(nonce.as_bytes());
        Some(Self { upgrade: request.take_upgrade().ok()?, accept })
    }

    /// Lets the client in: the answer, and the connection once that has gone out.
    pub(super) fn open(self) -> (Response, OnUpgrade) {
        let mut response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS).finish();
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.extend(HeaderValue::try_from(self.accept).map(|accept| (SEC_WEBSOCKET_ACCEPT, accept)));
        (response, self.upgrade)
    }
}

/// Whether a header lists a word, in whichever case.
fn lists(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(word))
}
