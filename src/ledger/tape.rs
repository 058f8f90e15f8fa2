//! A log without a thread or a disk, for simulations in which time is a number.
//!
//! Owns the same two steps as the ledger's writer (into a frame, then into the
//! state) and the same way back. Refuses to wait. Its invariant: the state is
//! what the frames say, which [`Tape::replay`] lets anybody check.

use projections::{Event, Millis, Recorded, Seq, State};

use crate::journal::codec::{self, ChainHash};

/// A log in memory, and the state folded from it.
#[derive(Debug)]
pub struct Tape {
    state: State,
    frames: Vec<Vec<u8>>,
    hash: ChainHash,
}

/// An event that cannot be written, or a frame that cannot be read: a bug of this program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {seq} of the tape: {why}")]
pub struct Unreadable {
    seq: Seq,
    why: String,
}

impl Default for Tape {
    fn default() -> Self {
        Self { state: State::default(), frames: Vec::new(), hash: ChainHash::START }
    }
}

impl Tape {
    /// What the log says so far.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Bytes of log.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.frames.iter().map(Vec::len).sum()
    }

    /// Appends and folds events, at `now` or, where the log is ahead of it, at the log's time.
    ///
    /// # Errors
    /// [`Unreadable`]; the events before it are appended.
    pub fn append(&mut self, now: Millis, events: Vec<Event>) -> Result<Vec<Recorded>, Unreadable> {
        let at = now.max(self.state.at);
        let mut appended = Vec::with_capacity(events.len());
        for event in events {
            let seq = self.state.seq + 1;
            let (frame, hash) = codec::encode(seq, at, &event, &self.hash)
                .map_err(|error| Unreadable { seq, why: error.to_string() })?;
            self.frames.push(frame);
            self.hash = hash;
            let recorded = Recorded { seq, at, event };
            self.state.apply(&recorded);
            appended.push(recorded);
        }
        Ok(appended)
    }

    /// Reads every event back from its bytes.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn replay(&self) -> Result<Vec<Recorded>, Unreadable> {
        let mut hash = ChainHash::START;
        let mut read = Vec::with_capacity(self.frames.len());
        for (seq, frame) in (1..).zip(&self.frames) {
            let (recorded, next) = codec::decode(seq, frame, Some(&hash))
                .map_err(|damage| Unreadable { seq, why: damage.to_string() })?;
            hash = next;
            read.push(recorded);
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use projections::event::{ServerStarted, ServerStopped};

    use super::*;

    fn events() -> Vec<Event> {
        let started = ServerStarted { version: "1".to_owned(), address: "here".to_owned() };
        vec![started.into(), ServerStopped { abandoned: 1 }.into()]
    }

    #[test]
    fn what_was_appended_is_read_back_and_time_never_goes_back() {
        let mut tape = Tape::default();
        let mut appended = tape.append(5, events()).unwrap();
        appended.extend(tape.append(3, events()).unwrap());
        assert_eq!(appended.iter().map(|recorded| recorded.at).collect::<Vec<_>>(), [5, 5, 5, 5]);
        assert_eq!(tape.replay().unwrap(), appended);
        assert_eq!(&State::replay(&appended), tape.state());
    }

    #[test]
    fn a_changed_byte_is_found() {
        let mut tape = Tape::default();
        tape.append(5, events()).unwrap();
        tape.frames[1][30] ^= 1;
        assert_eq!(tape.replay().unwrap_err().seq, 2);
    }
}
