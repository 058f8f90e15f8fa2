//! A client's socket, watched: what comes in of a head, and whether an answer is out.
//!
//! Owns what is said of a head that is too large: hyper's own refusal has no body, and clients of Google's API read
//! one. Everything else passes through as it is.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::places::Place;
use crate::bounds::HEAD_BYTES;

/// A connection's place, and what is known of its client's bytes.
pub(super) struct Watch {
    place: Place,
    /// How large the buffer for them has grown; hyper gives none of it back.
    buffer: AtomicUsize,
    /// Those of the head that comes in.
    head: AtomicUsize,
    /// A request is under way.
    request: AtomicBool,
}

impl Watch {
    pub(super) fn new(place: Place) -> Self {
        let (buffer, head) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { place, buffer, head, request: AtomicBool::new(false) }
    }

    /// A request begins; none: the connection has to go.
    pub(super) fn begin(self: &Arc<Self>) -> Option<UnderWay> {
        self.head.store(0, Ordering::Relaxed);
        self.request.store(true, Ordering::Release);
        self.place.begin().then(|| UnderWay(Some(Arc::clone(self))))
    }

    /// So many bytes came into a buffer that had room for `room`. False: the connection has to go.
    fn heard(&self, read: usize, room: usize) -> bool {
        if self.place.is_busy() {
            self.buffer.fetch_max(room, Ordering::Relaxed);
            return true;
        }
        let length = self.head.fetch_add(read, Ordering::Relaxed) + room;
        let buffer = self.buffer.fetch_max(length, Ordering::Relaxed).max(length);
        read == 0 || self.place.heard(buffer)
    }

    fn end(&self) {
        self.place.end(self.buffer.load(Ordering::Relaxed));
    }
}

/// A request and its answer; over when this is dropped.
pub(super) struct UnderWay(Option<Arc<Watch>>);

impl UnderWay {
    /// The connection has become something else, which looks after its own end.
    pub(super) fn for_good(mut self) {
        self.0 = None;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(watch) = self.0.take() {
            watch.request.store(false, Ordering::Release);
            watch.end();
        }
    }
}

/// See the module.
pub(super) struct Socket {
    socket: TcpStream,
    watch: Arc<Watch>,
    /// The end of an answer waits for the client to read.
    tail: bool,
    /// How much of the refusal is out.
    refused: Option<usize>,
}

impl Socket {
    pub(super) fn new(socket: TcpStream, watch: Arc<Watch>) -> Self {
        Self { socket, watch, tail: false, refused: None }
    }

    /// Writes our refusal in the place of hyper's, whose length this gives once it is out.
    fn refuse(&mut self, cx: &mut Context<'_>, length: usize) -> Poll<io::Result<usize>> {
        loop {
            let sent = self.refused.unwrap_or_default();
            let rest = refusal().as_bytes().get(sent..).unwrap_or_default();
            if rest.is_empty() {
                return Poll::Ready(Ok(length));
            }
            let written = ready!(Pin::new(&mut self.socket).poll_write(cx, rest))?;
            self.refused = Some(sent + written.max(1));
        }
    }

    /// Whether this is how hyper refuses a head.
    fn is_refusal(&self, bytes: &[u8]) -> bool {
        let unfinished = self.watch.head.load(Ordering::Relaxed) > 0 && !self.watch.place.is_busy();
        unfinished && bytes.starts_with(b"HTTP/1.1 431 ")
    }

    /// Keeps the place of an answer whose end the client does not take.
    fn wrote<T>(&mut self, written: Poll<T>) -> Poll<T> {
        if written.is_pending() && !self.watch.place.is_busy() {
            self.tail = self.watch.place.begin();
        } else if written.is_ready() && self.tail {
            self.tail = false;
            // Another request may have begun meanwhile.
            if !self.watch.request.load(Ordering::Acquire) {
                self.watch.end();
            }
        }
        written
    }
}

/// What Google's clients read of a head that is too large.
fn refusal() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let message = format!("The request's head is over {HEAD_BYTES} bytes, or has over 100 headers.");
        let details = serde_json::json!([{
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "HEADERS_TOO_LARGE",
            "domain": "gemini-pool",
        }]);
        let error = serde_json::json!({"code": 431, "message": message, "status": "INVALID_ARGUMENT", "details": details});
        let body = format!("{:#}\n", serde_json::json!({ "error": error }));
        format!(
            "HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json; charset=UTF-8\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    })
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (room, before) = (buf.remaining(), buf.filled().len());
        ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        if !self.watch.heard(buf.filled().len() - before, room) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.refused.is_some() || self.is_refusal(buf) {
            return self.refuse(cx, buf.len());
        }
        let written = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.refused.is_some() || bufs.first().is_some_and(|buf| self.is_refusal(buf)) {
            return self.refuse(cx, bufs.iter().map(|buf| buf.len()).sum());
        }
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
