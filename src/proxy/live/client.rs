//! The client's side of a Live session, until Google has said its first word.
//!
//! Bounded: what a client says before is kept up to a limit, and beyond that not read.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use poem::Upgraded;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout, timeout_at},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        error::ProtocolError,
        protocol::{CloseFrame, Role},
    },
};

use super::{Farewell, Refusal};
use crate::gemini::{
    live::{MOST_MESSAGE_BYTES, limits},
    meter::{Meter, Metered, is_full},
};

/// How long a client may take for its first message.
const SETUP: Duration = Duration::from_secs(30);
/// What is kept of what a client says before Google has answered its first message, in bytes. Clients that wait for
/// that answer, as they should, say nothing.
const EARLY: usize = 1 << 20;
/// How long a last word may take to go out.
const SAYING: Duration = Duration::from_secs(1);
/// How long the other side may take to hang up.
const PARTING: Duration = Duration::from_secs(5);

/// Why a session does not begin.
pub(super) enum Early {
    /// The client left.
    Left,
    /// The client is told why.
    Farewell(Farewell),
}

impl From<Refusal> for Early {
    fn from(refusal: Refusal) -> Self {
        Self::Farewell(Farewell::from(&refusal))
    }
}

/// See the module.
pub(super) struct Client {
    pub(super) socket: WebSocketStream<Metered<Upgraded>>,
    /// What came too early.
    pub(super) waiting: VecDeque<Message>,
    held: usize,
}

impl Client {
    pub(super) async fn new(socket: Upgraded, meter: Meter) -> Self {
        let socket = Metered::new(socket, meter);
        let socket = WebSocketStream::from_raw_socket(socket, Role::Server, Some(limits())).await;
        Self { socket, waiting: VecDeque::new(), held: 0 }
    }

    /// The first message; a request that may take less time than that has less.
    pub(super) async fn first(&mut self, patience: Duration) -> Result<Message, Early> {
        let patience = patience.min(SETUP);
        let deadline = Instant::now() + patience;
        loop {
            match timeout_at(deadline, self.next()).await {
                Err(_) => return Err(Refusal::NoSetup(patience.as_secs()).into()),
                Ok(message) => {
                    let message = message?;
                    if matches!(message, Message::Text(_) | Message::Binary(_)) {
                        return Ok(message);
                    }
                }
            }
        }
    }

    /// Waits for the client to leave, and keeps what it says meanwhile.
    pub(super) async fn wait(&mut self) -> Early {
        while self.held <= EARLY {
            match self.next().await {
                Err(early) => return early,
                Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
                    // An empty message takes room too.
                    self.held += message.len() + size_of::<Message>();
                    self.waiting.push_back(message);
                }
                Ok(_) => {}
            }
        }
        std::future::pending().await
    }

    async fn next(&mut self) -> Result<Message, Early> {
        match self.socket.next().await {
            Some(Ok(Message::Close(_))) | None => Err(Early::Left),
            Some(Ok(message)) => Ok(message),
            Some(Err(error)) => Err(fault(&error).map_or(Early::Left, Early::from)),
        }
    }

    /// Says a last word, or what is left to say.
    pub(super) async fn say(&mut self, frame: Option<CloseFrame>) {
        say(&mut self.socket, frame).await;
    }

    /// Lets a last word arrive: a connection that is closed with something unread takes back what it said.
    pub(super) async fn linger(&mut self, patience: Duration) {
        linger(&mut self.socket, patience).await;
    }

    /// Hangs up.
    pub(super) async fn part(mut self, frame: Option<CloseFrame>) {
        self.say(frame).await;
        self.linger(PARTING).await;
    }
}

/// What a client did wrong, if it did not just leave.
pub(super) fn fault(error: &Error) -> Option<Refusal> {
    match error {
        Error::Capacity(_) => Some(Refusal::MessageTooLarge(MOST_MESSAGE_BYTES)),
        Error::Io(error) if is_full(error) => Some(Refusal::NoMemory),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Protocol(_) | Error::Utf8(_) => Some(Refusal::BodyBroken),
        _ => None,
    }
}

/// What a message holds.
pub(super) fn bytes(message: &Message) -> Bytes {
    match message {
        Message::Text(text) => Bytes::from(text.clone()),
        Message::Binary(bytes) => bytes.clone(),
        _ => Bytes::new(),
    }
}

/// Says a last word on a socket, or lets go out what waits.
pub(super) async fn say<S>(socket: &mut S, frame: Option<CloseFrame>)
where
    S: SinkExt<Message, Error = Error> + Unpin,
{
    // It may be broken, and is given up in any case.
    let _ = match frame {
        Some(frame) => timeout(SAYING, socket.send(Message::Close(Some(frame)))).await,
        None => timeout(SAYING, socket.flush()).await,
    };
}

/// Reads to the end whatever still comes.
pub(super) async fn linger<S>(socket: &mut WebSocketStream<S>, patience: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let end = async {
        while let Some(Ok(_)) = socket.next().await {}
        let socket = socket.get_mut();
        let _ = socket.shutdown().await;
        let mut scrap = [0; 4096];
        while matches!(socket.read(&mut scrap).await, Ok(1..)) {}
    };
    let _ = timeout(patience, end).await;
}
