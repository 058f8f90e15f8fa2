//! Live sessions: real sockets, the real binary, and the simulated Google behind it.

mod access;
mod ends;
mod failover;
mod passing;
mod tokens;

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use gemini_pool::simulated::{Limits, Model, Seen, SimulatedGoogle, World};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        handshake::client::Response,
        protocol::{CloseFrame, WebSocketConfig},
    },
};

use crate::support::{CLIENT_KEY, Server, Setup};

/// A model that talks.
const LIVE: &str = "gemini-live-2.5-flash";
const PATH: &str = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent";
/// What is waited for happens within this, or the test fails.
const LONG: Duration = Duration::from_secs(20);

type Socket = WebSocketStream<TcpStream>;

/// A world with a model that talks.
fn world() -> World {
    World::new().model(LIVE, |model| *model = Model::live())
}

async fn stage(world: World, keys: &[&str]) -> (SimulatedGoogle, Server) {
    let google = SimulatedGoogle::start(world).await.unwrap();
    google.edit(|world| world.keep_bodies = 1 << 20);
    let server = Setup::new(&google, keys).with("QUEUE_TIMEOUT", "0").start();
    (google, server)
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, what).await.expect("it happens in time")
}

/// Asks for a WebSocket, with what a client may add to it.
async fn dial(
    origin: &str,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Result<(Socket, Response), Error> {
    let address = origin.strip_prefix("http://").unwrap();
    let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    soon(client_async(request, TcpStream::connect(address).await.unwrap())).await
}

/// An app's session, before its first message.
async fn session(server: &Server) -> Socket {
    dial(&server.origin, PATH, &[("x-goog-api-key", CLIENT_KEY)]).await.unwrap().0
}

/// An app's session that Google has agreed to.
async fn open(server: &Server) -> Socket {
    let mut socket = session(server).await;
    socket.send(setup(LIVE)).await.unwrap();
    assert_eq!(hear(&mut socket).await, json!({"setupComplete": {}}));
    socket
}

fn setup(model: &str) -> Message {
    Message::text(json!({"setup": {"model": format!("models/{model}")}}).to_string())
}

fn turn(text: &str) -> Message {
    let turns = json!([{"role": "user", "parts": [{"text": text}]}]);
    Message::text(json!({"clientContent": {"turns": turns, "turnComplete": true}}).to_string())
}

/// The next message that is none of the protocol's own.
async fn next(socket: &mut Socket) -> Message {
    loop {
        match soon(socket.next()).await.expect("a message").expect("a good one") {
            Message::Ping(_) | Message::Pong(_) => {}
            message => return message,
        }
    }
}

async fn hear(socket: &mut Socket) -> Value {
    let message = next(socket).await;
    assert!(!message.is_close(), "{message:?}");
    serde_json::from_slice(&message.into_data()).unwrap()
}

/// Asks and hears the answer to its end; gives its text and the count of its tokens.
async fn talk(socket: &mut Socket, text: &str) -> (String, u64) {
    socket.send(turn(text)).await.unwrap();
    let mut answer = String::new();
    loop {
        let message = hear(socket).await;
        let parts = message.pointer("/serverContent/modelTurn/parts").and_then(Value::as_array);
        answer.extend(parts.into_iter().flatten().filter_map(|part| part["text"].as_str()));
        if message.pointer("/serverContent/turnComplete").is_some() {
            return (answer, message["usageMetadata"]["totalTokenCount"].as_u64().unwrap());
        }
    }
}

/// How a session is ended by the other side: code and text.
async fn closed(socket: &mut Socket) -> (u16, String) {
    let Message::Close(Some(frame)) = next(socket).await else { panic!("no close frame") };
    let told = (frame.code.into(), frame.reason.to_string());
    // The goodbye is answered, and the server hangs up.
    assert!(soon(socket.next()).await.is_none());
    told
}

async fn close(socket: &mut Socket, code: u16, reason: &str) {
    let frame = CloseFrame { code: code.into(), reason: reason.into() };
    socket.send(Message::Close(Some(frame))).await.unwrap();
}

async fn seen(google: &SimulatedGoogle, mut wanted: impl FnMut(&Seen) -> bool) -> Seen {
    let seen = soon(google.wait_for(|seen| seen.last().is_some_and(&mut wanted))).await;
    seen.last().unwrap().clone()
}

/// What the log has of one session with so many tries: the tries, and the request.
async fn recorded(server: &Server, tries: usize) -> (Vec<Value>, Value) {
    let operator = server.operator().await;
    let answered = operator.events_of("Answered", 1).await;
    (operator.events_of("Attempted", tries).await, answered[0].clone())
}

fn no_limit() -> Option<WebSocketConfig> {
    Some(WebSocketConfig::default().max_message_size(None).max_frame_size(None))
}

fn limited(per_day: u64) -> Limits {
    Limits::none().per_day(per_day)
}
