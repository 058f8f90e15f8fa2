//! Numbers in as few bytes as they need: seven bits in each, the low ones first.

/// Appends a number.
pub(super) fn put(bytes: &mut Vec<u8>, mut number: u128) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Reads them back, and tells bytes that are none.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn number(&mut self) -> Option<u128> {
        let mut number = 0u128;
        // Nobody packs more than 65 bits.
        for shift in (0..70).step_by(7) {
            let [byte] = self.bytes()?;
            number |= u128::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        u64::try_from(self.number()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_rubbish_is_told() {
        let numbers = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX];
        let mut bytes = Vec::new();
        numbers.iter().for_each(|number| put(&mut bytes, (*number).into()));
        put(&mut bytes, u128::from(u64::MAX) << 1 | 1);
        let mut reader = Reader::new(&bytes);
        assert_eq!(numbers.map(|_| reader.u64().unwrap()), numbers);
        assert_eq!(reader.number(), Some(u128::from(u64::MAX) << 1 | 1));
        assert!(reader.is_empty() && reader.number().is_none());
        assert_eq!(Reader::new(&[0xff; 20]).number(), None);
        assert_eq!(Reader::new(&[0x80]).number(), None);
    }
}
