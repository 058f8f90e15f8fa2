//! What is appended is folded, what is folded is shown, and only then is it acknowledged.

use std::{collections::BTreeSet, time::Instant};

use projections::{
    Class, KeyId,
    event::{Actor, KeyDisabled, Scope, ServerStopped, Unknown, Verdict},
};

use super::{super::*, stage::*};
use crate::journal::codec::{self, ChainHash};
use crate::journal::{Batch, SecretChange};
use crate::ledger::replay::PAGE;
use crate::{
    gemini::classify::Hold,
    journal::{fjall::FjallJournal, memory::MemoryJournal},
};

fn stopped(abandoned: u32) -> ServerStopped {
    ServerStopped { abandoned }
}

/// A ledger on a staged journal, with a witness.
fn witnessed() -> (Arc<Staged>, Arc<Witness>, Ledger) {
    let (journal, witness) = (Staged::new(), Arc::new(Witness::default()));
    let ledger = open_with(&journal, &Time::new(), vec![Arc::<Witness>::clone(&witness)]).unwrap();
    let stored: Arc<dyn Journal> = Arc::<Staged>::clone(&journal);
    *witness.watch.lock().unwrap() = Some((ledger.head(), stored));
    (journal, witness, ledger)
}

/// An append that waits for the disk holds everybody up once: whoever comes later does not wait anew.
#[tokio::test(flavor = "multi_thread")]
async fn all_lose_patience_with_a_log_that_stands_still_together() {
    const PATIENCE: Duration = Duration::from_secs(2);
    async fn wait(ledger: &Ledger, number: u128) -> Duration {
        let reservation = ledger.reserve().await.unwrap();
        let began = Instant::now();
        reservation.record_both_within(PATIENCE, answered(number), None).await;
        began.elapsed()
    }
    let (journal, _witness, ledger) = witnessed();
    assert!(wait(&ledger, 1).await < PATIENCE, "a log that goes on is waited for");
    assert_eq!((ledger.vitals().ahead, ledger.state().seq), (0, 1));

    journal.door.shut();
    let (first, visits) = (ledger.clone(), journal.door.visits() + 1);
    let first = tokio::spawn(async move { wait(&first, 2).await });
    journal.door.wait_for(visits);
    tokio::time::sleep(PATIENCE / 2).await;
    let second = wait(&ledger, 3).await;
    assert!(second < PATIENCE * 3 / 4, "it waits for what is left of the patience, not for {second:?}");
    let third = wait(&ledger, 4).await;
    assert!(third < PATIENCE / 4, "nothing is left of it: {third:?}");
    assert!(first.await.unwrap() >= PATIENCE * 4 / 5);
    assert_eq!((ledger.vitals().ahead, ledger.state().seq), (3, 1));

    journal.door.open();
    ledger.head().wait_for(|head| *head == 4).await.unwrap();
    assert!(wait(&ledger, 5).await < PATIENCE);
    assert_eq!((ledger.vitals().ahead, ledger.state().seq), (3, 5), "none is lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_before_it_is_appended_and_folded() {
    let (journal, witness, ledger) = witnessed();
    journal.door.shut();
    witness.door.shut();
    let asked = ledger.clone();
    let commit = tokio::spawn(async move { asked.note(stopped(1)).await });

    journal.door.wait_for(1);
    assert_eq!(
        (journal.last(), ledger.state().seq, *ledger.head().borrow()),
        (0, 0, 0),
        "before it is stored"
    );
    assert!(witness.shown.lock().unwrap().is_empty() && !commit.is_finished());

    journal.door.open();
    witness.door.wait_for(1);
    assert_eq!(
        (journal.last(), ledger.state().seq, *ledger.head().borrow()),
        (1, 1, 0),
        "before it is published"
    );
    assert!(ledger.events(0, 10).unwrap().is_empty() && !commit.is_finished());

    journal.disk.shut();
    witness.door.open();
    journal.disk.wait_for(1);
    assert_eq!(journal.safe.load(Ordering::SeqCst), 0, "before it is on the disk");
    assert!(!commit.is_finished());
    ledger.reserve().await.unwrap().record_and_fold(answered(1)).await;
    assert_eq!(journal.last(), 2, "traffic does not wait for the disk");

    journal.disk.open();
    commit.await.unwrap().unwrap();
    assert_eq!(*ledger.head().borrow(), 2);
    assert_eq!(ledger.events(0, 10).unwrap(), log(journal.as_ref()));
    assert!(journal.safe.load(Ordering::SeqCst) >= 1, "a command is on the disk when it is acknowledged");
}

#[tokio::test(flavor = "multi_thread")]
async fn views_are_shown_the_log_as_it_is() {
    let (journal, witness, ledger) = witnessed();
    for number in 1..=20 {
        ledger.note(added(number)).await.unwrap();
        ledger.reserve().await.unwrap().record(served(1, number));
        ledger.reserve().await.unwrap().record(failed(2, number, Verdict::BadKey, Hold::UntilChecked));
        ledger.reserve().await.unwrap().record(answered(2));
    }
    ledger.close().await;
    let log = log(journal.as_ref());
    assert_eq!(log.len(), 20 * 5 + 1);
    assert_eq!(*witness.shown.lock().unwrap(), log);
    assert_eq!(*witness.wrong.lock().unwrap(), Vec::<String>::new());
    assert_eq!(*witness.rebuilt.lock().unwrap(), [State::default()], "once, at the beginning");
}

#[tokio::test]
async fn the_state_is_the_fold_of_the_log() {
    let (journal, witness, ledger) = witnessed();
    ledger.note(added(1)).await.unwrap();
    ledger.reserve().await.unwrap().record_and_fold(served(1, 1)).await;
    assert_eq!(*ledger.state(), State::replay(&log(journal.as_ref())));
    assert_eq!(ledger.state().statistics.total.attempts(), 1);
    let state = ledger.state().clone();
    ledger.close().await;

    let time = Time::new();
    let again = open_with(&journal, &time, vec![Arc::<Witness>::clone(&witness)]).unwrap();
    assert_eq!(*again.state(), state);
    assert_eq!(*again.head().borrow(), state.seq);
    assert_eq!(witness.rebuilt.lock().unwrap().last(), Some(&state), "views begin with what was");
}

#[tokio::test]
async fn a_refused_command_changes_nothing() {
    let (journal, witness, ledger) = witnessed();
    ledger.note(added(1)).await.unwrap();
    let before = ledger.state().clone();
    let refused = ledger
        .commit(|state: &State| {
            assert_eq!(state.keys.len(), 1, "a rule sees what was acknowledged before");
            Err::<Decision<()>, _>(Refused::NoSuchKey(KeyId(9)))
        })
        .await;
    assert!(matches!(refused, Err(CommitError::Refused(Refused::NoSuchKey(KeyId(9))))));
    assert_eq!(*ledger.state(), before);
    assert_eq!((journal.last(), witness.shown.lock().unwrap().len()), (1, 1));
    assert_eq!(ledger.unrecorded(), 0);
}

#[tokio::test]
async fn a_command_brings_its_secrets_and_its_answer() {
    let (journal, _, ledger) = witnessed();
    let decide = |state: &State| {
        let key = state.keys.next_id();
        let secrets = vec![SecretChange { name: "one".to_owned(), sealed: Some(b"sealed".to_vec()) }];
        Ok(Decision { events: vec![added(key.0).into(), added(key.0 + 1).into()], secrets, answer: key })
    };
    assert_eq!(ledger.commit(decide).await.unwrap(), KeyId(1));
    assert_eq!(journal.secrets().unwrap(), [("one".to_owned(), b"sealed".to_vec())]);
    assert_eq!((journal.last(), ledger.state().keys.len()), (2, 2));
    let nothing =
        ledger.commit(|_| Ok(Decision { events: Vec::new(), secrets: Vec::new(), answer: "fine" })).await;
    assert_eq!((nothing.unwrap(), journal.last()), ("fine", 2));
}

/// Commands are decided one after the other, each on what the one before it left.
#[tokio::test(flavor = "multi_thread")]
async fn commands_do_not_overtake_each_other() {
    let (_, _, ledger) = witnessed();
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let ledger = ledger.clone();
        all.spawn(async move {
            let add = |state: &State| {
                let key = state.keys.next_id();
                Ok(Decision { events: vec![added(key.0).into()], secrets: Vec::new(), answer: key })
            };
            let key = ledger.commit(add).await.unwrap();
            assert!(ledger.state().keys.get(key).is_some());
            key
        });
    }
    let keys: BTreeSet<_> = all.join_all().await.into_iter().collect();
    assert_eq!(keys, (1..=100).map(KeyId).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_facts_at_once_are_each_recorded_once_and_in_order() {
    let (journal, witness, ledger) = witnessed();
    let mut all = tokio::task::JoinSet::new();
    for task in 0..20u128 {
        let ledger = ledger.clone();
        all.spawn(async move {
            for number in 0..50 {
                let room = ledger.reserve().await.unwrap();
                match number % 5 {
                    4 => room.record_and_fold(answered(task * 50 + number)).await,
                    _ => room.record(answered(task * 50 + number)),
                }
            }
        });
    }
    all.join_all().await;
    ledger.close().await;
    let log = log(journal.as_ref());
    assert!(log.iter().zip(1..).all(|(recorded, seq)| recorded.seq == seq));
    let requests: Vec<u128> = log
        .iter()
        .map(|recorded| match &recorded.event {
            Event::Answered(answered) => answered.request.0,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(requests.len(), 1_000);
    for task in 0..20 {
        let own: Vec<_> = requests.iter().filter(|request| **request / 50 == task).collect();
        assert!(own.iter().zip(task * 50..task * 50 + 50).all(|(request, expected)| **request == expected));
        assert_eq!(own.len(), 50);
    }
    assert_eq!(*witness.shown.lock().unwrap(), log);
    assert_eq!(*witness.wrong.lock().unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gate_stands_when_the_try_is_folded() {
    let (_, _, ledger) = witnessed();
    for key in 1..=50 {
        ledger.note(added(key)).await.unwrap();
    }
    for key in 1..=50 {
        let fact = failed(u128::from(key), key, Verdict::BadKey, Hold::UntilChecked);
        ledger.reserve().await.unwrap().record_and_fold(fact).await;
        let state = ledger.state();
        let gate = state.keys.gate(&Scope::Key(KeyId(key))).expect("the gate stands");
        assert_eq!((gate.cause, gate.until), (Verdict::BadKey, None));
    }
}

/// What waits in the queue is judged against all that came before it.
#[tokio::test(flavor = "multi_thread")]
async fn failures_in_one_batch_are_counted_one_after_the_other() {
    let (journal, _, ledger) = witnessed();
    for key in [1, 2] {
        ledger.note(added(key)).await.unwrap();
    }
    let facts =
        (1..=u128::from(MAX_FAILURES)).map(|request| failed(request, 1, Verdict::Overloaded, Hold::Streak));
    queue_up(&journal, &ledger, facts.collect()).await;
    ledger.close().await;
    let gates = gates(journal.as_ref());
    assert_eq!(gates, [u128::from(MAX_FAILURES)], "the last of them closes the gate");
}

/// A success that is queued just before a failure breaks the run, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_success_just_before_a_failure_is_not_forgotten() {
    let (journal, _, ledger) = witnessed();
    for key in [1, 2] {
        ledger.note(added(key)).await.unwrap();
    }
    for request in 1..u128::from(MAX_FAILURES) {
        let fact = failed(request, 1, Verdict::Overloaded, Hold::Streak);
        ledger.reserve().await.unwrap().record_and_fold(fact).await;
    }
    queue_up(&journal, &ledger, vec![served(7, 1), failed(8, 1, Verdict::Overloaded, Hold::Streak)]).await;
    ledger.close().await;
    assert!(gates(journal.as_ref()).is_empty(), "one failure after a success is no run");
}

/// Gives the ledger facts while its thread is held, so that it finds them all at once.
async fn queue_up(journal: &Staged, ledger: &Ledger, facts: Vec<Fact>) {
    journal.door.shut();
    let (asked, visits) = (ledger.clone(), journal.door.visits() + 1);
    let held = tokio::spawn(async move { asked.note(stopped(0)).await });
    journal.door.wait_for(visits);
    for fact in facts {
        ledger.reserve().await.unwrap().record(fact);
    }
    journal.door.open();
    held.await.unwrap().unwrap();
}

/// The requests whose tries closed a gate.
fn gates(journal: &dyn Journal) -> Vec<u128> {
    let gate = |recorded: Recorded| match recorded.event {
        Event::GateClosed(gate) => Some(gate.request.unwrap().0),
        _ => None,
    };
    log(journal).into_iter().filter_map(gate).collect()
}

#[tokio::test]
async fn closing_writes_all_and_forces_it_to_the_disk() {
    let (journal, _, ledger) = witnessed();
    for request in 0..100 {
        ledger.reserve().await.unwrap().record(answered(request));
    }
    ledger.close().await;
    assert_eq!((journal.last(), journal.safe.load(Ordering::SeqCst)), (100, 100));
}

/// Without anything else happening, what was recorded is forced to the disk.
#[tokio::test(flavor = "multi_thread")]
async fn facts_reach_the_disk_by_themselves() {
    let (journal, _, ledger) = witnessed();
    ledger.reserve().await.unwrap().record(answered(1));
    journal.synced.wait_for(1);
    assert_eq!(journal.safe.load(Ordering::SeqCst), 1);
    drop(ledger);
}

#[tokio::test]
async fn a_reservation_that_is_dropped_records_nothing() {
    let (journal, _, ledger) = witnessed();
    drop(ledger.reserve().await.unwrap());
    ledger.close().await;
    assert_eq!(journal.last(), 0);
}

#[tokio::test]
async fn the_head_can_be_waited_for() {
    let (_, _, ledger) = witnessed();
    let mut head = ledger.head();
    for request in 0..10 {
        ledger.reserve().await.unwrap().record(answered(request));
    }
    assert_eq!(*head.wait_for(|head| *head >= 10).await.unwrap(), 10);
    assert_eq!(ledger.events(0, 100).unwrap().len(), 10);
    let middle: Vec<_> = ledger.events(3, 2).unwrap().into_iter().map(|recorded| recorded.seq).collect();
    assert_eq!(middle, [4, 5], "after a position, and not more than was asked for");
    assert_eq!(ledger.events(10, 5).unwrap(), []);
}

#[tokio::test]
async fn time_goes_on_in_a_log_whose_clock_went_back() {
    let (journal, time) = (Arc::new(MemoryJournal::new()), Time::new());
    let ledger = open_with(&journal, &time, Vec::new()).unwrap();
    for now in [START, START - 60_000, START + 5, 0] {
        time.set(now);
        ledger.note(stopped(0)).await.unwrap();
    }
    ledger.note(added(1)).await.unwrap();
    let fact = failed(1, 1, Verdict::BadKey, Hold::For { ms: 1_000 });
    ledger.reserve().await.unwrap().record_and_fold(fact).await;
    let until = ledger.state().keys.gate(&Scope::Key(KeyId(1))).unwrap().until;
    assert_eq!(until, Some(START + 1_005), "gates go by the log's time as well");
    ledger.close().await;

    let ledger = open_with(&journal, &time, Vec::new()).unwrap();
    ledger.note(stopped(0)).await.unwrap();
    time.set(START + 9_000);
    ledger.note(stopped(0)).await.unwrap();
    let times: Vec<_> = log(journal.as_ref()).iter().map(|recorded| recorded.at - START).collect();
    assert_eq!(times, [0, 0, 5, 5, 5, 5, 5, 5, 5, 9_000]);
}

#[tokio::test]
async fn a_log_on_a_disk_opens_as_it_was_left() {
    let folder = tempfile::tempdir().unwrap();
    let mut states = Vec::new();
    for round in 1..=3 {
        let journal = Arc::new(FjallJournal::open(folder.path()).unwrap());
        let ledger = open(&journal).unwrap();
        assert_eq!(states.last(), Some(&*ledger.state()).filter(|_| round > 1));
        ledger
            .commit(move |_| {
                let secret =
                    SecretChange { name: format!("key {round}"), sealed: Some(vec![round as u8; 3]) };
                Ok(Decision { events: vec![added(round).into()], secrets: vec![secret], answer: () })
            })
            .await
            .unwrap();
        ledger.note(KeyDisabled { key: KeyId(round), actor: Actor::Env }).await.unwrap();
        for request in 0..300 {
            ledger.reserve().await.unwrap().record(served(request, round));
        }
        let fact = failed(1, round, Verdict::BadKey, Hold::UntilChecked);
        ledger.reserve().await.unwrap().record_and_fold(fact).await;
        states.push(ledger.state().clone());
        ledger.close().await;
        assert_eq!(journal.last(), 1 + u64::from(round) * 304, "and a quota day began");
        assert_eq!(journal.secrets().unwrap().len(), round as usize);
    }
    let journal = FjallJournal::open(folder.path()).unwrap();
    assert_eq!(State::replay(&log(&journal)), states[2]);
}

/// A newer program's events are carried along, in a log of several pages.
#[tokio::test]
async fn what_a_newer_program_wrote_does_not_stop_a_replay() {
    let journal = Arc::new(MemoryJournal::new());
    let mut hash = ChainHash::START;
    let many = PAGE as u64 * 2 + 10;
    let newer = |kind, version, class| {
        Event::Unknown(Unknown { kind, version, class, codec: 9, payload: vec![kind as u8; 5] })
    };
    let kinds = [
        newer(9_999, 1, Class::Control),
        newer(1, 200, Class::Health),
        Event::from(added(1)),
        newer(200, 99, Class::Traffic),
    ];
    let mut frames = Vec::new();
    for (seq, event) in (1..=many).zip(kinds.iter().cycle()) {
        let (frame, next) = codec::encode(seq, START, event, &hash).unwrap();
        hash = next;
        frames.push(frame);
    }
    let stored: Vec<_> = frames.iter().cloned().map(Into::into).collect();
    journal.append(Batch { after: 0, frames: &stored, secrets: &[] }).unwrap();
    let ledger = open(&journal).unwrap();
    {
        let state = ledger.state();
        assert_eq!((state.seq, state.keys.len()), (many, 1));
    }
    ledger.note(stopped(0)).await.unwrap();
    let events = ledger.events(0, 4).unwrap();
    assert!(events.iter().zip(&kinds).all(|(recorded, kind)| recorded.event == *kind));
    let mut hash = ChainHash::START;
    for (recorded, frame) in ledger.events(0, PAGE).unwrap().iter().zip(&frames) {
        let (again, next) = codec::encode(recorded.seq, recorded.at, &recorded.event, &hash).unwrap();
        hash = next;
        assert_eq!(again, *frame);
    }
}
