//! What is found is what a plain look would find: in one block, over many, and after a restart.

use proptest::{collection::vec, option, prelude::*};

use super::*;

fn some_row() -> impl Strategy<Value = Row> {
    let times = (0..50i64, 0..50u32, option::of(0..9u32));
    let kinds = (prop_oneof![Just(0u16), Just(200), Just(429), Just(404), Just(503)], 0..4u64, any::<bool>());
    let names = (0..4u32, "[ab]{0,2}", vec("[a-c]{1,4}", 0..3));
    let tries = (vec((1..9u64, 1..300u32), 0..4), 0..6u8, any::<[u8; 4]>(), any::<u32>());
    (times, kinds, names, tries).prop_map(|(times, kinds, names, tries)| Row {
        seq: 0,
        request: tries.3 % 64,
        request_head: u64::from(tries.3 % 64),
        started: times.0 - 25,
        duration_ms: times.1,
        first_byte_ms: times.2,
        status: kinds.0,
        outcome: super::super::row::outcome_of(kinds.1).unwrap(),
        client: names.0,
        model: names.1.clone(),
        method: names.1,
        streamed: kinds.2,
        tries: tries.1,
        attempts: tries.0.iter().map(|(seq, key)| super::super::row::Try { seq: *seq, key: *key }).collect(),
        reasons: names.2,
        tokens: tries.2.map(u64::from),
    })
}

fn filter() -> impl Strategy<Value = Filter> {
    let times = (option::weighted(0.2, -25..25i64), option::weighted(0.2, -25..25i64));
    let names = (
        option::weighted(0.2, 1..300u32),
        option::weighted(0.2, 0..4u32),
        option::weighted(0.2, "[ab]{0,2}"),
    );
    let statuses = prop_oneof![
        (0..1u16).prop_map(Statuses::One),
        Just(Statuses::One(429)),
        (1..6u16).prop_map(Statuses::Class)
    ];
    let kinds = (
        option::weighted(0.2, statuses),
        option::weighted(0.2, 0..4u64),
        option::weighted(0.2, any::<bool>()),
    );
    let sizes =
        (option::weighted(0.2, 0..50u32), option::weighted(0.2, 0..50u32), option::weighted(0.2, 0..6u8));
    let text = option::weighted(0.3, "[A-Ca-c]{1,4}");
    let request = option::weighted(0.1, 0..64u32);
    (times, names, kinds, sizes, text, request).prop_map(|(times, names, kinds, sizes, text, request)| {
        Filter {
            from: times.0,
            to: times.1,
            key: names.0.map(KeyId),
            client: names.1.map(ClientId),
            model: names.2,
            statuses: kinds.0,
            outcome: kinds.1.and_then(super::super::row::outcome_of),
            streamed: kinds.2,
            least_ms: sizes.0,
            most_ms: sizes.1,
            least_tries: sizes.2,
            // Its short form and its beginning are those of the rows above.
            request: request.map(|id| RequestId((u128::from(id) << 64) | u128::from(id))),
            text: None,
        }
        .containing(text.as_deref().unwrap_or_default())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_block_picks_and_counts_what_a_plain_look_does(
        rows in vec(some_row(), 1..300),
        filters in vec(filter(), 1..20),
        window in (0..700u64, 0..900u64),
    ) {
        let mut rows = rows;
        for (row, seq) in rows.iter_mut().zip((3..).step_by(3)) {
            row.seq = seq;
            row.attempts.iter_mut().for_each(|attempt| attempt.seq += seq);
            // As in ids of Google's kind: here the same number stands in both halves.
            row.request_head = u64::from(row.request);
        }
        let header = Header::of(&rows, 1);
        prop_assert_eq!(&Header::decode(&header.encode()).unwrap(), &header);
        let columns: HashMap<Column, Vec<u8>> = encode(&rows).into_iter().collect();
        let (after, before) = window;
        for filter in filters {
            let wanted = |row: &&Row| filter.matches(row) && row.seq > after && row.seq < before;
            let plain: Vec<&Row> = rows.iter().filter(wanted).collect();
            let mut read = |column: Column| -> Result<Vec<u8>, Error> { Ok(columns[&column].clone()) };
            let mut block = Block { header: &header, read: &mut read };
            let picked = block.pick(&filter, after, before).unwrap();
            let hits = block.hits(&picked, 1_000).unwrap();
            prop_assert_eq!(&hits, &plain.iter().rev().map(|row| Hit::of(row)).collect::<Vec<_>>(), "{:?}", filter);
            let mut counts = Counts::default();
            block.count(&picked, &mut counts).unwrap();
            let mut sums = Counts::default();
            plain.iter().for_each(|row| sums.add(row));
            prop_assert_eq!(counts, sums, "{:?}", filter);
            if !plain.is_empty() {
                prop_assert!(header.may_match(&filter), "{:?}", filter);
            }
        }
    }

    /// Whatever is wrong with a column, it is an error and no panic.
    #[test]
    fn a_damaged_block_says_so(rows in vec(some_row(), 1..50), bytes in vec(any::<u8>(), 0..40), filter in filter()) {
        let header = Header::of(&rows, 1);
        let nonsense = super::super::column::seal(bytes);
        let mut read = |_: Column| -> Result<Vec<u8>, Error> { Ok(nonsense.clone()) };
        let mut block = Block { header: &header, read: &mut read };
        if let Ok(picked) = block.pick(&filter, 0, Seq::MAX) {
            let _ = block.hits(&picked, 10);
            let _ = block.count(&picked, &mut Counts::default());
        }
    }
}

fn memory() -> Bench<MemoryJournal> {
    Bench { store: MemoryJournal::new(), index: Index::default() }
}

/// Every row, as the gatherer alone makes them.
fn plain(events: &[Recorded]) -> Vec<Row> {
    let mut gatherer = Gatherer::default();
    events.iter().filter_map(Note::of).filter_map(|note| gatherer.follow(note)).collect()
}

fn check(bench: &Bench<MemoryJournal>, rows: &[Row], seed: u64) {
    let mut dice = Dice(seed);
    for _ in 0..60 {
        let filter = some_filter(&mut dice, rows);
        let wanted: Vec<Hit> = rows.iter().rev().filter(|row| filter.matches(row)).map(Hit::of).collect();
        // Page by page, with pages of any size.
        let (mut found, mut before) = (Vec::new(), Seq::MAX);
        let limit = 1 + dice.roll(3_000) as usize;
        loop {
            let page = bench.search(&filter, before, limit).unwrap();
            let Some(last) = page.last() else { break };
            before = last.seq;
            found.extend(page);
        }
        assert_eq!(found, wanted, "{filter:?}");
        let mut sums = Counts::default();
        rows.iter().filter(|row| filter.matches(row)).for_each(|row| sums.add(row));
        assert_eq!(bench.count(&filter), sums, "{filter:?}");
    }
}

#[test]
fn pages_over_many_blocks_are_what_a_plain_look_finds() {
    let mut traffic = Traffic::new(7, 9);
    let events: Vec<Recorded> = (0..10_000).flat_map(|_| traffic.request()).collect();
    let mut bench = memory();
    events.iter().for_each(|recorded| bench.follow(recorded));
    let rows = plain(&events);
    assert_eq!(rows.len(), 10_000);
    check(&bench, &rows, 1);
}

#[test]
fn after_a_restart_nothing_is_missing_and_nothing_is_there_twice() {
    let mut traffic = Traffic::new(8, 9);
    let mut events: Vec<Recorded> = (0..9_000).flat_map(|_| traffic.request()).collect();
    // Requests whose tries lie before the block's end, and their own ends behind it.
    let places: Vec<usize> = events
        .iter()
        .enumerate()
        .filter(|(_, recorded)| matches!(&recorded.event, Event::Answered(event) if event.attempts > 1))
        .map(|(place, _)| place)
        .collect();
    for place in places.into_iter().rev() {
        let to = (place + 40).min(events.len() - 1);
        let moved = events.remove(place);
        events.insert(to, moved);
    }
    for (recorded, seq) in events.iter_mut().zip(1..) {
        recorded.seq = seq;
    }
    let mut bench = memory();
    events.iter().for_each(|recorded| bench.follow(recorded));
    let rows = plain(&events);
    // What was in memory is gone; what comes again is what the log has behind the last block.
    bench.index = store::load(&bench.store).unwrap();
    let resume = bench.index.cursor;
    assert!(resume > 0 && resume < events.len() as Seq);
    events.iter().filter(|recorded| recorded.seq > resume).for_each(|recorded| bench.follow(recorded));
    check(&bench, &rows, 2);
}

#[test]
fn rows_of_another_version_and_holes_are_not_used() {
    let mut traffic = Traffic::new(9, 9);
    let mut bench = memory();
    for _ in 0..3 * super::super::block::ROWS {
        traffic.request().iter().for_each(|recorded| bench.follow(recorded));
    }
    let store = &bench.store;
    assert!(store::load(store).is_ok());
    let meta = store.get("requests", b"v").unwrap().unwrap();
    store.write("requests", &[(b"v".to_vec(), Some(vec![1, 2, 3]))]).unwrap();
    assert!(matches!(store::load(store), Err(Error::Damaged(_))));
    store.write("requests", &[(b"v".to_vec(), None)]).unwrap();
    assert!(matches!(store::load(store), Err(Error::Damaged(_))), "rows without their version");
    store.write("requests", &[(b"v".to_vec(), Some(meta))]).unwrap();
    assert!(store::load(store).is_ok());
    store.write("requests", &[(vec![b'h', 0, 0, 0, 1], None)]).unwrap();
    assert!(matches!(store::load(store), Err(Error::Damaged(_))), "a block is missing in the middle");
    store::wipe(store).unwrap();
    assert_eq!(store::load(store).unwrap().cursor, 0);
}

/// Rows that somebody changed, and gave the checksum that goes with them.
#[test]
fn changed_rows_are_errors_or_rows() {
    use crate::journal::codec::tests::mutated::{Dice, most_memory};
    let mut traffic = Traffic::new(9, 20);
    let events: Vec<Recorded> = (0..400).flat_map(|_| traffic.request()).collect();
    let rows = plain(&events);
    let (header, columns) = (Header::of(&rows, 1), encode(&rows));
    let filters = [
        Filter::default(),
        Filter { key: Some(KeyId(3)), ..Filter::default() },
        Filter { model: Some("gemini-2.5-pro".to_owned()), least_ms: Some(100), ..Filter::default() }
            .containing("exhausted"),
    ];
    let (mut dice, before) = (Dice(13), most_memory());
    for _ in 0..3_000 {
        let mut columns: HashMap<Column, Vec<u8>> = columns.iter().cloned().collect();
        let (name, _) = encode(&rows[..1])[dice.roll(17)];
        let row = columns.get_mut(&name).unwrap();
        row.truncate(row.len() - 4);
        dice.change(row);
        *row = super::super::column::seal(std::mem::take(row));
        let mut read = |column: Column| -> Result<Vec<u8>, Error> { Ok(columns[&column].clone()) };
        let mut block = Block { header: &header, read: &mut read };
        if let Ok(picked) = block.pick(&filters[dice.roll(3)], dice.roll(9) as Seq, Seq::MAX) {
            let mut counts = Counts::default();
            let _ = (block.hits(&picked, 10), block.count(&picked, &mut counts));
            let sum = counts.clone();
            counts.merge(&sum);
        }
        let mut told = header.encode();
        told.truncate(told.len() - 4);
        dice.change(&mut told);
        let _ = Header::decode(&super::super::column::seal(told)).map(|header| header.may_match(&filters[1]));
    }
    assert!(most_memory() < before + (256 << 20), "{} bytes at most", most_memory());
}
