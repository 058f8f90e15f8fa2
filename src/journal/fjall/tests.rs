//! What a database that failed and is opened anew holds.

use super::*;
use crate::journal::Derived;

fn frame(text: &str) -> crate::journal::Frame {
    crate::journal::Frame { segment: Some(20_000), bytes: text.as_bytes().to_vec() }
}

fn secret(sealed: Option<&str>) -> SecretChange {
    SecretChange { name: "one".to_owned(), sealed: sealed.map(|sealed| sealed.as_bytes().to_vec()) }
}

/// A batch of which the writer was told that it failed, and that the database wrote all the same when it was closed.
#[test]
fn what_failed_and_reached_the_disk_is_taken_back_when_it_is_opened_anew() {
    let folder = tempfile::tempdir().unwrap();
    let journal = FjallJournal::open(folder.path()).unwrap();
    let frames = ["a", "b"].map(frame);
    journal.append(Batch { after: 0, frames: &frames, secrets: &[secret(Some("old"))] }).unwrap();
    journal.write("rows", &[(b"k".to_vec(), Some(b"v".to_vec()))]).unwrap();
    journal.sync().unwrap();
    let lost = ["c", "d", "e"].map(frame);
    journal.append(Batch { after: 2, frames: &lost, secrets: &[secret(None)] }).unwrap();
    *journal.last.lock() = 2;
    *journal.before.lock() = vec![secret(Some("old"))];
    journal.with(|store| Ok(store.poison("append to", fjall::Error::Poisoned))).unwrap();
    assert!(matches!(journal.append(Batch { after: 2, frames: &lost, secrets: &[] }), Err(Error::Poisoned)));

    journal.reopen().unwrap();
    assert_eq!(journal.last(), 2);
    assert_eq!(journal.read(0, 9).unwrap().len(), 2);
    assert_eq!(journal.secrets().unwrap(), [("one".to_owned(), b"old".to_vec())]);
    assert_eq!(journal.get("rows", b"k").unwrap().unwrap(), b"v");
    journal.append(Batch { after: 2, frames: &[frame("f")], secrets: &[] }).unwrap();
    journal.sync().unwrap();
    drop(journal);
    let again = FjallJournal::open(folder.path()).unwrap();
    let read = again.read(0, 9).unwrap();
    assert_eq!(read.iter().map(|entry| entry.frame.as_slice()).collect::<Vec<_>>(), [b"a", b"b", b"f"]);
    assert_eq!(again.segments().len(), 1);
}

#[test]
fn a_segment_that_is_made_ahead_is_there_after_a_start_and_goes_when_it_is_passed() {
    let folder = tempfile::tempdir().unwrap();
    let in_segment = |number, text: &str| crate::journal::Frame { segment: Some(number), ..frame(text) };
    let journal = FjallJournal::open(folder.path()).unwrap();
    journal.prepare(7).unwrap();
    journal.prepare(8).unwrap();
    assert_eq!(journal.segments(), []);
    drop(journal);
    let journal = FjallJournal::open(folder.path()).unwrap();
    let made = |journal: &FjallJournal| {
        journal.with(|store| {
            Ok(store.db.list_keyspace_names().iter().filter(|name| name.starts_with("traffic-")).count())
        })
    };
    assert_eq!(made(&journal).unwrap(), 2);
    journal.append(Batch { after: 0, frames: &[in_segment(8, "a")], secrets: &[] }).unwrap();
    assert_eq!(made(&journal).unwrap(), 2, "nothing is made for what is there");
    journal.prepare(9).unwrap();
    assert_eq!(made(&journal).unwrap(), 2, "7 is over");
    journal.append(Batch { after: 1, frames: &[in_segment(9, "b")], secrets: &[] }).unwrap();
    journal.sync().unwrap();
    let numbers: Vec<_> =
        journal.segments().iter().map(|span| (span.number, span.first, span.last)).collect();
    assert_eq!(numbers, [(8, 1, 1), (9, 2, 2)]);
}

#[test]
fn what_is_still_there_can_be_read_while_there_is_no_room_to_open_it_anew() {
    let folder = tempfile::tempdir().unwrap();
    let journal = FjallJournal::open(folder.path()).unwrap();
    journal.append(Batch { after: 0, frames: &[frame("a")], secrets: &[] }).unwrap();
    std::fs::create_dir(folder.path().join("probe")).unwrap();
    assert!(journal.reopen().is_err(), "the probe cannot be written");
    assert_eq!(journal.read(0, 9).unwrap().len(), 1);
}
