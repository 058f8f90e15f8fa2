//! Owns the sockets: accepts connections, reads requests, has their answers played. Refuses to decide
//! anything. Invariant: every request whose head arrived is recorded once when it came and once when its
//! answer ended, also when the client left or the connection was cut on purpose.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Either, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::ask::{Ask, Call, Head};
use super::live::{self, Session};
use super::play::{Cut, Played, accepts_gzip, respond};
use super::refusal;
use super::reply::Reply;
use super::seen::{End, Seen};
use super::world::World;
use crate::locks::Mutex;

/// What the connections share.
pub(super) struct Shared {
    pub(super) world: Mutex<World>,
    /// Told of every change to the record of calls.
    pub(super) changed: Notify,
    /// Counts the releases of what is held.
    pub(super) released: watch::Sender<u64>,
}

impl Shared {
    pub(super) fn new(world: World) -> Self {
        Self { world: Mutex::new(world), changed: Notify::new(), released: watch::Sender::new(0) }
    }
}

/// One call from its arrival to its end, which is recorded when this is dropped.
pub(super) struct Open {
    pub(super) n: u64,
    /// How it ended, unless somebody says better: the server drops the answers of clients that left.
    pub(super) end: End,
    /// Releases counted when the call was decided: it is held until there is one more, so that a release
    /// which comes before the hold is reached is not lost.
    released: u64,
    pub(super) shared: Arc<Shared>,
}

impl Open {
    /// Changes what is recorded of the call, and lets those know who wait for it.
    pub(super) fn note(&self, change: impl FnOnce(&mut Seen)) {
        self.shared.world.lock().update(self.n, change);
        self.shared.changed.notify_waiters();
    }

    /// Waits for the next release. It never comes if nobody calls for it: that is a stall for ever.
    pub(super) fn release(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut releases = self.shared.released.subscribe();
        let before = self.released;
        async move {
            if releases.wait_for(|count| *count > before).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.world.lock().ended(self.n, self.end);
        self.shared.changed.notify_waiters();
    }
}

/// Accepts until it is dropped; the connections end with it.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    connections.spawn(serve(socket, shared.clone()));
                }
                // Out of file descriptors, most likely: let some connections end first.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn serve(socket: TcpStream, shared: Arc<Shared>) {
    // Failing to set it would cost latency and nothing else.
    let _ = socket.set_nodelay(true);
    let session = Session::default();
    let place = session.clone();
    let service = service_fn(move |request| handle(request, shared.clone(), place.clone()));
    // An error here is a client that left or a cut we ordered: both are in the record.
    let connection =
        http1::Builder::new().title_case_headers(true).serve_connection(TokioIo::new(socket), service);
    let _ = connection.with_upgrades().await;
    // In the same task, so that it is cut with the connections of the others.
    let session = session.lock().take();
    if let Some(session) = session {
        session.await;
    }
}

async fn handle(
    mut request: Request<Incoming>,
    shared: Arc<Shared>,
    session: Session,
) -> Result<Response<Either<Played, Empty<Bytes>>>, Cut> {
    let upgrade = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    let head = Head::read(parts);
    let gzip = accepts_gzip(&head.headers);
    let (n, limit) = {
        let mut world = shared.world.lock();
        (world.arrive(&head), world.payload_limit)
    };
    let mut call = Open { n, end: End::ClientLeft, released: 0, shared };
    call.shared.changed.notify_waiters();
    if head.call == Call::Live {
        call.released = *call.shared.released.borrow();
        return live::answer(head, upgrade, call, &session).await;
    }
    let body = Limited::new(body, limit).collect().await;
    call.released = *call.shared.released.borrow();
    let reply = match body {
        Ok(body) => {
            let ask = Ask::new(head, body.to_bytes());
            call.shared.world.lock().answer(n, &ask)
        }
        Err(error) if error.is::<LengthLimitError>() => {
            let shape = Ask::new(head, Bytes::new()).shape();
            let reply = Reply::refused(&refusal::too_large(limit), shape, false);
            call.shared.world.lock().decided(n, &reply);
            reply
        }
        // The client left before its request was whole.
        Err(_) => return Err(Cut),
    };
    call.shared.changed.notify_waiters();
    if !reply.wait.is_zero() {
        tokio::time::sleep(reply.wait).await;
    }
    if reply.hold {
        call.release().await;
    }
    respond(reply, gzip, call).map(|response| response.map(Either::Left))
}
