//! Checkpoints: the state at a place in the log, kept so that nobody folds everything before it again.
//!
//! Owns how a state lies beside the log, and what of it may be believed. It refuses to be needed:
//! a checkpoint that is missing, damaged, of another program or of another log is passed over. Its
//! invariant: **a checkpoint that is used says what the log says**: its bytes are as they were written,
//! and the log still has, at its place, the record that it was made behind.
//!
//! There are three kinds. *Full* ones begin a start-up; the two newest are kept. *Past* ones, without
//! statistics, lie every so many events, and begin a look at the pool as it was. *Base* ones stand where
//! traffic was dropped from the log ([`super::retention`]) and are the one source of what it had added up
//! to; so they are readable by later programs too (JSON, where fields may be added).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Instant,
};

use projections::{Digest, Seq, State};

use super::vitals::Counters;
use crate::journal::{
    self, Journal,
    codec::{self, ChainHash, EncodeError},
    derived::{Put, end_of},
};

/// The shape of a state's bytes, and the meaning of the folds that made it. **Make it one more whenever
/// either changes**, or an old checkpoint is read as something that it is not.
pub(super) const SHAPE: u16 = 5;
/// The shape of the JSON: one more when a field changes its meaning or goes away.
const BASE_SHAPE: u16 = 1;
/// Events between two checkpoints.
pub(super) const EVERY: Seq = 50_000;
/// Full ones kept.
const FULL_KEPT: usize = 2;

pub(super) const SPACE: &str = "checkpoints";
/// Bytes of a row: a large one would hold up the record's own writes.
const PART: usize = 64 << 10;
const HEADER: usize = 2 + 32 + 32;
/// In a header's place while the parts are written.
const BEGUN: &[u8] = b"begun";

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Full,
    Past,
    Base,
}

impl Kind {
    /// The first byte of its headers' keys.
    fn tag(self) -> u8 {
        match self {
            Self::Full => b'F',
            Self::Past => b'P',
            Self::Base => b'B',
        }
    }

    fn shape(self) -> u16 {
        if self == Self::Base { BASE_SHAPE } else { SHAPE }
    }

    fn header(self, seq: Seq) -> Vec<u8> {
        [&[self.tag()][..], &seq.to_be_bytes()].concat()
    }

    /// The key of a part, or the beginning of all of them.
    fn part(self, seq: Seq, part: Option<u32>) -> Vec<u8> {
        let number = part.map(u32::to_be_bytes);
        [&[self.tag().to_ascii_lowercase()][..], &seq.to_be_bytes(), number.as_ref().map_or(&[], |n| n)]
            .concat()
    }
}

/// A state and the hash of the record behind which it stands.
#[derive(Clone, Debug)]
pub(super) struct Checkpoint {
    pub(super) state: State,
    pub(super) hash: ChainHash,
}

/// The same, as bytes.
pub(super) struct Packed {
    seq: Seq,
    hash: ChainHash,
    bytes: Vec<u8>,
}

impl Packed {
    /// What a full one, or a past one, is made of.
    pub(super) fn new(state: &State, hash: ChainHash) -> Result<Self, EncodeError> {
        Ok(Self { seq: state.seq, hash, bytes: codec::pack(state)? })
    }

    /// What a base is made of.
    pub(super) fn base(state: &State, hash: ChainHash) -> Result<Self, serde_json::Error> {
        Ok(Self { seq: state.seq, hash, bytes: serde_json::to_vec(state)? })
    }

    /// The one that is written down at a place, if it is whole.
    pub(super) fn read(journal: &dyn Journal, kind: Kind, seq: Seq) -> Result<Option<Self>, journal::Error> {
        let Some(header) = journal.get(SPACE, &kind.header(seq))? else { return Ok(None) };
        let Some((shape, rest)) = header.split_first_chunk::<2>() else { return Ok(None) };
        let Some((hash, sum)) = rest.split_first_chunk::<32>() else { return Ok(None) };
        if u16::from_be_bytes(*shape) != kind.shape() {
            return Ok(None);
        }
        let (from, to) = (kind.part(seq, None), end_of(&kind.part(seq, None)).unwrap_or_default());
        let parts = journal.scan(SPACE, &from, &to, false, usize::MAX)?;
        let bytes = parts.into_iter().map(|(_, part)| part).collect::<Vec<_>>().concat();
        let packed = Self { seq, hash: Digest(*hash).into(), bytes };
        Ok((packed.sum(kind) == *sum).then_some(packed))
    }

    /// As it stands in a backup.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        [&self.seq.to_be_bytes()[..], &self.hash.digest().0, &self.bytes].concat()
    }

    /// From a backup, which vouches for its bytes.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (seq, rest) = bytes.split_first_chunk::<8>()?;
        let (hash, bytes) = rest.split_first_chunk::<32>()?;
        Some(Self { seq: Seq::from_be_bytes(*seq), hash: Digest(*hash).into(), bytes: bytes.to_vec() })
    }

    /// The same without statistics.
    fn past(&self) -> Option<Self> {
        let mut state = codec::unpack(&self.bytes)?;
        state.forget_statistics();
        Self::new(&state, self.hash).ok()
    }

    /// Writes it down: its parts one after the other, so that the record's writes pass between them, and its header last.
    pub(super) fn write(&self, journal: &dyn Journal, kind: Kind) -> Result<(), journal::Error> {
        // So that what is begun and never finished is found again, and goes with the others.
        journal.write(SPACE, &[(kind.header(self.seq), Some(BEGUN.to_vec()))])?;
        for (number, part) in (0_u32..).zip(self.bytes.chunks(PART)) {
            journal.write(SPACE, &[(kind.part(self.seq, Some(number)), Some(part.to_vec()))])?;
        }
        let mut header = Vec::with_capacity(HEADER);
        header.extend(kind.shape().to_be_bytes());
        header.extend(self.hash.digest().0);
        header.extend(self.sum(kind));
        journal.write(SPACE, &[(kind.header(self.seq), Some(header))])
    }

    /// Over all that it says.
    fn sum(&self, kind: Kind) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[kind.tag()]).update(&kind.shape().to_be_bytes()).update(&self.seq.to_be_bytes());
        *hasher.update(&self.hash.digest().0).update(&self.bytes).finalize().as_bytes()
    }
}

/// Where checkpoints of a kind are, up to a place, the newest first.
pub(super) fn places(journal: &dyn Journal, kind: Kind, through: Seq) -> Result<Vec<Seq>, journal::Error> {
    let end = end_of(&kind.header(through)).unwrap_or_default();
    let rows = journal.scan(SPACE, &kind.header(0), &end, true, usize::MAX)?;
    let seq = |(key, _): (Vec<u8>, Vec<u8>)| key.last_chunk().map(|seq| Seq::from_be_bytes(*seq));
    Ok(rows.into_iter().filter_map(seq).collect())
}

/// The newest place of a kind, up to a place.
pub(super) fn place_before(
    journal: &dyn Journal,
    kind: Kind,
    through: Seq,
) -> Result<Option<Seq>, journal::Error> {
    let end = end_of(&kind.header(through)).unwrap_or_default();
    let rows = journal.scan(SPACE, &kind.header(0), &end, true, 1)?;
    Ok(rows.first().and_then(|(key, _)| key.last_chunk()).map(|seq| Seq::from_be_bytes(*seq)))
}

/// The checkpoint at a place, if its bytes are as they were written by a program of this shape.
pub(super) fn read(
    journal: &dyn Journal,
    kind: Kind,
    seq: Seq,
) -> Result<Option<Checkpoint>, journal::Error> {
    let Some(packed) = Packed::read(journal, kind, seq)? else { return Ok(None) };
    let state = match kind {
        Kind::Base => serde_json::from_slice::<State>(&packed.bytes).ok(),
        Kind::Full | Kind::Past => codec::unpack(&packed.bytes),
    };
    Ok(state.filter(|state| state.seq == seq).map(|state| Checkpoint { state, hash: packed.hash }))
}

/// The same, and the log still has the record that it stands behind.
pub(super) fn read_good(
    journal: &dyn Journal,
    kind: Kind,
    seq: Seq,
) -> Result<Option<Checkpoint>, journal::Error> {
    let Some(checkpoint) = read(journal, kind, seq)? else { return Ok(None) };
    let at_its_place = journal.read(seq.saturating_sub(1), 1)?;
    let frame = at_its_place.first().filter(|entry| entry.seq == seq).map(|entry| entry.frame.as_slice());
    Ok(frame.and_then(ChainHash::of).filter(|hash| *hash == checkpoint.hash).map(|_| checkpoint))
}

/// Removes checkpoints.
pub(super) fn forget(journal: &dyn Journal, kind: Kind, places: &[Seq]) -> Result<(), journal::Error> {
    for seq in places {
        let (from, to) = (kind.part(*seq, None), end_of(&kind.part(*seq, None)).unwrap_or_default());
        let parts = journal.scan(SPACE, &from, &to, false, usize::MAX)?.into_iter().map(|(key, _)| key);
        let gone = parts.chain([kind.header(*seq)]).map(|key| (key, None));
        journal.write(SPACE, &gone.collect::<Vec<Put>>())?;
    }
    Ok(())
}

/// Writes a full one, keeps the newest two, and a past one beside it.
pub(super) fn keep(journal: &dyn Journal, packed: &Packed, past: bool) -> Result<(), journal::Error> {
    packed.write(journal, Kind::Full)?;
    // Also those of a log that was longer once.
    let all = places(journal, Kind::Full, Seq::MAX)?;
    let (beyond, known): (Vec<Seq>, Vec<Seq>) = all.into_iter().partition(|seq| *seq > packed.seq);
    forget(journal, Kind::Full, &beyond)?;
    forget(journal, Kind::Full, known.get(FULL_KEPT..).unwrap_or_default())?;
    if past && let Some(past) = packed.past() {
        past.write(journal, Kind::Past)?;
    }
    Ok(())
}

/// The thread that writes checkpoints, beside the one that writes the log.
pub(super) struct Keeper {
    queue: Option<mpsc::Sender<Packed>>,
    busy: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Keeper {
    pub(super) fn start(journal: Arc<dyn Journal>, counters: Arc<Counters>) -> std::io::Result<Self> {
        let (queue, offered) = mpsc::channel::<Packed>();
        let busy = Arc::new(AtomicBool::new(false));
        let still = Arc::clone(&busy);
        let thread = std::thread::Builder::new().name("checkpoints".to_owned()).spawn(move || {
            for packed in offered {
                let began = Instant::now();
                match keep(journal.as_ref(), &packed, true) {
                    Ok(()) => counters.checkpointed(packed.seq, began.elapsed()),
                    Err(error) => {
                        counters.not_checkpointed();
                        tracing::warn!(%error, seq = packed.seq, "a checkpoint was not written; the next start takes longer");
                    }
                }
                still.store(false, Ordering::Release);
            }
        })?;
        Ok(Self { queue: Some(queue), busy, thread: Some(thread) })
    }

    /// Hands one over; false: it is still busy with the one before.
    pub(super) fn offer(&self, pack: impl FnOnce() -> Option<Packed>) -> bool {
        if self.busy.load(Ordering::Acquire) {
            return false;
        }
        if let (Some(queue), Some(packed)) = (&self.queue, pack()) {
            // A thread that died takes none; that was reported when it happened, and is no reason to stop.
            self.busy.store(true, Ordering::Release);
            let _ = queue.send(packed);
        }
        true
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
