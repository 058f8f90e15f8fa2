//! Derived rows: what is worked out of the log and kept beside it, to be found faster.
//!
//! Owns named spaces of ordered rows in the journal's own store. It refuses to be
//! needed for truth: rows are never synced by themselves and may be lost, all or
//! some of the latest, without harm; whoever writes them can make them anew from
//! the log. Its invariant: **what one [`Derived::write`] says is seen together or
//! not at all**, and the latest writes are the first that a crash may take away,
//! in order.
//!
//! They share the write-ahead log with the record. So a failed write here poisons
//! the journal as a failed append does.

use super::Error;

/// A row: its key, its bytes.
pub type Row = (Vec<u8>, Vec<u8>);

/// A change to a row: its key, and its bytes; none removes it.
pub type Put = (Vec<u8>, Option<Vec<u8>>);

/// Named spaces of ordered rows; see the module.
pub trait Derived {
    /// Changes rows of a space, atomically. A space begins with its first row.
    ///
    /// # Errors
    /// [`Error::Poisoned`], [`Error::Store`].
    fn write(&self, space: &'static str, puts: &[Put]) -> Result<(), Error>;

    /// A row's bytes.
    ///
    /// # Errors
    /// [`Error::Store`].
    fn get(&self, space: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;

    /// Up to `limit` rows from `from` on and before `to`, in the order of their keys' bytes, or the
    /// last ones first. Nothing, where `to` does not come after `from`.
    ///
    /// # Errors
    /// [`Error::Store`].
    fn scan(
        &self,
        space: &'static str,
        from: &[u8],
        to: &[u8],
        newest_first: bool,
        limit: usize,
    ) -> Result<Vec<Row>, Error>;
}

/// The end of a scan over every key that begins with `prefix`. None for one that no key comes after.
#[must_use]
pub fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return Some(end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::end_of;

    #[test]
    fn a_prefix_ends_before_the_first_key_that_does_not_have_it() {
        assert_eq!(end_of(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(end_of(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!((end_of(b"\xff"), end_of(b"")), (None, None));
    }
}
