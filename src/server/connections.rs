//! Connections: taken in, served, and let go in good order.
//!
//! hyper serves each one, and poem answers its requests. A connection that has
//! ended, well or not, is dropped at once, and with it whatever its client had
//! asked for: so an answer that broke is seen to be broken, and a client that
//! left stops what it started.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use poem::{
    Addr, Endpoint, Request, Response,
    web::{LocalAddr, RemoteAddr},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::lifecycle::Lifecycle;

/// How long a client may take for a request's head.
const HEAD: Duration = Duration::from_secs(30);
/// How long the last bytes may take to their clients, once every request has ended.
const FLUSH: Duration = Duration::from_secs(1);
/// How long sent bytes may stay unread by a client.
const UNREAD: Duration = Duration::from_secs(300);
/// Pause after a connection could not be taken in, such as when files run out.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown`; then takes no more connections and lets requests end until `timeout`.
/// Gives the number of those that did not.
pub(super) async fn serve(
    listener: TcpListener,
    app: impl Endpoint<Output = Response> + 'static,
    lifecycle: Lifecycle,
    shutdown: impl Future<Output = ()>,
    timeout: Duration,
) -> std::io::Result<usize> {
    let local = listener.local_addr()?;
    let app = Arc::new(app);
    let connections = TaskTracker::new();
    let (draining, close) = (CancellationToken::new(), CancellationToken::new());
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        let (socket, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken in");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // Small events go out at once; a socket that cannot do that serves as well.
        let _ = socket.set_nodelay(true);
        // A client that neither reads nor leaves would hold its key's place for ever.
        let _ = socket2::SockRef::from(&socket).set_tcp_user_timeout(Some(UNREAD));
        let ends = Ends { local, remote, draining: draining.clone(), close: close.clone() };
        connections.spawn(connection(socket, ends, Arc::clone(&app)));
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

struct Ends {
    local: SocketAddr,
    remote: SocketAddr,
    draining: CancellationToken,
    close: CancellationToken,
}

/// What a connection holds of a request that comes in, or of an answer that its client does not take; a request's
/// head is no longer either.
const BUFFER: usize = 128 << 10;

async fn connection(socket: TcpStream, ends: Ends, app: Arc<impl Endpoint<Output = Response> + 'static>) {
    let Ends { local, remote, draining, close } = ends;
    let service = service_fn(move |request: http::Request<Incoming>| {
        let app = Arc::clone(&app);
        let (local, remote) = (LocalAddr(Addr::SocketAddr(local)), RemoteAddr(Addr::SocketAddr(remote)));
        let request = Request::from((request, local, remote, http::uri::Scheme::HTTP));
        async move {
            let response: http::Response<_> = app.get_response(request).await.into();
            Ok::<http::Response<BoxBody<Bytes, std::io::Error>>, Infallible>(response)
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(BUFFER);
    // What a connection is upgraded to outlives it, and looks after its own end.
    let connection = http.serve_connection(TokioIo::new(socket), service).with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        // Errors are the client's leaving, or an answer that broke; both are recorded where they happened.
        _ = &mut connection => return,
        () = close.cancelled() => return,
        () = draining.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = &mut connection => {}
        () = close.cancelled() => {}
    }
}
