//! From the running log into a container, piece by piece.

use std::sync::Arc;

use bytes::Bytes;
use projections::{
    Seq,
    event::{Actor, BackupMade},
};
use tokio::sync::oneshot;

use super::{BASE, END, END_BYTES, FRAME, Follower, MAGIC, Manifest, SECRET, VERSION, WITHOUT_BASE};
use crate::{
    journal::{self, Journal, codec::Damage},
    ledger::{
        CommitError, Ledger, Message,
        checkpoint::{Kind, Packed},
        clock::rfc3339,
        writer::Writer,
    },
};

/// Entries read at once.
const PAGE: usize = 1_024;

/// Why a backup cannot be made to its end.
#[derive(Debug, thiserror::Error)]
pub enum Unpackable {
    /// The journal does not answer.
    #[error("cannot read the log")]
    Journal(#[from] journal::Error),
    /// The log itself is damaged.
    #[error("event {seq} of the log is damaged: {damage}. Restore an older backup")]
    Damaged {
        /// Which one.
        seq: Seq,
        /// How.
        damage: Damage,
    },
    /// Something is not there any more.
    #[error("event {seq} was trimmed from the log while the backup was made; make it again")]
    Trimmed {
        /// Which one.
        seq: Seq,
    },
}

/// A backup to be: the secrets and the last trim of one moment, and how far the log goes.
pub struct Backup {
    journal: Arc<dyn Journal>,
    manifest: Manifest,
    secrets: Vec<(String, Vec<u8>)>,
    /// Where old traffic was trimmed last, if it was.
    trimmed: Option<Seq>,
}

impl Ledger {
    /// Fixes the moment of a backup, and records that it is made. Log and secrets are of one moment, because the
    /// thread that changes both looks at them.
    ///
    /// # Errors
    /// [`CommitError`]; then there is none.
    pub async fn backup(&self, actor: Actor) -> Result<Backup, CommitError> {
        let (done, answer) = oneshot::channel();
        let command = move |writer: &mut Writer| match fix(writer, actor) {
            Err(error) => drop(done.send(Err(error))),
            Ok(backup) => writer.sync_and_then(Box::new(move |synced| {
                let _ = done.send(synced.map(|()| backup).map_err(CommitError::NotDurable));
            })),
        };
        self.queue.send(Message::Command(Box::new(command))).await.map_err(|_| CommitError::Stopping)?;
        answer.await.map_err(|_| CommitError::Stopping)?
    }
}

fn fix(writer: &mut Writer, actor: Actor) -> Result<Backup, CommitError> {
    // A journal that failed may just be opened anew, and this thread waits for no disk.
    if let Some(error) = writer.shared.failure() {
        return Err(CommitError::Log(error));
    }
    let journal = Arc::clone(&writer.shared.journal);
    let secrets = journal.secrets().map_err(|error| CommitError::Log(Arc::new(error)))?;
    let (through, trimmed) = {
        let state = writer.shared.state.read();
        (state.seq, state.trims.last.as_ref().map(|trim| trim.through))
    };
    let manifest = Manifest {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        made: rfc3339(writer.clock.now()),
        through,
        chain: writer.hash.to_string(),
        secrets: secrets.len() as u64,
    };
    writer.append(vec![BackupMade { through, actor }.into()], &[]).map_err(CommitError::Log)?;
    Ok(Backup { journal, manifest, secrets, trimmed })
}

impl Backup {
    /// What it will begin with.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Gives the container's bytes to `take`, until it wants no more. Blocks.
    ///
    /// # Errors
    /// [`Unpackable`]; then the container has no end, and nobody takes it for whole.
    pub fn pack(self, mut take: impl FnMut(Bytes) -> bool) -> Result<(), Unpackable> {
        let mut hasher = blake3::Hasher::new();
        let mut wanted = |piece: Vec<u8>| {
            hasher.update(&piece);
            take(Bytes::from(piece))
        };
        let manifest = serde_json::to_vec(&self.manifest).unwrap_or_default();
        // One that is not whole is left out, as if it was not there: whoever reads it would pass it over too.
        let base = self.trimmed.map(|place| Packed::read(self.journal.as_ref(), Kind::Base, place));
        let base = base.transpose()?.flatten();
        let mut piece = MAGIC.to_vec();
        piece.extend(if base.is_some() { VERSION } else { WITHOUT_BASE }.to_be_bytes());
        piece.extend((manifest.len() as u32).to_be_bytes());
        piece.extend(manifest);
        for (name, sealed) in &self.secrets {
            let mut bytes = (name.len() as u16).to_be_bytes().to_vec();
            bytes.extend(name.as_bytes());
            bytes.extend(sealed);
            record(&mut piece, SECRET, &bytes);
        }
        if let Some(base) = base {
            record(&mut piece, BASE, &base.to_bytes());
        }
        let mut follower = Follower::new();
        while follower.last < self.manifest.through {
            if !wanted(std::mem::take(&mut piece)) {
                return Ok(());
            }
            let entries = self.journal.read(follower.last, PAGE)?;
            let within = entries.iter().take_while(|entry| entry.seq <= self.manifest.through);
            let before = follower.frames;
            for entry in within {
                follower.follow(&entry.frame).map_err(|(seq, damage)| Unpackable::Damaged { seq, damage })?;
                record(&mut piece, FRAME, &entry.frame);
            }
            if follower.frames == before {
                return Err(Unpackable::Trimmed { seq: follower.last + 1 });
            }
        }
        if let Some(seq) = follower.lost() {
            return Err(Unpackable::Trimmed { seq });
        }
        if !follower.ends_as(&self.manifest) {
            return Err(Unpackable::Damaged { seq: follower.last, damage: Damage::Chain });
        }
        if !wanted(piece) {
            return Ok(());
        }
        let mut end = follower.frames.to_be_bytes().to_vec();
        end.extend(self.manifest.secrets.to_be_bytes());
        end.extend(hasher.finalize().as_bytes());
        debug_assert_eq!(end.len(), END_BYTES);
        let mut piece = Vec::new();
        record(&mut piece, END, &end);
        take(Bytes::from(piece));
        Ok(())
    }
}

fn record(to: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    to.push(tag);
    to.extend((bytes.len() as u32).to_be_bytes());
    to.extend(bytes);
}
