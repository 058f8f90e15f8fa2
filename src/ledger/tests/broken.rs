//! When the log fails: loud, nothing is half done, and gates still close.

use std::error::Error as _;

use projections::{
    KeyId,
    event::{Actor, KeyDisabled, Scope, Verdict},
};

use super::{super::*, stage::*};
use crate::journal::SecretChange;
use crate::{gemini::classify::Hold, journal::Error};

fn disable(key: u32) -> KeyDisabled {
    KeyDisabled { key: KeyId(key), actor: Actor::Cli }
}

fn is_log_error(result: Result<(), CommitError>) -> bool {
    match result {
        Err(CommitError::Log(error)) => matches!(error.as_ref(), Error::Store { .. }),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_command_that_cannot_be_appended_changes_nothing() {
    let (journal, witness) = (Staged::failing_after(1, usize::MAX), Arc::new(Witness::default()));
    let ledger = open_with(&journal, &Time::new(), vec![Arc::<Witness>::clone(&witness)]).unwrap();
    ledger.note(added(1)).await.unwrap();
    assert!(ledger.failure().is_none());
    let before = ledger.state().clone();
    for _ in 0..3 {
        assert!(is_log_error(ledger.note(disable(1)).await));
        assert_eq!(*ledger.state(), before);
    }
    assert_eq!((journal.last(), *ledger.head().borrow()), (1, 1));
    assert_eq!(witness.shown.lock().unwrap().len(), 1);
    let failure = ledger.failure().expect("the failure is known");
    assert_eq!(failure.to_string(), "cannot append to the journal in nowhere");
    assert_eq!(failure.source().unwrap().to_string(), "the disk is full");
    let refused = ledger.commit(|_| Err::<Decision<()>, _>(Refused::NoSuchKey(KeyId(9)))).await;
    assert!(matches!(refused, Err(CommitError::Refused(_))), "what the rules refuse, they refuse still");
}

#[tokio::test]
async fn a_failed_command_leaves_its_secrets_as_they_were() {
    let journal = Staged::failing_after(0, usize::MAX);
    let ledger = open(&journal).unwrap();
    let add = |_: &State| {
        let secrets = vec![SecretChange { name: "one".to_owned(), sealed: Some(vec![1]) }];
        Ok(Decision { events: vec![added(1).into()], secrets, answer: () })
    };
    assert!(is_log_error(ledger.commit(add).await));
    assert_eq!(journal.secrets().unwrap(), []);
    assert!(ledger.state().keys.is_empty());
}

#[tokio::test]
async fn without_a_log_gates_close_and_open_from_memory() {
    let (journal, witness) = (Staged::failing_after(2, usize::MAX), Arc::new(Witness::default()));
    let ledger = open_with(&journal, &Time::new(), vec![Arc::<Witness>::clone(&witness)]).unwrap();
    ledger.note(added(1)).await.unwrap();
    ledger.note(added(2)).await.unwrap();
    let before = ledger.state().clone();

    ledger.reserve().await.unwrap().record_and_fold(served(1, 2)).await;
    assert!(ledger.failure().is_some());
    assert_eq!(ledger.unrecorded(), 2, "the try, and the quota day that began before it");
    ledger.reserve().await.unwrap().record_and_fold(answered(1)).await;
    assert_eq!(ledger.unrecorded(), 3);
    ledger.reserve().await.unwrap().record_and_fold(failed(2, 1, Verdict::BadKey, Hold::UntilChecked)).await;

    let state = ledger.state();
    let gate = state.keys.gate(&Scope::Key(KeyId(1))).expect("the gate closed all the same");
    assert_eq!((gate.cause, gate.until), (Verdict::BadKey, None));
    assert!(state.keys.get(KeyId(2)).unwrap().proven);
    assert_eq!((state.seq, state.at), (before.seq, before.at));
    assert_eq!(
        (&state.statistics, &state.asked, &state.access),
        (&before.statistics, &before.asked, &before.access)
    );
    assert_eq!((journal.last(), *ledger.head().borrow(), ledger.events(0, 10).unwrap().len()), (2, 2, 2));
    assert!(ledger.unrecorded() >= 3);

    let shown = witness.shown.lock().unwrap();
    let closed = shown.iter().filter(|recorded| matches!(recorded.event, Event::GateClosed(_))).count();
    assert_eq!(closed, 1, "views follow, or the scheduler would go on using the key");
}

#[tokio::test]
async fn soft_failures_are_counted_without_a_log() {
    let journal = Staged::failing_after(2, usize::MAX);
    let ledger = open(&journal).unwrap();
    ledger.note(added(1)).await.unwrap();
    ledger.note(added(2)).await.unwrap();
    for request in 1..=u128::from(MAX_FAILURES) {
        assert!(ledger.state().keys.gate(&Scope::Key(KeyId(1))).is_none());
        let fact = failed(request, 1, Verdict::Overloaded, Hold::Streak);
        ledger.reserve().await.unwrap().record_and_fold(fact).await;
    }
    let until = ledger.state().keys.gate(&Scope::Key(KeyId(1))).unwrap().until;
    assert_eq!(until, Some(START + 5_000));
}

/// What was recorded and could not be forced to the disk is not acknowledged as if it had been.
#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_fails_is_a_failure_of_the_log() {
    let journal = Staged::failing_after(usize::MAX, 0);
    let ledger = open(&journal).unwrap();
    ledger.reserve().await.unwrap().record_and_fold(answered(1)).await;
    journal.synced.wait_for(1);
    while ledger.failure().is_none() {
        tokio::task::yield_now().await;
    }
    assert!(is_log_error(ledger.note(added(1)).await));
    assert!(ledger.failure().unwrap().to_string().contains("cannot sync"));
    let state = ledger.state();
    assert_eq!((state.seq, state.keys.len(), journal.last()), (1, 0, 1));
}

#[tokio::test]
async fn a_ledger_that_failed_can_be_closed_and_its_log_opened_again() {
    let journal = Staged::failing_after(1, usize::MAX);
    let ledger = open(&journal).unwrap();
    ledger.note(added(1)).await.unwrap();
    let before = ledger.state().clone();
    assert!(is_log_error(ledger.note(added(2)).await));
    ledger.reserve().await.unwrap().record(failed(1, 1, Verdict::BadKey, Hold::UntilChecked));
    ledger.close().await;
    let again = open(&journal).unwrap();
    assert_eq!(*again.state(), before, "what was not recorded is not there");
}

/// Whoever changed something is told that it may not last, and not that nothing was changed.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_the_disk_did_not_take_says_so() {
    let journal = Staged::failing_after(usize::MAX, 0);
    let ledger = open(&journal).unwrap();
    let error = ledger.note(added(1)).await.unwrap_err();
    assert!(matches!(error, CommitError::NotDurable(_)), "{error}");
    assert_eq!(ledger.state().keys.len(), 1);
    assert!(is_log_error(ledger.note(added(2)).await));
}
