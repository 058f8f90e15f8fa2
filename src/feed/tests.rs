//! The feed over a ledger in memory.

use std::sync::atomic::{AtomicBool, Ordering};

use projections::{Class, event::ServerStopped};

use super::*;
use crate::{journal::memory::MemoryJournal, ledger::clock::Clock};

fn ledger() -> Ledger {
    Ledger::open(Arc::new(MemoryJournal::new()), Clock::system(), || 3, Vec::new()).unwrap()
}

async fn write(ledger: &Ledger, events: u32) {
    for abandoned in 0..events {
        ledger.note(ServerStopped { abandoned }).await.unwrap();
    }
}

fn always() -> Allowed {
    Box::new(|| true)
}

fn nothing() -> Filter {
    Filter { classes: vec![Class::Health], ..Filter::default() }
}

/// The positions in some blocks, and which of those have an event.
fn blocks(bytes: &[u8]) -> Vec<(Seq, bool)> {
    let text = str::from_utf8(bytes).unwrap();
    assert!(text.ends_with("\n\n"), "half a block: {text}");
    let id = |block: &str| block.lines().find_map(|line| line.strip_prefix("id: ")?.parse().ok());
    text.split_terminator("\n\n").map(|block| (id(block).unwrap(), block.contains("\ndata: "))).collect()
}

/// Reads on until an event comes with this position, or beyond; gives the positions of all events.
async fn read_to(reader: &mut Reader, last: Seq) -> Vec<Seq> {
    let mut seen = Vec::new();
    while seen.last().is_none_or(|seen| *seen < last) {
        let bytes = reader.next().await.expect("the feed ended");
        seen.extend(blocks(&bytes).into_iter().filter(|(_, event)| *event).map(|(seq, _)| seq));
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_every_speed_get_every_event_once_and_in_order() {
    const ALL: Seq = 6_000;
    let ledger = ledger();
    write(&ledger, 1_000).await;
    // Room for some chunks, so that whoever is slow is soon behind it.
    let feed = Feed::with_ring(ledger.clone(), 8 << 10);
    let mut readers = Vec::new();
    for number in 0..12_u64 {
        let after = number * 90;
        let mut reader = feed.listen(1, Some(after), Filter::default(), always()).unwrap();
        readers.push(tokio::spawn(async move {
            let mut seen = Vec::new();
            while seen.last().is_none_or(|last| *last < ALL) {
                let bytes = reader.next().await.expect("the feed ended");
                seen.extend(blocks(&bytes).into_iter().filter(|(_, event)| *event).map(|(seq, _)| seq));
                for _ in 0..number * 40 {
                    tokio::task::yield_now().await;
                }
            }
            assert!(seen.iter().copied().eq(after + 1..=ALL), "reader {number}: {:?}", gap(&seen));
        }));
    }
    write(&ledger, 5_000).await;
    for reader in readers {
        reader.await.unwrap();
    }
    let ring = feed.ring.lock();
    assert!(ring.weight <= (8 << 10) || ring.chunks.len() <= 1, "the ring holds {}", ring.weight);
}

fn gap(seen: &[Seq]) -> Option<(Seq, Seq)> {
    seen.windows(2).map(|two| (two[0], two[1])).find(|(one, other)| one + 1 != *other)
}

#[tokio::test]
async fn without_a_position_it_begins_now_and_says_so() {
    let ledger = ledger();
    write(&ledger, 5).await;
    let feed = Feed::new(ledger.clone());
    let mut reader = feed.listen(1, None, Filter::default(), always()).unwrap();
    assert_eq!(blocks(&reader.next().await.unwrap()), [(5, false)]);
    write(&ledger, 2).await;
    assert_eq!(read_to(&mut reader, 7).await, [6, 7]);
    let ahead = feed.listen(1, Some(8), Filter::default(), always()).err();
    assert_eq!(ahead, Some(NoFeed::Ahead { last: 7 }));
}

#[tokio::test]
async fn who_wants_little_hears_where_it_is() {
    let ledger = ledger();
    write(&ledger, 10_000).await;
    let feed = Feed::new(ledger.clone());
    let mut reader = feed.listen(1, Some(0), nothing(), always()).unwrap();
    assert_eq!(blocks(&reader.next().await.unwrap()), [(0, false)]);
    let mut place = 0;
    while place < 8_192 {
        let told = blocks(&reader.next().await.unwrap());
        let [(told, false)] = told[..] else { panic!("{told:?}") };
        assert!(told > place && told - place < 6_000, "{told} after {place}");
        place = told;
    }
}

#[tokio::test]
async fn a_feed_ends_when_the_server_stops_and_when_the_token_does() {
    let ledger = ledger();
    write(&ledger, 1).await;
    let feed = Feed::new(ledger.clone());
    let allowed = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&allowed);
    let asks = Box::new(move || asked.load(Ordering::Relaxed));
    let mut reader = feed.listen(1, None, Filter::default(), asks).unwrap();
    let mut other = feed.listen(1, None, Filter::default(), always()).unwrap();
    assert!(reader.next().await.is_some() && other.next().await.is_some());
    allowed.store(false, Ordering::Relaxed);
    assert!(reader.next().await.is_none(), "its token has ended");
    feed.stop();
    assert!(other.next().await.is_none(), "the server stops");
    assert_eq!(feed.listen(1, None, Filter::default(), always()).err(), Some(NoFeed::Stopping));
}

#[tokio::test]
async fn as_many_as_may_listen_and_whoever_leaves_makes_room() {
    let feed = Feed::new(ledger());
    let mut readers: Vec<_> =
        (0..OF_SESSION).map(|_| feed.listen(1, None, Filter::default(), always()).unwrap()).collect();
    assert_eq!(feed.listen(1, None, Filter::default(), always()).err(), Some(NoFeed::Share));
    let sessions = (OF_SESSION..READERS).map(|number| 2 + (number / OF_SESSION) as u128);
    readers.extend(sessions.map(|session| feed.listen(session, None, Filter::default(), always()).unwrap()));
    assert_eq!(feed.readers(), READERS);
    assert_eq!(feed.listen(99, None, Filter::default(), always()).err(), Some(NoFeed::Full));
    readers.pop();
    assert!(feed.listen(99, None, Filter::default(), always()).is_ok());
}

#[tokio::test]
async fn nobody_listens_and_nothing_is_kept() {
    let ledger = ledger();
    let feed = Feed::new(ledger.clone());
    for round in 1..4 {
        let mut reader = feed.listen(1, None, Filter::default(), always()).unwrap();
        write(&ledger, 3).await;
        assert_eq!(read_to(&mut reader, 3 * round).await.len(), 3);
        drop(reader);
        // The hub ends with its last reader, and gives back the ledger.
        while feed.ring.lock().running {
            tokio::task::yield_now().await;
        }
        assert_eq!(feed.ring.lock().chunks.len(), 0);
    }
    assert_eq!(Arc::strong_count(&feed), 1);
}
