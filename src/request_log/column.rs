//! Columns: many values of one kind in few bytes.
//!
//! Owns three encodings: numbers packed into as many bits as their spread needs,
//! values coded by a dictionary, and lists of coded values. Each can be asked for
//! one row without reading the others. Refuses to know what the values mean. Its
//! invariant: what was encoded is decoded, and bytes that make no sense are
//! [`Damaged`], never a panic.

/// The bytes are not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a block of the request index is damaged")]
pub struct Damaged;

/// Bytes, or values with bytes of their own, at most; more can only be damage.
const MOST: usize = 1 << 24;
/// Packed numbers at most, which may take no bytes at all: a block has 4,096 rows, and each a dozen tries or so.
const MOST_PACKED: usize = 1 << 18;
/// Widest packed number that can be read with one load of eight bytes.
const WIDEST: u32 = 56;

/// Writes a number in as few bytes as it needs (LEB128).
pub(super) fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Writes bytes after their length.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Closes a row: its checksum.
pub(super) fn seal(mut row: Vec<u8>) -> Vec<u8> {
    let check = crc32fast::hash(&row);
    row.extend_from_slice(&check.to_be_bytes());
    row
}

/// Opens a row that was sealed.
pub(super) fn unseal(row: &[u8]) -> Result<Input<'_>, Damaged> {
    let (content, check) = row.split_last_chunk::<4>().ok_or(Damaged)?;
    if crc32fast::hash(content) == u32::from_be_bytes(*check) { Ok(Input(content)) } else { Err(Damaged) }
}

/// Bytes that are still to be read.
pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn number(&mut self) -> Result<u64, Damaged> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(Damaged)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Damaged)
    }

    /// A number of things that are in memory afterwards.
    pub(super) fn count(&mut self) -> Result<usize, Damaged> {
        let count = usize::try_from(self.number()?).map_err(|_| Damaged)?;
        if count <= MOST { Ok(count) } else { Err(Damaged) }
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Damaged> {
        let length = self.count()?;
        self.take(length)
    }
}

/// Numbers, as far above the least of them as they are.
#[derive(Debug)]
pub(super) struct Packed {
    count: usize,
    least: u64,
    width: u32,
    /// With eight bytes more than needed, so that each number is one load.
    bits: Vec<u8>,
}

impl Packed {
    pub(super) fn put(out: &mut Vec<u8>, values: &[u64]) {
        let least = values.iter().copied().min().unwrap_or_default();
        let most = values.iter().copied().max().unwrap_or_default();
        let width = match 64 - (most - least).leading_zeros() {
            wide if wide > WIDEST => 64,
            width => width,
        };
        put_number(out, values.len() as u64);
        put_number(out, least);
        put_number(out, u64::from(width));
        let (mut waiting, mut filled) = (0u128, 0);
        for value in values {
            waiting |= u128::from(value - least) << filled;
            filled += width;
            while filled >= 8 {
                out.push(waiting as u8);
                waiting >>= 8;
                filled -= 8;
            }
        }
        if filled > 0 {
            out.push(waiting as u8);
        }
    }

    pub(super) fn read(input: &mut Input<'_>) -> Result<Self, Damaged> {
        let count = input.count()?;
        if count > MOST_PACKED {
            return Err(Damaged);
        }
        let least = input.number()?;
        let width = u32::try_from(input.number()?).map_err(|_| Damaged)?;
        if width > WIDEST && width != 64 {
            return Err(Damaged);
        }
        let length = (count * width as usize).div_ceil(8);
        let taken = input.take(length)?;
        let mut bits = Vec::with_capacity(length + 8);
        bits.extend_from_slice(taken);
        bits.resize(length + 8, 0);
        Ok(Self { count, least, width, bits })
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The number of a row; 0 where there is no such row.
    pub(super) fn get(&self, row: usize) -> u64 {
        let bit = row * self.width as usize;
        let word = self.bits.get(bit / 8..).and_then(|bits| bits.first_chunk::<8>());
        let word = u64::from_le_bytes(word.copied().unwrap_or_default()) >> (bit % 8);
        let mask = if self.width == 64 { u64::MAX } else { (1 << self.width) - 1 };
        self.least.wrapping_add(word & mask)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        (0..self.count).map(|row| self.get(row))
    }
}

/// Values by their places in a dictionary.
#[derive(Debug)]
pub(super) struct Coded<T> {
    values: Vec<T>,
    codes: Packed,
}

impl<T> Coded<T> {
    /// The different values there are.
    pub(super) fn values(&self) -> &[T] {
        &self.values
    }

    /// Which values are wanted, by code; none, where no value is, and so no row.
    pub(super) fn wanted(&self, is: impl FnMut(&T) -> bool) -> Option<Vec<bool>> {
        let wanted: Vec<bool> = self.values.iter().map(is).collect();
        wanted.contains(&true).then_some(wanted)
    }

    /// The code of a row.
    pub(super) fn code(&self, row: usize) -> usize {
        usize::try_from(self.codes.get(row)).unwrap_or(usize::MAX)
    }

    /// The value of a row.
    #[cfg(test)]
    pub(super) fn get(&self, row: usize) -> Option<&T> {
        self.values.get(self.code(row))
    }

    pub(super) fn len(&self) -> usize {
        self.codes.len()
    }

    fn put_codes<V: Ord>(out: &mut Vec<u8>, values: &[V], known: &[&V]) {
        // Every value is known, because that is where the known ones come from.
        let code = |value: &V| known.binary_search(&value).unwrap_or_default() as u64;
        Packed::put(out, &values.iter().map(code).collect::<Vec<_>>());
    }

    fn with_codes(values: Vec<T>, input: &mut Input<'_>) -> Result<Self, Damaged> {
        let coded = Self { values, codes: Packed::read(input)? };
        let most = coded.codes.least.checked_add(if coded.codes.width == 0 {
            0
        } else {
            coded.codes.iter().max().unwrap_or_default() - coded.codes.least
        });
        let fits = most.is_some_and(|most| most < coded.values.len() as u64);
        if coded.codes.count == 0 || fits { Ok(coded) } else { Err(Damaged) }
    }
}

fn different<V: Ord>(values: &[V]) -> Vec<&V> {
    let mut known: Vec<&V> = values.iter().collect();
    known.sort_unstable();
    known.dedup();
    known
}

impl Coded<u64> {
    pub(super) fn put(out: &mut Vec<u8>, values: &[u64]) {
        let known = different(values);
        Packed::put(out, &known.iter().map(|value| **value).collect::<Vec<_>>());
        Self::put_codes(out, values, &known);
    }

    pub(super) fn read(input: &mut Input<'_>) -> Result<Self, Damaged> {
        let values = Packed::read(input)?.iter().collect();
        Self::with_codes(values, input)
    }
}

impl Coded<String> {
    pub(super) fn put(out: &mut Vec<u8>, values: &[&str]) {
        let known = different(values);
        put_number(out, known.len() as u64);
        known.iter().for_each(|value| put_bytes(out, value.as_bytes()));
        Self::put_codes(out, values, &known);
    }

    pub(super) fn read(input: &mut Input<'_>) -> Result<Self, Damaged> {
        let count = input.count()?;
        let mut values = Vec::with_capacity(count.min(4_096));
        for _ in 0..count {
            values.push(str::from_utf8(input.bytes()?).map_err(|_| Damaged)?.to_owned());
        }
        Self::with_codes(values, input)
    }
}

/// A list of coded values for each row.
#[derive(Debug)]
pub(super) struct Lists<T> {
    counts: Packed,
    flat: Coded<T>,
}

impl<T> Lists<T> {
    fn checked(counts: Packed, flat: Coded<T>) -> Result<Self, Damaged> {
        let told = counts.iter().try_fold(0usize, |sum, count| sum.checked_add(usize::try_from(count).ok()?));
        if told == Some(flat.len()) { Ok(Self { counts, flat }) } else { Err(Damaged) }
    }

    pub(super) fn flat(&self) -> &Coded<T> {
        &self.flat
    }

    /// Each row's places in [`Self::flat`], in order.
    pub(super) fn places(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        let mut end = 0;
        self.counts.iter().map(move |count| {
            let start = end;
            end += usize::try_from(count).unwrap_or_default();
            start..end
        })
    }
}

impl Lists<u64> {
    pub(super) fn put(out: &mut Vec<u8>, rows: &[Vec<u64>]) {
        Packed::put(out, &rows.iter().map(|row| row.len() as u64).collect::<Vec<_>>());
        Coded::<u64>::put(out, &rows.concat());
    }

    pub(super) fn read(input: &mut Input<'_>) -> Result<Self, Damaged> {
        let counts = Packed::read(input)?;
        Self::checked(counts, Coded::<u64>::read(input)?)
    }
}

impl Lists<String> {
    pub(super) fn put(out: &mut Vec<u8>, rows: &[Vec<&str>]) {
        Packed::put(out, &rows.iter().map(|row| row.len() as u64).collect::<Vec<_>>());
        Coded::<String>::put(out, &rows.concat());
    }

    pub(super) fn read(input: &mut Input<'_>) -> Result<Self, Damaged> {
        let counts = Packed::read(input)?;
        Self::checked(counts, Coded::<String>::read(input)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn wide() -> impl Strategy<Value = u64> {
        prop_oneof![0..10u64, 1_000_000..1_000_300u64, any::<u64>()]
    }

    proptest! {
        #[test]
        fn numbers_come_back(values in vec(wide(), 0..200)) {
            let mut out = Vec::new();
            Packed::put(&mut out, &values);
            Coded::<u64>::put(&mut out, &values);
            let row = seal(out);
            let mut input = unseal(&row).unwrap();
            let packed = Packed::read(&mut input).unwrap();
            prop_assert_eq!(packed.iter().collect::<Vec<_>>(), values.clone());
            let coded = Coded::<u64>::read(&mut input).unwrap();
            prop_assert_eq!((0..coded.len()).map(|row| *coded.get(row).unwrap()).collect::<Vec<_>>(), values);
            prop_assert!(input.0.is_empty());
        }

        #[test]
        fn lists_come_back(rows in vec(vec("[a-c]{0,3}", 0..4), 0..100)) {
            let mut out = Vec::new();
            let given: Vec<Vec<&str>> = rows.iter().map(|row| row.iter().map(String::as_str).collect()).collect();
            Lists::<String>::put(&mut out, &given);
            let row = seal(out);
            let lists = Lists::<String>::read(&mut unseal(&row).unwrap()).unwrap();
            let back: Vec<Vec<String>> =
                lists.places().map(|places| places.map(|at| lists.flat().get(at).unwrap().clone()).collect()).collect();
            prop_assert_eq!(back, rows);
        }

        /// A checksum is no proof against a bug: nonsense below it is an error too.
        #[test]
        fn nonsense_is_damage_and_no_panic(bytes in vec(any::<u8>(), 0..60)) {
            let row = seal(bytes);
            let _ = Packed::read(&mut unseal(&row).unwrap());
            let _ = Lists::<u64>::read(&mut unseal(&row).unwrap());
            let _ = Lists::<String>::read(&mut unseal(&row).unwrap());
        }

        #[test]
        fn a_changed_byte_is_found(values in vec(any::<u64>(), 1..20), at in any::<prop::sample::Index>()) {
            let mut out = Vec::new();
            Packed::put(&mut out, &values);
            let mut row = seal(out);
            let at = at.index(row.len());
            row[at] ^= 1;
            prop_assert!(unseal(&row).is_err());
        }
    }

    #[test]
    fn what_is_all_the_same_takes_no_room() {
        let mut out = Vec::new();
        Packed::put(&mut out, &[200; 4_096]);
        assert!(out.len() < 8, "{}", out.len());
    }
}
