//! The journal: the durable, ordered, append-only record.
//!
//! Owns the contract that every back end keeps, and nothing of its meaning:
//! a back end sees bytes and sequence numbers. It refuses to know events
//! ([`codec`] does) and to decide anything ([`crate::ledger`], its only writer,
//! does).
//!
//! # The contract
//!
//! 1. **Order.** Entries get sequence numbers 1, 2, 3, … without gaps.
//!    [`Batch::after`] names the last sequence number that the writer knows; if
//!    the journal's own differs, nothing is written and the answer is
//!    [`Error::Conflict`]. A refused or failed batch can be offered again.
//! 2. **All or nothing.** A batch's frames and its secrets become visible and
//!    durable together, or not at all, also when the process or the machine dies.
//! 3. **Durability.** `append` returns after the bytes were handed to the
//!    operating system: a killed process loses nothing. [`Journal::sync`] returns
//!    after everything appended before it was called was forced to the disk: a
//!    lost machine loses nothing. It may run beside appends and does not hold
//!    them up, because a disk takes its time and traffic does not wait for it.
//! 4. **Poison.** After a failed write or sync, no write is accepted until
//!    [`Journal::reopen`]: what the disk holds is not known any more. Reading goes on.
//!    Then it holds what was appended, and nothing of a batch that failed. What failed
//!    only for want of descriptors or memory was not written, and can be offered again.
//! 5. **Reading** is by position, exclusive: `read(after, …)` begins with
//!    `after + 1`, `read_back(before, …)` with `before - 1`. Once read, an entry never changes.
//! 6. **Segments.** A frame may belong to a segment: a part of the log that is one
//!    day dropped as a whole ([`Journal::drop_segments`]), which gives its disk back
//!    at once. Segments' numbers only grow along the log; a frame that names a lower
//!    one goes into the newest. Where a segment was dropped, sequence numbers are
//!    missing, and nothing else changes: the others keep theirs, and the last entry
//!    of the log is never dropped.
//! 7. **Restoring.** [`Journal::adopt`] takes entries of another journal as they
//!    are, with their own numbers: each beyond the last one here, and gaps (where
//!    old traffic was trimmed there) stay gaps.
//! 8. **One writer.** Opening what another process has open is
//!    [`Error::InUse`], at once.

pub mod codec;
#[cfg(test)]
mod contract;
pub mod derived;
pub mod fjall;
mod kept;
pub mod memory;
pub(crate) mod transient;

use std::path::PathBuf;

use projections::Seq;

pub use self::{derived::Derived, kept::KeptGap};

/// A change to the sealed secrets that lie beside the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretChange {
    /// Its name.
    pub name: String,
    /// The sealed bytes; none destroys them.
    pub sealed: Option<Vec<u8>>,
}

/// A part of the log that is dropped as a whole: its number.
pub type Segment = u64;

/// A frame to be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The segment that it is dropped with; none: it is kept for ever.
    pub segment: Option<Segment>,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Kept for ever.
impl From<Vec<u8>> for Frame {
    fn from(bytes: Vec<u8>) -> Self {
        Self { segment: None, bytes }
    }
}

/// A frame with its number.
pub type Numbered = (Seq, Frame);

/// A segment that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSpan {
    /// Its number.
    pub number: Segment,
    /// Its first entry.
    pub first: Seq,
    /// Its last entry, so far.
    pub last: Seq,
}

/// Where a frame says that it stands: the one thing in it that a back end may look at. Nothing else of it is checked.
#[must_use]
pub fn position(frame: &[u8]) -> Option<Seq> {
    frame.get(6..14)?.try_into().ok().map(Seq::from_be_bytes)
}

/// What is appended together.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The last sequence number in the journal, as the writer knows it.
    pub after: Seq,
    /// The frames, for `after + 1`, `after + 2`, …
    pub frames: &'a [Frame],
    /// Changes to the secrets.
    pub secrets: &'a [SecretChange],
}

/// An entry as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its position.
    pub seq: Seq,
    /// Its frame.
    pub frame: Vec<u8>,
}

/// What is done about a log that is damaged.
pub(crate) const HELP: &str = "Restore a backup (`gemini-pool restore FILE --into DIR`). Without one, keep a copy of the \
     data directory and run `gemini-pool salvage DATA_DIR INTO`, which makes a new one of all that can be proven";

/// What a journal answers when it cannot.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else appended in between.
    #[error("the journal ends at {last}, not at {after} as its writer thought")]
    Conflict {
        /// What the writer thought.
        after: Seq,
        /// Where it ends.
        last: Seq,
    },
    /// Another process has it open.
    #[error(
        "another gemini-pool is using {path}; stop it first, or give this one its own DATA_DIR and DATABASE_URL"
    )]
    InUse {
        /// What both want.
        path: PathBuf,
    },
    /// An earlier write failed, so no more are accepted.
    #[error("an earlier write to the journal failed, so it takes no more until it is opened anew")]
    Poisoned,
    /// What was read after it was opened anew is not what was written before.
    #[error(
        "the log was opened anew and does not end as it was written, so nothing more is recorded: restart the service, which \
         proves the whole log"
    )]
    NotAsWritten,
    /// The thread that writes is gone.
    #[error("the thread that writes the log died; restart the service")]
    WriterDied,
    /// An event cannot be written as bytes.
    #[error("cannot encode an event")]
    Encode(#[from] codec::EncodeError),
    /// Records are gone that were there before.
    #[error(
        "the journal in {path} ends at event {last}, but event {known} had been written and was on the disk (so says the \
         file `head` there): events are missing. {help}. To go on with what is left, without them, delete the file \
         `head` in that folder",
        help = HELP
    )]
    Lost {
        /// Where.
        path: PathBuf,
        /// Where it ends.
        last: Seq,
        /// Where it once ended.
        known: Seq,
    },
    /// Something in its files is not what was written there.
    #[error("{what} in {path} is damaged, and it had been safely on the disk. {help}", help = HELP)]
    Damaged {
        /// Which part, and in which file.
        what: String,
        /// Where.
        path: PathBuf,
    },
    /// The file by which one process keeps others out is gone.
    #[error(
        "the file `lock` in {path} is missing. If no other gemini-pool uses this folder, make an empty one (`touch \
         {path}/lock`) and start again; look, too, whether the copy or the backup that this folder comes from was whole"
    )]
    NoLockFile {
        /// Where.
        path: PathBuf,
    },
    /// The store failed.
    #[error("cannot {what} the journal in {path}")]
    Store {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A durable, ordered record. See the contract above.
pub trait Journal: Derived + Send + Sync {
    /// Appends a batch; see rules 1 to 4.
    ///
    /// # Errors
    /// [`Error::Conflict`], [`Error::Poisoned`], [`Error::Store`].
    fn append(&self, batch: Batch<'_>) -> Result<(), Error>;

    /// Takes entries and secrets of a backup; see rule 7. All or nothing, and durable after the next sync.
    ///
    /// # Errors
    /// [`Error::Conflict`], [`Error::Poisoned`], [`Error::Store`].
    fn adopt(&self, entries: &[Numbered], secrets: &[SecretChange]) -> Result<(), Error>;

    /// Forces everything appended so far to the disk, beside appends; see rule 3.
    ///
    /// # Errors
    /// [`Error::Poisoned`], [`Error::Store`].
    fn sync(&self) -> Result<(), Error>;

    /// Makes a segment ahead, so that the first append for it need not. It may run beside appends, and hold them
    /// up: choose a moment when there are none.
    ///
    /// # Errors
    /// [`Error::Poisoned`], [`Error::Store`].
    fn prepare(&self, _segment: Segment) -> Result<(), Error> {
        Ok(())
    }

    /// Opens the journal anew after a failure; see rule 4. Blocks, and so does everybody else meanwhile.
    ///
    /// # Errors
    /// [`Error::Store`] and what opening answers; then it takes no writes still, and perhaps cannot be read, until
    /// this succeeds.
    fn reopen(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Keeps a gap beside the log, for a process that ends before it can be recorded; none: there is none any more.
    ///
    /// # Errors
    /// [`Error::Store`].
    fn keep_gap(&self, _gap: Option<&KeptGap>) -> Result<(), Error> {
        Ok(())
    }

    /// The gap that was kept by a process before this one.
    fn kept_gap(&self) -> Option<KeptGap> {
        None
    }

    /// The last sequence number; 0 when empty.
    fn last(&self) -> Seq;

    /// The last entry that was known to be on the disk when the journal was opened: what comes after it may be torn,
    /// nothing up to it is.
    fn witnessed(&self) -> Seq {
        0
    }

    /// Up to `limit` entries after `after`, in order.
    ///
    /// # Errors
    /// [`Error::Store`].
    fn read(&self, after: Seq, limit: usize) -> Result<Vec<Entry>, Error>;

    /// One record, looked up by itself: damage elsewhere does not hide it.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Damaged`]: it cannot be read.
    fn record(&self, seq: Seq) -> Result<Option<Vec<u8>>, Error> {
        let found = self.read(seq.saturating_sub(1), 1)?.pop();
        Ok(found.filter(|entry| entry.seq == seq).map(|entry| entry.frame))
    }

    /// Up to `limit` entries before `before`, the newest first.
    ///
    /// # Errors
    /// [`Error::Store`].
    fn read_back(&self, before: Seq, limit: usize) -> Result<Vec<Entry>, Error>;

    /// Every segment that is there, in order.
    fn segments(&self) -> Vec<SegmentSpan>;

    /// Drops all segments up to a number, but not one that holds the log's last entry; see rule 6. Those who
    /// read meanwhile may still see them.
    ///
    /// # Errors
    /// [`Error::Poisoned`], [`Error::Store`]; what was dropped stays dropped.
    fn drop_segments(&self, through: Segment) -> Result<(), Error>;

    /// Drops every entry after `after`, durably: for a torn tail at start-up and for nothing else.
    ///
    /// # Errors
    /// [`Error::Poisoned`], [`Error::Store`].
    fn cut(&self, after: Seq) -> Result<(), Error>;

    /// Every sealed secret, by name.
    ///
    /// # Errors
    /// [`Error::Store`].
    fn secrets(&self) -> Result<Vec<(String, Vec<u8>)>, Error>;
}

/// Whether each entry is beyond the one before, and the first beyond `last`.
///
/// # Errors
/// [`Error::Conflict`].
fn refuse_unless_beyond(last: Seq, entries: &[Numbered]) -> Result<(), Error> {
    entries.iter().try_fold(last, |last, &(seq, _)| {
        (seq > last).then_some(seq).ok_or(Error::Conflict { after: seq.saturating_sub(1), last })
    })?;
    Ok(())
}
