//! One suite for every back end: the contract of [`super`], rule by rule.

use super::{
    Batch, Derived as _, Entry, Error, Journal, SecretChange, derived::Put, fjall::FjallJournal,
    memory::MemoryJournal,
};

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
    cuts_a_tail
    syncs_beside_appends
    survives_many_batches
    keeps_derived_rows_in_their_spaces
    scans_derived_rows_both_ways
    derived_rows_are_no_part_of_the_record
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
            journal.write(SPACE, &[put("b", Some("2")), put("a", Some("1"))]).unwrap();
        }
        let journal = FjallJournal::open(folder.path()).unwrap();
        assert_eq!(scan(&journal, "", "z", false, 9), ["a=1", "b=2"]);
        assert_eq!(read(&journal, 0, 10), rows(&[(1, "a"), (2, "b")]));
        assert_eq!(journal.secrets().unwrap(), [("one".into(), b"1".to_vec())]);
        append(&journal, 2, &["c"]).unwrap();
        assert_eq!(journal.last(), 3);
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
