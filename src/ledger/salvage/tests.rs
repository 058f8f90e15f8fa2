//! What is kept is what is proven, and it opens, and an audit finds it whole.

use std::sync::Arc;

use projections::event::{ServerStarted, ServerStopped};

use super::*;
use crate::{
    journal::{Derived as _, memory::MemoryJournal},
    ledger::{Ledger, clock::Clock},
};

fn event(seq: Seq) -> Event {
    if seq == 1 {
        return ServerStarted { version: "1".to_owned(), address: "here".to_owned() }.into();
    }
    ServerStopped { abandoned: seq as u32 }.into()
}

/// A log of this length of which these places are lost, with a full checkpoint at each of some places.
fn damaged(length: Seq, lost: &[Seq], checkpoints: &[Seq]) -> MemoryJournal {
    let (journal, mut hash, mut state) = (MemoryJournal::new(), ChainHash::START, State::default());
    for seq in 1..=length {
        let (bytes, next) = codec::encode(seq, 1_000, &event(seq), &hash).unwrap();
        state.apply(&codec::decode(seq, &bytes, Some(&hash)).unwrap().0);
        hash = next;
        let bytes = if lost.contains(&seq) { vec![0; 70] } else { bytes };
        journal.adopt(&[(seq, bytes.into())], &[]).unwrap();
        if checkpoints.contains(&seq) {
            Packed::new(&state, hash).unwrap().write(&journal, Kind::Full).unwrap();
        }
    }
    journal
}

/// Salvages it; the new one opens where it should end, an audit finds nothing, and it goes on.
async fn salvaged(source: &MemoryJournal, end: Seq) -> Report {
    let into = Arc::new(MemoryJournal::new());
    let report = salvage(source, into.as_ref(), &mut |_| {}).unwrap();
    assert_eq!(report.last.0, end, "{report:?}");
    for round in 0..2 {
        let ledger = Ledger::open(into.clone() as _, Clock::driven(|| 2_000), || 3, Vec::new()).unwrap();
        ledger.note(ServerStopped { abandoned: round }).await.unwrap();
        ledger.close().await;
        let (audit, _) = audit::verify(into.as_ref(), into.last(), &mut |_| true);
        assert_eq!(audit.findings, [], "{report:?}");
    }
    report
}

#[tokio::test]
async fn a_log_that_is_whole_is_kept_whole() {
    let report = salvaged(&damaged(20, &[], &[10]), 20).await;
    assert_eq!((report.kept, report.lost_events, report.checkpoint), (20, 0, None));
    assert!(report.lost.is_empty() && report.unproven.is_empty());
}

#[tokio::test]
async fn without_a_checkpoint_what_is_before_the_damage_is_kept() {
    let report = salvaged(&damaged(20, &[8, 9, 14], &[5]), 7).await;
    assert_eq!((report.kept, report.lost_events), (7, 0));
    assert_eq!(report.unproven, [(10, 13), (15, 20)]);
    let report = salvaged(&damaged(5, &[1], &[]), 0).await;
    assert_eq!((report.kept, report.unproven), (0, vec![(2, 5)]));
}

#[tokio::test]
async fn a_checkpoint_behind_the_damage_bridges_it() {
    let report = salvaged(&damaged(30, &[4, 8, 9, 25], &[2, 12, 20]), 24).await;
    assert_eq!((report.kept, report.lost_events, &report.lost), (21, 3, &vec![(4, 4), (8, 9)]));
    assert_eq!(report.unproven, [(26, 30)]);
    assert!(report.checkpoint.is_some());
}

/// A record that somebody changed, with the checksum and the link that go with it: its successor does not follow it.
#[tokio::test]
async fn a_changed_record_proves_nothing() {
    let source = damaged(20, &[], &[15]);
    let entries = source.read(0, 100).unwrap();
    let changed = MemoryJournal::new();
    for entry in entries {
        let mut frame = entry.frame;
        if entry.seq == 6 {
            let before = ChainHash::of(&source.record(5).unwrap().unwrap()).unwrap();
            frame = codec::encode(6, 1_000, &ServerStopped { abandoned: 77 }.into(), &before).unwrap().0;
        }
        changed.adopt(&[(entry.seq, frame.into())], &[]).unwrap();
    }
    let report = salvaged(&changed, 6).await;
    assert_eq!(report.unproven, [(8, 20)], "and event 7 with them, which follows another one");
    for (key, value) in source.scan("checkpoints", &[], &[255], false, 100).unwrap() {
        changed.write("checkpoints", &[(key, Some(value))]).unwrap();
    }
    let report = salvaged(&changed, 20).await;
    assert_eq!((report.lost.clone(), report.checkpoint), (vec![(7, 7)], Some(15)), "{report:?}");
}
