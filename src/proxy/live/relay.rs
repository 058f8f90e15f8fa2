//! A session under way: messages both ways as they are, to its end.
//!
//! Each side is read and written by itself, so that neither can hold up the other. Pings
//! are answered where they arrive, and sent to a side that is silent. A message goes on
//! when it is whole, and is kept nowhere; what a side holds until then is counted. What the session came to is decided by who ended it.

use std::time::Duration;

use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use projections::event::{Outcome, Verdict};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Mutex,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Bytes, Error, Message, protocol::CloseFrame},
};

use super::{
    Meters, Proxy, RequestRecord, STOPPING,
    client::{Client, bytes, fault, linger, say},
    handles::Note,
    open::Open,
};
use crate::gemini::{
    classify::classify_close,
    live::{masked, new_handle, tokens},
    meter::{Meter, is_full},
};

/// How long last words may take to be read: a client's of the server's stop, or the pool's of a side that is gone.
pub(super) const LAST_WORDS: Duration = Duration::from_millis(250);
/// How long either side may take to hang up.
const PARTING: Duration = Duration::from_secs(5);

/// Why a side is read no more.
pub(super) enum Stop {
    /// It said goodbye.
    Closed(Option<CloseFrame>),
    /// It broke, or broke the rules.
    Broke(Error),
    /// It was silent for too long, and answered no ping.
    Silent,
    /// The other side takes nothing any more.
    Untold,
}

/// Who ended a session.
enum End {
    Google(Stop),
    Client(Stop),
    Stopped,
    /// Its memory went to others, whose share is smaller.
    Cut,
}

/// What a session came to.
struct Result {
    verdict: Verdict,
    outcome: Outcome,
    /// Of the try, and of the request.
    reasons: (Option<String>, Option<String>),
    finish: Option<String>,
    /// Last words: to the client, and to Google.
    words: (Option<CloseFrame>, Option<CloseFrame>),
}

impl Proxy {
    /// Relays a session, and records what it came to.
    pub(super) async fn converse(
        &self,
        client: Client,
        open: Open,
        mut request: RequestRecord,
        meters: &Meters,
    ) {
        let Open { socket: google, secret, mut attempt, first } = open;
        let Client { socket: client, waiting, .. } = client;
        let idle = self.settings.now().stream_idle_timeout;
        let (mut handle, tried) = (None, attempt.attempted.clone());
        request.first_byte();
        let (to_google, mut from_google) = google.split();
        let (to_client, mut from_client) = client.split();
        let (to_google, to_client) = (Mutex::new(to_google), Mutex::new(to_client));
        let end = {
            let now = &mut attempt.attempted;
            let (sent, received, counted) = (&mut now.bytes_sent, &mut now.bytes_received, &mut now.tokens);
            let answered = &mut request.answered.bytes;
            let down = async {
                let see = |message: Message| {
                    let mut note = None;
                    let content = bytes(&message);
                    *received += content.len() as u64;
                    *answered += content.len() as u64;
                    if let Some(tokens) = tokens(&content) {
                        *counted = tokens;
                    }
                    if let Some(new) = new_handle(&content) {
                        note = Some(self.note_handle(&new, &tried, &mut handle));
                    }
                    (masked(message, &secret), note)
                };
                let from = (&mut from_google, &meters.google);
                pump(from, &to_google, &to_client, [first].into(), idle, see).await
            };
            let up = async {
                let see = |message: Message| {
                    *sent += message.len() as u64;
                    (message, None)
                };
                let from = (&mut from_client, &meters.client);
                pump(from, &to_client, &to_google, waiting, idle, see).await
            };
            tokio::pin!(down, up);
            tokio::select! {
                stop = &mut down => match stop {
                    Stop::Untold => End::Client(last_of(up).await),
                    stop => End::Google(stop),
                },
                stop = &mut up => match stop {
                    Stop::Untold => End::Google(last_of(down).await),
                    stop => End::Client(stop),
                },
                () = self.lifecycle.cut.cancelled() => End::Stopped,
                () = meters.cut() => End::Cut,
            }
        };
        let stopped = matches!(end, End::Stopped);
        let Result { verdict, outcome, reasons, finish, words } = judge(end, &secret);
        attempt.attempted.reason = reasons.0;
        attempt.attempted.finish_reason = finish;
        request.answered.reason = reasons.1;
        let ended = attempt.finish(verdict);
        request.finish(outcome, ended).await;
        let (mut to_google, mut to_client) = (to_google.into_inner(), to_client.into_inner());
        tokio::join!(say(&mut to_client, words.0), say(&mut to_google, words.1));
        let mut google = from_google.reunite(to_google).ok();
        let mut client = from_client.reunite(to_client).ok();
        if let (true, Some(client)) = (stopped, &mut client) {
            linger(client, LAST_WORDS).await;
        }
        tokio::join!(part(&mut google), part(&mut client));
    }
}

async fn part<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut Option<WebSocketStream<S>>) {
    if let Some(socket) = socket {
        linger(socket, PARTING).await;
    }
}

/// A side that takes nothing any more may have said why, and its word be on the way.
async fn last_of(side: impl Future<Output = Stop>) -> Stop {
    timeout(LAST_WORDS, side).await.unwrap_or(Stop::Untold)
}

/// Reads one side and tells the other, until there is no more to tell.
pub(super) async fn pump<A, B>(
    (from, meter): (&mut SplitStream<WebSocketStream<A>>, &Meter),
    back: &Mutex<SplitSink<WebSocketStream<A>, Message>>,
    to: &Mutex<SplitSink<WebSocketStream<B>, Message>>,
    waiting: std::collections::VecDeque<Message>,
    idle: Duration,
    mut see: impl FnMut(Message) -> (Message, Option<Note>),
) -> Stop
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    for message in waiting {
        if !tell(to, see(message), idle).await {
            return Stop::Untold;
        }
    }
    meter.gone_on();
    let mut asked = false;
    loop {
        match timeout(idle / 2, from.next()).await {
            Err(_) if asked => return Stop::Silent,
            Err(_) => {
                asked = true;
                // Where the lock is taken the other side is telling it something already.
                if let Ok(mut back) = back.try_lock() {
                    let _ = timeout(idle / 2, back.send(Message::Ping(Bytes::new()))).await;
                }
                continue;
            }
            Ok(None) => return Stop::Broke(Error::ConnectionClosed),
            Ok(Some(Err(error))) => return Stop::Broke(error),
            Ok(Some(Ok(Message::Close(frame)))) => return Stop::Closed(frame),
            Ok(Some(Ok(message @ (Message::Text(_) | Message::Binary(_))))) => {
                if !tell(to, see(message), idle).await {
                    return Stop::Untold;
                }
                meter.gone_on();
            }
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)))) => {}
        }
        asked = false;
    }
}

async fn tell<S: AsyncRead + AsyncWrite + Unpin>(
    to: &Mutex<SplitSink<WebSocketStream<S>, Message>>,
    (message, note): (Message, Option<Note>),
    idle: Duration,
) -> bool {
    if let Some(note) = note {
        note.await;
    }
    let told = async { to.lock().await.send(message).await };
    matches!(timeout(idle, told).await, Ok(Ok(())))
}

fn frame(code: u16, text: &str) -> CloseFrame {
    CloseFrame { code: code.into(), reason: format!("Gemini-Pool: {text}").into() }
}

/// What a session came to, by who ended it and how.
fn judge(end: End, key: &crate::gemini::scrub::Forms) -> Result {
    let truncated = |how: &str| Result {
        verdict: Verdict::Truncated,
        outcome: Outcome::Truncated,
        reasons: (Some(how.to_owned()), None),
        finish: None,
        words: (
            Some(frame(1011, &format!("the session with Google broke off: {how}"))),
            Some(frame(1001, "going away")),
        ),
    };
    match end {
        End::Google(Stop::Closed(last)) => {
            let last = match masked(Message::Close(last), key) {
                Message::Close(last) => last,
                _ => None,
            };
            let code = last.as_ref().map(|frame| u16::from(frame.code));
            let text = last.as_ref().map_or("", |frame| frame.reason.as_str());
            let classified = classify_close(code, text);
            let well = matches!(code, None | Some(1000 | 1001));
            let reason = classified.reason.filter(|_| !well);
            Result {
                verdict: if well { Verdict::Success } else { Verdict::StreamError },
                outcome: if well { Outcome::Complete } else { Outcome::Truncated },
                reasons: (reason.clone(), reason),
                finish: finish("GOOGLE", code),
                // A close frame without a code says no more than that all is well.
                words: (
                    Some(last.unwrap_or_else(|| CloseFrame { code: 1000.into(), reason: "".into() })),
                    None,
                ),
            }
        }
        End::Google(Stop::Broke(error)) => truncated(match error {
            Error::Capacity(_) => "a message of Google's is too large",
            Error::Io(error) if is_full(&error) => "no memory is left for Google's message",
            Error::Protocol(_) | Error::Utf8(_) => "the connection broke, or its frames did",
            _ => "the connection broke",
        }),
        End::Google(Stop::Silent | Stop::Untold) => truncated("it stalled"),
        End::Client(Stop::Closed(last)) => Result {
            verdict: Verdict::Success,
            outcome: Outcome::Complete,
            reasons: (None, None),
            finish: finish("CLIENT", last.as_ref().map(|frame| u16::from(frame.code))),
            words: (None, Some(last.unwrap_or_else(|| CloseFrame { code: 1000.into(), reason: "".into() }))),
        },
        End::Client(Stop::Broke(error)) => {
            let refusal = fault(&error);
            let reason = refusal.as_ref().map(|refusal| refusal.reason().to_owned());
            let last = refusal.map(|refusal| super::Farewell::from(&refusal).frame);
            Result {
                reasons: (reason.clone(), reason),
                words: (last, Some(frame(1001, "the client left"))),
                ..left()
            }
        }
        End::Client(Stop::Silent | Stop::Untold) => left(),
        End::Cut => {
            let refusal = super::Refusal::MemoryShare;
            let reason = Some(refusal.reason().to_owned());
            Result {
                reasons: (reason.clone(), reason),
                words: (Some(super::Farewell::from(&refusal).frame), Some(frame(1001, "going away"))),
                ..left()
            }
        }
        End::Stopped => Result {
            reasons: (Some("this server is stopping".to_owned()), Some(STOPPING.to_owned())),
            words: (
                Some(super::Farewell::from(&super::Refusal::Stopping).frame),
                Some(frame(1001, "going away")),
            ),
            ..truncated("this server is stopping")
        },
    }
}

/// The client went away.
fn left() -> Result {
    Result {
        verdict: Verdict::Cancelled,
        outcome: Outcome::Cancelled,
        reasons: (None, None),
        finish: None,
        words: (None, Some(frame(1001, "the client left"))),
    }
}

/// Who ended it, and with which code.
fn finish(who: &str, code: Option<u16>) -> Option<String> {
    Some(code.map_or_else(|| format!("{who}_CLOSED"), |code| format!("{who}_CLOSED_{code}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemini::scrub::Forms;

    /// Verdict, outcome, and the codes that the client and Google are told.
    fn judged(end: End) -> (Verdict, Outcome, Option<u16>, Option<u16>) {
        let Result { verdict, outcome, words, .. } = judge(end, &Forms::new(b"AIza-secret"));
        let code = |frame: Option<CloseFrame>| frame.map(|frame| u16::from(frame.code));
        (verdict, outcome, code(words.0), code(words.1))
    }

    #[test]
    fn who_ended_a_session_decides_what_it_came_to_and_the_other_side_is_told() {
        let said = |code: u16| Stop::Closed(Some(CloseFrame { code: code.into(), reason: "".into() }));
        let broke = || Stop::Broke(Error::ConnectionClosed);
        let large = || {
            let error = tokio_tungstenite::tungstenite::error::CapacityError::TooManyHeaders;
            Stop::Broke(Error::Capacity(error))
        };
        let (truncated, cancelled) =
            ((Verdict::Truncated, Outcome::Truncated), (Verdict::Cancelled, Outcome::Cancelled));
        let complete = (Verdict::Success, Outcome::Complete);
        for (end, (verdict, outcome), client, google) in [
            (End::Google(said(1000)), complete, Some(1000), None),
            (End::Google(Stop::Closed(None)), complete, Some(1000), None),
            (End::Google(said(1011)), (Verdict::StreamError, Outcome::Truncated), Some(1011), None),
            (End::Google(broke()), truncated, Some(1011), Some(1001)),
            (End::Google(large()), truncated, Some(1011), Some(1001)),
            (End::Google(Stop::Silent), truncated, Some(1011), Some(1001)),
            (End::Google(Stop::Untold), truncated, Some(1011), Some(1001)),
            (End::Client(said(4000)), complete, None, Some(4000)),
            (End::Client(broke()), cancelled, None, Some(1001)),
            (End::Client(large()), cancelled, Some(1009), Some(1001)),
            (End::Client(Stop::Silent), cancelled, None, Some(1001)),
            (End::Client(Stop::Untold), cancelled, None, Some(1001)),
            (End::Stopped, truncated, Some(1001), Some(1001)),
            (End::Cut, cancelled, Some(1013), Some(1001)),
        ] {
            assert_eq!(judged(end), (verdict, outcome, client, google));
        }
    }
}
