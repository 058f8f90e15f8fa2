//! The write-ahead files as they lie on the disk, read without the store.
//!
//! Owns the store's format of them (fjall 3), so that a torn end is found before the store sees it: the store cuts a
//! file at the first byte that it does not understand, and refuses one whose checksum is wrong, wherever either is. It
//! refuses to write. Its invariant: **what it calls whole the store reads, and every length is held against the bytes
//! that are there before anything is allocated.**
//!
//! A file is a run of batches; zeros follow the last one, because the files are made long beforehand. All numbers are
//! little-endian. A batch is
//!
//! | bytes | what |
//! |---|---|
//! | 1 | 1: a batch begins |
//! | 4 | how many items it has |
//! | 8 | the store's own number of the batch |
//! | … | the items |
//! | 1 | 3: the batch ends |
//! | 8 | XXH3 of the items' bytes |
//! | 4 | `FJL`, 3 |
//!
//! and an item is either 4 and the 8 bytes of a space that was emptied, or 2, one byte with what it does (0 writes, 1
//! and 2 remove), one with how its value is packed (0 not, 1 by LZ4), 8 with its space, 2 with the length of its key, 4
//! with that of its value, 4 with that of its packed value, the key, and the packed value.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use projections::Seq;

use super::segments::seq_of_key;
use crate::journal;

/// What is read at once; a batch that is longer makes it grow.
const WINDOW: u64 = 1 << 20;
/// No value is longer when it is unpacked.
const LONGEST: usize = 64 << 20;
/// The bytes behind a bad place that are looked through for what they hold.
const LOOKED_THROUGH: u64 = 16 << 20;
/// The shortest a batch can be.
const SHORTEST: usize = 13 + 9 + 13;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
pub(super) const TRAILER: [u8; 4] = [b'F', b'J', b'L', 3];

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item<'a> {
    /// The number of its space.
    pub(super) space: u64,
    pub(super) key: &'a [u8],
    /// Packed, and how; none: the key is removed.
    value: Option<(&'a [u8], bool, usize)>,
}

impl Item<'_> {
    /// Its value, unpacked. `Ok(None)`: the key is removed. An error: it does not unpack.
    pub(super) fn value(&self) -> Result<Option<Vec<u8>>, lz4_flex::block::DecompressError> {
        match self.value {
            None => Ok(None),
            Some((bytes, false, _)) => Ok(Some(bytes.to_vec())),
            Some((bytes, true, length)) => lz4_flex::block::decompress(bytes, length).map(Some),
        }
    }

    /// The record that it writes, where it writes one: its key says the same place as its frame.
    fn record(&self) -> Option<Seq> {
        let seq = seq_of_key(self.key)?;
        let frame = self.value().ok().flatten()?;
        (journal::position(&frame) == Some(seq)).then_some(seq)
    }
}

/// What a run of bytes begins with.
#[derive(Debug, PartialEq, Eq)]
enum Parsed<'a> {
    /// A whole batch of so many bytes.
    Batch(usize, Vec<Item<'a>>),
    /// The beginning of what may be one.
    More,
    /// No batch. What of its items could be read before that shows.
    Bad(Vec<Item<'a>>),
}

/// Takes bytes off the front.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }
}

/// Looks at what `bytes` begin with, of which `left` are in the file.
fn parse(bytes: &[u8], left: u64) -> Parsed<'_> {
    let mut cursor = Cursor(bytes);
    let mut items = Vec::new();
    let batch = batch(&mut cursor, &mut items, left);
    match batch {
        Some(true) => Parsed::Batch(bytes.len() - cursor.0.len(), items),
        Some(false) => Parsed::Bad(items),
        None if bytes.len() as u64 >= left => Parsed::Bad(items),
        None => Parsed::More,
    }
}

/// Whether it is a whole batch; none: the bytes end before that is known.
fn batch<'a>(cursor: &mut Cursor<'a>, items: &mut Vec<Item<'a>>, left: u64) -> Option<bool> {
    let [tag] = cursor.array()?;
    if tag != START {
        return Some(false);
    }
    let (count, number) = (u32::from_le_bytes(cursor.array()?), u64::from_le_bytes(cursor.array()?));
    // The highest bit is the store's own.
    if count == 0 || number >> 63 != 0 {
        return Some(false);
    }
    let content = cursor.0;
    for _ in 0..count {
        match item(cursor, left)? {
            Some(read) => items.extend(read),
            None => return Some(false),
        }
    }
    let content = content.get(..content.len() - cursor.0.len()).unwrap_or_default();
    let ([tag], sum, trailer) = (cursor.array()?, u64::from_le_bytes(cursor.array()?), cursor.array()?);
    Some(tag == END && trailer == TRAILER && sum == xxhash_rust::xxh3::xxh3_64(content))
}

/// An item: `Some(Some(None))` where a space was emptied; `Some(None)`: it is none.
#[expect(clippy::option_option, reason = "the outer one is whether the bytes suffice to tell")]
fn item<'a>(cursor: &mut Cursor<'a>, left: u64) -> Option<Option<Option<Item<'a>>>> {
    let [tag] = cursor.array()?;
    match tag {
        CLEAR => {
            cursor.array::<8>()?;
            Some(Some(None))
        }
        ITEM => {
            let [does, packed] = cursor.array()?;
            let space = u64::from_le_bytes(cursor.array()?);
            let key = usize::from(u16::from_le_bytes(cursor.array()?));
            let (value, length) = (u32::from_le_bytes(cursor.array()?), u32::from_le_bytes(cursor.array()?));
            let possible = does <= 2
                && packed <= 1
                && u64::from(length) <= left
                && value as usize <= LONGEST
                && (packed == 1 || value == length);
            if !possible {
                return Some(None);
            }
            let (key, bytes) = (cursor.bytes(key)?, cursor.bytes(length as usize)?);
            let value = (does == 0).then_some((bytes, packed == 1, value as usize));
            Some(Some(Some(Item { space, key, value })))
        }
        _ => Some(None),
    }
}

/// A write-ahead file, as far as it is whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// Where its last whole batch ends, of those that follow each other from its beginning.
    pub(super) whole: u64,
    /// Where its last byte that is not zero ends.
    pub(super) used: u64,
    /// The last record in those batches; 0: there is none.
    pub(super) last: Seq,
}

impl Scan {
    /// Whether something follows that is no batch.
    pub(super) fn is_torn(&self) -> bool {
        self.used > self.whole
    }
}

/// Reads a file up to the first place where no batch is.
pub(super) fn scan(path: &Path) -> io::Result<Scan> {
    let used = used(path)?;
    let mut scan = Scan { used, ..Scan::default() };
    scan.whole = each_batch(path, used, &mut |items| {
        let last = items.iter().filter_map(Item::record).max();
        scan.last = scan.last.max(last.unwrap_or(0));
    })?;
    Ok(scan)
}

/// Shows every batch up to the first place where none is; gives that place.
fn each_batch(path: &Path, used: u64, show: &mut dyn FnMut(&[Item<'_>])) -> io::Result<u64> {
    let mut file = File::open(path)?.take(used);
    let (mut window, mut begin, mut at) = (Vec::new(), 0, 0);
    let mut wanted = WINDOW;
    loop {
        let bytes = window.get(begin..).unwrap_or_default();
        match parse(bytes, used - at) {
            Parsed::Batch(length, items) => {
                show(&items);
                begin += length;
                at += length as u64;
                wanted = WINDOW;
            }
            Parsed::Bad(_) => return Ok(at),
            Parsed::More => {
                window.drain(..begin);
                begin = 0;
                if (&mut file).take(wanted).read_to_end(&mut window)? == 0 {
                    return Ok(at);
                }
                wanted = wanted.saturating_mul(2);
            }
        }
        if at == used {
            return Ok(at);
        }
    }
}

/// The records that can be made out behind a place, the first and the last of them and how many: in batches that are
/// broken, and in whole ones beyond. Only the first of a long stretch is looked through.
pub(super) fn records_after(path: &Path, place: u64, used: u64) -> io::Result<Option<(Seq, Seq, u64)>> {
    let mut found = std::collections::BTreeSet::new();
    let length = used.saturating_sub(place).min(LOOKED_THROUGH);
    let bytes = read_at(path, place, length)?;
    each_piece(&bytes, &mut |items| found.extend(items.iter().filter_map(Item::record)));
    Ok(found.first().zip(found.last()).map(|(first, last)| (*first, *last, found.len() as u64)))
}

/// Shows every batch of a file that is whole from its beginning on.
pub(super) fn each_whole_batch(path: &Path, show: &mut dyn FnMut(&[Item<'_>])) -> io::Result<()> {
    each_batch(path, used(path)?, show).map(|_| ())
}

/// Writes a file anew with its whole batches alone, also those behind places where none is; gives how many bytes were in
/// none.
pub(super) fn keep_whole_batches(path: &Path) -> io::Result<u64> {
    let used = used(path)?;
    let whole = each_batch(path, used, &mut |_| {})?;
    let rest = read_at(path, whole, used - whole)?;
    let (mut at, mut lost, mut kept) = (0, 0, Vec::new());
    while at < rest.len() {
        let bytes = rest.get(at..).unwrap_or_default();
        match parse(bytes, bytes.len() as u64) {
            Parsed::Batch(length, _) => {
                kept.extend_from_slice(bytes.get(..length).unwrap_or_default());
                at += length;
            }
            Parsed::Bad(_) | Parsed::More => {
                let next = next_start(bytes);
                lost += next as u64;
                at += next;
            }
        }
    }
    let file = File::options().write(true).open(path)?;
    file.set_len(whole)?;
    std::os::unix::fs::FileExt::write_all_at(&file, &kept, whole)?;
    Ok(lost)
}

/// What can be made out of bytes that are not whole.
fn each_piece(mut bytes: &[u8], show: &mut dyn FnMut(&[Item<'_>])) {
    while bytes.len() >= SHORTEST {
        let length = match parse(bytes, bytes.len() as u64) {
            Parsed::Batch(length, items) => {
                show(&items);
                length
            }
            Parsed::Bad(items) => {
                show(&items);
                next_start(bytes)
            }
            Parsed::More => next_start(bytes),
        };
        bytes = bytes.get(length..).unwrap_or_default();
    }
}

/// How far it is to the next byte that may begin a batch.
fn next_start(bytes: &[u8]) -> usize {
    let rest = bytes.get(1..).unwrap_or_default();
    memchr::memchr(START, rest).map_or(bytes.len(), |found| found + 1)
}

fn read_at(path: &Path, place: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    io::Seek::seek(&mut file, io::SeekFrom::Start(place))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The position behind the last byte that is not zero: the files are made long beforehand, and what was never written is
/// zeros.
pub(super) fn used(path: &Path) -> io::Result<u64> {
    use std::os::unix::fs::FileExt as _;
    let file = File::open(path)?;
    let mut end = file.metadata()?.len();
    let mut block = vec![0; 1 << 16];
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let part = block.get_mut(..usize::try_from(end - start).unwrap_or(0)).unwrap_or_default();
        file.read_exact_at(part, start)?;
        if let Some(last) = part.iter().rposition(|byte| *byte != 0) {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// The write-ahead files of a folder, the oldest first.
pub(super) fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let Some(number) = number.filter(|_| path.extension().is_some_and(|end| end == "jnl")) {
            files.push((number, path));
        }
    }
    files.sort_unstable();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

#[cfg(test)]
pub(super) mod tests;
