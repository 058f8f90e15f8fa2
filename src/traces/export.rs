//! Sending spans to the collector (OTLP over HTTP, in JSON), in batches.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};

use super::{Ended, span};

/// Spans sent together at most.
const BATCH: usize = 512;
/// How long the first of a batch waits for others.
const LINGER: Duration = Duration::from_secs(1);
/// How long the collector may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// More of its answer is not read.
const ANSWER: usize = 64 << 10;

type Sender = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Why a batch did not arrive.
#[derive(Debug, thiserror::Error)]
enum NotSent {
    #[error("the request cannot be made")]
    Request(#[from] http::Error),
    #[error("the collector cannot be reached")]
    Unreached(#[from] hyper_util::client::legacy::Error),
    #[error("the collector says {0}")]
    Refused(StatusCode),
    #[error("the collector did not answer in time")]
    TimedOut,
}

/// Sends what comes, until no more can come.
pub(super) async fn run(mut spans: mpsc::Receiver<Ended>, collector: Uri, dropped: Arc<AtomicU64>) {
    let connector = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().build();
    let client: Sender = Client::builder(TokioExecutor::new()).build(connector);
    let mut batch = Vec::new();
    let mut well = true;
    while spans.recv_many(&mut batch, BATCH).await > 0 {
        let until = Instant::now() + LINGER;
        while batch.len() < BATCH {
            let room = BATCH - batch.len();
            match timeout_at(until, spans.recv_many(&mut batch, room)).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        let body = Bytes::from(span::batch(&batch).to_string());
        let sent = timeout(PATIENCE, send(&client, &collector, body)).await.unwrap_or(Err(NotSent::TimedOut));
        match sent {
            Ok(()) if !well => {
                let lost = dropped.swap(0, Ordering::Relaxed);
                tracing::info!(lost, "the collector takes traces again");
            }
            Ok(()) => {}
            Err(error) => {
                dropped.fetch_add(batch.len() as u64, Ordering::Relaxed);
                // Once for each time of trouble: the pool itself is well.
                if well {
                    let cause = std::error::Error::source(&error).map(tracing::field::display);
                    tracing::warn!(%error, cause, %collector, "traces are dropped");
                }
            }
        }
        well = dropped.load(Ordering::Relaxed) == 0;
        batch.clear();
    }
}

async fn send(client: &Sender, collector: &Uri, body: Bytes) -> Result<(), NotSent> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(collector.clone())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("gemini-pool/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(body))?;
    let response = client.request(request).await?;
    let status = response.status();
    // Read to its end, so that the connection can be used again; what it says of single spans is of no use here.
    let _ = Limited::new(response.into_body(), ANSWER).collect().await;
    if status.is_success() { Ok(()) } else { Err(NotSent::Refused(status)) }
}
