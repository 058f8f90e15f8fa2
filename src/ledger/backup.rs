//! Backups: the log and the sealed secrets of one moment, in one file.
//!
//! Owns the container, byte by byte, and the proof that it is whole: who writes one follows the log's own chain of
//! hashes while reading it, and who reads one follows it again. It refuses to open a secret: they stay sealed, and
//! the master key is in no backup. Its invariant: **what is read to its end is the log, as it was, up to the event
//! that the manifest names**, and nothing else is read to its end.
//!
//! # The container, version 2
//!
//! All numbers are big-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `GPBACKUP` |
//! | 2 | version of the container (2, or 1 where it holds no checkpoint) |
//! | 4 | length of the manifest |
//! | … | the manifest, a JSON object; see [`Manifest`] |
//! | … | records, until the one that ends it |
//!
//! A record is a tag of one byte, a length of four, and so many bytes:
//!
//! | tag | bytes |
//! |---|---|
//! | `S` | a sealed secret: 2 bytes with the length of its name, its name, the sealed bytes |
//! | `C` | what the log had added up to where old traffic was trimmed: 8 bytes with the position of the last event that is in it, 32 with the hash of that event's frame, the state as JSON |
//! | `F` | an event: its frame, as it stands in the log (see [`crate::journal::codec`]) |
//! | `E` | the end: 8 bytes with the number of events, 8 with that of secrets, 32 with the BLAKE3 of every byte before this record |
//!
//! The secrets come first, then the checkpoint, the events after them in the order of the log. Nothing follows the end.
//! Where old traffic was trimmed, its numbers are missing, and a `LogTrimmed` event further on vouches for that; the
//! checkpoint is believed where it stands at the place, and has the hash, that this event names. Version 1 had none.

mod pack;
mod unpack;

use projections::{Event, Seq};
use serde::{Deserialize, Serialize};

pub use self::{
    pack::{Backup, Unpackable},
    unpack::{Base, Item, Reader, Unreadable},
};
use crate::journal::{
    self,
    codec::{self, ChainHash, Damage},
};

const MAGIC: &[u8; 8] = b"GPBACKUP";
const VERSION: u16 = 2;
/// The same, where there is no checkpoint: programs from before it was there read it too.
const WITHOUT_BASE: u16 = 1;
const SECRET: u8 = b'S';
const BASE: u8 = b'C';
const FRAME: u8 = b'F';
const END: u8 = b'E';
/// Length of what the last record holds.
const END_BYTES: usize = 8 + 8 + 32;

/// What stands at the beginning of a backup, for people too (`head -n 1` shows it).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The program's version.
    pub version: String,
    /// When it was made (RFC 3339, UTC).
    pub made: String,
    /// The last event in it.
    pub through: Seq,
    /// The hash that ends that event's frame, as hexadecimal.
    pub chain: String,
    /// How many sealed secrets are in it.
    pub secrets: u64,
}

/// Follows frames in their order: each must be whole, and the successor of the one before.
struct Follower {
    last: Seq,
    hash: ChainHash,
    frames: u64,
    /// The end of the last gap between two frames.
    gap: Seq,
    /// Up to here a `LogTrimmed` vouches for gaps.
    trimmed: Seq,
}

impl Follower {
    fn new() -> Self {
        Self { last: 0, hash: ChainHash::START, frames: 0, gap: 0, trimmed: 0 }
    }

    /// Gives the frame's position.
    fn follow(&mut self, frame: &[u8]) -> Result<Seq, (Seq, Damage)> {
        let next = self.last + 1;
        let seq = journal::position(frame).ok_or((next, Damage::Length))?;
        if seq < next {
            return Err((next, Damage::Position(seq)));
        }
        let previous = (seq == next).then_some(&self.hash);
        let (recorded, hash) = codec::decode(seq, frame, previous).map_err(|damage| (seq, damage))?;
        if seq > next {
            self.gap = seq - 1;
        }
        if let Event::LogTrimmed(trimmed) = &recorded.event {
            self.trimmed = self.trimmed.max(trimmed.through);
        }
        (self.last, self.hash) = (seq, hash);
        self.frames += 1;
        Ok(seq)
    }

    /// The end of a gap that nothing vouches for.
    fn lost(&self) -> Option<Seq> {
        (self.gap > self.trimmed).then_some(self.gap)
    }

    fn ends_as(&self, manifest: &Manifest) -> bool {
        self.last == manifest.through && self.hash.to_string() == manifest.chain
    }
}

#[cfg(test)]
mod tests;
