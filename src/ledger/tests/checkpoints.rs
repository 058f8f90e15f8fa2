//! Checkpoints are quick, and never believed against the log; the past is what it was.

use projections::event::ServerStopped;
use proptest::prelude::*;

use super::{super::*, stage::*};
use crate::journal::{
    Batch, Frame,
    codec::{
        self, ChainHash,
        tests::{golden, history::history},
    },
    memory::MemoryJournal,
};
use crate::ledger::{
    checkpoint::{self, Kind, Packed, SHAPE},
    past::{At, PastError},
};

const SPACE: &str = "checkpoints";

fn places(journal: &MemoryJournal, kind: Kind) -> Vec<Seq> {
    let mut places = checkpoint::places(journal, kind, Seq::MAX).unwrap();
    places.reverse();
    places
}

/// The same log and the same rows beside it, with one frame and every row changed as told.
fn changed(
    journal: &MemoryJournal,
    frame: impl Fn(Seq, &mut Vec<u8>),
    row: impl Fn(&[u8], &mut Vec<u8>),
) -> Arc<MemoryJournal> {
    let copy = MemoryJournal::new();
    for entry in journal.read(0, usize::MAX).unwrap() {
        let mut bytes = entry.frame;
        frame(entry.seq, &mut bytes);
        copy.append(Batch { after: entry.seq - 1, frames: &[bytes.into()], secrets: &[] }).unwrap();
    }
    for (key, mut value) in journal.scan(SPACE, &[], &[0xff], false, usize::MAX).unwrap() {
        row(&key, &mut value);
        copy.write(SPACE, &[(key, Some(value))]).unwrap();
    }
    Arc::new(copy)
}

/// A log of so many events, and its state.
async fn of_length(events: u32, every: Seq) -> (Arc<MemoryJournal>, State) {
    let journal = Arc::new(MemoryJournal::new());
    let ledger = open_keeping(&journal, &Time::new(), every).unwrap();
    for number in 0..events {
        if number % 3 == 0 {
            ledger.note(added(number / 3 + 1)).await.unwrap();
        } else {
            ledger.reserve().await.unwrap().record_and_fold(answered(number.into())).await;
        }
    }
    let state = ledger.state().clone();
    ledger.close().await;
    (journal, state)
}

#[tokio::test]
async fn a_stop_leaves_a_checkpoint_and_the_next_start_folds_nothing_before_it() {
    let (journal, state) = of_length(30, 1_000).await;
    assert_eq!((places(&journal, Kind::Full), places(&journal, Kind::Past)), (vec![30], vec![]));
    assert_eq!(*open(&journal).unwrap().state(), state);
    // Whoever folds from the beginning meets the damage; whoever begins at the checkpoint does not.
    let damaged = changed(
        &journal,
        |seq, bytes| {
            if seq == 3 {
                bytes[20] ^= 1
            }
        },
        |_, _| {},
    );
    assert_eq!(*open(&damaged).unwrap().state(), state);
    let without = changed(&damaged, |_, _| {}, |_, row| row.clear());
    assert!(matches!(open(&without).err(), Some(OpenError::Damaged { seq: 3, .. })));
}

#[tokio::test]
async fn checkpoints_come_every_so_many_events_and_two_full_ones_stay() {
    let (journal, state) = of_length(47, 10).await;
    let (full, past) = (places(&journal, Kind::Full), places(&journal, Kind::Past));
    assert_eq!((full.len(), full.last()), (2, Some(&47)), "{full:?}");
    assert!((2..=4).contains(&past.len()) && past.iter().all(|seq| *seq >= 10), "{past:?}");
    for place in past {
        let kept = checkpoint::read_good(journal.as_ref(), Kind::Past, place).unwrap().unwrap().state;
        assert_eq!((kept.seq, kept.statistics.total.requests.served), (place, 0));
    }
    assert_eq!(*open(&journal).unwrap().state(), state);
}

#[tokio::test]
async fn what_is_wrong_with_a_checkpoint_is_seen_and_passed_over() {
    let (journal, state) = of_length(30, 1_000).await;
    let rows = journal.scan(SPACE, &[], &[0xff], false, usize::MAX).unwrap();
    assert!(rows.len() >= 2);
    for (key, value) in &rows {
        for place in 0..value.len() {
            let flipped = changed(
                &journal,
                |_, _| {},
                |this, row| {
                    if this == key {
                        row[place] ^= 0x10
                    }
                },
            );
            assert!(checkpoint::read(flipped.as_ref(), Kind::Full, 30).unwrap().is_none(), "byte {place}");
            if place % 97 == 0 {
                assert_eq!(*open(&flipped).unwrap().state(), state);
            }
        }
    }
    // One that is ahead of the log, as after a torn end.
    let (longer, _) = of_length(31, 1_000).await;
    let rows = longer.scan(SPACE, &[], &[0xff], false, usize::MAX).unwrap();
    journal
        .write(SPACE, &rows.into_iter().map(|(key, value)| (key, Some(value))).collect::<Vec<_>>())
        .unwrap();
    assert!(checkpoint::read(journal.as_ref(), Kind::Full, 31).unwrap().is_some());
    assert_eq!(*open(&journal).unwrap().state(), state);
}

#[test]
fn a_checkpoint_of_another_log_is_passed_over() {
    let log = |abandoned: u32| -> Vec<Recorded> {
        let stopped = |seq| Recorded { seq, at: START, event: ServerStopped { abandoned }.into() };
        (1..=5).map(stopped).collect()
    };
    let (one, other) = (written(&log(1)), written(&log(2)));
    let last = ChainHash::of(&other.read(4, 1).unwrap()[0].frame).unwrap();
    let mut state = State::replay(&log(2));
    state.statistics.total.requests.served = 99;
    Packed::new(&state, last).unwrap().write(one.as_ref(), Kind::Full).unwrap();
    assert!(checkpoint::read(one.as_ref(), Kind::Full, 5).unwrap().is_some());
    assert_eq!(*open(&one).unwrap().state(), State::replay(&log(1)));
}

#[tokio::test]
async fn a_torn_end_behind_a_checkpoint_is_cut_off() {
    let (journal, state) = of_length(12, 1_000).await;
    let ledger = open_keeping(&journal, &Time::new(), 1_000).unwrap();
    let (frame, _) =
        codec::encode(13, START, &ServerStopped { abandoned: 0 }.into(), &ChainHash::START).unwrap();
    drop(ledger);
    journal.append(Batch { after: 12, frames: &[frame[..30].to_vec().into()], secrets: &[] }).unwrap();
    assert_eq!((*open(&journal).unwrap().state()).clone(), state);
    assert_eq!(journal.last(), 12);
}

#[tokio::test]
async fn a_hole_that_no_trim_vouches_for_is_damage() {
    let stopped = |seq| Recorded { seq, at: START, event: ServerStopped { abandoned: 0 }.into() };
    let journal = written(&(1..=9).map(stopped).collect::<Vec<_>>());
    let (frame, _) =
        codec::encode(10, START, &ServerStopped { abandoned: 0 }.into(), &ChainHash::START).unwrap();
    let (after, before) = (Frame { segment: Some(7), bytes: frame.clone() }, Frame::from(frame));
    journal.append(Batch { after: 9, frames: &[after, before], secrets: &[] }).unwrap();
    journal.drop_segments(7).unwrap();
    let refused = open(&journal).err().unwrap();
    assert!(matches!(refused, OpenError::Damaged { seq: 10, damage: Damage::Missing }), "{refused}");
    assert!(refused.to_string().starts_with("event 10 of the log is damaged: it is missing"), "{refused}");
}

/// The bytes of a state with everything in it. They are other bytes as soon as the shape of a state or the
/// meaning of a fold is another, and then old checkpoints must not be read as new ones.
#[test]
fn the_shape_of_states_is_the_one_that_checkpoints_name() {
    // What takes things away would leave parts of the state empty, and their shape unseen.
    let stays = |event: &Event| {
        !matches!(event, Event::KeyRemoved(_) | Event::ClientRemoved(_) | Event::ResourceReleased(_))
    };
    let events: Vec<Recorded> = (1..)
        .zip(golden::samples().into_iter().filter(stays))
        .map(|(seq, event)| Recorded { seq, at: START + seq as i64, event })
        .collect();
    let bytes = codec::pack(&State::replay(&events)).unwrap();
    let text = format!("shape {SHAPE}: {} bytes, BLAKE3 {}", bytes.len(), blake3::hash(&bytes).to_hex());
    insta::with_settings!({
        snapshot_path => "../../../snapshots",
        prepend_module_to_snapshot => false,
        omit_expression => true,
        description => "When this changes, make SHAPE in src/ledger/checkpoint.rs one more than it was in the last release.",
    }, {
        insta::assert_snapshot!("shape_of_states", text);
    });
}

fn past_of(events: &[Recorded]) -> State {
    let mut state = State::replay(events);
    state.forget_statistics();
    state
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However often checkpoints come, and wherever the log was closed in between.
    #[test]
    fn the_past_is_what_it_was(events in history(60), every in 1u64..20, cut in any::<prop::sample::Index>()) {
        // Time never goes back in a log that the ledger writes.
        let mut at = START;
        let events: Vec<Recorded> = events.into_iter().enumerate().map(|(place, recorded)| {
            at += (place as i64 % 4) * 7;
            Recorded { at, ..recorded }
        }).collect();
        let cut = cut.index(events.len() + 1);
        let journal = written(&events[..cut]);
        let first = open_keeping(&journal, &Time::new(), every).unwrap();
        let whole = written(&events);
        for entry in whole.read(cut as u64, usize::MAX).unwrap() {
            let batch = Batch { after: entry.seq - 1, frames: &[entry.frame.into()], secrets: &[] };
            journal.append(batch).unwrap();
        }
        drop(first);
        let ledger = open_keeping(&journal, &Time::new(), every).unwrap();
        prop_assert_eq!(&*ledger.state(), &State::replay(&events));
        for length in 0..=events.len() {
            let state = ledger.state_at(At::Seq(length as u64)).unwrap();
            prop_assert_eq!(&state, &past_of(&events[..length]));
        }
        for time in START - 1..=at + 1 {
            let before = events.iter().take_while(|recorded| recorded.at <= time).count();
            prop_assert_eq!(ledger.seq_at(time).unwrap(), before as u64);
        }
        let beyond = events.len() as u64 + 1;
        let refused = ledger.state_at(At::Seq(beyond));
        let refused = matches!(refused, Err(PastError::NotYet { seq, last }) if (seq, last) == (beyond, beyond - 1));
        prop_assert!(refused);
        let mut back = ledger.events_back(u64::MAX, usize::MAX).unwrap();
        back.reverse();
        prop_assert_eq!(&back, &events);
        prop_assert_eq!(ledger.event(1).unwrap(), events.first().cloned());
        prop_assert_eq!(ledger.event(beyond).unwrap(), None);
    }
}
