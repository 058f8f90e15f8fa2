//! Reading the log, and keeping rows beside it, without being able to write it.
//!
//! For those who follow the log on threads of their own. Its invariant: it holds
//! up nobody, so a ledger that is closed does not wait for it.

use std::sync::Arc;

use projections::{Recorded, Seq, State};

use super::{OpenError, Shared};
use crate::journal::{
    Error,
    derived::{Derived, Put, Row},
};

/// See the module; cheap to clone.
#[derive(Clone)]
pub struct Reader {
    pub(super) shared: Arc<Shared>,
}

impl Reader {
    /// The events after a position, decoded.
    ///
    /// # Errors
    /// [`OpenError`]: the journal does not answer, or a record is bad.
    pub fn events(&self, after: Seq, limit: usize) -> Result<Vec<Recorded>, OpenError> {
        self.shared.events(after, limit)
    }

    /// The last event folded in.
    #[must_use]
    pub fn head(&self) -> Seq {
        *self.shared.head.borrow()
    }

    /// Looks at the state; not for long.
    pub fn with_state<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.shared.state.read())
    }
}

impl Derived for Reader {
    fn write(&self, space: &'static str, puts: &[Put]) -> Result<(), Error> {
        self.shared.journal.write(space, puts)
    }

    fn get(&self, space: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.shared.journal.get(space, key)
    }

    fn scan(
        &self,
        space: &'static str,
        from: &[u8],
        to: &[u8],
        newest_first: bool,
        limit: usize,
    ) -> Result<Vec<Row>, Error> {
        self.shared.journal.scan(space, from, to, newest_first, limit)
    }
}
