//! The stage of the ledger's tests: a clock that is driven, and journals that
//! wait or fail when a test says so.

#![expect(
    clippy::disallowed_types,
    reason = "a door is held shut over what the ledger takes, in no order of its own"
)]

use std::sync::{
    Condvar, Mutex,
    atomic::{AtomicBool, AtomicI64, AtomicUsize},
};

use projections::{
    Fingerprint, KeyId, RequestId,
    event::{Actor, KeyAdded, Outcome, Verdict},
};

use super::super::*;
use crate::journal::codec::{self, ChainHash};
use crate::journal::{Batch, Frame};
use crate::{
    gemini::classify::{Blame, Hold},
    journal::{
        Derived, Entry, Error, Numbered, SecretChange, Segment, SegmentSpan,
        derived::{Put, Row},
        memory::MemoryJournal,
    },
};
use projections::Millis;

/// Time in tests begins here.
pub(super) const START: Millis = 1_795_000_000_000;
pub(super) const MAX_FAILURES: u32 = 3;

/// Time as a test drives it.
#[derive(Clone)]
pub(super) struct Time(Arc<AtomicI64>);

impl Time {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(START)))
    }

    pub(super) fn set(&self, now: Millis) {
        self.0.store(now, Ordering::SeqCst);
    }

    pub(super) fn clock(&self) -> Clock {
        let time = Arc::clone(&self.0);
        Clock::driven(move || time.load(Ordering::SeqCst))
    }
}

pub(super) fn open(journal: &Arc<impl Journal + 'static>) -> Result<Ledger, OpenError> {
    open_with(journal, &Time::new(), Vec::new())
}

pub(super) fn open_with(
    journal: &Arc<impl Journal + 'static>,
    time: &Time,
    views: Vec<Arc<dyn View>>,
) -> Result<Ledger, OpenError> {
    let journal: Arc<dyn Journal> = journal.clone();
    Ledger::open(journal, time.clock(), || MAX_FAILURES, views)
}

/// The same, with so many events between two checkpoints.
pub(super) fn open_keeping(
    journal: &Arc<impl Journal + 'static>,
    time: &Time,
    every: Seq,
) -> Result<Ledger, OpenError> {
    let journal: Arc<dyn Journal> = journal.clone();
    Ledger::open_keeping(journal, time.clock(), || MAX_FAILURES, Vec::new(), every)
}

/// A log of these events, traffic in segments by its days.
pub(super) fn written(events: &[Recorded]) -> Arc<MemoryJournal> {
    let (journal, mut hash) = (Arc::new(MemoryJournal::new()), ChainHash::START);
    for recorded in events {
        let (bytes, next) = codec::encode(recorded.seq, recorded.at, &recorded.event, &hash).unwrap();
        hash = next;
        let segment = writer::segment_of(&recorded.event, recorded.at);
        let batch = Batch { after: recorded.seq - 1, frames: &[Frame { segment, bytes }], secrets: &[] };
        journal.append(batch).unwrap();
    }
    journal
}

/// The whole log, checked link by link.
pub(super) fn log(journal: &dyn Journal) -> Vec<Recorded> {
    let mut hash = ChainHash::START;
    let mut read = |entry: Entry| {
        let (recorded, next) = codec::decode(entry.seq, &entry.frame, Some(&hash)).unwrap();
        hash = next;
        recorded
    };
    journal.read(0, usize::MAX).unwrap().into_iter().map(&mut read).collect()
}

pub(super) fn added(number: u32) -> KeyAdded {
    KeyAdded {
        key: KeyId(number),
        label: format!("key {number}"),
        tail: "tail".to_owned(),
        fingerprint: Fingerprint([number as u8; 16]),
        project: Some("alpha".to_owned()),
        actor: Actor::Cli,
    }
}

pub(super) fn attempt(request: u128, key: u32, verdict: Verdict) -> Attempted {
    Attempted {
        request: RequestId(request),
        attempt: 1,
        key: KeyId(key),
        project: "alpha".to_owned(),
        model: "flash".to_owned(),
        method: "generateContent".to_owned(),
        started: START,
        verdict,
        ..Attempted::default()
    }
}

/// A try that served.
pub(super) fn served(request: u128, key: u32) -> Fact {
    Fact::Attempted(Box::new(attempt(request, key, Verdict::Success)), Penalty::NONE)
}

/// A try that failed, and what it asks for.
pub(super) fn failed(request: u128, key: u32, verdict: Verdict, hold: Hold) -> Fact {
    Fact::Attempted(Box::new(attempt(request, key, verdict)), Penalty { blame: Blame::Key, hold, spread: 0 })
}

pub(super) fn answered(request: u128) -> Fact {
    Fact::Answered(Box::new(Answered {
        request: RequestId(request),
        client: None,
        address: "::1".to_owned(),
        verb: "POST".to_owned(),
        path: "/".to_owned(),
        model: "flash".to_owned(),
        method: "generateContent".to_owned(),
        streamed: false,
        started: START,
        duration_ms: 1,
        first_byte_ms: None,
        status: 200,
        attempts: 1,
        outcome: Outcome::Complete,
        reason: None,
        bytes: 0,
        waited_ms: 0,
    }))
}

/// A door that can be held shut; who comes to it is seen.
#[derive(Default)]
pub(super) struct Door {
    inner: Mutex<(bool, usize)>,
    news: Condvar,
}

impl Door {
    pub(super) fn shut(&self) {
        self.inner.lock().unwrap().0 = true;
    }

    pub(super) fn open(&self) {
        self.inner.lock().unwrap().0 = false;
        self.news.notify_all();
    }

    /// Goes through, when it is open.
    pub(super) fn pass(&self) {
        let mut inner = self.inner.lock().unwrap();
        inner.1 += 1;
        self.news.notify_all();
        while inner.0 {
            inner = self.news.wait(inner).unwrap();
        }
    }

    /// How often somebody has come to it.
    pub(super) fn visits(&self) -> usize {
        self.inner.lock().unwrap().1
    }

    /// Waits until somebody has come to it for the n-th time.
    pub(super) fn wait_for(&self, visits: usize) {
        let mut inner = self.inner.lock().unwrap();
        while inner.1 < visits {
            inner = self.news.wait(inner).unwrap();
        }
    }
}

/// A journal in memory that waits at a door before it appends, fails when it is
/// told to, and knows what was forced to the disk.
pub(super) struct Staged {
    pub(super) inner: MemoryJournal,
    pub(super) door: Door,
    /// Passed before each sync.
    pub(super) disk: Door,
    /// Passed after each sync.
    pub(super) synced: Door,
    appends_left: AtomicUsize,
    syncs_left: AtomicUsize,
    /// Opened anew, it takes writes again.
    pub(super) heals: AtomicBool,
    /// Segments that were made ahead.
    pub(super) prepared: Mutex<Vec<Segment>>,
    /// So many syncs want a descriptor that is not there.
    pub(super) short: AtomicUsize,
    /// Dropping segments does nothing, as if the machine died before it.
    pub(super) keep_segments: AtomicBool,
    /// The last entry that was forced to the disk.
    pub(super) safe: AtomicU64,
}

impl Staged {
    pub(super) fn new() -> Arc<Self> {
        Self::failing_after(usize::MAX, usize::MAX)
    }

    /// The append, or the sync, after so many fails, and so does all that comes after it.
    pub(super) fn failing_after(appends: usize, syncs: usize) -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryJournal::new(),
            door: Door::default(),
            disk: Door::default(),
            synced: Door::default(),
            appends_left: AtomicUsize::new(appends),
            syncs_left: AtomicUsize::new(syncs),
            heals: AtomicBool::new(false),
            prepared: Mutex::default(),
            short: AtomicUsize::new(0),
            keep_segments: AtomicBool::new(false),
            safe: AtomicU64::new(0),
        })
    }

    /// From now on every append fails, until it is opened anew.
    pub(super) fn fail_now(&self) {
        self.appends_left.store(0, Ordering::SeqCst);
    }

    fn spend(&self, left: &AtomicUsize, what: &'static str) -> Result<(), Error> {
        let spent = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        spent.map(drop).map_err(|_| {
            self.appends_left.store(0, Ordering::SeqCst);
            self.syncs_left.store(0, Ordering::SeqCst);
            Error::Store { what, path: "nowhere".into(), source: "the disk is full".into() }
        })
    }
}

impl Derived for Staged {
    fn write(&self, space: &'static str, puts: &[Put]) -> Result<(), Error> {
        self.inner.write(space, puts)
    }

    fn get(&self, space: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.inner.get(space, key)
    }

    fn scan(
        &self,
        space: &'static str,
        from: &[u8],
        to: &[u8],
        newest_first: bool,
        limit: usize,
    ) -> Result<Vec<Row>, Error> {
        self.inner.scan(space, from, to, newest_first, limit)
    }
}

impl Journal for Staged {
    fn append(&self, batch: Batch<'_>) -> Result<(), Error> {
        self.door.pass();
        self.spend(&self.appends_left, "append to")?;
        self.inner.append(batch)
    }

    fn adopt(&self, entries: &[Numbered], secrets: &[SecretChange]) -> Result<(), Error> {
        self.inner.adopt(entries, secrets)
    }

    fn sync(&self) -> Result<(), Error> {
        let last = self.last();
        self.disk.pass();
        let short = self.short.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |short| short.checked_sub(1));
        let result = match short {
            Ok(_) => {
                let source = std::io::Error::from_raw_os_error(libc::EMFILE).into();
                Err(Error::Store { what: "sync", path: "nowhere".into(), source })
            }
            Err(_) => self.spend(&self.syncs_left, "sync"),
        };
        if result.is_ok() {
            self.safe.store(last, Ordering::SeqCst);
        }
        self.synced.pass();
        result
    }

    fn prepare(&self, segment: Segment) -> Result<(), Error> {
        self.prepared.lock().unwrap().push(segment);
        Ok(())
    }

    fn reopen(&self) -> Result<(), Error> {
        if !self.heals.load(Ordering::SeqCst) {
            return Err(Error::Store {
                what: "open anew",
                path: "nowhere".into(),
                source: "the disk is full".into(),
            });
        }
        self.appends_left.store(usize::MAX, Ordering::SeqCst);
        self.syncs_left.store(usize::MAX, Ordering::SeqCst);
        Ok(())
    }

    fn last(&self) -> Seq {
        self.inner.last()
    }

    fn read(&self, after: Seq, limit: usize) -> Result<Vec<Entry>, Error> {
        self.inner.read(after, limit)
    }

    fn read_back(&self, before: Seq, limit: usize) -> Result<Vec<Entry>, Error> {
        self.inner.read_back(before, limit)
    }

    fn segments(&self) -> Vec<SegmentSpan> {
        self.inner.segments()
    }

    fn drop_segments(&self, through: Segment) -> Result<(), Error> {
        if self.keep_segments.load(Ordering::SeqCst) { Ok(()) } else { self.inner.drop_segments(through) }
    }

    fn cut(&self, after: Seq) -> Result<(), Error> {
        self.inner.cut(after)
    }

    fn secrets(&self) -> Result<Vec<(String, Vec<u8>)>, Error> {
        self.inner.secrets()
    }
}

/// Where to see what is published, and what is stored.
type Watched = (watch::Receiver<Seq>, Arc<dyn Journal>);

/// A view that writes down what it is shown, and what is wrong with it.
#[derive(Default)]
pub(super) struct Witness {
    pub(super) door: Door,
    pub(super) rebuilt: Mutex<Vec<State>>,
    pub(super) restored: Mutex<Vec<State>>,
    pub(super) shown: Mutex<Vec<Recorded>>,
    pub(super) wrong: Mutex<Vec<String>>,
    pub(super) watch: Mutex<Option<Watched>>,
}

impl View for Witness {
    fn rebuild(&self, state: &State) {
        self.rebuilt.lock().unwrap().push(state.clone());
    }

    fn restored(&self, state: &State) {
        self.restored.lock().unwrap().push(state.clone());
    }

    fn folded(&self, state: &State, events: &[Recorded]) {
        let mut wrong = Vec::new();
        if let (Some(last), Some((head, journal))) = (events.last(), self.watch.lock().unwrap().as_ref()) {
            if state.seq != last.seq {
                wrong.push(format!("the state is at {} when {} is shown", state.seq, last.seq));
            }
            if journal.last() < last.seq {
                wrong.push(format!("{} is shown before it is stored", last.seq));
            }
            if *head.borrow() >= events[0].seq {
                wrong.push(format!("{} is published before it is shown", events[0].seq));
            }
        }
        self.wrong.lock().unwrap().append(&mut wrong);
        self.shown.lock().unwrap().extend_from_slice(events);
        self.door.pass();
    }
}
