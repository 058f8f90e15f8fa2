//! The index beside a ledger: live, from the log, after damage and after a trim.

use std::sync::Arc;

use projections::{Digest, event::LogTrimmed};

use super::{
    super::{Keeper, Page, RequestLog, Tally, block::ROWS},
    *,
};
use crate::{
    config::{Sources, parse},
    journal::Journal,
    ledger::{Ledger, View, clock::Clock, rules::Decision},
    settings::Settings,
};

struct Living {
    journal: Arc<MemoryJournal>,
    ledger: Ledger,
    log: Arc<RequestLog>,
    keeper: Option<Keeper>,
}

impl Living {
    fn open(journal: &Arc<MemoryJournal>) -> Self {
        let config = parse(&Sources::default(), &|_| Err(std::io::ErrorKind::NotFound.into())).unwrap();
        let log = Arc::new(RequestLog::new(Arc::new(Settings::new(config))));
        let (clock, views) = (Clock::driven(|| START), vec![Arc::clone(&log) as Arc<dyn View>]);
        let ledger =
            Ledger::open(Arc::clone(journal) as Arc<dyn Journal>, clock.clone(), || 3, views).unwrap();
        let keeper = Keeper::start(Arc::clone(&log), ledger.reader(), clock).unwrap();
        Self { journal: Arc::clone(journal), ledger, log, keeper: Some(keeper) }
    }

    async fn record(&self, events: Vec<Event>) {
        self.ledger.commit(|_| Ok(Decision { events, secrets: Vec::new(), answer: () })).await.unwrap();
    }

    async fn traffic(&self, traffic: &mut Traffic, requests: usize) {
        let events = (0..requests).flat_map(|_| traffic.request()).map(|recorded| recorded.event);
        self.record(events.collect()).await;
    }

    /// Counts all once the index is whole.
    fn counted(&self) -> Tally {
        loop {
            if let (tally, None) = self.log.count(&Filter::default()).unwrap() {
                return tally;
            }
        }
    }

    fn page(&self, before: Seq, limit: usize) -> Page {
        self.log.page(&Filter::default(), before, limit).unwrap()
    }

    async fn close(mut self) {
        drop(self.keeper.take());
        self.ledger.close().await;
    }
}

fn row_of(number: u32, column: Column) -> Vec<u8> {
    [b"c".as_slice(), &number.to_be_bytes(), &[column as u8]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_recorded_is_found_at_once_and_pages_hold_still() {
    let living = Living::open(&Arc::default());
    let mut traffic = Traffic::new(1, 9);
    living.traffic(&mut traffic, 50).await;
    assert_eq!(living.counted().total, 50);
    let first = living.page(Seq::MAX, 20);
    assert_eq!(first.entries.len(), 20);
    living.traffic(&mut traffic, 30).await;
    let mut seqs: Vec<Seq> = first.entries.iter().map(|entry| entry.seq).collect();
    let mut next = first.next;
    while let Some(before) = next {
        let page = living.page(before, 20);
        seqs.extend(page.entries.iter().map(|entry| entry.seq));
        next = page.next;
    }
    assert_eq!(seqs.len(), 50, "what came meanwhile is on no later page");
    assert!(seqs.is_sorted_by(|one, next| one > next));
    assert_eq!(living.counted().total, 80);
    let entry = &living.page(Seq::MAX, 1).entries[0];
    assert_eq!(living.log.by_id(entry.answered.request).unwrap().as_ref(), Some(entry));
    assert_eq!(living.log.by_seq(entry.seq).unwrap().as_ref(), Some(entry));
    assert_eq!(living.log.by_seq(entry.seq + 1).unwrap(), None);
    assert_eq!(living.log.by_id(RequestId(5)).unwrap(), None);
    assert!(entry.attempts.iter().all(|attempt| attempt.attempted.request == entry.answered.request));
    living.close().await;
}

/// Every count holds what was recorded before it was asked for: nothing falls between the log and the inbox.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missed_while_the_index_wakes_up_under_load() {
    let journal = Arc::default();
    let mut traffic = Traffic::new(4, 9);
    let mut recorded = 0;
    for _ in 0..5 {
        let living = Living::open(&journal);
        for _ in 0..40 {
            living.traffic(&mut traffic, 25).await;
            recorded += 25;
            let (tally, indexing) = living.log.count(&Filter::default()).unwrap();
            assert!(indexing.is_some() || tally.total == recorded, "{tally:?} of {recorded}");
        }
        assert_eq!(living.counted().total, recorded);
        let page = living.page(Seq::MAX, 10_000);
        assert_eq!(page.entries.len() as u64, recorded);
        assert!(page.entries.is_sorted_by(|one, next| one.seq > next.seq));
        living.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_ends_before_its_index_is_read_anew() {
    let journal = Arc::new(MemoryJournal::new());
    let living = Living::open(&journal);
    let mut traffic = Traffic::new(5, 9);
    living.traffic(&mut traffic, ROWS + 10).await;
    assert_eq!(living.counted().total, ROWS as u64 + 10);
    living.close().await;
    journal.cut(100).unwrap();
    let again = Living::open(&journal);
    let left = again.counted().total;
    assert!(left > 20 && left < 100, "{left}");
    assert_eq!(again.page(Seq::MAX, 1_000).entries.len() as u64, left);
    again.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_missing_damaged_or_behind_is_made_from_the_log() {
    let journal = Arc::default();
    let mut traffic = Traffic::new(2, 9);
    let (rows, tally) = {
        let living = Living::open(&journal);
        living.traffic(&mut traffic, 2 * ROWS + 500).await;
        let seen = (living.page(Seq::MAX, 9_000).entries, living.counted());
        living.close().await;
        seen
    };
    assert_eq!((rows.len(), tally.total), (2 * ROWS + 500, 2 * ROWS as u64 + 500));
    let again = Living::open(&journal);
    assert_eq!(again.counted(), tally);
    assert_eq!(again.page(Seq::MAX, 9_000).entries, rows);
    // A column is lost while the server runs: the next answer that needs it finds out.
    again.journal.write("requests", &[(row_of(0, Column::Status), Some(vec![0; 9]))]).unwrap();
    let bad = Filter { statuses: Some(Statuses::One(429)), ..Filter::default() };
    let wanted = rows.iter().filter(|entry| entry.answered.status == 429).count();
    let found = loop {
        let page = again.log.page(&bad, Seq::MAX, 9_000).unwrap();
        if page.indexing.is_none() {
            break page.entries.len();
        }
    };
    assert_eq!(found, wanted);
    assert_eq!(again.counted(), tally);
    again.close().await;
    // And everything is lost while it does not.
    store::wipe(&*journal).unwrap();
    let anew = Living::open(&journal);
    assert_eq!(anew.counted(), tally);
    assert_eq!(anew.page(Seq::MAX, 9_000).entries, rows);
    anew.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_trimmed_is_not_shown_and_its_blocks_go() {
    let journal = Arc::default();
    let mut traffic = Traffic::new(3, 9);
    let living = Living::open(&journal);
    living.traffic(&mut traffic, 2 * ROWS + 100).await;
    let all = living.page(Seq::MAX, 9_000).entries;
    // In the middle of the second block.
    let through = all[1_000].seq;
    let trimmed = LogTrimmed {
        after: 0,
        through,
        at: START,
        hash: Digest([0; 32]),
        dropped: 1,
        kept: 0,
        digest: Digest([0; 32]),
    };
    living.record(vec![trimmed.into()]).await;
    assert_eq!(living.counted().total, 1_000);
    assert_eq!(living.page(Seq::MAX, 9_000).entries, all[..1_000]);
    living.close().await;
    assert_eq!(journal.get("requests", &row_of(0, Column::Seq)).unwrap(), None, "all of it is gone");
    let again = Living::open(&journal);
    assert_eq!(again.counted().total, 1_000);
    assert_eq!(again.page(Seq::MAX, 9_000).entries, all[..1_000]);
    again.close().await;
}
