//! One suite for every back end: the contract of [`super`], rule by rule.

use super::{
    Batch, Derived as _, Entry, Error, Frame, Journal, SecretChange, SegmentSpan, derived::Put,
    fjall::FjallJournal, memory::MemoryJournal,
};

/// A text, `SEGMENT:text` for one in a segment.
fn frame_of(text: &str) -> Frame {
    let segment = text.split_once(':').map(|(segment, _)| segment.parse().unwrap());
    Frame { segment, bytes: text.as_bytes().to_vec() }
}

fn append(journal: &dyn Journal, after: u64, frames: &[&str]) -> Result<(), Error> {
    let frames: Vec<Frame> = frames.iter().map(|frame| frame_of(frame)).collect();
    journal.append(Batch { after, frames: &frames, secrets: &[] })
}

fn read(journal: &dyn Journal, after: u64, limit: usize) -> Vec<(u64, String)> {
    let entries = journal.read(after, limit).unwrap();
    entries.into_iter().map(|Entry { seq, frame }| (seq, String::from_utf8(frame).unwrap())).collect()
}

fn rows(rows: &[(u64, &str)]) -> Vec<(u64, String)> {
    rows.iter().map(|(seq, frame)| (*seq, (*frame).to_owned())).collect()
}

fn secret(name: &str, sealed: Option<&str>) -> SecretChange {
    SecretChange { name: name.to_owned(), sealed: sealed.map(|sealed| sealed.as_bytes().to_vec()) }
}

fn keeps_order(journal: &dyn Journal) {
    assert_eq!(journal.last(), 0);
    assert_eq!(read(journal, 0, 10), []);
    append(journal, 0, &["a", "b"]).unwrap();
    append(journal, 2, &["c"]).unwrap();
    assert_eq!(journal.last(), 3);
    assert_eq!(read(journal, 0, 10), rows(&[(1, "a"), (2, "b"), (3, "c")]));
}

fn reads_exclusively_and_in_pages(journal: &dyn Journal) {
    append(journal, 0, &["a", "b", "c", "d"]).unwrap();
    assert_eq!(read(journal, 1, 2), rows(&[(2, "b"), (3, "c")]));
    assert_eq!(read(journal, 4, 10), []);
    assert_eq!(read(journal, 99, 10), []);
    assert_eq!(read(journal, u64::MAX, 10), []);
}

fn refuses_a_writer_that_is_behind(journal: &dyn Journal) {
    append(journal, 0, &["a"]).unwrap();
    for stale in [0, 2] {
        let refused = append(journal, stale, &["x"]).unwrap_err();
        assert!(matches!(refused, Error::Conflict { after, last: 1 } if after == stale), "{refused}");
    }
    append(journal, 1, &["b"]).unwrap();
    assert_eq!(read(journal, 0, 10), rows(&[(1, "a"), (2, "b")]));
}

fn reads_back(journal: &dyn Journal) {
    append(journal, 0, &["a", "1:b", "c", "2:d", "2:e"]).unwrap();
    let back = |before, limit| {
        let entries = journal.read_back(before, limit).unwrap();
        entries.into_iter().map(|entry| entry.seq).collect::<Vec<_>>()
    };
    assert_eq!(back(u64::MAX, 10), [5, 4, 3, 2, 1]);
    assert_eq!(back(6, 2), [5, 4]);
    assert_eq!(back(4, 2), [3, 2]);
    assert_eq!((back(1, 10), back(0, 10), back(9, 0)), (vec![], vec![], vec![]));
}

fn spans(journal: &dyn Journal) -> Vec<(u64, u64, u64)> {
    journal.segments().into_iter().map(|SegmentSpan { number, first, last }| (number, first, last)).collect()
}

fn merges_segments_with_the_rest(journal: &dyn Journal) {
    append(journal, 0, &["a", "7:b", "c", "7:d"]).unwrap();
    append(journal, 4, &["7:e", "8:f", "g"]).unwrap();
    append(journal, 7, &["7:h", "10:i"]).unwrap();
    let all: Vec<_> = (1..).zip(["a", "7:b", "c", "7:d", "7:e", "8:f", "g", "7:h", "10:i"]).collect();
    assert_eq!(read(journal, 0, 99), rows(&all));
    assert_eq!(read(journal, 3, 4), rows(&all[3..7]));
    assert_eq!(spans(journal), [(7, 2, 5), (8, 6, 8), (10, 9, 9)], "a lower number goes into the newest");
}

fn drops_whole_segments(journal: &dyn Journal) {
    append(journal, 0, &["a", "1:b", "1:c", "d", "2:e", "f", "3:g"]).unwrap();
    journal.drop_segments(2).unwrap();
    let left = [(1, "a"), (4, "d"), (6, "f"), (7, "3:g")];
    assert_eq!((journal.last(), read(journal, 0, 10), spans(journal)), (7, rows(&left), vec![(3, 7, 7)]));
    assert_eq!(read(journal, 1, 2), rows(&left[1..3]));
    assert_eq!(journal.read_back(7, 2).unwrap().iter().map(|entry| entry.seq).collect::<Vec<_>>(), [6, 4]);
    journal.drop_segments(3).unwrap();
    assert_eq!((journal.last(), spans(journal)), (7, vec![(3, 7, 7)]), "the last entry is never dropped");
    append(journal, 7, &["h"]).unwrap();
    journal.drop_segments(3).unwrap();
    assert_eq!(read(journal, 0, 10), rows(&[(1, "a"), (4, "d"), (6, "f"), (8, "h")]));
    append(journal, 8, &["3:i"]).unwrap();
    assert_eq!((journal.last(), spans(journal)), (9, vec![(3, 9, 9)]));
}

fn cuts_a_tail_through_segments(journal: &dyn Journal) {
    append(journal, 0, &["a", "1:b", "c", "1:d", "2:e", "3:f", "g"]).unwrap();
    journal.cut(3).unwrap();
    assert_eq!((journal.last(), spans(journal)), (3, vec![(1, 2, 2)]));
    append(journal, 3, &["2:D", "E"]).unwrap();
    assert_eq!(read(journal, 0, 9), rows(&[(1, "a"), (2, "1:b"), (3, "c"), (4, "2:D"), (5, "E")]));
    journal.cut(0).unwrap();
    assert_eq!((journal.last(), spans(journal), read(journal, 0, 9)), (0, vec![], vec![]));
    append(journal, 0, &["1:a"]).unwrap();
    assert_eq!(read(journal, 0, 9), rows(&[(1, "1:a")]));
}

fn changes_secrets_with_the_batch_or_not_at_all(journal: &dyn Journal) {
    let add = [secret("one", Some("1")), secret("two", Some("2"))];
    journal.append(Batch { after: 0, frames: &[frame_of("a")], secrets: &add }).unwrap();
    let remove = [secret("one", None), secret("three", Some("3"))];
    let stale = Batch { after: 0, frames: &[frame_of("b")], secrets: &remove };
    journal.append(stale).unwrap_err();
    assert_eq!(journal.secrets().unwrap(), [("one".into(), b"1".to_vec()), ("two".into(), b"2".to_vec())]);
    journal.append(Batch { after: 1, ..stale }).unwrap();
    assert_eq!(journal.secrets().unwrap(), [("three".into(), b"3".to_vec()), ("two".into(), b"2".to_vec())]);
}

fn adopts_what_is_beyond_its_end(journal: &dyn Journal) {
    let entry = |seq, frame: &str| (seq, frame_of(frame));
    journal.adopt(&[], &[secret("one", Some("1"))]).unwrap();
    journal.adopt(&[entry(1, "a"), entry(2, "b")], &[]).unwrap();
    for refused in [&[entry(2, "B")][..], &[entry(4, "d"), entry(3, "c")]] {
        assert!(matches!(journal.adopt(refused, &[secret("two", Some("2"))]), Err(Error::Conflict { .. })));
    }
    append(journal, 2, &["c"]).unwrap();
    journal.sync().unwrap();
    assert_eq!((journal.last(), read(journal, 0, 10)), (3, rows(&[(1, "a"), (2, "b"), (3, "c")])));
    assert_eq!(journal.secrets().unwrap(), [("one".into(), b"1".to_vec())]);
}

fn cuts_a_tail(journal: &dyn Journal) {
    append(journal, 0, &["a", "b", "c"]).unwrap();
    journal.cut(1).unwrap();
    assert_eq!((journal.last(), read(journal, 0, 10)), (1, rows(&[(1, "a")])));
    append(journal, 1, &["B"]).unwrap();
    assert_eq!(read(journal, 0, 10), rows(&[(1, "a"), (2, "B")]));
}

fn syncs_beside_appends(journal: &dyn Journal) {
    std::thread::scope(|scope| {
        let syncing = scope.spawn(|| (0..50).for_each(|_| journal.sync().unwrap()));
        (0..500).for_each(|after| append(journal, after, &["x"]).unwrap());
        syncing.join().unwrap();
    });
    journal.sync().unwrap();
    assert_eq!((journal.last(), journal.read(0, 1_000).unwrap().len()), (500, 500));
}

fn survives_many_batches(journal: &dyn Journal) {
    let frames: Vec<Frame> = (0..100u32).map(|i| vec![i as u8; 300].into()).collect();
    for round in 0..50 {
        journal.append(Batch { after: round * 100, frames: &frames, secrets: &[] }).unwrap();
        if round % 7 == 0 {
            journal.sync().unwrap();
        }
    }
    journal.sync().unwrap();
    let all = journal.read(0, 10_000).unwrap();
    assert_eq!(all.len(), 5_000);
    assert!(all.iter().zip(1..).all(|(entry, seq)| entry.seq == seq));
}

const SPACE: &str = "rows";

fn put(key: &str, value: Option<&str>) -> Put {
    (key.into(), value.map(Into::into))
}

fn scan(journal: &dyn Journal, from: &str, to: &str, newest_first: bool, limit: usize) -> Vec<String> {
    let rows = journal.scan(SPACE, from.as_bytes(), to.as_bytes(), newest_first, limit).unwrap();
    rows.into_iter().map(|(key, value)| String::from_utf8([key, value].join(&b'=')).unwrap()).collect()
}

fn keeps_derived_rows_in_their_spaces(journal: &dyn Journal) {
    assert_eq!(journal.get(SPACE, b"a").unwrap(), None);
    assert_eq!(scan(journal, "", "z", false, 9), [""; 0]);
    let first = [put("b", Some("2")), put("a", Some("1")), put("c", Some("3")), put("ab", Some("12"))];
    journal.write(SPACE, &first).unwrap();
    journal.write("other", &[put("a", Some("else"))]).unwrap();
    assert_eq!(scan(journal, "", "z", false, 9), ["a=1", "ab=12", "b=2", "c=3"]);
    journal
        .write(SPACE, &[put("a", None), put("b", Some("II")), put("b", Some("two")), put("x", None)])
        .unwrap();
    assert_eq!(journal.get(SPACE, b"a").unwrap(), None);
    assert_eq!(journal.get(SPACE, b"b").unwrap(), Some(b"two".to_vec()));
    assert_eq!(journal.get("other", b"a").unwrap(), Some(b"else".to_vec()));
    journal.write(SPACE, &[]).unwrap();
}

fn scans_derived_rows_both_ways(journal: &dyn Journal) {
    let rows: Vec<_> = ["a", "b", "c", "d"].into_iter().map(|key| put(key, Some("1"))).collect();
    journal.write(SPACE, &rows).unwrap();
    assert_eq!(scan(journal, "b", "d", false, 9), ["b=1", "c=1"]);
    assert_eq!(scan(journal, "b", "d", true, 9), ["c=1", "b=1"]);
    assert_eq!(scan(journal, "a", "z", false, 2), ["a=1", "b=1"]);
    assert_eq!(scan(journal, "a", "z", true, 2), ["d=1", "c=1"]);
    for (from, to) in [("b", "b"), ("c", "b"), ("", "")] {
        assert_eq!(scan(journal, from, to, false, 9), [""; 0]);
    }
}

fn derived_rows_are_no_part_of_the_record(journal: &dyn Journal) {
    append(journal, 0, &["a"]).unwrap();
    journal.write(SPACE, &[put("a", Some("1"))]).unwrap();
    assert_eq!((journal.last(), journal.secrets().unwrap()), (1, Vec::new()));
    append(journal, 1, &["b"]).unwrap();
    assert_eq!(read(journal, 0, 10), rows(&[(1, "a"), (2, "b")]));
    journal.cut(0).unwrap();
    assert_eq!(journal.get(SPACE, b"a").unwrap(), Some(b"1".to_vec()));
}

macro_rules! suite {
    ($($rule:ident)*) => {
        mod memory {
            $(#[test] fn $rule() { super::$rule(&super::MemoryJournal::new()); })*
        }
        mod fjall {
            $(#[test] fn $rule() {
                let folder = tempfile::tempdir().unwrap();
                super::$rule(&super::FjallJournal::open(folder.path()).unwrap());
            })*
        }
    };
}

suite! {
    keeps_order
    reads_exclusively_and_in_pages
    refuses_a_writer_that_is_behind
    changes_secrets_with_the_batch_or_not_at_all
    adopts_what_is_beyond_its_end
    cuts_a_tail
    syncs_beside_appends
    survives_many_batches
    reads_back
    merges_segments_with_the_rest
    drops_whole_segments
    cuts_a_tail_through_segments
    keeps_derived_rows_in_their_spaces
    scans_derived_rows_both_ways
    derived_rows_are_no_part_of_the_record
}

/// What only a journal on a disk can show.
mod on_disk {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn reopens_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        {
            let journal = FjallJournal::open(folder.path()).unwrap();
            let secrets = [secret("one", Some("1"))];
            let batch = Batch { after: 0, frames: &[frame_of("a"), frame_of("b")], secrets: &secrets };
            journal.append(batch).unwrap();
            journal.write(SPACE, &[put("b", Some("2")), put("a", Some("1"))]).unwrap();
        }
        let journal = FjallJournal::open(folder.path()).unwrap();
        assert_eq!(scan(&journal, "", "z", false, 9), ["a=1", "b=2"]);
        assert_eq!(read(&journal, 0, 10), rows(&[(1, "a"), (2, "b")]));
        assert_eq!(journal.secrets().unwrap(), [("one".into(), b"1".to_vec())]);
        append(&journal, 2, &["c"]).unwrap();
        assert_eq!(journal.last(), 3);
    }

    /// Where old traffic was trimmed before a backup was made.
    #[test]
    fn what_is_adopted_may_have_gaps() {
        let folder = tempfile::tempdir().unwrap();
        let entries = [(3, frame_of("c")), (7, frame_of("1:g"))];
        {
            let journal = FjallJournal::open(folder.path()).unwrap();
            journal.adopt(&entries, &[]).unwrap();
            journal.sync().unwrap();
        }
        let journal = FjallJournal::open(folder.path()).unwrap();
        assert_eq!((journal.last(), read(&journal, 0, 10)), (7, rows(&[(3, "c"), (7, "1:g")])));
        assert_eq!(spans(&journal), [(1, 7, 7)]);
        append(&journal, 7, &["h"]).unwrap();
    }

    #[test]
    fn segments_reopen_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        {
            let journal = FjallJournal::open(folder.path()).unwrap();
            append(&journal, 0, &["a", "1:b", "2:c", "d", "3:e"]).unwrap();
            journal.drop_segments(1).unwrap();
        }
        for _ in 0..2 {
            let journal = FjallJournal::open(folder.path()).unwrap();
            assert_eq!(read(&journal, 0, 10), rows(&[(1, "a"), (3, "2:c"), (4, "d"), (5, "3:e")]));
            assert_eq!((journal.last(), spans(&journal)), (5, vec![(2, 3, 3), (3, 5, 5)]));
        }
        let journal = FjallJournal::open(folder.path()).unwrap();
        append(&journal, 5, &["f", "3:g"]).unwrap();
        journal.drop_segments(2).unwrap();
        drop(journal);
        let journal = FjallJournal::open(folder.path()).unwrap();
        assert_eq!(read(&journal, 0, 10), rows(&[(1, "a"), (4, "d"), (5, "3:e"), (6, "f"), (7, "3:g")]));
    }

    fn disk_used(folder: &std::path::Path) -> u64 {
        let entries = std::fs::read_dir(folder).unwrap().flatten();
        entries
            .map(|entry| match entry.metadata() {
                Ok(about) if about.is_dir() => disk_used(&entry.path()),
                // Files are made long beforehand: what counts is what they take.
                Ok(about) => std::os::unix::fs::MetadataExt::blocks(&about) * 512,
                Err(_) => 0,
            })
            .sum()
    }

    /// What cannot be compressed.
    fn noise(seed: u64) -> Vec<u8> {
        let mut bytes = vec![0; 1_000];
        blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn a_dropped_segment_gives_its_disk_back() {
        let folder = tempfile::tempdir().unwrap();
        let journal = FjallJournal::open(folder.path()).unwrap();
        let keyspaces = folder.path().join("keyspaces");
        let mut seq = 0;
        for segment in 1..=3 {
            for _ in 0..100 {
                let frames: Vec<_> =
                    (seq..seq + 100).map(|seq| Frame { segment: Some(segment), bytes: noise(seq) }).collect();
                journal.append(Batch { after: seq, frames: &frames, secrets: &[] }).unwrap();
                seq += 100;
            }
        }
        append(&journal, seq, &["end"]).unwrap();
        journal.parts_are_written_out();
        let before = disk_used(&keyspaces);
        assert!(before > 30_000_000, "{before}");
        journal.drop_segments(2).unwrap();
        journal.parts_are_written_out();
        // The database's own thread may be at work on a segment that goes: its files go when that is done.
        let until = Instant::now() + Duration::from_secs(10);
        while disk_used(&keyspaces) >= before - 19_000_000 && Instant::now() < until {
            crate::journal::transient::pause(Duration::from_millis(20));
        }
        let after = disk_used(&keyspaces);
        assert!(after < before - 19_000_000, "{before} -> {after}");
        assert_eq!(journal.read(0, 20_000).unwrap().len(), 10_001);
    }

    /// The write-ahead files go too, once no keyspace needs them: also none that nobody has asked for since the start.
    #[test]
    fn a_dropped_segment_gives_its_write_ahead_files_back() {
        let folder = tempfile::tempdir().unwrap();
        let write_ahead = || {
            let files = std::fs::read_dir(folder.path()).unwrap().flatten();
            files.filter(|file| file.path().extension().is_some_and(|end| end == "jnl")).count()
        };
        let long = |seq: u64| (0..16).flat_map(|part| noise(16 * seq + part)).collect::<Vec<u8>>();
        let append_long = |journal: &FjallJournal, segment, batches: u64| {
            for _ in 0..batches {
                let after = journal.last();
                let frame = |seq| Frame { segment: Some(segment), bytes: long(seq) };
                let frames: Vec<_> = (after + 1..=after + 60).map(frame).collect();
                journal.append(Batch { after, frames: &frames, secrets: &[] }).unwrap();
            }
        };
        {
            let journal = FjallJournal::open(folder.path()).unwrap();
            let secrets = [secret("one", Some("1"))];
            journal.append(Batch { after: 0, frames: &[frame_of("a")], secrets: &secrets }).unwrap();
            journal.write(SPACE, &[put("b", Some("2"))]).unwrap();
            append_long(&journal, 1, 80);
        }
        assert!(write_ahead() > 1, "the first is full, and a secret and a row hold on to it");
        let journal = FjallJournal::open(folder.path()).unwrap();
        append_long(&journal, 2, 1);
        journal.drop_segments(1).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while write_ahead() > 1 {
            assert!(std::time::Instant::now() < deadline, "{} write-ahead files are left", write_ahead());
            journal.parts_are_written_out();
            std::thread::yield_now();
        }
        assert_eq!(journal.secrets().unwrap().len(), 1);
    }

    #[test]
    fn a_second_opener_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let _first = FjallJournal::open(folder.path()).unwrap();
        let refused = FjallJournal::open(folder.path()).err().expect("one writer");
        assert!(matches!(refused, Error::InUse { .. }), "{refused}");
        assert!(refused.to_string().contains("another gemini-pool is using"), "{refused}");
    }

    /// The write-ahead log's end is torn off: whole batches before it stay.
    #[test]
    fn a_torn_end_loses_only_the_unfinished_batch() {
        let folder = tempfile::tempdir().unwrap();
        {
            let journal = FjallJournal::open(folder.path()).unwrap();
            append(&journal, 0, &["a", "b"]).unwrap();
            append(&journal, 2, &["c", "d"]).unwrap();
        }
        let wal = std::fs::read_dir(folder.path())
            .unwrap()
            .flatten()
            .find(|file| file.path().extension().is_some_and(|end| end == "jnl"))
            .unwrap()
            .path();
        let bytes = std::fs::read(&wal).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        std::fs::write(&wal, &bytes[..end - 3]).unwrap();
        let journal = FjallJournal::open(folder.path()).unwrap();
        assert_eq!(read(&journal, 0, 10), rows(&[(1, "a"), (2, "b")]));
        append(&journal, 2, &["C"]).unwrap();
    }

    #[test]
    fn records_that_were_synced_and_are_gone_are_missed() {
        let folder = tempfile::tempdir().unwrap();
        {
            let journal = FjallJournal::open(folder.path()).unwrap();
            append(&journal, 0, &["a", "b"]).unwrap();
            journal.sync().unwrap();
        }
        std::fs::write(folder.path().join("head"), format!("{:020}\n", 5)).unwrap();
        let refused = FjallJournal::open(folder.path()).err().expect("events are missing");
        assert!(matches!(refused, Error::Lost { last: 2, known: 5, .. }), "{refused}");
    }
}
