//! Old traffic goes, what is said of it stays, and a crash in between is mended.

use projections::{Class, Millis, event::LogTrimmed};

use super::{super::*, stage::*};
use crate::journal::{codec, fjall::FjallJournal, memory::MemoryJournal};
use crate::ledger::{
    past::{At, PastError},
    retention::TrimError,
};
use tokio_util::sync::CancellationToken;

const DAY: Millis = 24 * 3_600_000;

/// Days of traffic, each with a new key, and a little more on the last.
pub(super) async fn days(journal: &Arc<impl Journal + 'static>, days: u32, every: Seq) -> (Ledger, Time) {
    let time = Time::new();
    let ledger = open_keeping(journal, &time, every).unwrap();
    for day in 0..days {
        time.set(START + Millis::from(day) * DAY);
        ledger.note(added(day + 1)).await.unwrap();
        for number in 0..5 {
            let number = u128::from(day * 10 + number);
            ledger.reserve().await.unwrap().record(served(number, day + 1));
            ledger.reserve().await.unwrap().record_and_fold(answered(number)).await;
        }
    }
    (ledger, time)
}

/// Each day has two events that stay (the key, and that Google's day began) and ten that go.
pub(super) const PER_DAY: u64 = 12;

pub(super) async fn trim(ledger: &Ledger, days: u32, now: Millis) -> Result<Option<LogTrimmed>, TrimError> {
    ledger.trim(days, now, false, &CancellationToken::new()).await
}

async fn drops_and_goes_on(journal: Arc<impl Journal + 'static>) {
    let (ledger, time) = days(&journal, 4, 7).await;
    let before = ledger.state().clone();
    let all = ledger.events(0, 1_000).unwrap();
    let now = START + 3 * DAY;
    assert!(trim(&ledger, 0, now).await.unwrap().is_none(), "0 keeps all");
    assert!(trim(&ledger, 3, now).await.unwrap().is_none(), "three full days are there");

    let LogTrimmed { after, through, at, dropped, kept, .. } = trim(&ledger, 1, now).await.unwrap().unwrap();
    assert_eq!((after, through, at, dropped, kept), (0, 2 * PER_DAY, START + DAY, 20, 4));
    assert!(trim(&ledger, 1, now).await.unwrap().is_none(), "once is enough");
    let left = ledger.events(0, 1_000).unwrap();
    let expected: Vec<_> = all
        .iter()
        .filter(|recorded| recorded.seq > through || recorded.event.class() != Class::Traffic)
        .cloned()
        .collect();
    assert_eq!(left[..left.len() - 1], expected);
    assert_eq!(left.last().unwrap().event.name(), "LogTrimmed");
    assert_eq!(ledger.state().statistics, before.statistics, "what was counted stays counted");

    // The past is known from there on.
    let mut then = State::replay(&all[..through as usize]);
    then.forget_statistics();
    assert_eq!(ledger.state_at(At::Seq(through)).unwrap(), then);
    let mut later = State::replay(&all[..through as usize + 9]);
    later.forget_statistics();
    assert_eq!(ledger.state_at(At::Seq(through + 9)).unwrap(), later);
    for refused in [At::Seq(through - 1), At::Seq(0), At::Time(START + DAY - 1)] {
        let refused = ledger.state_at(refused).unwrap_err();
        assert!(matches!(refused, PastError::Dropped { earliest, .. } if earliest == through), "{refused}");
        assert!(refused.to_string().contains("from event 24 on, recorded at 2026-"), "{refused}");
    }
    assert_eq!(ledger.seq_at(START + 2 * DAY).unwrap(), 3 * PER_DAY);
    assert_eq!(ledger.event(3).unwrap(), None);

    // And it goes on: another day, another trim.
    time.set(START + 4 * DAY);
    ledger.reserve().await.unwrap().record_and_fold(answered(99)).await;
    let second = trim(&ledger, 1, START + 4 * DAY).await.unwrap().unwrap();
    assert_eq!((second.after, second.through, second.dropped, second.kept), (through, 3 * PER_DAY, 10, 2));
    let state = ledger.state().clone();
    assert_eq!(state.trims.dropped, 30);
    ledger.close().await;
    let again = open_keeping(&journal, &time, 7).unwrap();
    assert_eq!(*again.state(), state);
    again.close().await;
    // Without its full checkpoints a start begins where the last trim ended.
    let full = crate::ledger::checkpoint::Kind::Full;
    let places = crate::ledger::checkpoint::places(journal.as_ref(), full, Seq::MAX).unwrap();
    crate::ledger::checkpoint::forget(journal.as_ref(), full, &places).unwrap();
    let again = open_keeping(&journal, &time, 7).unwrap();
    assert_eq!(*again.state(), state, "from the base");
    again.close().await;
    // Without any, keys and what stays are known, and what was counted is not.
    let rows = journal.scan("checkpoints", &[], &[0xff], false, usize::MAX).unwrap();
    journal.write("checkpoints", &rows.into_iter().map(|(key, _)| (key, None)).collect::<Vec<_>>()).unwrap();
    let poor = open_keeping(&journal, &time, 7).unwrap();
    let poor = poor.state();
    assert_eq!((poor.seq, poor.keys.len()), (state.seq, 4));
    assert_ne!(poor.statistics, state.statistics);
}

#[tokio::test(flavor = "multi_thread")]
async fn drops_and_goes_on_in_memory() {
    drops_and_goes_on(Arc::new(MemoryJournal::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drops_and_goes_on_on_a_disk() {
    let folder = tempfile::tempdir().unwrap();
    drops_and_goes_on(Arc::new(FjallJournal::open(folder.path()).unwrap())).await;
}

/// The event is in the log, and the segments are still there.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_trim_said_and_did_not_do_is_done_at_the_next_start() {
    let journal = Staged::new();
    let (ledger, time) = days(&journal, 3, 1_000).await;
    journal.keep_segments.store(true, Ordering::SeqCst);
    trim(&ledger, 1, START + 2 * DAY).await.unwrap().unwrap();
    let state = ledger.state().clone();
    assert_eq!(journal.segments().len(), 3, "as if the machine died before");
    ledger.close().await;
    journal.keep_segments.store(false, Ordering::SeqCst);
    let again = open_keeping(&journal, &time, 1_000).unwrap();
    assert_eq!(journal.segments().len(), 2);
    assert_eq!(*again.state(), state);
    assert_eq!(again.events(0, 1_000).unwrap().len() as u64, 3 * PER_DAY + 1 - 10);
}

/// A log that was changed proves nothing about what would be dropped from it.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_day_is_not_dropped() {
    let whole = Arc::new(MemoryJournal::new());
    let (ledger, time) = days(&whole, 3, 1_000).await;
    ledger.close().await;
    let journal = Arc::new(MemoryJournal::new());
    for entry in whole.read(0, usize::MAX).unwrap() {
        let mut bytes = entry.frame;
        let span = whole.segments().into_iter().find(|span| (span.first..=span.last).contains(&entry.seq));
        let segment =
            span.filter(|_| codec::peek(&bytes).unwrap().class == Class::Traffic).map(|span| span.number);
        if entry.seq == 5 {
            bytes[40] ^= 1;
        }
        let frame = crate::journal::Frame { segment, bytes };
        journal
            .append(crate::journal::Batch { after: entry.seq - 1, frames: &[frame], secrets: &[] })
            .unwrap();
    }
    for (key, value) in whole.scan("checkpoints", &[], &[0xff], false, usize::MAX).unwrap() {
        journal.write("checkpoints", &[(key, Some(value))]).unwrap();
    }
    let ledger = open_keeping(&journal, &time, 1_000).unwrap();
    let refused = trim(&ledger, 1, START + 2 * DAY).await.unwrap_err();
    assert!(refused.to_string().contains("cannot be proven"), "{refused}");
    assert_eq!(journal.segments().len(), 3);
}

#[tokio::test]
async fn density_counts_what_is_whole_and_finds_each_first_event() {
    let journal = Arc::new(MemoryJournal::new());
    let (ledger, time) = days(&journal, 4, 1_000).await;
    let now = START + 3 * DAY;
    time.set(now);
    let whole = ledger.density(None, now + 1, 4).unwrap();
    assert_eq!((whole.after, whole.head, whole.from), (0, 4 * PER_DAY, START));
    let bars: Vec<_> = whole.stretches.iter().map(|one| (one.first, one.events)).collect();
    // Three days and a millisecond in four stretches: the days begin at their borders, or a stretch after.
    assert_eq!(bars.iter().map(|(_, events)| events).sum::<u64>(), 4 * PER_DAY);
    for (first, stretch) in
        bars.iter().zip(&whole.stretches).filter_map(|((first, _), one)| Some(((*first)?, one)))
    {
        let event = ledger.event(first).unwrap().unwrap();
        assert!((stretch.at..stretch.at + whole.width).contains(&event.at));
        assert!(ledger.event(first - 1).unwrap().is_none_or(|before| before.at < stretch.at));
    }
    let day = ledger.density(Some(START + DAY), START + DAY + 1, 500).unwrap();
    let [one] = &day.stretches[..] else { panic!("{day:?}") };
    assert_eq!((one.first, one.events), (Some(PER_DAY + 1), PER_DAY));
    let classes = one.by_class.unwrap();
    assert_eq!((classes.control + classes.health, classes.traffic), (2, 10));

    let trimmed = trim(&ledger, 1, now).await.unwrap().unwrap();
    let left = ledger.density(None, now + 1, 100).unwrap();
    assert_eq!(left.after, trimmed.through);
    assert_eq!(left.stretches.iter().map(|one| one.events).sum::<u64>(), left.head - trimmed.through);
    let before = ledger.density(Some(START), START + 1, 1).unwrap();
    assert_eq!(
        (before.stretches[0].events, before.stretches[0].first),
        (0, None),
        "it is not known any more"
    );
}

#[tokio::test]
async fn a_clock_that_is_far_ahead_drops_nothing_by_its_word_alone() {
    let journal = Arc::new(MemoryJournal::new());
    let (ledger, time) = days(&journal, 3, 1_000).await;
    let ahead = START + 3_650 * DAY;
    time.set(ahead);
    let stop = CancellationToken::new();
    assert!(trim(&ledger, 36_500, ahead).await.unwrap().is_none(), "nothing is old: nothing to say");
    let waits = trim(&ledger, 1, ahead).await.unwrap_err();
    assert!(matches!(waits, TrimError::ClockAlone { now } if now == ahead), "{waits}");
    // A start writes events with the wrong time, and proves nothing by that.
    ledger.note(added(9)).await.unwrap();
    ledger.close().await;
    let ledger = open_keeping(&journal, &time, 1_000).unwrap();
    for later in [0, 1, DAY - 1] {
        assert!(trim(&ledger, 1, ahead + later).await.is_err(), "{later}");
    }
    assert!(ledger.event(1).unwrap().is_some() && ledger.event(PER_DAY).unwrap().is_some());
    // A day later the log knows of the day before; or somebody watched it pass.
    let watched = ledger.trim(1, ahead, true, &stop).await.unwrap().unwrap();
    assert_eq!(watched.dropped, 30);
    ledger.close().await;

    let journal = Arc::new(MemoryJournal::new());
    let (ledger, time) = days(&journal, 3, 1_000).await;
    time.set(ahead);
    ledger.note(added(9)).await.unwrap();
    assert_eq!(trim(&ledger, 1, ahead + DAY).await.unwrap().unwrap().dropped, 30);
}

/// What the pool had counted before the trim is in the backup too.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_trimmed_log_is_restored_as_it_was() {
    let journal = Arc::new(MemoryJournal::new());
    let (ledger, time) = days(&journal, 4, 1_000).await;
    for (days, now) in [(2, START + 3 * DAY), (1, START + 3 * DAY)] {
        trim(&ledger, days, now).await.unwrap().unwrap();
    }
    let before = ledger.state().clone();
    let packed = ledger.backup(projections::event::Actor::Cli).await.unwrap();
    let mut bytes = Vec::new();
    packed
        .pack(|piece| {
            bytes.extend(piece);
            true
        })
        .unwrap();
    let restored = Arc::new(MemoryJournal::new());
    let (mut reader, mut frames) = (backup::Reader::open(&bytes[..]).unwrap(), Vec::new());
    while let Some(item) = reader.read().unwrap() {
        match item {
            backup::Item::Secret(_) => {}
            backup::Item::Base(base) => base.restore(restored.as_ref()).unwrap(),
            backup::Item::Frame(entry) => {
                let segment = segment_of_frame(&entry.frame);
                frames.push((entry.seq, crate::journal::Frame { segment, bytes: entry.frame }));
            }
        }
    }
    restored.adopt(&frames, &[]).unwrap();
    let again = open_keeping(&restored, &time, 1_000).unwrap();
    assert_eq!(*again.state(), before, "counts and all");
    let (_, audit) = again.audit();
    let report = audit(&mut |_| true);
    assert_eq!(report.findings, [], "intact");
}
