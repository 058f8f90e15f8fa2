use proptest::prelude::*;

use super::*;

const LONG: Duration = Duration::from_secs(600);

fn tries(max: u8, verdict: Verdict, repeatable: bool) -> usize {
    let mut budget = Budget::new(max);
    let failure = Classified::from(verdict);
    1 + std::iter::repeat_with(|| budget.allows(&failure, repeatable))
        .take(100)
        .take_while(|go_on| *go_on)
        .count()
}

#[test]
fn trouble_at_google_is_tried_max_attempts_times() {
    assert_eq!(tries(3, Verdict::Overloaded, true), 3);
    assert_eq!(tries(1, Verdict::TimedOut, true), 1);
    assert_eq!(tries(0, Verdict::ServerError, true), 1);
    assert_eq!(tries(3, Verdict::ConnectFailed, true), 3);
    assert_eq!(tries(10, Verdict::ConnectFailed, true), 10);
}

#[test]
fn trouble_of_the_model_is_followed_by_two_tries_whatever_max_attempts_says() {
    for verdict in [Verdict::Overloaded, Verdict::ServerError] {
        assert_eq!(tries(10, verdict, true), 1 + MODEL_WIDE_MORE, "{verdict:?}");
        assert_eq!(tries(2, verdict, true), 2, "{verdict:?}");
    }
}

#[test]
fn refusals_at_the_door_are_bounded_too() {
    for verdict in [Verdict::BadKey, Verdict::QuotaMinute, Verdict::BillingStopped] {
        assert_eq!(tries(3, verdict, true), MOST, "{verdict:?}");
    }
}

#[test]
fn what_must_not_happen_twice_is_repeated_only_when_it_did_not_happen() {
    for verdict in [
        Verdict::ServerError,
        Verdict::Overloaded,
        Verdict::TimedOut,
        Verdict::ConnectionLost,
        Verdict::EmptyAnswer,
    ] {
        assert_eq!(tries(3, verdict, false), 1, "{verdict:?}");
    }
    assert_eq!(tries(3, Verdict::QuotaMinute, false), MOST);
    assert_eq!(tries(3, Verdict::ConnectFailed, false), 3);
}

#[test]
fn a_clients_mistake_is_never_repeated() {
    for verdict in [Verdict::ClientFault, Verdict::AffinityMiss, Verdict::Location, Verdict::PoolFault] {
        assert_eq!(tries(3, verdict, true), 1, "{verdict:?}");
    }
}

#[test]
fn a_refusal_at_the_door_is_repeated_at_once_and_trouble_after_a_wait() {
    let again = |verdict: Verdict| Budget::new(3).again(&verdict.into(), true, LONG, u64::MAX);
    assert_eq!(again(Verdict::QuotaMinute), Again::Now);
    assert_eq!(again(Verdict::BadKey), Again::Now);
    assert_eq!(again(Verdict::ClientFault), Again::No);
    let Again::After(wait) = again(Verdict::Overloaded) else { panic!("no wait") };
    assert!(wait > BACKOFF_FIRST - Duration::from_millis(1) && wait <= BACKOFF_FIRST, "{wait:?}");
}

#[test]
fn a_told_delay_is_waited_for_or_left_to_the_client() {
    let told = |ms: i64, left: Duration| {
        let failure = Classified { retry_delay_ms: Some(ms), ..Verdict::Overloaded.into() };
        Budget::new(3).again(&failure, true, left, 0)
    };
    assert_eq!(told(3_000, LONG), Again::After(Duration::from_secs(3)));
    assert_eq!(told(3_000, Duration::from_secs(3)), Again::No, "no time would be left to try");
    assert_eq!(told(8_001, LONG), Again::No);
    assert_eq!(told(-1, LONG), Again::After(Duration::ZERO));
}

#[test]
fn nothing_is_tried_when_time_is_up() {
    assert_eq!(Budget::new(3).again(&Verdict::QuotaMinute.into(), true, Duration::ZERO, 0), Again::No);
}

#[test]
fn a_quiet_pool_has_its_floor_and_a_busy_one_its_share() {
    let mut quiet = Allowance::new(Duration::ZERO);
    let taken = |allowance: &mut Allowance, now| (0..1_000).filter(|_| allowance.take(now)).count();
    assert_eq!(taken(&mut quiet, Duration::ZERO), 20, "what was saved");
    assert_eq!(taken(&mut quiet, Duration::from_millis(99)), 0);
    assert_eq!(taken(&mut quiet, Duration::from_millis(100)), 1);
    assert_eq!(taken(&mut quiet, Duration::from_secs(1)), 9);
    assert_eq!(taken(&mut quiet, Duration::from_secs(3_600)), 20, "no more is saved up");
    (0..50).for_each(|_| quiet.first_try());
    assert_eq!(taken(&mut quiet, Duration::from_secs(3_600)), 10, "a fifth of the traffic");
    assert_eq!(taken(&mut quiet, Duration::from_secs(1)), 0, "a clock that goes back gives nothing");
}

proptest! {
    /// In every stretch of any history: repeated ≤ floor · time + share · first tries + burst.
    #[test]
    fn law_the_allowance_bounds_what_is_repeated(
        steps in proptest::collection::vec((0u64..400, 0u8..3), 1..400),
    ) {
        let mut allowance = Allowance::new(Duration::ZERO);
        let mut now = 0;
        // At each step: the time, first tries and repeated ones so far.
        let mut history = vec![(0u64, 0u64, 0u64)];
        for (passes, what) in steps {
            let (_, mut first, mut repeated) = *history.last().unwrap();
            match what {
                0 => now += passes,
                1 => { allowance.first_try(); first += 1 }
                _ => repeated += u64::from(allowance.take(Duration::from_millis(now))),
            }
            history.push((now, first, repeated));
        }
        for (at, (from, first, repeated)) in history.iter().enumerate() {
            for (to, first_then, repeated_then) in &history[at..] {
                let time = to - from;
                let allowed = FLOOR * time + SHARE * 10 * (first_then - first) + BURST * RETRY;
                prop_assert!((repeated_then - repeated) * RETRY <= allowed, "{from}..{to}");
            }
        }
    }

    /// What is told to be left is what can be taken.
    #[test]
    fn law_what_is_left_can_be_taken(steps in proptest::collection::vec((0u64..2_000, any::<bool>()), 0..60)) {
        let mut allowance = Allowance::new(Duration::ZERO);
        let mut now = 0;
        for (passed, repeats) in steps {
            now += passed;
            if repeats { allowance.take(Duration::from_millis(now)); } else { allowance.first_try(); }
            let mut copy = allowance;
            let left = copy.left(Duration::from_millis(now));
            let taken = (0..2 * BURST).take_while(|_| copy.take(Duration::from_millis(now))).count();
            prop_assert_eq!(taken as u64, left);
        }
    }

    /// And it is not mean: who asks for no more than the floor always gets it.
    #[test]
    fn law_the_floor_is_always_there(gaps in proptest::collection::vec(100u64..500, 1..200)) {
        let mut allowance = Allowance::new(Duration::ZERO);
        while allowance.take(Duration::ZERO) {}
        let mut now = 0;
        for gap in gaps {
            now += gap;
            prop_assert!(allowance.take(Duration::from_millis(now)));
        }
    }

    #[test]
    fn law_waits_stay_within_their_turn_and_the_time_left(
        failures in 1usize..12, random: u64, left in 0u64..20_000, told in -10i64..20_000,
    ) {
        let mut budget = Budget::new(10);
        let lost = Verdict::ConnectionLost;
        (1..failures).for_each(|_| { budget.allows(&lost.into(), true); });
        let failure = Classified { retry_delay_ms: Some(told), ..lost.into() };
        let left = Duration::from_millis(left);
        if let Again::After(wait) = budget.again(&failure, true, left, random) {
            let turn = (250u64 << (failures - 1)).min(8_000);
            prop_assert!(wait < left);
            prop_assert!(wait <= Duration::from_millis(turn.max(u64::try_from(told).unwrap_or(0))));
            prop_assert!(wait >= Duration::from_millis(u64::try_from(told).unwrap_or(0)));
        }
    }
}
