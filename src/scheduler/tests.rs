//! The scheduler as the ledger's view.

use projections::{
    Event, Fingerprint, KeyId,
    event::{Actor, Attempted, KeyAdded, Verdict},
};

use super::*;
use crate::{
    gemini::classify::{Blame, Hold},
    journal::memory::MemoryJournal,
    ledger::{
        Fact, Ledger,
        clock::Clock,
        rules::{Decision, Penalty},
    },
};

/// The gate closes before the retry chooses: when a failure is folded, its key is chosen no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_is_folded_is_known_to_the_next_choice() {
    const KEYS: u32 = 50;
    let scheduler = Arc::new(Scheduler::new(Strategy::LeastLoaded));
    let views: Vec<Arc<dyn View>> = vec![Arc::clone(&scheduler) as _];
    let ledger = Ledger::open(Arc::new(MemoryJournal::new()), Clock::driven(|| 1_000), || 3, views).unwrap();
    let added = |key| {
        let (label, tail, project) = (String::new(), String::new(), None);
        let fingerprint = Fingerprint([key as u8; 16]);
        Event::from(KeyAdded { key: KeyId(key), label, tail, fingerprint, project, actor: Actor::Cli })
    };
    let events = (1..=KEYS).map(added).collect();
    ledger.commit(move |_| Ok(Decision { events, secrets: Vec::new(), answer: () })).await.unwrap();
    let ask = Ask { model: "flash", method: "generateContent", ..Ask::default() };
    for left in (0..KEYS).rev() {
        let Choice { key, project, lease, .. } = scheduler.choose(&ask, 1_000, 7).unwrap();
        let (project, model) = (project.to_string(), "flash".to_owned());
        let failed = Attempted {
            key,
            project,
            model,
            started: 1_000,
            verdict: Verdict::LeakedKey,
            ..Attempted::default()
        };
        let penalty = Penalty { blame: Blame::Key, hold: Hold::UntilChecked, spread: 0 };
        ledger.reserve().await.unwrap().record_and_fold(Fact::Attempted(Box::new(failed), penalty)).await;
        drop(lease);
        assert_eq!(scheduler.ready(1_000), (left as usize, KEYS as usize));
    }
    assert_eq!(scheduler.choose(&ask, 1_000, 7).unwrap_err().passed_over.key_gate, KEYS);
}
