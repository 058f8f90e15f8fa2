//! Connections: taken in, served, and let go in good order.
//!
//! hyper serves each one, and poem answers its requests. A connection that has
//! ended, well or not, is dropped at once, and with it whatever its client had
//! asked for: so an answer that broke is seen to be broken, and a client that
//! left stops what it started. Each has a place ([`places`]); taking in new ones goes on whatever the others do.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::BoxBody;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use poem::{
    Addr, Endpoint, Request, Response,
    web::{LocalAddr, RemoteAddr},
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    places::Places,
    socket::{Socket, UnderWay, Watch},
};
use crate::{
    bounds::{HEAD_BYTES, UNREAD_TIME},
    caller::Recognized,
    gauges::Connections,
    lifecycle::Lifecycle,
    network::Range,
    pacing::{self, Paced},
};

/// How long the last bytes may take to their clients, once every request has ended.
const FLUSH: Duration = Duration::from_secs(1);
/// How long to wait for a descriptor when there is none and no connection can be closed.
const PAUSE: Duration = Duration::from_millis(100);
/// How often connections that take too long are looked for.
const SWEEP: Duration = Duration::from_millis(500);
/// How often the log says that there is no room.
const TOLD: Duration = Duration::from_secs(60);

/// What serving needs beside the listener.
pub(super) struct Serving<A, T> {
    pub(super) app: A,
    pub(super) lifecycle: Lifecycle,
    pub(super) places: Arc<Places>,
    /// The operator's own reverse proxies, as they are right now.
    pub(super) trusted: T,
    /// What requests get to end when the service stops.
    pub(super) timeout: Duration,
}

/// Serves until `shutdown`; then takes no more connections and lets requests end until the timeout.
/// Gives the number of those that did not.
pub(super) async fn serve<A, T>(
    listener: TcpListener,
    serving: Serving<A, T>,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<usize>
where
    A: Endpoint<Output = Response> + 'static,
    T: Fn() -> Vec<Range>,
{
    let Serving { app, lifecycle, places, trusted, timeout } = serving;
    let local = listener.local_addr()?;
    let app = Arc::new(app);
    let connections = TaskTracker::new();
    let (draining, close) = (CancellationToken::new(), CancellationToken::new());
    let mut sweep = interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut crowd = Crowd::new();
    tokio::pin!(shutdown);
    loop {
        let next = async {
            places.settled().await;
            listener.accept().await
        };
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            _ = sweep.tick() => {
                places.sweep();
                crowd.look(places.numbers());
                continue;
            }
            accepted = next => accepted,
        };
        let (socket, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                recover(&error, &places).await;
                continue;
            }
        };
        let close = close.child_token();
        let exempt = trusted().iter().any(|range| range.contains(remote.ip()));
        let Some((place, recognized)) = places.enter(remote.ip(), exempt, close.clone()) else { continue };
        // Small events go out at once; a socket that cannot do that serves as well.
        let _ = socket.set_nodelay(true);
        // A client that neither reads nor leaves would hold its key's place for ever.
        let options = socket2::SockRef::from(&socket);
        let _ = options.set_tcp_user_timeout(Some(UNREAD_TIME));
        // Or megabytes would wait in the system for a client that reads slowly, and nobody could tell.
        let _ = options.set_tcp_notsent_lowat(pacing::UNSENT);
        let ends = Ends { local, remote, recognized, draining: draining.clone(), close };
        connections.spawn(connection(socket, Arc::new(Watch::new(place)), ends, Arc::clone(&app)));
    }
    drop(listener);
    draining.cancel();
    connections.close();
    lifecycle.requests.close();
    let in_time = tokio::time::timeout(timeout, lifecycle.requests.wait()).await;
    let abandoned = if in_time.is_ok() { 0 } else { lifecycle.requests.len() };
    lifecycle.cut.cancel();
    let _ = tokio::time::timeout(FLUSH, lifecycle.requests.wait()).await;
    // The last bytes of what has ended are on their way; idle connections and half-sent heads hold up nothing.
    let _ = tokio::time::timeout(FLUSH, connections.wait()).await;
    close.cancel();
    connections.wait().await;
    Ok(abandoned)
}

/// A connection could not be taken in. Where descriptors or memory ran out, an idle one is closed for the next; what
/// waits in the listener's queue is taken in as soon as that one is gone.
async fn recover(error: &std::io::Error, places: &Places) {
    let short = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
    if error.raw_os_error().is_some_and(|code| short.contains(&code)) {
        tracing::warn!(%error, "a connection could not be taken in");
        places.make_room();
        places.somebody_leaves(PAUSE).await;
    } else {
        // That client is gone already.
        tokio::task::yield_now().await;
    }
}

/// Says now and then that connections find no room.
struct Crowd {
    known: Connections,
    told: Option<Instant>,
}

impl Crowd {
    fn new() -> Self {
        Self { known: Connections::default(), told: None }
    }

    fn look(&mut self, now: Connections) {
        let closed = now.closed_for_room - self.known.closed_for_room;
        let refused = now.refused - self.known.refused;
        if closed + refused == 0 || self.told.is_some_and(|told| told.elapsed() < TOLD) {
            return;
        }
        tracing::warn!(
            open = now.open,
            most = now.most,
            closed,
            refused,
            "there is no room for all connections: idle ones are closed, and where none is idle new ones are refused"
        );
        (self.known, self.told) = (now, Some(Instant::now()));
    }
}

struct Ends {
    local: SocketAddr,
    remote: SocketAddr,
    recognized: Recognized,
    draining: CancellationToken,
    close: CancellationToken,
}

/// What a connection holds of a request that comes in, or of an answer that its client does not take; a request's
/// head is no longer either.
const BUFFER: usize = HEAD_BYTES;

async fn connection(
    socket: TcpStream,
    watch: Arc<Watch>,
    ends: Ends,
    app: Arc<impl Endpoint<Output = Response> + 'static>,
) {
    let Ends { local, remote, recognized, draining, close } = ends;
    // Until a client says something it gets no buffer.
    tokio::select! {
        _ = socket.readable() => {}
        () = close.cancelled() => return,
        () = draining.cancelled() => return,
    }
    let socket = Paced::new(Socket::new(socket, Arc::clone(&watch)));
    let (too_slow, slow) = (socket.too_slow(), socket.too_slow());
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (app, under_way) = (Arc::clone(&app), watch.begin());
        let (local, remote) = (LocalAddr(Addr::SocketAddr(local)), RemoteAddr(Addr::SocketAddr(remote)));
        let mut request = Request::from((request, local, remote, http::uri::Scheme::HTTP));
        request.extensions_mut().insert(too_slow.clone());
        request.extensions_mut().insert(recognized.clone());
        async move {
            // A connection that has to go serves no more requests.
            let Some(under_way) = under_way else { return Err(std::io::ErrorKind::ConnectionAborted.into()) };
            let response: http::Response<BoxBody<Bytes, std::io::Error>> =
                app.get_response(request).await.into();
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                under_way.for_good();
                return Ok(response.map(|body| Answer { body, _under_way: None }));
            }
            Ok::<_, std::io::Error>(response.map(|body| Answer { body, _under_way: Some(under_way) }))
        }
    });
    let mut http = http1::Builder::new();
    // How long a head may take is looked after here, because hyper counts the time before it begins as well.
    http.timer(TokioTimer::new()).header_read_timeout(None).max_header_size(HEAD_BYTES).max_buf_size(BUFFER);
    // What a connection is upgraded to outlives it, and looks after its own end.
    let connection = http.serve_connection(TokioIo::new(socket), service).with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        // Errors are the client's leaving, or an answer that broke; both are recorded where they happened.
        _ = &mut connection => {
            if slow.is_so() {
                tracing::info!(%remote, "a client was cut off that read too slowly");
            }
            return;
        }
        () = close.cancelled() => return,
        () = draining.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = &mut connection => {}
        () = close.cancelled() => {}
    }
}

/// An answer's body; its request is over when this is dropped.
struct Answer {
    body: BoxBody<Bytes, std::io::Error>,
    _under_way: Option<UnderWay>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
