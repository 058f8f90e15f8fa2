//! What the service itself goes through: starts and stops, and what becomes of its log.

use serde::{Deserialize, Serialize};

use super::Actor;
use crate::id::{Digest, Millis, Seq};

/// See [`Event::ServerStarted`](super::Event::ServerStarted).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStarted {
    /// The program's version.
    pub version: String,
    /// The address it listens on.
    pub address: String,
}

/// See [`Event::ServerStopped`](super::Event::ServerStopped).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStopped {
    /// Requests still under way when the time to drain was over.
    pub abandoned: u32,
}

/// See [`Event::LogTrimmed`](super::Event::LogTrimmed).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogTrimmed {
    /// Behind this event the trim began: where the one before it ended; 0 for the first.
    pub after: Seq,
    /// The last event that it looked at.
    pub through: Seq,
    /// When that one was recorded.
    pub at: Millis,
    /// The chain's hash there: what the next event is chained to.
    pub hash: Digest,
    /// Events of traffic that are gone.
    pub dropped: u64,
    /// Events between the two that stay.
    pub kept: u64,
    /// BLAKE3 over their frames, in order.
    pub digest: Digest,
}

/// See [`Event::BackupMade`](super::Event::BackupMade).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupMade {
    /// The last event in it.
    pub through: Seq,
    /// Who wanted it.
    pub actor: Actor,
}

/// See [`Event::BackupRestored`](super::Event::BackupRestored).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRestored {
    /// The last event that was in it.
    pub through: Seq,
    /// Who wanted it.
    pub actor: Actor,
}

/// See [`Event::LogSalvaged`](super::Event::LogSalvaged).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSalvaged {
    /// The last event that was kept.
    pub through: Seq,
    /// Events that were kept.
    pub kept: u64,
    /// Events before that one that are lost.
    pub lost: u64,
    /// Who wanted it.
    pub actor: Actor,
}

/// See [`Event::MasterKeyChanged`](super::Event::MasterKeyChanged).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MasterKeyChanged {
    /// How many secrets were sealed anew.
    pub secrets: u32,
    /// Who wanted it.
    pub actor: Actor,
}

/// See [`Event::LogGap`](super::Event::LogGap).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogGap {
    /// When the log failed.
    pub from: Millis,
    /// When it was opened anew.
    pub to: Millis,
    /// Facts of that time that are not recorded.
    pub unrecorded: u64,
    /// Facts of that time that are recorded right after this event: gates, checks and resources.
    pub late: u64,
    /// Why the log failed.
    pub cause: String,
}
