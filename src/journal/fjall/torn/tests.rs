//! Every kind of damage to the write-ahead log, before and behind what was forced to the disk.

use std::fs;

use projections::{
    Event,
    event::{ServerStarted, ServerStopped},
};

use super::*;
use crate::journal::{
    Batch, Frame, Journal,
    codec::{self, ChainHash},
    derived::Derived,
    fjall::FjallJournal,
};

/// Batches of three records each; every fourth has a row that is longer than three blocks of a disk.
const BATCHES: u64 = 8;
const SYNCED: u64 = 5;

fn event(seq: Seq) -> Event {
    if seq % 12 != 5 {
        return ServerStopped { abandoned: seq as u32 }.into();
    }
    let mut noise = vec![0; 8_000];
    blake3::Hasher::new().update(&seq.to_be_bytes()).finalize_xof().fill(&mut noise);
    let version = noise.iter().map(|byte| format!("{byte:02x}")).collect();
    ServerStarted { version, address: "here".to_owned() }.into()
}

/// A log of which the first batches are on the disk, as far as anybody knows, and the others may be.
struct Log {
    folder: tempfile::TempDir,
    /// Where each batch ends in its file, and the last record up to there.
    batches: Vec<(u64, Seq)>,
    bytes: Vec<u8>,
}

fn append(journal: &FjallJournal, hash: &mut ChainHash, batch: u64) {
    let after = journal.last();
    let frames: Vec<Frame> = (after + 1..=after + 3)
        .map(|seq| {
            let (bytes, next) = codec::encode(seq, 1_000, &event(seq), hash).unwrap();
            *hash = next;
            Frame { segment: (seq % 3 == 0).then_some(1 + batch / 3), bytes }
        })
        .collect();
    journal.append(Batch { after, frames: &frames, secrets: &[] }).unwrap();
    journal.write("rows", &[(batch.to_be_bytes().to_vec(), Some(b"derived".to_vec()))]).unwrap();
}

impl Log {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let mut hash = ChainHash::START;
        {
            let journal = FjallJournal::open(path).unwrap();
            (0..SYNCED).for_each(|batch| append(&journal, &mut hash, batch));
            journal.sync().unwrap();
        }
        {
            // From here on the file is as long as it is written.
            let journal = FjallJournal::open(path).unwrap();
            assert_eq!((journal.last(), journal.witnessed()), (SYNCED * 3, SYNCED * 3));
            (SYNCED..BATCHES).for_each(|batch| append(&journal, &mut hash, batch));
        }
        let file = path.join("0.jnl");
        let bytes = fs::read(&file).unwrap();
        let (mut at, mut last, mut batches) = (0, 0, Vec::new());
        while at < bytes.len() {
            let rest = &bytes[at..];
            let (length, records) = write_ahead::tests::first_batch(rest).expect("it is whole");
            at += length;
            last = records.into_iter().max().unwrap_or(last);
            batches.push((at as u64, last));
        }
        assert_eq!((last, batches.len()), (BATCHES * 3, 2 * BATCHES as usize));
        Self { folder, batches, bytes }
    }

    /// The last record before the batch in which a byte is.
    fn last_before(&self, place: u64) -> Seq {
        self.batches.iter().take_while(|(end, _)| *end <= place).last().map_or(0, |(_, last)| *last)
    }

    /// A copy whose write-ahead file is another.
    fn with(&self, bytes: &[u8]) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        copy_all(self.folder.path(), copy.path());
        fs::write(copy.path().join("0.jnl"), bytes).unwrap();
        copy
    }

    /// Damage whose first byte is at `place`: the log goes on before it, or it is refused and left as it is.
    fn judge(&self, what: &str, place: u64, bytes: &[u8], goes_on: bool) {
        let copy = self.with(bytes);
        let (path, last) = (copy.path(), self.last_before(place));
        let about = format!("{what} at byte {place} of {}", self.bytes.len());
        match FjallJournal::open(path) {
            Ok(journal) => {
                assert!(last >= SYNCED * 3, "{about}: what was synced is gone, and it opens");
                assert_eq!(journal.last(), last, "{about}");
                let read = journal.read(0, usize::MAX).unwrap();
                assert_eq!(
                    read.iter().map(|entry| entry.seq).collect::<Vec<_>>(),
                    (1..=last).collect::<Vec<_>>()
                );
                if !goes_on {
                    return;
                }
                let mut hash = ChainHash::of(&read.last().unwrap().frame).unwrap();
                append(&journal, &mut hash, 99);
                journal.sync().unwrap();
                drop(journal);
                let again = FjallJournal::open(path).unwrap();
                assert_eq!((again.last(), again.witnessed()), (last + 3, last + 3), "{about}");
            }
            Err(Error::Damaged { .. } | Error::Lost { .. }) => {
                assert!(last < SYNCED * 3, "{about}: nothing that was synced is gone, and it is refused");
                let now = fs::read(path.join("0.jnl")).unwrap();
                let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                assert_eq!(now[..used.min(now.len())], bytes[..used], "{about}: it is as it was");
                assert!(fs::read_dir(path).unwrap().flatten().all(|file| {
                    let name = file.file_name().into_string().unwrap();
                    !name.ends_with(".torn") && !name.ends_with(".part")
                }));
            }
            Err(other) => panic!("{about}: {other}"),
        }
    }
}

fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().flatten() {
        let there = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&there).unwrap();
            copy_all(&entry.path(), &there);
        } else {
            fs::copy(entry.path(), there).unwrap();
        }
    }
}

/// Places all over the file: near the ends of its batches, and some in between.
fn places(log: &Log) -> Vec<u64> {
    let length = log.bytes.len() as u64;
    let ends = log.batches.iter().flat_map(|(end, _)| [end - 14, end - 1, *end, end + 20]);
    let others = (0..length).step_by(3_499);
    let mut all: Vec<_> = ends.chain(others).filter(|place| *place < length).collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[test]
fn a_changed_byte() {
    let log = Log::new();
    for (number, place) in places(&log).into_iter().enumerate() {
        let mut bytes = log.bytes.clone();
        bytes[place as usize] ^= 0x10;
        // The store's own number of a batch is under no checksum, and no record depends on it.
        if write_ahead::tests::whole(&bytes) < bytes.len() {
            log.judge("a changed byte", place, &bytes, number % 8 == 0);
        }
    }
}

#[test]
fn a_hole() {
    let log = Log::new();
    for (number, place) in places(&log).into_iter().enumerate() {
        let mut bytes = log.bytes.clone();
        let end = bytes.len().min(place as usize + 4_096);
        bytes[place as usize..end].fill(0);
        let first = (place..).zip(&log.bytes[place as usize..end]).find(|(_, byte)| **byte != 0);
        log.judge("a hole", first.unwrap().0, &bytes, number % 8 == 0);
    }
}

#[test]
fn a_cut_and_a_tail_of_zeros() {
    let log = Log::new();
    for (number, place) in places(&log).into_iter().enumerate().step_by(2) {
        log.judge("a cut", place, &log.bytes[..place as usize], number % 8 == 0);
        let mut bytes = log.bytes.clone();
        bytes[place as usize..].fill(0);
        log.judge("zeros", place, &bytes, number % 8 == 0);
    }
}

/// A start that was killed while it was not decided leaves the whole file aside: the next one finds it.
#[test]
fn what_was_set_aside_comes_back() {
    let log = Log::new();
    let copy = log.with(&log.bytes[..40]);
    fs::write(copy.path().join("0.jnl.torn"), &log.bytes).unwrap();
    fs::write(copy.path().join("0.jnl.kept"), b"of an earlier version").unwrap();
    let journal = FjallJournal::open(copy.path()).unwrap();
    assert_eq!(journal.last(), BATCHES * 3);
    assert!(!copy.path().join("0.jnl.torn").exists() && !copy.path().join("0.jnl.kept").exists());
}

/// What is in the tables is not missing, whatever became of the write-ahead log.
#[test]
fn records_that_were_written_out_are_looked_for() {
    let log = Log::new();
    {
        let journal = FjallJournal::open(log.folder.path()).unwrap();
        journal.sync().unwrap();
        journal.parts_are_written_out();
    }
    for place in [0, 40, log.bytes.len() / 2] {
        let mut bytes = log.bytes.clone();
        bytes[place] ^= 0x10;
        let copy = log.with(&bytes);
        let journal = FjallJournal::open(copy.path()).unwrap();
        assert_eq!(journal.last(), BATCHES * 3, "byte {place}");
        assert_eq!(journal.read(0, usize::MAX).unwrap().len() as u64, BATCHES * 3);
        assert!(!copy.path().join("0.jnl.torn").exists());
    }
}

#[test]
fn a_file_that_is_not_the_newest_is_not_cut() {
    let log = Log::new();
    let mut bytes = log.bytes.clone();
    let place = bytes.len() - 20;
    bytes[place] ^= 0x10;
    let copy = log.with(&bytes);
    fs::write(copy.path().join("1.jnl"), []).unwrap();
    let refused = FjallJournal::open(copy.path()).err().expect("it was synced before the next was begun");
    assert!(matches!(refused, Error::Damaged { .. }), "{refused}");
    for words in ["`0.jnl`, from byte", "gemini-pool salvage", "Restore a backup"] {
        assert!(refused.to_string().contains(words), "{refused}");
    }
    assert_eq!(fs::read(copy.path().join("0.jnl")).unwrap(), bytes);
}

#[test]
fn a_missing_lock_file_is_named() {
    let log = Log::new();
    fs::remove_file(log.folder.path().join("lock")).unwrap();
    let refused = FjallJournal::open(log.folder.path()).err().expect("somebody may have it open");
    assert!(
        matches!(refused, Error::NoLockFile { .. }) && refused.to_string().contains("touch"),
        "{refused}"
    );
    fs::write(log.folder.path().join("lock"), []).unwrap();
    assert_eq!(FjallJournal::open(log.folder.path()).unwrap().last(), BATCHES * 3);
}

/// Whoever finds the log in use has copied nothing and changed nothing.
#[test]
fn a_log_in_use_is_not_touched() {
    let log = Log::new();
    let copy = log.with(&[&log.bytes[..], b"a torn end"].concat());
    let held = lock(copy.path()).unwrap();
    let refused = FjallJournal::open(copy.path()).err().expect("one writer");
    assert!(matches!(refused, Error::InUse { .. }), "{refused}");
    assert_eq!(fs::read(copy.path().join("0.jnl")).unwrap().len(), log.bytes.len() + 10);
    drop(held);
    assert_eq!(FjallJournal::open(copy.path()).unwrap().last(), BATCHES * 3);
}
