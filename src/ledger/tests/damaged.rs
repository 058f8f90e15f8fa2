//! A log whose end is torn goes on without it; one that is damaged elsewhere is left alone.

use projections::event::ServerStopped;

use super::{super::*, stage::*};
use crate::journal::Batch;
use crate::journal::codec::{self, ChainHash};
use crate::journal::memory::MemoryJournal;
use crate::ledger::replay::PAGE;

/// Frames of a log of this length.
fn frames(length: u64) -> Vec<Vec<u8>> {
    let mut hash = ChainHash::START;
    let frame = |seq| {
        let event = ServerStopped { abandoned: seq as u32 }.into();
        let (frame, next) = codec::encode(seq, START, &event, &hash).unwrap();
        hash = next;
        frame
    };
    (1..=length).map(frame).collect()
}

fn journal(frames: &[Vec<u8>]) -> Arc<MemoryJournal> {
    let journal = Arc::new(MemoryJournal::new());
    let frames: Vec<_> = frames.iter().cloned().map(Into::into).collect();
    journal.append(Batch { after: 0, frames: &frames, secrets: &[] }).unwrap();
    journal
}

fn flip(frame: &mut [u8]) {
    frame[20] ^= 0x10;
}

/// The log goes on after `kept`, and what comes next is chained to it.
async fn goes_on_after(frames: &[Vec<u8>], kept: u64) {
    let journal = journal(frames);
    let ledger = open(&journal).unwrap();
    assert_eq!((ledger.state().seq, *ledger.head().borrow(), journal.last()), (kept, kept, kept));
    ledger.note(ServerStopped { abandoned: 99 }).await.unwrap();
    ledger.close().await;
    let log = log(journal.as_ref());
    assert_eq!(log.len() as u64, kept + 1);
    assert_eq!(log[kept as usize].event, ServerStopped { abandoned: 99 }.into());
    assert_eq!(open(&journal).unwrap().state().seq, kept + 1);
}

/// Opening is refused with the place and the ground, and nothing is touched.
fn is_left_alone(frames: &[Vec<u8>], place: u64, expected: &Damage) {
    let journal = journal(frames);
    match open(&journal).err() {
        Some(OpenError::Damaged { seq, damage }) => assert_eq!((seq, &damage), (place, expected)),
        other => panic!("{other:?}"),
    }
    let stored: Vec<_> = journal.read(0, usize::MAX).unwrap().into_iter().map(|entry| entry.frame).collect();
    assert_eq!(stored, frames);
}

#[tokio::test]
async fn a_torn_end_is_cut_off() {
    let mut last = frames(10);
    flip(&mut last[9]);
    goes_on_after(&last, 9).await;

    let mut short = frames(10);
    short[9].truncate(30);
    goes_on_after(&short, 9).await;

    let mut empty = frames(10);
    empty[9].clear();
    goes_on_after(&empty, 9).await;

    let mut several = frames(10);
    several[7..].iter_mut().for_each(|frame| flip(frame));
    goes_on_after(&several, 7).await;

    let mut all = frames(3);
    all.iter_mut().for_each(|frame| flip(frame));
    goes_on_after(&all, 0).await;
}

#[tokio::test]
async fn a_torn_end_is_cut_off_on_whatever_page_it_is() {
    let page = PAGE as u64;
    for (length, kept) in [(page, page - 1), (page + 1, page), (page + 3, page - 2)] {
        let mut frames = frames(length);
        frames[kept as usize..].iter_mut().for_each(|frame| flip(frame));
        goes_on_after(&frames, kept).await;
    }
}

#[test]
fn damage_before_what_is_whole_is_told_and_not_mended() {
    for place in [1, 5, 9] {
        let mut one = frames(10);
        flip(&mut one[place - 1]);
        is_left_alone(&one, place as u64, &Damage::Checksum);
    }
    let mut several = frames(10);
    several[2..9].iter_mut().for_each(|frame| flip(frame));
    is_left_alone(&several, 3, &Damage::Checksum);
    let mut cut = frames(10);
    cut[4].truncate(40);
    is_left_alone(&cut, 5, &Damage::Length);
}

#[test]
fn damage_pages_before_what_is_whole_is_found() {
    let length = 2 * PAGE + 5;
    let mut log = frames(length as u64);
    log[1..length - 1].iter_mut().for_each(|frame| flip(frame));
    is_left_alone(&log, 2, &Damage::Checksum);
}

#[test]
fn a_log_that_somebody_changed_is_left_alone() {
    let mut swapped = frames(10);
    swapped.swap(3, 6);
    is_left_alone(&swapped, 4, &Damage::Position(7));
    let mut missing = frames(10);
    missing.remove(3);
    // Every frame after it is whole, yet in another one's place, and so is the last.
    missing.push(frames(10)[9].clone());
    is_left_alone(&missing, 4, &Damage::Position(5));
    let mut other = frames(10);
    let foreign =
        codec::encode(4, START, &ServerStopped { abandoned: 0 }.into(), &ChainHash::START).unwrap().0;
    other[3] = foreign;
    is_left_alone(&other, 4, &Damage::Chain);
}

#[test]
fn damage_has_words() {
    let mut log = frames(3);
    flip(&mut log[1]);
    let refused = open(&journal(&log)).err().unwrap().to_string();
    assert!(refused.starts_with("event 2 of the log is damaged: its checksum is wrong"), "{refused}");
    assert!(refused.contains("Restore a backup"), "{refused}");
}

/// Gives a frame a format that only a newer program knows, with the checksum that goes with it.
fn newer_format(frame: &mut [u8]) {
    frame[0] = 2;
    let content = frame.len() - 36;
    let check = crc32fast::hash(&frame[..content]).to_be_bytes();
    frame[content..content + 4].copy_from_slice(&check);
}

/// Starting an older program once must not cost what a newer one recorded.
#[test]
fn what_a_newer_program_framed_is_not_a_torn_end() {
    let mut newer = frames(10);
    newer[6..].iter_mut().for_each(|frame| newer_format(frame));
    is_left_alone(&newer, 7, &Damage::Format(2));
}

/// A frame whose checksum is right was written whole: it is no torn end, whatever else is wrong.
#[test]
fn a_whole_frame_at_the_end_is_not_cut_off() {
    let mut missing = frames(10);
    missing.remove(8);
    is_left_alone(&missing, 9, &Damage::Position(10));
    let mut changed = frames(10);
    changed[9] =
        codec::encode(10, START, &ServerStopped { abandoned: 0 }.into(), &ChainHash::START).unwrap().0;
    is_left_alone(&changed, 10, &Damage::Chain);
}
