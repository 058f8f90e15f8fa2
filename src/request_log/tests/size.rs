//! How quick and how large the index is at the size that it is made for.

use std::time::{Duration, Instant};

use super::*;
use crate::journal::fjall::FjallJournal;

/// Requests, of which each has two or three events.
const REQUESTS: usize = 4_000_000;
/// Keys of the pool.
const KEYS: u64 = 2_000;

fn p99(bench: &Bench<FjallJournal>, filters: &[Filter]) -> (Duration, Duration) {
    let mut times: Vec<Duration> = filters
        .iter()
        .cycle()
        .take(filters.len().max(100))
        .map(|filter| {
            let began = Instant::now();
            bench.search(filter, Seq::MAX, 100).unwrap();
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

/// `cargo nextest run --cargo-profile bench --lib size --run-ignored only --no-capture`; says its figures.
#[test]
#[ignore = "minutes, and figures that only an optimised build gives"]
fn four_million_requests_are_searched_in_no_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = FjallJournal::open(&folder.path().join("log")).unwrap();
    let mut bench = Bench { store, index: Index::default() };
    let mut traffic = Traffic::new(1, KEYS);
    let began = Instant::now();
    let mut sample = Vec::new();
    let mut gatherer = Gatherer::default();
    for number in 0..REQUESTS {
        for recorded in traffic.request() {
            bench.follow(&recorded);
            if number % 10_007 == 0 {
                sample.extend(Note::of(&recorded).and_then(|note| gatherer.follow(note)));
            }
        }
    }
    println!("{REQUESTS} requests, {} events, indexed in {:?}", traffic.seq, began.elapsed());
    let bytes = bench.index.header_bytes();
    println!("headers in memory: {} KiB", bytes >> 10);
    assert!(bytes <= 30 << 20, "{bytes}");
    // From the disk, not from what was just written.
    drop(bench.store);
    let store = FjallJournal::open(&folder.path().join("log")).unwrap();
    let began = Instant::now();
    let index = store::load(&store).unwrap();
    println!("headers read in {:?}", began.elapsed());
    let bench = Bench { store, index };
    let one = |filter: Filter| vec![filter];
    let nothing = Filter::default();
    let singles = [
        ("none", one(nothing.clone())),
        ("key", (1..60).map(|key| Filter { key: Some(KeyId(key)), ..nothing.clone() }).collect()),
        ("key, never used", one(Filter { key: Some(KeyId(90_000)), ..nothing.clone() })),
        ("client", one(Filter { client: Some(ClientId(3)), ..nothing.clone() })),
        ("model", one(Filter { model: Some("gemini-2.5-pro".to_owned()), ..nothing.clone() })),
        ("model, unknown", one(Filter { model: Some("gemini-9".to_owned()), ..nothing.clone() })),
        ("status", one(Filter { statuses: Some(Statuses::One(429)), ..nothing.clone() })),
        ("status, class, none", one(Filter { statuses: Some(Statuses::Class(5)), ..nothing.clone() })),
        ("outcome", one(Filter { outcome: Some(Outcome::Refused), ..nothing.clone() })),
        ("outcome, none", one(Filter { outcome: Some(Outcome::Cancelled), ..nothing.clone() })),
        ("slow", one(Filter { least_ms: Some(11_600), ..nothing.clone() })),
        ("slower than any", one(Filter { least_ms: Some(60_000), ..nothing.clone() })),
        ("text", one(nothing.clone().containing("in 59 s"))),
        ("text in every block, of no row", one(nothing.clone().containing("n 1 s s"))),
        ("text, nowhere", one(nothing.clone().containing("permission denied"))),
        ("tries", one(Filter { least_tries: Some(3), ..nothing.clone() })),
        ("tries, none", one(Filter { least_tries: Some(9), ..nothing.clone() })),
        ("time", sample.iter().map(|row| Filter { to: Some(row.started), ..nothing.clone() }).collect()),
    ];
    let pair = |one: &Filter, other: Filter| Filter {
        key: one.key.or(other.key),
        client: one.client.or(other.client),
        model: one.model.clone().or(other.model),
        statuses: one.statuses.or(other.statuses),
        outcome: one.outcome.or(other.outcome),
        least_ms: one.least_ms.or(other.least_ms),
        most_ms: one.most_ms.or(other.most_ms),
        text: one.text.clone().or(other.text),
        from: one.from.or(other.from),
        to: one.to.or(other.to),
        request: None,
        streamed: one.streamed.or(other.streamed),
        least_tries: one.least_tries.or(other.least_tries),
    };
    let mut worst = (Duration::ZERO, Duration::ZERO);
    for (name, filters) in &singles {
        let (middle, late) = p99(&bench, filters);
        println!("{name}: p50 {middle:?}, p99 {late:?}");
        worst.0 = worst.0.max(late);
        for (other_name, others) in &singles {
            let both = vec![pair(&filters[0], others[0].clone())];
            let mut times: Vec<Duration> = (0..5)
                .map(|_| {
                    let began = Instant::now();
                    bench.search(&both[0], Seq::MAX, 100).unwrap();
                    began.elapsed()
                })
                .collect();
            times.sort_unstable();
            if times[4] > Duration::from_millis(50) {
                println!("  and {other_name}: {:?}", times[4]);
            }
            worst.1 = worst.1.max(times[4]);
        }
    }
    // Both are in every block, and never together.
    let never =
        Filter { outcome: Some(Outcome::Refused), statuses: Some(Statuses::One(200)), ..nothing.clone() };
    let slow = Filter { least_ms: Some(11_000), most_ms: Some(11_000), ..nothing.clone() };
    let refused =
        Filter { outcome: Some(Outcome::Refused), text: Some("in 59 s".to_owned()), ..nothing.clone() };
    for (name, filter) in [("never together", never), ("one latency", slow), ("refused with text", refused)] {
        let (middle, late) = p99(&bench, &one(filter));
        println!("{name}: p50 {middle:?}, p99 {late:?}");
        worst.1 = worst.1.max(late);
    }
    let began = Instant::now();
    bench.count(&nothing);
    println!("counts of all: {:?}", began.elapsed());
    let began = Instant::now();
    bench.count(&Filter { client: Some(ClientId(3)), ..nothing });
    println!("counts of one client: {:?}", began.elapsed());
    println!("worst p99: one condition {:?}, two {:?}", worst.0, worst.1);
    assert!(worst.0 <= Duration::from_millis(100) && worst.1 <= Duration::from_millis(300), "{worst:?}");
}
