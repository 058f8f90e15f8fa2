//! From places in the log to requests as people see them.

use std::collections::HashMap;

use projections::{
    Event, Millis, Recorded, Seq,
    event::{Answered, Attempted, Tokens},
};

use super::{Error, RequestLog, block::Hit};
use crate::ledger::OpenError;

/// Events between two wanted ones that are read along rather than jumped over.
const NEAR: u64 = 16;

/// One upstream try, and where its event is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The event.
    pub seq: Seq,
    /// What it says.
    pub attempted: Attempted,
}

/// One client request, as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The event of its end.
    pub seq: Seq,
    /// When that was recorded.
    pub at: Millis,
    /// How it ended.
    pub answered: Answered,
    /// The tries that the log has, in order.
    pub attempts: Vec<Attempt>,
}

impl Entry {
    /// The tokens of all tries together.
    #[must_use]
    pub fn tokens(&self) -> Tokens {
        self.attempts.iter().map(|attempt| attempt.attempted.tokens).fold(Tokens::default(), |sum, more| {
            Tokens {
                prompt: sum.prompt.saturating_add(more.prompt),
                output: sum.output.saturating_add(more.output),
                thoughts: sum.thoughts.saturating_add(more.thoughts),
                cached: sum.cached.saturating_add(more.cached),
                tool_use: sum.tool_use.saturating_add(more.tool_use),
                total: sum.total.saturating_add(more.total),
            }
        })
    }
}

/// Puts a request together from its events.
fn entry(hit: &Hit, events: &mut HashMap<Seq, Recorded>) -> Option<Entry> {
    let Recorded { seq, at, event: Event::Answered(answered) } = events.remove(&hit.seq)? else {
        return None;
    };
    let attempt = |seq: &Seq| match events.remove(seq)? {
        Recorded { seq, event: Event::Attempted(attempted), .. } => {
            (attempted.request == answered.request).then_some(Attempt { seq, attempted })
        }
        _ => None,
    };
    let attempts = hit.attempts.iter().filter_map(attempt).collect();
    Some(Entry { seq, at, answered, attempts })
}

impl RequestLog {
    /// The requests behind these hits; without those of which the log has nothing any more.
    pub(super) fn entries(&self, hits: &[Hit]) -> Result<Vec<Entry>, Error> {
        let mut wanted: Vec<Seq> = hits.iter().flat_map(Hit::seqs).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut events = HashMap::with_capacity(wanted.len());
        for run in wanted.chunk_by(|one, next| next - one <= NEAR) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            let read = self.read(*first, *last)?.into_iter();
            let wanted = read.filter(|recorded| run.binary_search(&recorded.seq).is_ok());
            events.extend(wanted.map(|recorded| (recorded.seq, recorded)));
        }
        Ok(hits.iter().filter_map(|hit| entry(hit, &mut events)).collect())
    }

    /// The events from one to another, as far as the log has them.
    fn read(&self, first: Seq, last: Seq) -> Result<Vec<Recorded>, Error> {
        let limit = usize::try_from(last - first + 1).unwrap_or(usize::MAX);
        match self.reader()?.events(first.saturating_sub(1), limit) {
            Ok(events) => Ok(events),
            // One bad record hides itself, not the rest of the list.
            Err(error @ OpenError::Damaged { .. }) => {
                tracing::error!(%error, "a request is left out of the list");
                Ok(Vec::new())
            }
            Err(error) => Err(error.into()),
        }
    }
}
