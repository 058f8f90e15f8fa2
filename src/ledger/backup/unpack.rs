//! From a container back to frames and secrets, each checked.

use std::io::{self, Read};

use projections::Seq;

use super::{BASE, END, END_BYTES, FRAME, Follower, MAGIC, Manifest, SECRET, VERSION, WITHOUT_BASE};
use crate::{
    journal::{self, Entry, Journal, SecretChange, codec::Damage},
    ledger::checkpoint::{Kind, Packed},
};

/// No frame and no secret is longer.
const LONGEST: u32 = 64 << 20;
/// No manifest is longer.
const LONGEST_MANIFEST: u32 = 1 << 20;

/// Why a file is no backup that can be trusted.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The file.
    #[error("cannot read the backup")]
    Io(#[source] io::Error),
    /// Something else.
    #[error("this is no backup of a Gemini-Pool")]
    NoBackup,
    /// A newer program wrote it.
    #[error("the backup's form {0} is newer than this program: restore it with the version that made it")]
    Newer(u16),
    /// The end is missing.
    #[error(
        "the backup breaks off after {events} events: it was not written or copied to its end. Take another one"
    )]
    CutOff {
        /// Whole events before that.
        events: u64,
    },
    /// An event is not what was written.
    #[error("{}", told(*seq, damage))]
    Event {
        /// Which one.
        seq: Seq,
        /// How.
        damage: Damage,
    },
    /// Something is missing between two events.
    #[error("event {seq} is missing in the backup. Take another one")]
    Missing {
        /// The last of those that are missing.
        seq: Seq,
    },
    /// Its end does not fit what came before.
    #[error("the backup is damaged: {0}. Take another one")]
    Damaged(&'static str),
}

fn told(seq: Seq, damage: &Damage) -> String {
    match damage {
        Damage::Format(_) => {
            format!("event {seq} in the backup: {damage}. Restore it with the version that made it")
        }
        damage => format!("event {seq} in the backup is damaged: {damage}. Take another one"),
    }
}

/// What the log had added up to where old traffic was trimmed.
pub struct Base(Packed);

impl std::fmt::Debug for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Base(…)")
    }
}

impl Base {
    /// Puts it beside the log that it belongs to.
    ///
    /// # Errors
    /// [`journal::Error`].
    pub fn restore(&self, journal: &dyn Journal) -> Result<(), journal::Error> {
        self.0.write(journal, Kind::Base)
    }
}

/// What a backup holds.
#[derive(Debug)]
pub enum Item {
    /// A sealed secret.
    Secret(SecretChange),
    /// The checkpoint of the last trim.
    Base(Base),
    /// An event.
    Frame(Entry),
}

/// Reads a container; see the module above.
pub struct Reader<R> {
    from: Hashing<R>,
    manifest: Manifest,
    follower: Follower,
    secrets: u64,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Reads its beginning.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn open(from: R) -> Result<Self, Unreadable> {
        let mut from = Hashing { from, hasher: blake3::Hasher::new() };
        let cut_off = |error: Unreadable| match error {
            Unreadable::CutOff { .. } => Unreadable::NoBackup,
            error => error,
        };
        let head: [u8; 14] = from.array(0).map_err(cut_off)?;
        let [magic @ .., v0, v1, l0, l1, l2, l3] = head;
        if magic != *MAGIC {
            return Err(Unreadable::NoBackup);
        }
        let version = u16::from_be_bytes([v0, v1]);
        if !(WITHOUT_BASE..=VERSION).contains(&version) {
            return Err(Unreadable::Newer(version));
        }
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        if length > LONGEST_MANIFEST {
            return Err(Unreadable::Damaged("its manifest is too long"));
        }
        let manifest = from.bytes(length, 0)?;
        let manifest = serde_json::from_slice(&manifest)
            .map_err(|_| Unreadable::Damaged("its manifest makes no sense"))?;
        Ok(Self { from, manifest, follower: Follower::new(), secrets: 0, ended: false })
    }

    /// What it says it holds.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Events read so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.follower.frames
    }

    /// The next thing in it; none once all of it was read and found whole.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read(&mut self) -> Result<Option<Item>, Unreadable> {
        if self.ended {
            return Ok(None);
        }
        let events = self.follower.frames;
        let before = self.from.hasher.clone();
        let [tag, l0, l1, l2, l3] = self.from.array(events)?;
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        if length > LONGEST {
            return Err(Unreadable::Damaged("a record is too long"));
        }
        let bytes = self.from.bytes(length, events)?;
        match tag {
            SECRET if events == 0 => {
                self.secrets += 1;
                let secret = secret(&bytes).ok_or(Unreadable::Damaged("a sealed secret has no name"))?;
                Ok(Some(Item::Secret(secret)))
            }
            BASE if events == 0 => {
                let base = Packed::from_bytes(&bytes);
                let base = base.ok_or(Unreadable::Damaged("its checkpoint is too short"))?;
                Ok(Some(Item::Base(Base(base))))
            }
            FRAME => {
                let followed = self.follower.follow(&bytes);
                let seq = followed.map_err(|(seq, damage)| Unreadable::Event { seq, damage })?;
                Ok(Some(Item::Frame(Entry { seq, frame: bytes })))
            }
            END => self.end(&bytes, before.finalize().as_bytes()).map(|()| None),
            _ => Err(Unreadable::Damaged("a record is of no known kind")),
        }
    }

    fn end(&mut self, bytes: &[u8], digest: &[u8; 32]) -> Result<(), Unreadable> {
        let bytes: &[u8; END_BYTES] =
            bytes.try_into().map_err(|_| Unreadable::Damaged("its end is too long or too short"))?;
        let mut wanted = self.follower.frames.to_be_bytes().to_vec();
        wanted.extend(self.secrets.to_be_bytes());
        wanted.extend(digest);
        if *bytes != *wanted {
            return Err(Unreadable::Damaged("its counts or its checksum are not those of what it holds"));
        }
        if self.secrets != self.manifest.secrets || !self.follower.ends_as(&self.manifest) {
            return Err(Unreadable::Damaged("it does not end where its manifest says"));
        }
        if let Some(seq) = self.follower.lost() {
            return Err(Unreadable::Missing { seq });
        }
        match self.from.from.read(&mut [0]) {
            Ok(0) => {}
            Ok(_) => return Err(Unreadable::Damaged("something follows its end")),
            Err(error) => return Err(Unreadable::Io(error)),
        }
        self.ended = true;
        Ok(())
    }
}

fn secret(bytes: &[u8]) -> Option<SecretChange> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (name, sealed) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let name = str::from_utf8(name).ok()?.to_owned();
    Some(SecretChange { name, sealed: Some(sealed.to_vec()) })
}

/// What was read is hashed.
struct Hashing<R> {
    from: R,
    hasher: blake3::Hasher,
}

impl<R: Read> Hashing<R> {
    fn fill(&mut self, into: &mut [u8], events: u64) -> Result<(), Unreadable> {
        self.from.read_exact(into).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Unreadable::CutOff { events },
            _ => Unreadable::Io(error),
        })?;
        self.hasher.update(into);
        Ok(())
    }

    fn array<const N: usize>(&mut self, events: u64) -> Result<[u8; N], Unreadable> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, events)?;
        Ok(bytes)
    }

    /// Memory is taken as bytes come: a length by itself is no promise.
    fn bytes(&mut self, length: u32, events: u64) -> Result<Vec<u8>, Unreadable> {
        let mut bytes = Vec::new();
        let read = (&mut self.from).take(u64::from(length)).read_to_end(&mut bytes);
        read.map_err(Unreadable::Io)?;
        if bytes.len() < length as usize {
            return Err(Unreadable::CutOff { events });
        }
        self.hasher.update(&bytes);
        Ok(bytes)
    }
}
