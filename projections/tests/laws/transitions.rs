//! When things change, and when they only say so again.

use projections::{
    KeyId,
    event::{GateOpened, Opened, Scope, Verdict, Window},
    transitions::{Change, KEPT},
};

use crate::given::{Given, closed, model};

fn told(given: &Given) -> Vec<(u64, &'static str)> {
    let word = |change: &Change| match change {
        Change::Closed { .. } => "closed",
        Change::Failed { .. } => "failed",
        Change::Opened { .. } => "opened",
        Change::Recovered { .. } => "recovered",
    };
    given.state.transitions.latest().map(|one| (one.seq, word(&one.change))).collect()
}

#[test]
fn what_closes_opens_fails_and_recovers_is_told_newest_first() {
    let mut given = Given::keys(&["alpha"]);
    let minute = model("alpha", "flash", Window::Minute);
    given.when(10, closed(minute.clone(), Verdict::QuotaMinute, Some(60_000)));
    given.when(20, GateOpened { scope: minute.clone(), why: Opened::Probed });
    let key = Scope::Key(KeyId(1));
    given.when(30, closed(key.clone(), Verdict::BadKey, None));
    given.when(40, GateOpened { scope: key.clone(), why: Opened::Checked });
    assert_eq!(told(&given), [(5, "recovered"), (4, "failed"), (3, "opened"), (2, "closed")]);
    let latest = given.state.transitions.latest().next().unwrap();
    assert_eq!((latest.at, &latest.change), (40, &Change::Recovered { scope: key, why: Opened::Checked }));
}

#[test]
fn what_is_said_again_is_no_change() {
    let mut given = Given::keys(&["alpha"]);
    let minute = model("alpha", "flash", Window::Minute);
    given.when(10, closed(minute.clone(), Verdict::QuotaMinute, Some(1_000)));
    given.when(500, closed(minute.clone(), Verdict::QuotaMinute, Some(1_500)));
    // It had opened by itself, and so closes anew.
    given.when(2_000, closed(minute.clone(), Verdict::QuotaMinute, Some(3_000)));
    // What is open, or was never closed, does not open.
    given.when(4_000, GateOpened { scope: minute, why: Opened::Served });
    given.when(4_000, GateOpened { scope: Scope::Key(KeyId(1)), why: Opened::Served });
    given.when(5_000, closed(Scope::Key(KeyId(1)), Verdict::Overloaded, Some(9_000)));
    given.when(6_000, closed(Scope::Key(KeyId(1)), Verdict::LeakedKey, None));
    assert_eq!(told(&given), [(8, "failed"), (7, "closed"), (4, "closed"), (2, "closed")]);
}

#[test]
fn only_the_latest_are_kept() {
    let mut given = Given::keys(&["alpha"]);
    for at in 0..200 {
        given.when(at, closed(model("alpha", "flash", Window::Minute), Verdict::QuotaMinute, Some(at)));
    }
    let all = told(&given);
    assert_eq!((all.len(), all[0].0), (KEPT, 201));
}
