//! What is counted: against a plain count of the same events, by example, and within its bounds.

use std::collections::BTreeSet;

use projections::{
    ClientId, Event, KeyId, Millis, Recorded, State,
    event::{Actor, Answered, Attempted, ClientRemoved, KeyRemoved, Outcome, Verdict},
    statistics::{
        Beat, Bucket, CLIENTS_KEPT, KEYS_KEPT, METHODS_KEPT, MODELS_KEPT, OTHER, Range, Requests, Statistics,
        Sums,
        range::{DAY, HOUR, MINUTE},
        track::{self, BEAT},
    },
};
use proptest::prelude::*;

use crate::{
    given::{Given, answered, attempted, client_added},
    history::{history, nonsense},
};

fn is_neutral(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::ClientFault | Verdict::AffinityMiss | Verdict::Cancelled)
}

fn failed(event: &Answered) -> bool {
    let served = event.outcome == Outcome::Complete && event.status < 400;
    !served && event.outcome != Outcome::Cancelled
}

fn paid(event: &Attempted) -> u64 {
    [event.tokens.prompt, event.tokens.output, event.tokens.thoughts].map(u64::from).iter().sum()
}

/// The tries and the requests since a time.
fn since(events: &[Recorded], from: Millis) -> (Vec<&Attempted>, Vec<&Answered>) {
    let (mut tries, mut requests) = (Vec::new(), Vec::new());
    for recorded in events.iter().filter(|recorded| recorded.at >= from) {
        match &recorded.event {
            Event::Attempted(event) => tries.push(event),
            Event::Answered(event) => requests.push(event),
            _ => {}
        }
    }
    (tries, requests)
}

fn count<T>(all: &[&T], is: impl Fn(&T) -> bool) -> u64 {
    all.iter().filter(|one| is(one)).count() as u64
}

/// What the pool's buckets say of a range is what a plain count says.
fn law_windows_are_a_plain_count(statistics: &Statistics, events: &[Recorded], now: Millis) {
    for range in Range::ALL {
        let window = statistics.window(range, now);
        assert!(window.since <= now - range.millis() && now - range.millis() < window.since + window.width);
        let (tries, requests) = since(events, window.since);
        let sum = &window.sum;
        assert_eq!(sum.attempts(), tries.len() as u64, "{range:?}");
        assert_eq!(
            sum.wasted(),
            count(&tries, |event| !event.verdict.is_success() && !is_neutral(event.verdict))
        );
        assert_eq!(sum.requests.count(), requests.len() as u64);
        assert_eq!(sum.requests.failed(), count(&requests, failed));
        assert_eq!(sum.classes.iter().sum::<u64>(), requests.len() as u64);
        assert_eq!(sum.classes[4], count(&requests, |event| event.status / 100 == 4));
        assert_eq!(sum.tokens.total(), tries.iter().map(|event| paid(event)).sum::<u64>());
        assert_eq!(sum.waited.count(), count(&requests, |event| event.waited_ms > 0));
        let good = |event: &Answered| (200..400).contains(&event.status);
        assert_eq!(
            sum.first_byte.count(),
            count(&requests, |event| good(event) && event.first_byte_ms.is_some())
        );
        for verdict in [Verdict::Success, Verdict::QuotaDay] {
            assert_eq!(sum.verdicts.get(verdict), count(&tries, |event| event.verdict == verdict));
        }
        // The plot is the sum, bucket by bucket.
        assert!(window.series.windows(2).all(|two| two[1].0 - two[0].0 == window.width));
        let plotted = window.series.iter().filter_map(|(_, bucket)| bucket.as_ref());
        assert_eq!(plotted.map(Bucket::attempts).sum::<u64>(), sum.attempts());
    }
}

/// So is what it says of the names, as far as they stayed.
fn law_names_are_a_plain_count(state: &State, events: &[Recorded], now: Millis) {
    let statistics = &state.statistics;
    for range in Range::ALL {
        let from = track::since(range, now);
        assert!(from <= now - range.millis());
        let (tries, requests) = since(events, from);
        for (key, track) in statistics.keys.iter() {
            // Counters begin anew with a key that was removed and is tried again.
            let left = events.iter().rposition(
                |recorded| matches!(&recorded.event, Event::KeyRemoved(event) if event.key == *key),
            );
            let (tries, _) = since(&events[left.map_or(0, |left| left + 1)..], from);
            let own: Vec<_> = tries.into_iter().filter(|event| event.key == *key).collect();
            let expected = Sums {
                count: own.len() as u64,
                errors: count(&own, |event| !event.verdict.is_success() && !is_neutral(event.verdict)),
                tokens: own.iter().map(|event| paid(event)).sum(),
                latency_ms: own.iter().map(|event| u64::from(event.latency_ms)).sum(),
            };
            assert_eq!(track.sums(range, now), expected, "key {key}, {range:?}");
        }
        // Whatever a model was called at first, none is lost.
        let mut all = statistics.models.other().sums(range, now);
        statistics.models.iter().for_each(|(_, track)| all.merge(&track.sums(range, now)));
        assert_eq!(all.count, requests.len() as u64);
        assert_eq!(all.errors, count(&requests, failed));
        assert_eq!(all.tokens, tries.iter().map(|event| paid(event)).sum::<u64>());
        let (top, rest) = statistics.models.top(range, now, 1);
        let mut again = rest;
        top.iter().for_each(|(_, _, sums)| again.merge(sums));
        assert_eq!(again, all);
        assert!(top.len() <= 1);
    }
}

proptest! {
    #[test]
    fn what_is_counted_is_what_a_plain_count_says(events in history(120), later in 0i64..40 * DAY) {
        let state = State::replay(&events);
        for now in [state.at, state.at + later] {
            law_windows_are_a_plain_count(&state.statistics, &events, now);
            law_names_are_a_plain_count(&state, &events, now);
        }
    }

    /// Whatever the order and the times, nothing is kept beyond the bounds, and no reader's clock breaks anything.
    #[test]
    fn bounds_hold_under_nonsense(events in nonsense(80), now in any::<i64>()) {
        let state = State::replay(&events);
        let kept = serde_json::to_value(&state.statistics).unwrap();
        for (name, most) in [("minutes", 121), ("quarters", 105), ("two_hours", 373)] {
            let indexes: Vec<i64> =
                kept[name].as_array().unwrap().iter().map(|pair| pair[0].as_i64().unwrap()).collect();
            prop_assert!(indexes.len() <= most && indexes.is_sorted());
            let span = indexes.last().zip(indexes.first()).map_or(0, |(last, first)| last - first);
            prop_assert!(span < most as i64, "{name}");
        }
        for range in Range::ALL {
            let window = state.statistics.window(range, now);
            prop_assert!(window.series.len() <= 373);
            prop_assert!(state.statistics.keys.top(range, now, 3).0.len() <= 3);
        }
        for (_, track) in state.statistics.keys.iter() {
            prop_assert_eq!(track.heartbeat(now).1.len(), BEAT.kept);
        }
        let tries = events.iter().filter(|recorded| matches!(recorded.event, Event::Attempted(_))).count();
        prop_assert_eq!(state.statistics.total.attempts(), tries as u64);
    }
}

#[test]
fn tries_are_counted_by_key_model_and_verdict() {
    let mut given = Given::keys(&["alpha", "alpha"]);
    given.when(10, attempted(1, Verdict::Success));
    given.when(20, attempted(1, Verdict::Overloaded));
    given.when(30, attempted(2, Verdict::ClientFault));
    let mut other = attempted(2, Verdict::Success);
    other.model = "pro".to_owned();
    given.when(HOUR, other);
    let statistics = &given.state.statistics;
    let one = statistics.keys.get(&KeyId(1)).unwrap();
    assert_eq!(one.total, Sums { count: 2, errors: 1, tokens: 28, latency_ms: 20 });
    assert_eq!((one.last, one.failure.unwrap().at, one.failure.unwrap().seq), (20, 20, 4));
    assert_eq!(one.failure.unwrap().verdict, Some(Verdict::Overloaded));
    let two = statistics.keys.get(&KeyId(2)).unwrap();
    assert_eq!((two.total.count, two.total.errors, two.failure), (2, 0, None));
    let tokens = |model| statistics.models.get(model).unwrap().total.tokens;
    assert_eq!((tokens("flash"), tokens("pro")), (42, 14));
    let total = &statistics.total;
    assert_eq!((total.attempts(), total.wasted(), total.requests), (4, 1, Requests::default()));
    assert_eq!(
        (total.tokens.prompt, total.tokens.output, total.tokens.thoughts, total.tokens.cached),
        (20, 28, 8, 12)
    );
    assert_eq!((total.bytes_sent, total.bytes_received, total.bytes_served), (4, 4, 0));
}

#[test]
fn what_the_client_caused_is_nobodys_failure() {
    for (verdict, failed, beat) in [
        (Verdict::ClientFault, 0, Beat { ok: 0, failed: 0 }),
        (Verdict::AffinityMiss, 0, Beat { ok: 0, failed: 0 }),
        (Verdict::Cancelled, 0, Beat { ok: 0, failed: 0 }),
        (Verdict::Success, 0, Beat { ok: 1, failed: 0 }),
        (Verdict::Truncated, 1, Beat { ok: 0, failed: 1 }),
        (Verdict::BadKey, 1, Beat { ok: 0, failed: 1 }),
    ] {
        let mut given = Given::default();
        given.when(1, attempted(1, verdict));
        let statistics = &given.state.statistics;
        assert_eq!(statistics.total.wasted(), failed, "{verdict:?}");
        let key = statistics.keys.get(&KeyId(1)).unwrap();
        assert_eq!(
            (key.total.errors, key.heartbeat(1).1.last().copied()),
            (failed, Some(beat)),
            "{verdict:?}"
        );
    }
}

#[test]
fn requests_are_counted_by_their_end() {
    let mut given = Given::default();
    for (outcome, status) in [
        (Outcome::Complete, 200),
        (Outcome::Complete, 399),
        (Outcome::Complete, 400),
        (Outcome::Truncated, 200),
        (Outcome::Cancelled, 0),
        (Outcome::Refused, 429),
    ] {
        given.when(5, answered(1, outcome, status));
    }
    let mut anonymous = answered(2, Outcome::Refused, 401);
    anonymous.client = None;
    given.when(6, anonymous);
    let statistics = &given.state.statistics;
    let expected = Requests { served: 2, errors: 1, truncated: 1, cancelled: 1, refused: 2 };
    assert_eq!(statistics.total.requests, expected);
    assert_eq!(statistics.total.classes, [1, 0, 2, 1, 3, 0]);
    assert_eq!(statistics.methods["generateContent"], expected);
    let client = statistics.client(ClientId(1), Range::Hour, 6).unwrap();
    assert_eq!(client, Sums { count: 6, errors: 3, tokens: 0, latency_ms: 120 });
    assert_eq!(statistics.client(ClientId(2), Range::Hour, 6), None);
    let last = statistics.clients.get(&ClientId(1)).unwrap().failure.unwrap();
    assert_eq!((last.status, last.verdict, last.seq), (429, None, 6));
}

/// Times are those of good answers; a Live session lasts as long as its client likes.
#[test]
fn times_are_told_of_good_answers() {
    let mut given = Given::default();
    let mut answer = |status, outcome, first_byte_ms, duration_ms, waited_ms| {
        let event = Answered { first_byte_ms, duration_ms, waited_ms, ..answered(1, outcome, status) };
        given.when(1, event);
    };
    answer(200, Outcome::Complete, Some(30), 900, 0);
    answer(200, Outcome::Truncated, Some(20), 800, 0);
    answer(101, Outcome::Complete, Some(10), 3_600_000, 0);
    answer(429, Outcome::Refused, None, 1, 250);
    answer(400, Outcome::Complete, Some(5), 6, 0);
    let total = &given.state.statistics.total;
    assert_eq!((total.first_byte.count(), total.first_byte.sum_ms()), (2, 50));
    assert_eq!((total.duration.count(), total.duration.sum_ms()), (1, 900));
    assert_eq!((total.waited.count(), total.waited.quantile(500)), (1, Some(251)));
}

#[test]
fn silence_ages_too() {
    let mut given = Given::default();
    given.when(10 * DAY, attempted(1, Verdict::Success)).when(10 * DAY, answered(1, Outcome::Complete, 200));
    let counted = |now| {
        let statistics = &given.state.statistics;
        let key = statistics.keys.get(&KeyId(1)).unwrap();
        Range::ALL
            .map(|range| (statistics.window(range, now).sum.requests.served, key.sums(range, now).count))
    };
    assert_eq!(counted(10 * DAY), [(1, 1); 5]);
    assert_eq!(counted(10 * DAY + 30 * MINUTE), [(0, 0), (1, 1), (1, 1), (1, 1), (1, 1)]);
    assert_eq!(counted(11 * DAY + 4 * HOUR), [(0, 0), (0, 0), (0, 0), (1, 1), (1, 1)]);
    assert_eq!(counted(50 * DAY), [(0, 0); 5]);
}

#[test]
fn a_heartbeat_is_the_last_day_by_half_hours() {
    let mut given = Given::default();
    given.when(DAY, attempted(1, Verdict::Success));
    given.when(DAY + 31 * MINUTE, attempted(1, Verdict::BadKey));
    given.when(DAY + 32 * MINUTE, attempted(1, Verdict::Success));
    let key = given.state.statistics.keys.get(&KeyId(1)).unwrap();
    let (since, beats) = key.heartbeat(DAY + HOUR + 29 * MINUTE);
    assert_eq!((since, beats.len()), (DAY + HOUR - 47 * 30 * MINUTE, 48));
    assert_eq!(beats[45..], [Beat { ok: 1, failed: 0 }, Beat { ok: 1, failed: 1 }, Beat::default()]);
    assert!(beats[..45].iter().all(|beat| *beat == Beat::default()));
    // Two days later nothing is left of it.
    let (_, beats) = key.heartbeat(3 * DAY);
    assert!(beats.iter().all(|beat| *beat == Beat::default()));
}

#[test]
fn who_leaves_takes_the_counters_along() {
    let mut given = Given::keys(&["alpha"]);
    given.when(1, client_added(1, 1, Actor::Cli));
    given.when(1, attempted(1, Verdict::Success)).when(1, answered(1, Outcome::Complete, 200));
    given.when(2, KeyRemoved { key: KeyId(1), actor: Actor::Cli });
    given.when(2, ClientRemoved { client: ClientId(1), actor: Actor::Cli });
    let statistics = &given.state.statistics;
    assert_eq!((statistics.keys.iter().len(), statistics.clients.iter().len()), (0, 0));
    assert_eq!((statistics.total.attempts(), statistics.total.requests.served), (1, 1), "the sums stay");
}

/// Names are the clients' to choose: only what Google knows gets counters of its own.
#[test]
fn made_up_names_are_counted_together() {
    let mut given = Given::default();
    for number in 0..1_000 {
        let mut attempt = attempted(1, Verdict::ClientFault);
        attempt.model = format!("made up {number}");
        let mut answer = answered(1, Outcome::Complete, 404);
        (answer.model, answer.method) = (attempt.model.clone(), format!("made up {number}"));
        given.when(1, attempt).when(1, answer);
    }
    let statistics = &given.state.statistics;
    assert_eq!(statistics.models.iter().len(), 0);
    assert_eq!(statistics.models.other().total.count, 1_000);
    assert_eq!(statistics.methods.keys().collect::<Vec<_>>(), [OTHER]);
}

#[test]
fn who_was_silent_for_long_makes_room() {
    let mut given = Given::default();
    given.when(1, attempted(1, Verdict::Success));
    given.when(34 * DAY, attempted(2, Verdict::Success));
    assert_eq!(given.state.statistics.keys.iter().len(), 2);
    given.when(36 * DAY, attempted(2, Verdict::Success));
    assert_eq!(given.state.statistics.keys.iter().map(|(key, _)| key.0).collect::<Vec<_>>(), [2]);
}

/// A pool that is busy in every bucket there is: as many names as may be, and more, each with 250 requests a day.
fn busy() -> State {
    let mut state = State::default();
    let names = KEYS_KEPT.max(CLIENTS_KEPT) as u32 + 10;
    let now = 400 * DAY;
    // Each moment stands for all that happened since the one before it.
    let mut moments: BTreeSet<Millis> = (0..31).map(|days| now - days * DAY).collect();
    moments.extend((0..9).map(|steps| now - steps * 3 * HOUR));
    moments.extend((0..48).map(|steps| now - steps * 30 * MINUTE));
    moments.extend((0..13).map(|steps| now - steps * 5 * MINUTE));
    let mut before = now - 31 * DAY;
    for at in moments {
        let share = (at - before) as f64 / DAY as f64;
        before = at;
        for name in 0..names {
            // A few different numbers, so that packing cannot rely on one.
            let requests = ((250.0 * share) as u32).max(1) + name % 3;
            let mut attempt =
                attempted(name, if name % 7 == 0 { Verdict::QuotaMinute } else { Verdict::Success });
            attempt.model = format!("model {}", name as usize % (MODELS_KEPT + 20));
            attempt.latency_ms = requests * (2_000 + name % 1_999);
            attempt.tokens.prompt = requests * (1_200 + name % 777);
            let mut answer = answered(name.into(), Outcome::Complete, if name % 11 == 0 { 500 } else { 200 });
            (answer.client, attempt.client) = (Some(ClientId(name)), Some(ClientId(name)));
            answer.model.clone_from(&attempt.model);
            answer.method = format!("method {}", name as usize % (METHODS_KEPT + 10));
            (answer.duration_ms, answer.first_byte_ms) =
                (attempt.latency_ms + 13, Some(attempt.latency_ms / 9));
            let recorded = |event| Recorded { seq: 40_000_000 + u64::from(name), at, event };
            state.statistics.apply(&recorded(attempt.into()));
            state.statistics.apply(&recorded(answer.into()));
        }
    }
    state
}

/// 10,000 keys, 10,000 clients and 256 models, all of them busy, and a few more: what is kept of them has bounds,
/// in names, in memory and on disk.
#[test]
fn a_large_pool_fits() {
    let mut kept = None;
    let memory = allocation_counter::measure(|| kept = Some(busy().statistics));
    let statistics = kept.unwrap();
    assert_eq!((statistics.keys.iter().len(), statistics.clients.iter().len()), (KEYS_KEPT, CLIENTS_KEPT));
    assert_eq!((statistics.models.iter().len(), statistics.methods.len()), (MODELS_KEPT, METHODS_KEPT + 1));
    let tracked: u64 = statistics.keys.iter().map(|(_, track)| track.total.count).sum();
    assert_eq!(tracked + statistics.keys.other().total.count, statistics.total.attempts(), "none is lost");
    assert!(statistics.keys.other().total.count > 0 && statistics.methods[OTHER].count() > 0);
    let disk = bincode::serde::encode_to_vec(&statistics, bincode::config::standard()).unwrap();
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let (memory, disk_mib) = (mib(memory.bytes_current.unsigned_abs()), mib(disk.len() as u64));
    println!("{memory:.1} MiB in memory, {disk_mib:.1} MiB on disk");
    assert!(memory <= 40.0, "{memory} MiB in memory");
    assert!(disk_mib <= 8.0, "{disk_mib} MiB on disk");
    let (read, length) =
        bincode::serde::decode_from_slice::<Statistics, _>(&disk, bincode::config::standard()).unwrap();
    assert!(read == statistics && length == disk.len());
}

/// Where every name is known and its stretch of time has begun, folding takes no memory.
#[test]
fn folding_what_is_known_allocates_nothing() {
    let mut given = Given::default();
    let (attempt, answer) = (attempted(1, Verdict::Success), answered(1, Outcome::Complete, 200));
    given.when(5, attempt.clone()).when(5, answer.clone());
    let recorded = [Event::from(attempt), Event::from(answer)].map(|event| Recorded { seq: 3, at: 6, event });
    let took = allocation_counter::measure(|| {
        recorded.iter().for_each(|recorded| given.state.statistics.apply(recorded));
    });
    assert_eq!(took.count_total, 0);
}
