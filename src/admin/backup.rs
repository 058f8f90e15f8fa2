//! A backup of the running pool, as a stream.

use std::{io, sync::Arc};

use bytes::Bytes;
use poem::Body;
use poem_openapi::{ApiResponse, OpenApi, payload::Binary};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{
    Tag, Token,
    problem::{AUTH, BUSY, Failure, LOG},
};
use crate::{ledger::backup::Backup, pool::Pool, shares::Share};

/// Pieces under way to the client; a slow one makes the reading wait.
const PIECES: usize = 4;

pub(super) struct BackupApi(pub(super) Option<Arc<Pool>>);

#[derive(ApiResponse)]
enum BackupAnswer {
    /// The backup. It is whole only if its last record is the one that ends it: `gemini-pool restore` tells.
    #[oai(status = 200)]
    Stream(
        Binary<Body>,
        #[oai(header = "Content-Disposition")] String,
        #[oai(header = "Cache-Control")] String,
    ),
}

#[OpenApi]
impl BackupApi {
    /// Back up the log and the sealed secrets
    ///
    /// Of the moment of the call; the pool goes on meanwhile. The secrets stay sealed, and the master key is not in
    /// it. Recorded as `BackupMade`.
    #[oai(path = "/backup", method = "get", tag = "Tag::Server", operation_id = "make_backup")]
    async fn backup(&self, token: Token) -> Result<BackupAnswer, Failure<{ AUTH | BUSY | LOG }>> {
        let pool = super::serving(self.0.as_ref())?;
        let session = token.session(pool)?;
        let place = pool.backups.take(session.caller())?;
        let backup = pool.ledger.backup(session.actor()).await?;
        let name = format!("attachment; filename=\"gemini-pool-{}.backup\"", backup.manifest().through);
        Ok(BackupAnswer::Stream(Binary(streamed(backup, place)), name, "no-store".to_owned()))
    }
}

/// Read on a thread of its own. Where it breaks, the connection does: there is no end, and no status any more.
fn streamed(backup: Backup, place: Share) -> Body {
    let (pieces, receiver) = mpsc::channel::<io::Result<Bytes>>(PIECES);
    tokio::task::spawn_blocking(move || {
        let _place = place;
        let packed = backup.pack(|piece| pieces.blocking_send(Ok(piece)).is_ok());
        if let Err(error) = packed {
            tracing::error!(
                %error, cause = std::error::Error::source(&error).map(tracing::field::display),
                "a backup was not made to its end"
            );
            let _ = pieces.blocking_send(Err(io::Error::other(error)));
        }
    });
    Body::from_bytes_stream(ReceiverStream::new(receiver))
}
