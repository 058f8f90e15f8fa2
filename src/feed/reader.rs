//! One reader of the feed: a position, and what it wants.
//!
//! Owns the way from the position to the next bytes. Holds no event between two calls, so that one whose
//! socket takes nothing costs nothing. Its invariant: the position passes an event only with
//! the bytes that show it, or because it is not wanted.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use projections::{Seq, filter::Filter};
use tokio::{sync::watch, time::Instant};

use super::{
    Feed, Found, PAGE_BEHIND,
    line::{self, Chunk},
};
use crate::shares::Share;

/// After so long without a word the reader hears that the feed is still there.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Whether it may still listen is asked this often.
const RECHECK: Duration = Duration::from_secs(3);
/// Events passed over, after which the reader hears where it is.
const UNHEARD: Seq = 4_096;

/// Whether somebody may still listen: a token ends, or is ended.
pub type Allowed = Box<dyn Fn() -> bool + Send + Sync>;

/// See the module.
pub struct Reader {
    feed: Arc<Feed>,
    news: watch::Receiver<bool>,
    after: Seq,
    /// The last position that it heard of.
    told: Seq,
    filter: Filter,
    allowed: Allowed,
    checked: Option<Instant>,
    spoke: Instant,
    greeted: bool,
    _place: Share,
}

impl Reader {
    pub(super) fn new(
        feed: Arc<Feed>,
        news: watch::Receiver<bool>,
        place: Share,
        after: Seq,
        filter: Filter,
        allowed: Allowed,
    ) -> Self {
        Self {
            feed,
            news,
            after,
            told: after,
            filter,
            allowed,
            checked: None,
            spoke: Instant::now(),
            greeted: false,
            _place: place,
        }
    }

    /// The next bytes, when there are some; none: it is over.
    pub async fn next(&mut self) -> Option<Bytes> {
        let bytes = self.find().await?;
        self.spoke = Instant::now();
        self.told = self.after;
        Some(bytes)
    }

    async fn find(&mut self) -> Option<Bytes> {
        loop {
            if !self.may_go_on() {
                return None;
            }
            if !std::mem::replace(&mut self.greeted, true) {
                return Some(line::hello(self.after));
            }
            // Marked as seen before it is looked at, so that nothing falls between.
            if *self.news.borrow_and_update() {
                return None;
            }
            let found = self.feed.ring.lock().find(self.after);
            let bytes = match found {
                Found::Chunk(chunk) => {
                    let bytes = chunk.read(self.after, &self.filter);
                    self.after = chunk.last();
                    bytes
                }
                Found::Behind => self.look_up().await?,
                Found::Nothing => match self.wait().await {
                    Some(bytes) => bytes,
                    None => continue,
                },
            };
            if !bytes.is_empty() {
                return Some(bytes);
            }
            if self.after - self.told >= UNHEARD {
                return Some(line::place(self.after));
            }
        }
    }

    fn may_go_on(&mut self) -> bool {
        if self.feed.stop.is_cancelled() {
            return false;
        }
        if self.checked.is_none_or(|checked| checked.elapsed() >= RECHECK) {
            self.checked = Some(Instant::now());
            return (self.allowed)();
        }
        true
    }

    /// Waits for news; says now and then that it does.
    async fn wait(&mut self) -> Option<Bytes> {
        let speak = self.spoke + HEARTBEAT;
        let check = Instant::now() + RECHECK;
        tokio::select! {
            () = self.feed.stop.cancelled() => None,
            // An error cannot be: the feed holds the other end.
            _ = self.news.changed() => None,
            () = tokio::time::sleep_until(speak.min(check)) => {
                (Instant::now() >= speak).then(|| line::heartbeat(self.after))
            }
        }
    }

    /// Reads a page of the journal, in its turn.
    async fn look_up(&mut self) -> Option<Bytes> {
        let turn = tokio::select! {
            () = self.feed.stop.cancelled() => return None,
            turn = self.feed.looking.acquire() => turn,
        };
        let (feed, after, filter) = (Arc::clone(&self.feed), self.after, self.filter.clone());
        let read = tokio::task::spawn_blocking(move || {
            let mut events = feed.ledger.events(after, PAGE_BEHIND)?;
            let last = events.last().map_or(after, |recorded| recorded.seq);
            events.retain(|recorded| filter.wants(&recorded.event));
            Ok::<_, super::OpenError>((Chunk::new(after, events).read(after, &Filter::default()), last))
        });
        let read = read.await;
        drop(turn);
        self.feed.looked_up.fetch_add(1, Ordering::Relaxed);
        match read {
            // Nothing where something was: the log was cut, and the reader is to come back.
            Ok(Ok((_, last))) if last == after => None,
            Ok(Ok((bytes, last))) => {
                self.after = last;
                Some(bytes)
            }
            Ok(Err(error)) => {
                tracing::error!(%error, after, "a reader of the feed was sent away: the log cannot be read");
                None
            }
            Err(_) => None,
        }
    }
}
