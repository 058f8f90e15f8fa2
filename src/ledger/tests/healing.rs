//! A log that failed heals: it goes on where it ended, says what it missed, and everybody sees what it says.

use std::time::Duration;

use projections::{
    KeyId,
    event::{Actor, KeyDisabled, LogGap, Scope, Verdict},
};

use super::{super::*, stage::*};
use crate::gemini::classify::Hold;

async fn failing(ledger: &Ledger, wanted: bool) {
    let mut failing = ledger.failing();
    let changed =
        tokio::time::timeout(Duration::from_secs(30), failing.wait_for(|failing| *failing == wanted));
    changed.await.expect("it changes").expect("the ledger is there");
}

fn gap_of(log: &[Recorded]) -> &LogGap {
    log.iter()
        .find_map(|recorded| match &recorded.event {
            Event::LogGap(gap) => Some(gap),
            _ => None,
        })
        .expect("the gap stands in the log")
}

/// Where the log stood still before it failed, answers of that time are missing too.
#[tokio::test(flavor = "multi_thread")]
async fn a_gap_begins_with_the_oldest_answer_that_is_missing() {
    let (journal, time) = (Staged::failing_after(1, usize::MAX), Time::new());
    let ledger = open_with(&journal, &time, Vec::new()).unwrap();
    ledger.note(added(1)).await.unwrap();
    time.set(START + 3_000);
    ledger.reserve().await.unwrap().record_and_fold(answered(1)).await;
    failing(&ledger, true).await;
    journal.heals.store(true, Ordering::SeqCst);
    failing(&ledger, false).await;
    let log = log(journal.as_ref());
    let gap = gap_of(&log);
    assert_eq!((gap.from, gap.to, gap.unrecorded), (START + 1, START + 3_000, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_takes_writes_again_says_what_it_missed_and_knows_what_matters() {
    let (journal, witness) = (Staged::failing_after(2, usize::MAX), Arc::new(Witness::default()));
    let time = Time::new();
    let ledger = open_with(&journal, &time, vec![Arc::<Witness>::clone(&witness)]).unwrap();
    ledger.note(added(1)).await.unwrap();
    ledger.note(added(2)).await.unwrap();
    ledger.reserve().await.unwrap().record_and_fold(served(1, 2)).await;
    ledger.reserve().await.unwrap().record_and_fold(answered(1)).await;
    ledger.reserve().await.unwrap().record_and_fold(failed(2, 1, Verdict::BadKey, Hold::UntilChecked)).await;
    failing(&ledger, true).await;
    let missed = ledger.unrecorded();
    assert!(ledger.note(KeyDisabled { key: KeyId(2), actor: Actor::Cli }).await.is_err());
    assert_eq!(ledger.unrecorded(), missed, "what was refused did not happen");

    time.set(START + 5_000);
    journal.heals.store(true, Ordering::SeqCst);
    failing(&ledger, false).await;
    assert!(ledger.failure().is_none());
    assert_eq!(ledger.unrecorded(), 0);

    let log = log(journal.as_ref());
    let gap = gap_of(&log);
    assert_eq!((gap.from, gap.to), (START, START + 5_000));
    assert_eq!(gap.unrecorded + gap.late, missed);
    assert_eq!(gap.unrecorded, 3, "two tries and an answer");
    assert_eq!(gap.cause, "cannot append to the journal in nowhere: the disk is full");
    let late: Vec<_> = log[3..].iter().map(|recorded| recorded.event.name()).collect();
    assert_eq!(late.len() as u64, gap.late);
    assert!(late.contains(&"GateClosed"), "{late:?}");
    {
        let state = ledger.state();
        assert_eq!(*state, State::replay(&log), "the state is a fold of the record, and of nothing else");
        assert!(state.keys.gate(&Scope::Key(KeyId(1))).is_some(), "the gate is closed still");
        assert_eq!((state.gaps.count, state.gaps.unrecorded), (1, 3));
    }
    let restored = witness.restored.lock().unwrap().pop().expect("views begin from the record");
    assert_eq!(restored.keys, State::replay(&log[..2]).keys);
    ledger.note(KeyDisabled { key: KeyId(2), actor: Actor::Cli }).await.unwrap();
    ledger.close().await;
    assert_eq!(open(&journal).unwrap().state().gaps.count, 1, "a later start knows of it too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_failed_heals_too_and_nothing_is_there_twice() {
    let journal = Staged::failing_after(usize::MAX, 1);
    let ledger = open(&journal).unwrap();
    ledger.note(added(1)).await.unwrap();
    assert!(matches!(ledger.note(added(2)).await, Err(CommitError::NotDurable(_))));
    journal.heals.store(true, Ordering::SeqCst);
    failing(&ledger, false).await;
    let log = log(journal.as_ref());
    assert_eq!(
        log.iter().map(|recorded| recorded.event.name()).collect::<Vec<_>>(),
        ["KeyAdded", "KeyAdded", "LogGap"]
    );
    assert_eq!(*ledger.state(), State::replay(&log));
    assert_eq!(journal.safe.load(Ordering::SeqCst), 3, "it is on the disk before it is called whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_fails_and_heals_again_and_again() {
    let journal = Staged::failing_after(1, usize::MAX);
    journal.heals.store(true, Ordering::SeqCst);
    let ledger = open(&journal).unwrap();
    ledger.note(added(1)).await.unwrap();
    for round in 1..=3 {
        assert!(ledger.note(added(9)).await.is_err(), "round {round}");
        failing(&ledger, false).await;
        journal.fail_now();
    }
    journal.heals.store(true, Ordering::SeqCst);
    assert_eq!(ledger.state().gaps.count, 3);
}

/// Whoever wrote behind the ledger's back, or lost what it wrote, is not written on to.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_is_not_the_one_that_was_written_is_not_written_on_to() {
    let journal = Staged::failing_after(2, usize::MAX);
    let ledger = open(&journal).unwrap();
    ledger.note(added(1)).await.unwrap();
    ledger.note(added(2)).await.unwrap();
    assert!(ledger.note(added(3)).await.is_err());
    journal.inner.cut(1).unwrap();
    journal.heals.store(true, Ordering::SeqCst);
    let told = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            let failure = ledger.failure().expect("it has failed").to_string();
            if failure.contains("does not end as it was written") {
                return failure;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(told.await.unwrap().contains("restart the service"));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(ledger.failure().is_some(), "and that stays so");
    assert_eq!(journal.last(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_without_descriptors_is_late_and_no_failure() {
    let journal = Staged::new();
    let ledger = open(&journal).unwrap();
    journal.short.store(5, Ordering::SeqCst);
    ledger.note(added(1)).await.unwrap();
    assert!(ledger.failure().is_none());
    assert_eq!(journal.safe.load(Ordering::SeqCst), 1);
    assert_eq!(ledger.state().gaps.count, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_days_place_is_made_before_the_day_begins_and_off_the_ledgers_thread() {
    const DAY: Millis = 24 * 3_600_000;
    let (journal, time) = (Staged::new(), Time::new());
    let ledger = open_with(&journal, &time, Vec::new()).unwrap();
    let today = writer::day_of(START);
    assert_eq!(*journal.prepared.lock().unwrap(), [0; 0], "not for whoever only looks");
    ledger.prepare(&[]).unwrap();
    let prepared = async |count| {
        let made = async {
            while journal.prepared.lock().unwrap().len() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), made).await.expect("the place is made");
        journal.prepared.lock().unwrap().clone()
    };
    assert_eq!(prepared(2).await, [today, today + 1]);
    time.set(START + DAY);
    assert_eq!(prepared(3).await, [today, today + 1, today + 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_slow_disk_the_next_days_place_waits_for_the_last_hour() {
    const HOUR: Millis = 3_600_000;
    let (journal, time) = (Staged::new(), Time::new());
    let ledger = open_with(&journal, &time, Vec::new()).unwrap();
    let today = writer::day_of(START);
    journal.disk.shut();
    ledger.prepare(&[]).unwrap();
    let slow = Arc::clone(&journal);
    tokio::task::spawn_blocking(move || slow.disk.wait_for(1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    let prepared = || journal.prepared.lock().unwrap().clone();
    let opened = std::time::Instant::now();
    journal.disk.open();
    tokio::time::sleep(Duration::from_millis(60)).await;
    let seen = prepared();
    // Beyond that it is tried again, on a disk that is quick by now.
    assert!(opened.elapsed() > Duration::from_millis(250) || seen == [today], "{seen:?}");
    // However slow it is, the first record of the day does not wait.
    journal.disk.shut();
    time.set((today as Millis + 1) * 24 * HOUR - HOUR);
    let made = async {
        while prepared() != [today, today + 1] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), made).await.expect("the place is made");
    journal.disk.open();
}

/// Whoever waits while a sync runs is served by the next one, all together.
#[tokio::test(flavor = "multi_thread")]
async fn all_that_wait_share_one_sync() {
    let journal = Staged::new();
    let ledger = open(&journal).unwrap();
    journal.disk.shut();
    let first = tokio::spawn({
        let ledger = ledger.clone();
        async move { ledger.note(added(1)).await }
    });
    let waiting = Arc::clone(&journal);
    tokio::task::spawn_blocking(move || waiting.disk.wait_for(1)).await.unwrap();
    let others: Vec<_> = (2..30)
        .map(|key| {
            let ledger = ledger.clone();
            tokio::spawn(async move { ledger.note(added(key)).await })
        })
        .collect();
    while *ledger.head().borrow() < 29 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    journal.disk.open();
    first.await.unwrap().unwrap();
    for other in others {
        other.await.unwrap().unwrap();
    }
    assert!(journal.disk.visits() <= 3, "{} syncs for thirty that wait", journal.disk.visits());
}
