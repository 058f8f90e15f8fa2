//! Derived rows in the database: a keyspace for each space, made when its first row is written.

use fjall::{Keyspace, PersistMode, Slice};

use super::{FjallJournal, options, store::Store};
use crate::journal::{
    Derived, Error,
    derived::{Put, Row},
    transient::patiently,
};

/// So that no space takes the name of the record's own keyspaces.
pub(super) const PREFIX: &str = "derived-";

impl Store {
    fn space(&self, space: &'static str) -> Result<Option<Keyspace>, Error> {
        if let Some(known) = self.spaces.lock().get(space) {
            return Ok(Some(known.clone()));
        }
        if self.db.keyspace_exists(&format!("{PREFIX}{space}")) {
            self.make_space(space).map(Some)
        } else {
            Ok(None)
        }
    }

    fn make_space(&self, space: &'static str) -> Result<Keyspace, Error> {
        let mut spaces = self.spaces.lock();
        if let Some(known) = spaces.get(space) {
            return Ok(known.clone());
        }
        let made = patiently(|| self.db.keyspace(&format!("{PREFIX}{space}"), options::derived));
        let made = made.map_err(|error| self.fault("add derived rows to", error))?;
        spaces.insert(space, made.clone());
        Ok(made)
    }
}

impl Derived for FjallJournal {
    fn write(&self, space: &'static str, puts: &[Put]) -> Result<(), Error> {
        self.with(|store| {
            store.refuse_if_poisoned()?;
            let keyspace = store.make_space(space)?;
            let mut writes = store.db.batch().durability(Some(PersistMode::Buffer));
            for (key, value) in puts {
                match value {
                    Some(value) => {
                        writes.insert(&keyspace, Slice::from(key.as_slice()), Slice::from(value.as_slice()));
                    }
                    None => writes.remove(&keyspace, Slice::from(key.as_slice())),
                }
            }
            // The write-ahead log is the record's too: what a failed write left there, nobody knows.
            writes.commit().map_err(|error| store.poison("add derived rows to", error))
        })
    }

    fn get(&self, space: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.with(|store| {
            let Some(keyspace) = store.space(space)? else { return Ok(None) };
            let found = patiently(|| keyspace.get(key));
            let found = found.map_err(|error| store.failed("read derived rows of", error))?;
            Ok(found.map(|value| value.to_vec()))
        })
    }

    fn scan(
        &self,
        space: &'static str,
        from: &[u8],
        to: &[u8],
        newest_first: bool,
        limit: usize,
    ) -> Result<Vec<Row>, Error> {
        self.with(|store| {
            let Some(keyspace) = store.space(space)?.filter(|_| from < to) else { return Ok(Vec::new()) };
            let row = |guard: fjall::Guard| {
                let (key, value) = guard.into_inner()?;
                Ok((key.to_vec(), value.to_vec()))
            };
            let read = || {
                let found = keyspace.range::<&[u8], _>(from..to);
                if newest_first {
                    found.rev().take(limit).map(row).collect()
                } else {
                    found.take(limit).map(row).collect::<Result<_, _>>()
                }
            };
            patiently(read).map_err(|error: fjall::Error| store.failed("read derived rows of", error))
        })
    }
}
