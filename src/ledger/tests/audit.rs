//! Whatever is changed in a log is found, and named.

use projections::Seq;
use proptest::prelude::*;

use super::{
    super::*,
    retention::{PER_DAY, days, trim},
    stage::*,
};
use crate::journal::{
    Batch, Frame,
    codec::{
        self,
        tests::history::{event, history},
    },
    fjall::FjallJournal,
    memory::MemoryJournal,
};
use crate::ledger::{
    audit::{Report, verify},
    checkpoint::{Kind, Packed, places, read},
};
use projections::Millis;

const SPACE: &str = "checkpoints";
const DAY: Millis = 24 * 3_600_000;

fn audited(journal: &dyn Journal, through: Seq) -> Report {
    verify(journal, through, &mut |_| true).0
}

fn frames(journal: &dyn Journal) -> Vec<(Seq, Vec<u8>)> {
    journal.read(0, usize::MAX).unwrap().into_iter().map(|entry| (entry.seq, entry.frame)).collect()
}

/// A journal with these frames at these places and nothing in between; the last one stays in any case.
fn rebuilt(frames: &[(Seq, Vec<u8>)], rows: &MemoryJournal) -> MemoryJournal {
    let journal = MemoryJournal::new();
    let filler = Frame { segment: Some(1), bytes: Vec::new() };
    for (seq, bytes) in frames {
        while journal.last() + 1 < *seq {
            journal
                .append(Batch { after: journal.last(), frames: std::slice::from_ref(&filler), secrets: &[] })
                .unwrap();
        }
        journal.append(Batch { after: seq - 1, frames: &[bytes.clone().into()], secrets: &[] }).unwrap();
    }
    journal.drop_segments(1).unwrap();
    for (key, value) in rows.scan(SPACE, &[], &[0xff], false, usize::MAX).unwrap() {
        journal.write(SPACE, &[(key, Some(value))]).unwrap();
    }
    journal
}

/// The first finding's place.
fn named(report: &Report) -> Option<Seq> {
    report.findings.first().expect("damage is found").seq
}

const HASH: usize = 32;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_log_as_it_was_written_is_found_so_and_every_change_is_named(
        events in history(30),
        last in event(),
        (one, two, byte) in any::<(prop::sample::Index, prop::sample::Index, prop::sample::Index)>(),
        every in 1u64..9,
    ) {
        let mut events = events;
        let at = events.last().map_or(1, |last| last.at);
        events.push(Recorded { seq: events.len() as Seq + 1, at, event: last });
        let journal = written(&events);
        // Opened once, it has checkpoints, whose states are compared too.
        let ledger = open_keeping(&journal, &Time::new(), every).unwrap();
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(ledger.close());
        let whole = frames(journal.as_ref());
        let (length, through) = (whole.len(), journal.last());
        let report = audited(journal.as_ref(), through);
        prop_assert_eq!(&report.findings, &vec![]);
        prop_assert_eq!((report.records, report.through), (through, through));
        let kept = [Kind::Full, Kind::Past].map(|kind| places(journal.as_ref(), kind, through).unwrap().len());
        prop_assert_eq!(report.checkpoints, kept.iter().sum::<usize>() as u64);

        let (one, two) = (one.index(length), two.index(length));
        let mut flipped = whole.clone();
        let byte = byte.index(flipped[one].1.len());
        flipped[one].1[byte] ^= 0x20;
        let report = audited(&rebuilt(&flipped, &journal), through);
        prop_assert_eq!(named(&report), Some(one as Seq + 1), "byte {}", byte);

        if one + 1 < length {
            let mut missing = whole.clone();
            missing.remove(one);
            let report = audited(&rebuilt(&missing, &journal), through);
            prop_assert_eq!(named(&report), Some(one as Seq + 1));
            prop_assert_eq!(report.findings[0].what.as_str(), "it is missing");
        }
        let shorter = audited(&rebuilt(&whole[..length - 1], &journal), through);
        prop_assert_eq!(named(&shorter), Some(through), "who knows where it ended misses its end");

        if one != two {
            let mut swapped = whole.clone();
            let other = swapped[two].1.clone();
            swapped[two].1 = std::mem::replace(&mut swapped[one].1, other);
            let report = audited(&rebuilt(&swapped, &journal), through);
            prop_assert_eq!(named(&report), Some(one.min(two) as Seq + 1));
        }
    }
}

/// Two trims, and days after them.
async fn trimmed() -> (Arc<MemoryJournal>, Seq) {
    let journal = Arc::new(MemoryJournal::new());
    let (ledger, time) = days(&journal, 3, 7).await;
    trim(&ledger, 1, START + 2 * DAY).await.unwrap().unwrap();
    time.set(START + 3 * DAY);
    ledger.reserve().await.unwrap().record_and_fold(answered(99)).await;
    trim(&ledger, 1, START + 3 * DAY).await.unwrap().unwrap();
    ledger.note(added(9)).await.unwrap();
    ledger.close().await;
    let last = journal.last();
    (journal, last)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_trims_left_is_proven_by_them() {
    let (journal, through) = trimmed().await;
    let report = audited(journal.as_ref(), through);
    assert_eq!(report.findings, []);
    assert_eq!((report.trims, report.dropped, report.records), (2, 20, through - 20));
    assert!(report.checkpoints > 0);
    let whole = frames(journal.as_ref());
    let (kept, trims): (Vec<_>, Vec<_>) = {
        let kinds: Vec<_> =
            whole.iter().map(|(seq, frame)| (*seq, codec::peek(frame).unwrap().kind)).collect();
        let kept: Vec<Seq> = kinds.iter().map(|(seq, _)| *seq).filter(|seq| *seq <= 2 * PER_DAY).collect();
        (kept, kinds.iter().filter(|(_, kind)| *kind == 42).map(|(seq, _)| *seq).collect())
    };
    assert_eq!((kept.len(), trims.len()), (4, 2));

    for (place, (seq, frame)) in whole.iter().enumerate() {
        for byte in (0..frame.len()).step_by(3) {
            let mut flipped = whole.clone();
            flipped[place].1[byte] ^= 0x20;
            let report = audited(&rebuilt(&flipped, &journal), through);
            // What the chain cannot tell any more, the trim that left it does.
            let in_hash = byte >= frame.len() - HASH;
            let expected = match kept.iter().position(|kept| kept == seq) {
                Some(_) if in_hash && *seq > 2 => trims[usize::from(*seq > PER_DAY)],
                _ => *seq,
            };
            assert_eq!(named(&report), Some(expected), "byte {byte} of event {seq}: {:?}", report.findings);
        }
        if *seq == through {
            continue;
        }
        let mut missing = whole.clone();
        missing.remove(place);
        let report = audited(&rebuilt(&missing, &journal), through);
        let expected = match kept.iter().position(|kept| kept == seq) {
            Some(_) => trims[usize::from(*seq > PER_DAY)],
            // Without the last trim nothing vouches for what it dropped; without the first, the second tells of it.
            None if *seq == trims[1] => PER_DAY + 3,
            None if *seq == trims[0] => trims[1],
            None => *seq,
        };
        assert_eq!(named(&report), Some(expected), "without event {seq}: {:?}", report.findings);
    }
    for one in 0..whole.len() {
        for two in one + 1..whole.len() {
            let mut swapped = whole.clone();
            let other = swapped[two].1.clone();
            swapped[two].1 = std::mem::replace(&mut swapped[one].1, other);
            let report = audited(&rebuilt(&swapped, &journal), through);
            assert!(!report.findings.is_empty(), "{one} {two}");
            assert_eq!(named(&report), Some(whole[one].0), "{one} {two}: {:?}", report.findings);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_that_is_gone_is_told_and_the_rest_is_proven() {
    let (journal, through) = trimmed().await;
    let base = places(journal.as_ref(), Kind::Base, through).unwrap();
    crate::ledger::checkpoint::forget(journal.as_ref(), Kind::Base, &base).unwrap();
    let report = audited(journal.as_ref(), through);
    assert_eq!(report.findings.len(), 1);
    assert!(report.findings[0].what.contains("is gone or damaged"), "{:?}", report.findings);
    assert_eq!(report.records, through - 20, "the records are all there");
}

/// Whole, of this log, and yet not what the log says.
#[tokio::test]
async fn a_checkpoint_that_would_be_believed_and_is_wrong_is_told() {
    let stopped =
        |seq| Recorded { seq, at: START, event: projections::event::ServerStopped { abandoned: 1 }.into() };
    let journal = written(&(1..=5).map(stopped).collect::<Vec<_>>());
    open(&journal).unwrap().close().await;
    let mut kept = read(journal.as_ref(), Kind::Full, 5).unwrap().unwrap();
    kept.state.statistics.total.requests.served = 9;
    Packed::new(&kept.state, kept.hash).unwrap().write(journal.as_ref(), Kind::Full).unwrap();
    let report = audited(journal.as_ref(), 5);
    assert_eq!(named(&report), Some(5));
    assert!(report.findings[0].what.contains("does not say what the log says"), "{:?}", report.findings);
    assert_eq!(report.findings[0].kind, Some("ServerStopped"));
}

#[test]
fn it_stops_when_it_is_told_to() {
    let stopped =
        |seq| Recorded { seq, at: START, event: projections::event::ServerStopped { abandoned: 1 }.into() };
    let journal = written(&(1..=5_000).map(stopped).collect::<Vec<_>>());
    let mut seen = Vec::new();
    let (report, state) = verify(journal.as_ref(), 5_000, &mut |done| {
        seen.push(done);
        false
    });
    assert_eq!((report.records, seen.len(), report.findings, state), (seen[0], 1, vec![], None));
}

/// Every file of a log, below its folder.
fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() { all.extend(files(&entry)) } else { all.push(entry) }
    }
    all.sort();
    all
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    for file in files(from) {
        let to = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(&file, to).unwrap();
    }
}

/// Half of it in tables, half of it in the write-ahead file.
fn on_the_disk(folder: &std::path::Path, events: &[Recorded]) {
    let journal = FjallJournal::open(folder).unwrap();
    let (tables, rest) = events.split_at(events.len() / 2);
    let mut hash = codec::ChainHash::START;
    for part in [tables, rest] {
        let frames = part.iter().map(|recorded| {
            let (bytes, next) = codec::encode(recorded.seq, recorded.at, &recorded.event, &hash).unwrap();
            hash = next;
            Frame { segment: crate::ledger::writer::segment_of(&recorded.event, recorded.at), bytes }
        });
        let frames: Vec<_> = frames.collect();
        journal.append(Batch { after: journal.last(), frames: &frames, secrets: &[] }).unwrap();
        journal.sync().unwrap();
        if journal.last() == tables.len() as Seq {
            journal.parts_are_written_out();
        }
    }
}

#[test]
fn a_byte_flipped_in_a_file_on_the_disk_is_named_by_its_record_or_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let failed = |seq| {
        let name = format!("{seq} {}", "x".repeat(200));
        let event = projections::event::AdminLoginFailed { name, address: String::new(), count: 1 };
        Recorded { seq, at: START, event: event.into() }
    };
    let events: Vec<_> = (1..=2_000).map(failed).collect();
    on_the_disk(&whole, &events);
    let through = events.len() as Seq;
    let audit_of = |log: &std::path::Path| match FjallJournal::open(log) {
        Ok(journal) => {
            let report = audited(&journal, through);
            let same = report.findings.is_empty() && frames(&journal).len() == events.len();
            (report.findings, same)
        }
        Err(error) => {
            let told = error.to_string();
            assert!(
                matches!(error, crate::journal::Error::Damaged { .. } | crate::journal::Error::Lost { .. }),
                "{error:?}"
            );
            (vec![crate::ledger::audit::Finding::general(told)], false)
        }
    };
    assert_eq!(audit_of(&whole), (vec![], true));
    let (mut records, mut named) = (0, 0);
    for file in files(&whole) {
        let bytes = std::fs::read(&file).unwrap();
        let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        for part in 1..8 {
            let at = written * part / 8;
            if at >= written || file.file_name().unwrap() == "head" || file.file_name().unwrap() == "lock" {
                continue;
            }
            let spoiled = folder.path().join("spoiled");
            copy(&whole, &spoiled);
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x20;
            std::fs::write(spoiled.join(file.strip_prefix(&whole).unwrap()), bytes).unwrap();
            let (findings, same) = match std::panic::catch_unwind(|| audit_of(&spoiled)) {
                Ok(found) => found,
                Err(_) => panic!("{}, byte {at}", file.display()),
            };
            std::fs::remove_dir_all(&spoiled).unwrap();
            let place = format!("{}, byte {at}: {findings:?}", file.strip_prefix(&whole).unwrap().display());
            match findings.first() {
                None => assert!(same, "{place}"),
                Some(finding) if finding.seq.is_some() => records += 1,
                Some(finding) => {
                    named += 1;
                    let says = ["keyspaces", ".jnl", "are missing", "head"];
                    assert!(says.iter().any(|word| finding.what.contains(word)), "{place}");
                }
            }
            assert!(findings.iter().all(|finding| !finding.what.contains("Error")), "{place}");
        }
    }
    assert!(records > 0 && named > 0, "{records} {named}");
}
