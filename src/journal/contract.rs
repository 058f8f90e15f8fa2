//! One suite for every back end: the contract of [`super`], rule by rule.

use super::{Batch, Entry, Error, Journal, SecretChange, fjall::FjallJournal, memory::MemoryJournal};

fn append(journal: &dyn Journal, after: u64, frames: &[&str]) -> Result<(), Error> {
    let frames: Vec<Vec<u8>> = frames.iter().map(|frame| frame.as_bytes().to_vec()).collect();
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

fn changes_secrets_with_the_batch_or_not_at_all(journal: &dyn Journal) {
    let add = [secret("one", Some("1")), secret("two", Some("2"))];
    journal.append(Batch { after: 0, frames: &[b"a".to_vec()], secrets: &add }).unwrap();
    let remove = [secret("one", None), secret("three", Some("3"))];
    let stale = Batch { after: 0, frames: &[b"b".to_vec()], secrets: &remove };
    journal.append(stale).unwrap_err();
    assert_eq!(journal.secrets().unwrap(), [("one".into(), b"1".to_vec()), ("two".into(), b"2".to_vec())]);
    journal.append(Batch { after: 1, ..stale }).unwrap();
    assert_eq!(journal.secrets().unwrap(), [("three".into(), b"3".to_vec()), ("two".into(), b"2".to_vec())]);
}

fn adopts_what_is_beyond_its_end(journal: &dyn Journal) {
    let entry = |seq, frame: &str| Entry { seq, frame: frame.as_bytes().to_vec() };
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
    let frames: Vec<Vec<u8>> = (0..100u32).map(|i| vec![i as u8; 300]).collect();
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
}

/// What only a journal on a disk can show.
mod on_disk {
    use super::*;

    #[test]
    fn reopens_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        {
            let journal = FjallJournal::open(folder.path()).unwrap();
            let secrets = [secret("one", Some("1"))];
            let batch = Batch { after: 0, frames: &[b"a".to_vec(), b"b".to_vec()], secrets: &secrets };
            journal.append(batch).unwrap();
        }
        let journal = FjallJournal::open(folder.path()).unwrap();
        assert_eq!(read(&journal, 0, 10), rows(&[(1, "a"), (2, "b")]));
        assert_eq!(journal.secrets().unwrap(), [("one".into(), b"1".to_vec())]);
        append(&journal, 2, &["c"]).unwrap();
        assert_eq!(journal.last(), 3);
    }

    /// Where old traffic was trimmed before a backup was made.
    #[test]
    fn what_is_adopted_may_have_gaps() {
        let folder = tempfile::tempdir().unwrap();
        let entries = [3, 7].map(|seq| Entry { seq, frame: vec![seq as u8] });
        {
            let journal = FjallJournal::open(folder.path()).unwrap();
            journal.adopt(&entries, &[]).unwrap();
            journal.sync().unwrap();
        }
        let journal = FjallJournal::open(folder.path()).unwrap();
        assert_eq!((journal.last(), journal.read(0, 10).unwrap()), (7, entries.to_vec()));
        append(&journal, 7, &["h"]).unwrap();
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
