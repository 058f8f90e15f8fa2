//! The index on disk: derived rows beside the log, in the space `requests`.
//!
//! | key | row |
//! |---|---|
//! | `v` | the format's number, and the last event that was trimmed away |
//! | `h`, block number (4 bytes, big-endian) | the block's header |
//! | `c`, block number, column (1 byte) | one column of the block |
//!
//! Owns these rows. Its invariant: a block is written with its header and all of
//! its columns at once, so there is none without one of them; what is there and
//! cannot be read is [`Damaged`], and then the index is made anew from the log.

use projections::Seq;

use super::{
    Error,
    block::{Column, encode},
    column::{Damaged, put_number, seal, unseal},
    header::Header,
    index::{Index, Sealed, Stored},
};
use crate::ledger::{Derived, OpenError};

pub(super) const SPACE: &str = "requests";
/// The format of these rows; another one is made anew.
const FORMAT: u64 = 1;
/// Rows read at once: those of columns are large.
const PAGE: usize = 256;

const META: &[u8] = b"v";
const HEADER: u8 = b'h';
const COLUMN: u8 = b'c';

fn header_key(number: u32) -> Vec<u8> {
    [&[HEADER], number.to_be_bytes().as_slice()].concat()
}

fn column_key(number: u32, column: Column) -> Vec<u8> {
    [&[COLUMN], number.to_be_bytes().as_slice(), &[column as u8]].concat()
}

fn meta(floor: Seq) -> Vec<u8> {
    let mut out = Vec::new();
    put_number(&mut out, FORMAT);
    put_number(&mut out, floor);
    seal(out)
}

/// The index as it is on disk.
///
/// # Errors
/// [`Error::Damaged`]: it must be made anew, as where it is of another version; [`Error::Log`].
pub(super) fn load(store: &dyn Derived) -> Result<Index, Error> {
    let Some(row) = store.get(SPACE, META).map_err(OpenError::from)? else {
        return if is_empty(store)? { Ok(Index::default()) } else { Err(Damaged.into()) };
    };
    let mut input = unseal(&row)?;
    if input.number()? != FORMAT {
        return Err(Damaged.into());
    }
    let floor = input.number()?;
    let mut blocks: Vec<Stored> = Vec::new();
    let (mut from, end) = (vec![HEADER], vec![HEADER + 1]);
    loop {
        let rows = store.scan(SPACE, &from, &end, false, PAGE).map_err(OpenError::from)?;
        let Some((last, _)) = rows.last() else { return Ok(Index::of(blocks, floor)) };
        from = [last.as_slice(), &[0]].concat();
        for (key, row) in rows {
            let number = key.get(1..).and_then(|number| number.try_into().ok()).ok_or(Damaged)?;
            let number = u32::from_be_bytes(number);
            let header = Header::decode(&row)?;
            let follows = blocks.last().is_none_or(|before| {
                before.number.wrapping_add(1) == number && before.header.last < header.first
            });
            if !follows {
                return Err(Damaged.into());
            }
            blocks.push(Stored { number, header });
        }
    }
}

fn is_empty(store: &dyn Derived) -> Result<bool, Error> {
    Ok(store.scan(SPACE, &[], &[u8::MAX], false, 1).map_err(OpenError::from)?.is_empty())
}

/// Removes every row.
///
/// # Errors
/// [`Error::Log`].
pub(super) fn wipe(store: &dyn Derived) -> Result<(), Error> {
    loop {
        let rows = store.scan(SPACE, &[], &[u8::MAX], false, PAGE).map_err(OpenError::from)?;
        if rows.is_empty() {
            return Ok(());
        }
        let gone: Vec<_> = rows.into_iter().map(|(key, _)| (key, None)).collect();
        store.write(SPACE, &gone).map_err(OpenError::from)?;
    }
}

/// Writes a block.
///
/// # Errors
/// [`Error::Log`].
pub(super) fn write(store: &dyn Derived, block: &Sealed, floor: Seq) -> Result<(), Error> {
    let columns = encode(&block.rows).into_iter();
    let mut puts: Vec<_> =
        columns.map(|(column, row)| (column_key(block.number, column), Some(row))).collect();
    puts.push((header_key(block.number), Some(block.header.encode())));
    puts.push((META.to_vec(), Some(meta(floor))));
    Ok(store.write(SPACE, &puts).map_err(OpenError::from)?)
}

/// Removes blocks of which the log has nothing any more.
///
/// # Errors
/// [`Error::Log`].
pub(super) fn remove(store: &dyn Derived, numbers: &[u32], floor: Seq) -> Result<(), Error> {
    // The note of the trim first: a block without rows is told apart from one that is missing.
    let mut puts = vec![(META.to_vec(), Some(meta(floor)))];
    for number in numbers {
        puts.push((header_key(*number), None));
        puts.extend(Column::ALL.map(|column| (column_key(*number, column), None)));
    }
    Ok(store.write(SPACE, &puts).map_err(OpenError::from)?)
}

/// One column of a block.
///
/// # Errors
/// [`Error::Damaged`]: it is not there; [`Error::Log`].
pub(super) fn column(store: &dyn Derived, number: u32, column: Column) -> Result<Vec<u8>, Error> {
    let row = store.get(SPACE, &column_key(number, column)).map_err(OpenError::from)?;
    Ok(row.ok_or(Damaged)?)
}
