//! See [`crate::fuzzing`]: a session's frames, through the relay.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::StreamExt;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    runtime::{Builder, Runtime},
    sync::Mutex,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

use super::relay::{Stop, pump};
use crate::{
    body_memory::BodyMemory,
    caller::Caller,
    fuzzing::pieces,
    gemini::{
        live::{MOST_MESSAGE_BYTES, limits, masked, new_handle, setup, tokens},
        meter::{Meter, Metered},
        scrub::Forms,
    },
};

/// A key that stands in the inputs.
const SECRET: &[u8] = b"AIza-fuzz";
/// Nothing here waits.
const IDLE: Duration = Duration::from_secs(3_600);

/// A side that says the input in these pieces and ends, or that only listens.
#[derive(Debug, Default)]
struct Side<'a> {
    says: Option<std::vec::IntoIter<&'a [u8]>>,
    rest: &'a [u8],
    heard: Arc<crate::locks::Mutex<Vec<u8>>>,
}

impl<'a> Side<'a> {
    fn saying(pieces: Vec<&'a [u8]>) -> Self {
        Self { says: Some(pieces.into_iter()), ..Self::default() }
    }
}

impl AsyncRead for Side<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.rest.is_empty() {
            let Some(says) = &mut self.says else { return Poll::Pending };
            self.rest = says.next().unwrap_or_default();
        }
        let (now, later) = self.rest.split_at(self.rest.len().min(into.remaining()));
        into.put_slice(now);
        self.rest = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Side<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.heard.lock().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The messages in some bytes, up to the first that is none.
async fn messages(role: Role, bytes: &[u8]) -> Vec<Message> {
    let side = Side::saying(vec![bytes]);
    let socket = WebSocketStream::from_raw_socket(side, role, Some(limits())).await;
    let whole = socket.take_while(|message| std::future::ready(message.is_ok()));
    let said = whole.filter_map(|message| {
        let said = message.ok().filter(|message| message.is_text() || message.is_binary());
        std::future::ready(said)
    });
    said.collect().await
}

/// What the other side of a session hears of what one side says, and why it hears no more.
async fn relayed(role: Role, pieces: Vec<&[u8]>, key: &Forms) -> (Vec<u8>, String) {
    let memory = BodyMemory::new(64 << 20);
    let meter = Meter::begin(&memory, Caller::Operators).expect("there is room");
    let from = Metered::new(Side::saying(pieces), meter.clone());
    let from = WebSocketStream::from_raw_socket(from, role, Some(limits())).await;
    let to = Side::default();
    let heard = Arc::clone(&to.heard);
    let to = WebSocketStream::from_raw_socket(to, Role::Server, Some(limits())).await;
    let ((back, mut from), (to, _unread)) = (from.split(), to.split());
    let (back, to) = (Mutex::new(back), Mutex::new(to));
    let see = |message| (masked(message, key), None);
    let stop = pump((&mut from, &meter), &back, &to, [].into(), IDLE, see).await;
    let why = match stop {
        Stop::Closed(frame) => format!("closed: {frame:?}"),
        Stop::Broke(error) => format!("broke: {error}"),
        Stop::Silent => "silent".to_owned(),
        Stop::Untold => "untold".to_owned(),
    };
    let heard = std::mem::take(&mut *heard.lock());
    (heard, why)
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime without anything to drive")
}

/// The relay of a Live session: how the bytes are cut makes no difference, each message arrives as it was said but for
/// a key, none is larger than may be, and whatever it says is read without harm.
pub fn websocket_relay(data: &[u8]) {
    let Some(([how, seed], data)) = data.split_first_chunk() else { return };
    let role = if how & 1 == 1 { Role::Server } else { Role::Client };
    let (runtime, key) = (runtime(), Forms::new(SECRET));
    runtime.block_on(async {
        let (heard, why) = relayed(role, vec![data], &key).await;
        let cut = relayed(role, pieces(data, *seed), &key).await;
        assert_eq!((&heard, &why), (&cut.0, &cut.1), "how it is cut makes a difference");
        assert!(!key.are_in(&heard), "a key came through");
        let said = messages(role, data).await;
        let arrived = messages(Role::Client, &heard).await;
        let wanted: Vec<Message> = said.iter().map(|message| masked(message.clone(), &key)).collect();
        assert_eq!(arrived, wanted, "a message is not what was said");
        for message in said {
            let bytes = message.into_data();
            assert!(bytes.len() <= MOST_MESSAGE_BYTES);
            assert!(setup(&bytes).model.len() <= 128);
            let _ = (tokens(&bytes), new_handle(&bytes));
        }
    });
}
